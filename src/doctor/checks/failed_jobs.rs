//! Jobs that were kept for a person.

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding};
use crate::worker::store::count;

pub const CHECK: Check = Check {
    name: "failed-jobs",
    describes: "jobs that failed and were kept, or dropped for want of room",
    vital: false,
    run,
};

fn run(context: &Context) -> Vec<Finding> {
    if let Some(skipped) = context.needs_root() {
        return vec![skipped];
    }
    context.each_site(|site| {
        let (kept, again, dropped) = count(&context.paths(site).failed);
        let seen = format!("{kept} kept, {again} tried again soon, {dropped} dropped");
        vec![match kept > 0 || dropped > 0 {
            true => Finding::warning(
                seen,
                format!("wp-gears failed --site {}", site.dir.display()),
            ),
            false => Finding::ok(seen),
        }]
    })
}
