//! Which plugin takes the site's jobs, and where it really sends them.

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding};
use crate::resource::ResourceId;
use crate::site::find::{BUNDLED, Plugin};

pub const CHECK: Check = Check {
    name: "plugin",
    describes: "whether the plugin is active, and the class that WordPress really gives jobs to",
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
        let bundled = ResourceId::File(site.dir.join(BUNDLED));
        vec![match (&facts.plugin, &facts.client) {
            (Some(name), Some(client)) if facts.can_add => {
                Finding::ok(format!("{name}, through {client}"))
            }
            _ => {
                let why = facts
                    .why_not
                    .clone()
                    .unwrap_or_else(|| "wp_async_task_add() is missing".into());
                let todo = match site.plugin {
                    Plugin::Bundled => "wp-gears doctor --fix".to_owned(),
                    _ => format!(
                        "wp plugin activate … in {}, or --plugin bundled",
                        site.dir.display()
                    ),
                };
                Finding::failed(format!("no job reaches Gearman: {why}"), todo)
                    .fixed_by(config)
                    .fixed_by(bundled)
            }
        }]
    })
}
