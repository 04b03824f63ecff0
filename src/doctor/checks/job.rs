//! The proof, last: a job through WordPress itself, timed at each station.

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding};
use crate::host::files::Node;
use crate::plan::proof;

pub const CHECK: Check = Check {
    name: "job",
    describes: "a real job: handed in by WordPress, taken by a worker, run to its end",
    vital: false,
    run: |context| run(context, &|_| None),
};

/// `in_the_way` names the check that failed and lets no job of the site run.
pub fn run<'n>(
    context: &Context,
    in_the_way: &(dyn Fn(&str) -> Option<&'n str> + Sync),
) -> Vec<Finding> {
    if let Some(skipped) = context.needs_root() {
        return vec![skipped];
    }
    if !proof::applies(&context.resolved.host.roles) {
        return vec![Finding::skipped("workers or pages are on other hosts")];
    }
    context.each_site(|site| {
        if let Some(check) = in_the_way(&site.name) {
            return vec![Finding::skipped(format!("'{check}' failed"))];
        }
        if matches!(
            context.host.look(&context.paths(site).paused),
            Ok(Node::File(_))
        ) {
            return vec![Finding::skipped("the workers are paused")];
        }
        vec![match proof::run(context.host, site) {
            Ok(proof) => Finding::ok(format!(
                "handed in after {} ms, started after {} ms, done after {} ms",
                proof.add_ms, proof.started_ms, proof.done_ms
            )),
            Err(error) => Finding::of_error(&error),
        }]
    })
}
