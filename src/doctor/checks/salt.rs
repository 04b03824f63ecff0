//! Sites with the same salt run each other's jobs.

use std::path::PathBuf;

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding, or_ok};
use crate::intent::salts;

pub const CHECK: Check = Check {
    name: "salt",
    describes: "whether two sites of this host share a WP_ASYNC_TASK_SALT",
    vital: false,
    run,
};

fn run(context: &Context) -> Vec<Finding> {
    let salts: Vec<(PathBuf, String)> = salts::salts(
        context.host,
        context.resolved.host.supervisor,
        &context.resolved.sites,
    );
    let unreadable = !context.root && salts.is_empty();
    context.each_site(|site| {
        if unreadable {
            return vec![Finding::skipped("it requires root")];
        }
        let mine = salts.iter().find(|(dir, _)| *dir == site.dir).map(|(_, salt)| salt);
        let shared = mine.and_then(|mine| salts.iter().find(|(dir, salt)| salt == mine && *dir != site.dir));
        let problems = shared.map(|(other, _)| {
            Finding::failed(
                format!("it has the same salt as {}, so each runs the other's jobs", other.display()),
                "if one is a copy, set another salt for it: 'wp-gears setup --site DIR --salt TEXT'",
            )
        });
        or_ok(problems.into_iter().collect(), || "no other site on this host has its salt".into())
    })
}
