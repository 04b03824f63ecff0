//! The host of a network's jobs, which has to be known without a request.

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding};
use crate::intent::resolve::SiteResolved;
use crate::site::answers::SiteFacts;
use crate::site::ask::Target;
use crate::site::config::Network;

pub const CHECK: Check = Check {
    name: "multisite",
    describes: "whether jobs of a network have the host of one of its sites",
    vital: false,
    run,
};

fn run(context: &Context) -> Vec<Finding> {
    context.each_site(|site| {
        vec![match context.facts(site) {
            Ok(facts) if !facts.identity.network => Finding::ok("not a network"),
            Ok(facts) => judge(site, facts),
            Err(_) if site.found.network == Network::No => Finding::ok("not a network"),
            Err(_) => without_the_host(context, site)
                .unwrap_or_else(|| Finding::skipped("WordPress does not load (see 'wordpress')")),
        }]
    })
}

fn judge(site: &SiteResolved, facts: &SiteFacts) -> Finding {
    if facts.has_host() {
        let message = format!("a network of {} sites, {}", facts.blogs, facts.home);
        return Finding::ok(message);
    }
    let message = "the network has no main domain on the command line, so links in jobs are broken";
    let help = format!(
        "set DOMAIN_CURRENT_SITE in {} to the main domain, or name the host with 'wp-gears setup --site {} --host HOST'",
        site.config.display(),
        site.dir.display()
    );
    Finding::failed(message, help)
}

/// A network that loads without the host that was named for it has no site there.
fn without_the_host(context: &Context, site: &SiteResolved) -> Option<Finding> {
    let named = site
        .worker_options
        .host
        .as_deref()
        .filter(|_| context.root)?;
    let target = Target {
        host: None,
        ..site.target()
    };
    let facts = target.facts(context.host, &[]).ok()?;
    if !facts.identity.network {
        return None;
    }
    let message = format!(
        "the network has no site at {named}, the host that was named for its jobs: it loads as {}",
        facts.home
    );
    let help = format!(
        "name one of its hosts with 'wp-gears setup --site {} --host HOST'",
        site.dir.display()
    );
    Some(Finding::failed(message, help))
}
