//! Whether workers reach the site's database, and its limits.

use crate::base::problem::Problem;
use crate::doctor::context::Context;
use crate::doctor::{Check, Finding, or_ok};

pub const CHECK: Check = Check {
    name: "database",
    describes: "whether workers reach the site's database; max_connections and max_allowed_packet",
    vital: false,
    run,
};

/// Connections for pages, cron and administrators, besides the workers.
const OTHERS: u64 = 10;
/// Enough for the data of a job in a queue, or for what a job writes.
const SMALL_PACKET: u64 = 1 << 20;

fn run(context: &Context) -> Vec<Finding> {
    let workers: u64 = context
        .resolved
        .sites
        .iter()
        .map(|site| u64::from(site.workers.max))
        .sum();
    context.each_site(|site| {
        let facts = match context.facts(site) {
            Ok(facts) => facts,
            Err(error) => {
                // The message of WordPress or PHP.
                let why = error.downcast_ref::<Problem>().map(|problem| &problem.why);
                let of_database = ["database", "mysqli", "MySQL"]
                    .iter()
                    .any(|word| why.is_some_and(|why| why.contains(word)));
                return vec![match of_database {
                    true => Finding::failed(
                        format!("{} cannot reach the site's database", site.user),
                        format!(
                            "check DB_HOST, DB_USER and DB_PASSWORD in {}, and that the server runs",
                            site.config.display()
                        ),
                    ),
                    false => Finding::skipped("WordPress does not load (see 'wordpress')"),
                }];
            }
        };
        let mut problems = Vec::new();
        let most = facts.max_connections;
        if most > 0 && workers + OTHERS > most {
            problems.push(Finding::warning(
                format!(
                    "the database allows {most} connections, but {workers} workers may need one each"
                ),
                "raise max_connections, or use fewer workers: 'wp-gears setup --workers N'",
            ));
        }
        if facts.max_allowed_packet > 0 && facts.max_allowed_packet < SMALL_PACKET {
            problems.push(Finding::warning(
                format!(
                    "max_allowed_packet is only {} bytes: larger jobs are lost",
                    facts.max_allowed_packet
                ),
                "raise it to 16M or more",
            ));
        }
        or_ok(problems, || {
            format!(
                "reachable as {}; {most} connections, packets up to {} MB",
                site.user,
                facts.max_allowed_packet >> 20
            )
        })
    })
}
