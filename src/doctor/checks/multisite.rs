//! The main domain of a network, which has to be known without a request.

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding};
use crate::site::config::Network;

pub const CHECK: Check = Check {
    name: "multisite",
    describes: "whether a network's main domain is known on the command line",
    vital: false,
    run,
};

fn run(context: &Context) -> Vec<Finding> {
    context.each_site(|site| {
        let help = format!(
            "set DOMAIN_CURRENT_SITE in {} to the main domain, as a literal string",
            site.config.display()
        );
        let Ok(facts) = context.facts(site) else {
            return vec![match site.found.network {
                Network::No => Finding::ok("not a network"),
                _ => Finding::skipped("WordPress does not load (see 'wordpress')"),
            }];
        };
        vec![match (facts.identity.network, facts.has_host()) {
            (false, _) => Finding::ok("not a network"),
            (true, true) => Finding::ok(format!(
                "a network of {} sites, {}",
                facts.blogs, facts.home
            )),
            (true, false) => {
                let message =
                    "the network has no main domain on the command line, so links in jobs are broken";
                Finding::failed(message, help)
            }
        }]
    })
}
