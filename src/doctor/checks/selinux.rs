//! Whether SELinux keeps the web server from reaching the job server.

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding};
use crate::host::selinux::Enforcement;
use crate::intent::options::Role;
use crate::resource::ResourceId;

pub const CHECK: Check = Check {
    name: "selinux",
    describes: "whether SELinux lets the web server's PHP connect to the job server",
    vital: false,
    run,
};

fn run(context: &Context) -> Vec<Finding> {
    let name = context.platform.family.selinux_boolean;
    let state = context.host.selinux().and_then(|mode| {
        let allowed = match mode {
            Enforcement::Off => None,
            _ => context.host.selinux_boolean(name)?,
        };
        Ok((mode, allowed))
    });
    let (mode, allowed) = match state {
        Ok(state) => state,
        Err(error) => return vec![Finding::of_error(&error)],
    };
    // A policy without the boolean does not restrict the web server in this way.
    let allowed = allowed.unwrap_or(true) || !context.has_role(Role::Web);
    let help = format!("run 'setsebool -P {name} on'");
    let fixed_by = ResourceId::Boolean(name.into());
    vec![match (mode, allowed) {
        (Enforcement::Off, _) => Finding::ok("SELinux is not in use"),
        (Enforcement::Enforcing, true) => {
            Finding::ok("SELinux is enforcing and lets pages reach the job server")
        }
        (Enforcement::Permissive, true) => Finding::ok("SELinux is permissive"),
        (Enforcement::Enforcing, false) => Finding::failed(
            "SELinux keeps pages from reaching the job server, so their jobs go to WP-Cron",
            help,
        )
        .fixed_by(fixed_by),
        (Enforcement::Permissive, false) => Finding::warning(
            "SELinux is permissive; when enforcing, it would keep pages from reaching the job server",
            help,
        )
        .fixed_by(fixed_by),
    }]
}
