//! Which platform this is, and which init system starts its services.

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding};
use crate::host::platform::Init;

pub const CHECK: Check = Check {
    name: "platform",
    describes: "the system's release and what starts its services",
    vital: false,
    run,
};

fn run(context: &Context) -> Vec<Finding> {
    let platform = context.platform;
    let init = match platform.init {
        Init::Systemd => "systemd",
        Init::Sysv => "init scripts, no systemd",
    };
    vec![Finding::ok(format!("{}, {init}", platform.name))]
}
