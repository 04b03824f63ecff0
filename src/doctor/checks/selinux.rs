//! SELinux: whether it keeps the web server from the job server.

use std::path::Path;

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding};
use crate::intent::options::Role;

pub const CHECK: Check = Check {
    name: "selinux",
    describes: "whether SELinux lets the web server's PHP connect to the job server",
    vital: false,
    run,
};

fn run(context: &Context) -> Vec<Finding> {
    let read = |path: &str| {
        let file = context.host.read_head(Path::new(path), 64).ok()??;
        Some(String::from_utf8_lossy(&file.bytes).trim().to_owned())
    };
    let Some(enforces) = read("/sys/fs/selinux/enforce") else {
        return vec![Finding::ok("SELinux is not in use")];
    };
    let boolean = context.platform.family.selinux_boolean;
    let allowed = read(&format!("/sys/fs/selinux/booleans/{boolean}"))
        .is_none_or(|text| text.starts_with('1'));
    let todo = format!("setsebool -P {boolean} on");
    vec![
        match (enforces == "1", allowed || !context.has_role(Role::Web)) {
            (true, false) => Finding::failed(
                "SELinux keeps pages from the job server: their jobs go to WP-Cron",
                todo,
            ),
            (false, false) => Finding::warning(
                "SELinux would keep pages from the job server once it enforces",
                todo,
            ),
            (true, true) => Finding::ok("SELinux enforces, and lets pages reach the job server"),
            (false, true) => Finding::ok("SELinux does not enforce"),
        },
    ]
}
