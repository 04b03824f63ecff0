//! Whether workers run the program that is installed, and that is this one.

use std::path::Path;

use crate::base::paths::{LIB, binary};
use crate::doctor::checks::orphans::is_worker;
use crate::doctor::context::Context;
use crate::doctor::{Check, Finding, or_ok};
use crate::intent::options::Role;
use crate::resource::ResourceId;

pub const CHECK: Check = Check {
    name: "worker-code",
    describes: "workers that run an older program than the installed one, and the PHP beside it",
    vital: false,
    run,
};

fn run(context: &Context) -> Vec<Finding> {
    if !context.has_role(Role::Worker) {
        return vec![Finding::skipped("no workers run here")];
    }
    if let Some(skipped) = context.needs_root() {
        return vec![skipped];
    }
    let mut problems = Vec::new();
    for process in context
        .processes()
        .iter()
        .filter(|process| is_worker(process))
    {
        let Some(exe) = &process.exe else { continue };
        let gone = exe.to_string_lossy().ends_with(" (deleted)");
        if gone && exe.starts_with(LIB) {
            let seen = format!(
                "process {} runs a program that was replaced since",
                process.pid
            );
            let groups = context.resolved.sites.iter();
            let groups: Vec<String> = groups.map(|site| format!("{}:*", site.program)).collect();
            let restart = context.supervisorctl(&format!("restart {}", groups.join(" ")));
            let todo = format!("wp-gears doctor --fix, or {restart}");
            let mut finding = Finding::failed(seen, todo);
            for site in &context.resolved.sites {
                finding = finding.fixed_by(ResourceId::Program(site.program.clone()));
            }
            problems.push(finding);
        }
    }
    for name in ["wp-gears", "runner.php", "fork.php", "plugin.php"] {
        let path = Path::new(LIB).join(name);
        let resource = ResourceId::File(path.clone());
        if context.differs(&resource) {
            let seen = format!(
                "{} is not this program's ({})",
                path.display(),
                env!("CARGO_PKG_VERSION")
            );
            problems.push(
                Finding::failed(seen, "wp-gears doctor --fix puts it there").fixed_by(resource),
            );
        }
    }
    or_ok(problems, || {
        format!("workers run {} as it is installed", binary().display())
    })
}
