//! Whether a site's jobs are sealed, and others refused.

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding};
use crate::intent::options::Role;
use crate::intent::resolve::SiteResolved;
use crate::resource::ResourceId;
use crate::site::seal::SEAL_PLUGIN;
use crate::worker::seal::{Sealing, is_exclusive};

pub const CHECK: Check = Check {
    name: "seal",
    describes: "whether jobs are sealed, and unsealed ones refused",
    vital: false,
    run,
};

fn run(context: &Context) -> Vec<Finding> {
    if let Some(skipped) = context.needs_root() {
        return vec![skipped];
    }
    context.each_site(|site| {
        if site.worker.seal == Some(false) {
            return vec![Finding::ok(
                "off (seal = false): anybody who reaches the job server can submit jobs",
            )];
        }
        let Ok(facts) = context.facts(site) else {
            return vec![Finding::skipped(
                "WordPress does not load (see 'wordpress')",
            )];
        };
        if !facts.unsealed.is_empty() {
            let plugin = site.content.must_use.join(SEAL_PLUGIN);
            let message = format!(
                "jobs are not sealed, so anybody who reaches the job server can submit and read them: {}",
                facts.unsealed
            );
            let help = "run 'wp-gears setup'; if that changes nothing, set 'seal = false' to say that this is intended";
            return vec![Finding::warning(message, help).fixed_by(ResourceId::File(plugin))];
        }
        if !context.has_role(Role::Worker) {
            return vec![Finding::ok("jobs are sealed; workers run on other hosts")];
        }
        vec![Finding::ok(state(context, site))]
    })
}

fn state(context: &Context, site: &SiteResolved) -> String {
    let sealing = Sealing::of(&context.paths(site).run);
    let servers: Vec<_> = site
        .effective_servers()
        .iter()
        .filter_map(|server| server.parse().ok())
        .collect();
    let others = match (
        sealing.only,
        is_exclusive(site.worker.seal, site.is_shared, &servers),
    ) {
        (true, true) => "only sealed jobs are run",
        (false, true) => {
            "others are run until the queue has been empty, a minute after sealing began"
        }
        (_, false) => {
            "others are run too, as other hosts may submit them: set 'seal = true' once all of them have been set up"
        }
    };
    match sealing.former {
        0 => others.to_owned(),
        count => format!(
            "{others}; the site's secret keys have changed, and {count} former key(s) are kept for jobs that may still wait"
        ),
    }
}
