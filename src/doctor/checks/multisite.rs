//! A network's main domain, which the command line must know without a request.

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding};
use crate::resource::ResourceId;
use crate::site::config::Network;

pub const CHECK: Check = Check {
    name: "multisite",
    describes: "whether a network's main domain is known where there is no request",
    vital: false,
    run,
};

fn run(context: &Context) -> Vec<Finding> {
    context.each_site(|site| {
        let todo = format!(
            "set DOMAIN_CURRENT_SITE in {} to the main domain, in plain words",
            site.config.display()
        );
        let by = ResourceId::File(site.config.clone());
        let Ok(facts) = context.facts(site) else {
            return vec![match site.found.network {
                Network::No => Finding::ok("no network"),
                _ => Finding::skipped("WordPress does not load (see 'wordpress')"),
            }];
        };
        let has_host = facts
            .home
            .split_once("://")
            .is_some_and(|(_, rest)| !rest.is_empty());
        vec![match (facts.identity.network, has_host) {
            (false, _) => Finding::ok("no network"),
            (true, true) => Finding::ok(format!(
                "a network of {} sites, {}",
                facts.blogs, facts.home
            )),
            (true, false) => {
                let seen =
                    "the network has no main domain on the command line: links in jobs are broken";
                Finding::failed(seen, todo).fixed_by(by)
            }
        }]
    })
}
