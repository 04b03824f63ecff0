//! Whether the packages that setup installs are there.

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding};
use crate::plan::recipe;
use crate::resource::ResourceId;

pub const CHECK: Check = Check {
    name: "packages",
    describes: "packages of the job server, supervisor and PHP's extension",
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
        return vec![Finding::skipped("only PHP's extension is needed here")];
    }
    if missing.is_empty() {
        return vec![Finding::ok(there.join(", "))];
    }
    // The extension may come from elsewhere: 'php-extension' checks that.
    let message = format!("not installed: {}", missing.join(", "));
    vec![Finding::failed(message, "run 'wp-gears doctor --fix'").fixed_by(ResourceId::Packages)]
}
