//! Which plugin takes the site's jobs, and through which client it sends them.

use std::path::Path;

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding};
use crate::host::files::Node;
use crate::intent::file::DEFAULT;
use crate::intent::resolve::SiteResolved;
use crate::resource::ResourceId;
use crate::site::answers::SiteFacts;

pub const CHECK: Check = Check {
    name: "plugin",
    describes: "whether the plugin is active, and which class WordPress hands jobs to",
    vital: true,
    run,
};

fn run(context: &Context) -> Vec<Finding> {
    context.each_site(|site| {
        let Ok(facts) = context.facts(site) else {
            return vec![Finding::skipped(
                "WordPress does not load (see 'wordpress')",
            )];
        };
        if let Some(elsewhere) = reads_elsewhere(context, site, facts) {
            return vec![elsewhere];
        }
        let config = ResourceId::File(site.config.clone());
        vec![match (&facts.plugin, &facts.client) {
            (Some(name), Some(client)) if facts.can_add => {
                Finding::ok(format!("{name}, through {client}"))
            }
            _ => {
                let why = facts
                    .why_not
                    .clone()
                    .unwrap_or_else(|| "wp_async_task_add() is missing".into());
                let help = match site.plugin.bundled {
                    true => "run 'wp-gears doctor --fix'".to_owned(),
                    false => format!(
                        "activate {} in {}, or use --plugin bundled",
                        site.plugin.label,
                        site.dir.display()
                    ),
                };
                let finding = Finding::failed(format!("jobs do not reach Gearman: {why}"), help);
                let finding = finding.fixed_by(config);
                match site.plugin.bundled {
                    true => finding.fixed_by(ResourceId::File(
                        site.content.must_use.join(site.plugin.main_file),
                    )),
                    false => finding,
                }
            }
        }]
    })
}

/// Content that was moved after its folder was recorded.
fn reads_elsewhere(context: &Context, site: &SiteResolved, facts: &SiteFacts) -> Option<Finding> {
    let told = &facts.identity.content.as_ref()?.must_use;
    let ours = &site.content.must_use;
    let real = match context.host.look_through(ours) {
        Ok(Node::Directory(meta)) => meta.path,
        _ => ours.clone(),
    };
    (Path::new(told) != real).then(|| {
        let dir = site.dir.display();
        Finding::failed(
            format!("WordPress reads must-use plugins from {told}, but setup puts them into {}", ours.display()),
            format!("run 'wp-gears setup --site {dir} --mu-plugin-dir {told}', or take the site's content folders out of {DEFAULT} and run 'wp-gears setup'"),
        )
    })
}
