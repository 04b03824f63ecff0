//! Whether WordPress loads for the worker user.

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding};
use crate::site::maintenance;

pub const CHECK: Check = Check {
    name: "wordpress",
    describes: "whether WordPress loads on the command line as the worker user",
    vital: true,
    run,
};

fn run(context: &Context) -> Vec<Finding> {
    context.each_site(|site| {
        if maintenance::is_on(context.host, &site.dir) {
            return vec![Finding::warning(
                maintenance::SENTENCE,
                maintenance::help(&site.dir),
            )];
        }
        if !context.root && context.facts(site).is_err() {
            return vec![Finding::skipped("it requires root")];
        }
        vec![match context.facts(site) {
            // 'multisite' judges the host of a network.
            Ok(facts) if !facts.has_host() && !facts.identity.network => Finding::warning(
                format!(
                    "WordPress loads, but takes its address from the request, so links in jobs begin with {:?}",
                    facts.home
                ),
                format!(
                    "name the host with 'wp-gears setup --site {} --host HOST'",
                    site.dir.display()
                ),
            ),
            Ok(facts) => Finding::ok(format!(
                "WordPress {} loads with PHP {} as {}: {}",
                facts.wordpress, facts.php, site.user, facts.home
            )),
            Err(error) => {
                let mut finding = Finding::of_error(error);
                if finding.help.is_empty() {
                    finding.help = format!(
                        "reproduce it with 'cd {} && sudo -u {} {} wp-cron.php'",
                        site.dir.display(),
                        site.user,
                        site.php.path.display()
                    );
                }
                finding
            }
        }]
    })
}
