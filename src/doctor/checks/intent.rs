//! Whether the intent file can be read and names all workers that run here.

use std::path::Path;

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding, or_ok};
use crate::intent::file::{self, DEFAULT};
use crate::intent::options::Role;
use crate::supervisor::programs;

pub const CHECK: Check = Check {
    name: "intent",
    describes: "whether /etc/wp-gears.toml can be read and names all workers that run here",
    vital: false,
    run,
};

fn run(context: &Context) -> Vec<Finding> {
    if let Some(error) = context.unreadable {
        let mut finding = Finding::of_error(error);
        let until =
            "fix the file; until then, the other checks assume that what runs here is intended";
        finding.help = match finding.help.as_str() {
            "" => until.to_owned(),
            help => format!("{help}; {until}"),
        };
        return vec![finding];
    }
    if let Some(path) = &context.spec.config {
        return vec![Finding::ok(format!("read from {}", path.display()))];
    }
    if !context.host.exists(Path::new(DEFAULT)) {
        let message = format!("there is no {DEFAULT} yet; the next setup creates it");
        return vec![Finding::skipped(message)];
    }
    let named = match file::read(context.host, None) {
        Ok(named) => named,
        Err(error) => return vec![Finding::of_error(&error)],
    };
    let supervisor = context.resolved.host.supervisor;
    let programs = programs::all(context.host, supervisor).unwrap_or_default();
    let mut problems = Vec::new();
    for program in &programs {
        let (Some(dir), Some(name)) = (program.site(), program.option("--name")) else {
            continue;
        };
        let dir_named = dir.display();
        let remove = format!("'wp-gears remove --site {dir_named}'");
        let problem = if !context.has_role(Role::Worker) {
            Finding::warning(
                format!(
                    "workers of {dir_named} run here, but this host does not have the role 'worker'"
                ),
                format!("add 'worker' to role in {DEFAULT}, or remove them with {remove}"),
            )
        } else if context.spec.past.recorded && !named.has_site(&dir) {
            Finding::warning(
                format!("workers of {dir_named} run here, but {DEFAULT} does not name this site"),
                format!(
                    "add it with 'wp-gears setup --site {dir_named}', or remove the workers with {remove}"
                ),
            )
        } else {
            continue;
        };
        problems.push(problem.of_site(&name));
    }
    or_ok(problems, || {
        format!("{DEFAULT} names all workers that run here")
    })
}
