//! The platform and its init system.

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding};

pub const CHECK: Check = Check {
    name: "platform",
    describes: "release of the operating system, and its init system",
    vital: false,
    run,
};

fn run(context: &Context) -> Vec<Finding> {
    let platform = context.platform;
    let init = platform.services().name();
    vec![Finding::ok(format!("{}, {init}", platform.name))]
}
