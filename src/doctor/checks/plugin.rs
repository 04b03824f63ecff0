//! Which plugin takes the site's jobs, and through which client it sends them.

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding};
use crate::resource::ResourceId;

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
                    Some(_) => "run 'wp-gears doctor --fix'".to_owned(),
                    None => format!(
                        "activate {} in {}, or use --plugin bundled",
                        site.plugin.label,
                        site.dir.display()
                    ),
                };
                let finding = Finding::failed(format!("jobs do not reach Gearman: {why}"), help);
                let finding = finding.fixed_by(config);
                match site.plugin.bundled {
                    Some(place) => finding.fixed_by(ResourceId::File(site.dir.join(place))),
                    None => finding,
                }
            }
        }]
    })
}
