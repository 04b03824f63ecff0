//! Whether the packages are there that setup would install.

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding};
use crate::plan::recipe;
use crate::resource::ResourceId;

pub const CHECK: Check = Check {
    name: "packages",
    describes: "the packages of the job server, supervisor and PHP's extension",
    vital: false,
    run,
};

fn run(context: &Context) -> Vec<Finding> {
    let installed = match context.host.installed() {
        Ok(installed) => installed,
        Err(error) => return vec![Finding::skipped(format!("{error:#}"))],
    };
    let needed = recipe::required(context.host, context.platform, &context.resolved);
    let (mut there, mut missing) = (Vec::new(), Vec::new());
    for names in &needed {
        match names.iter().find_map(|name| installed.get_key_value(name)) {
            Some((name, version)) => there.push(format!("{name} {version}")),
            None => missing.push(names.join(" or ")),
        }
    }
    if needed.is_empty() {
        return vec![Finding::skipped(
            "pages need no packages except PHP's extension",
        )];
    }
    if missing.is_empty() {
        return vec![Finding::ok(there.join(", "))];
    }
    // The extension may come from elsewhere: the check of PHP itself tells that.
    let seen = format!("not installed: {}", missing.join(", "));
    vec![Finding::failed(seen, "wp-gears doctor --fix").fixed_by(ResourceId::Packages)]
}
