//! Sites with one salt run each other's jobs.

use std::path::PathBuf;

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding, or_ok};
use crate::intent::resolve;

pub const CHECK: Check = Check {
    name: "salt",
    describes: "whether two sites of this host have the same WP_ASYNC_TASK_SALT",
    vital: false,
    run,
};

fn run(context: &Context) -> Vec<Finding> {
    let salts: Vec<(PathBuf, String)> = resolve::salts(
        context.host,
        context.resolved.host.supervisor,
        &context.resolved.sites,
    );
    let unreadable = !context.root && salts.is_empty();
    context.each_site(|site| {
        if unreadable {
            return vec![Finding::skipped("that needs root")];
        }
        let mine = salts.iter().find(|(dir, _)| *dir == site.dir).map(|(_, salt)| salt);
        let shared = mine.and_then(|mine| salts.iter().find(|(dir, salt)| salt == mine && *dir != site.dir));
        let problems = shared.map(|(other, _)| {
            Finding::failed(
                format!("it has the salt of {}: each runs the other's jobs", other.display()),
                "if one is a copy, give it a salt of its own: wp-gears setup --site DIR --salt TEXT",
            )
        });
        or_ok(problems.into_iter().collect(), || "no other site here has its salt".into())
    })
}
