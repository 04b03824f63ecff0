//! Which platform this is, and which init system starts its services.

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding};

pub const CHECK: Check = Check {
    name: "platform",
    describes: "the system's release and what starts its services",
    vital: false,
    run,
};

fn run(context: &Context) -> Vec<Finding> {
    let platform = context.platform;
    let init = platform.services().name();
    vec![Finding::ok(format!("{}, {init}", platform.name))]
}
