//! Whether workers run the installed binary, and whether it is this one.

use std::path::Path;

use crate::base::paths::{LIB, binary};
use crate::doctor::checks::orphans::is_worker;
use crate::doctor::context::Context;
use crate::doctor::{Check, Finding, or_ok};
use crate::intent::options::Role;
use crate::resource::ResourceId;

pub const CHECK: Check = Check {
    name: "worker-code",
    describes: "workers that run an older binary than the installed one, and outdated PHP files",
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
            let message = format!(
                "process {} runs a binary that has been replaced",
                process.pid
            );
            let groups = context.resolved.sites.iter();
            let groups: Vec<String> = groups.map(|site| format!("{}:*", site.program)).collect();
            let restart = context.supervisorctl(&format!("restart {}", groups.join(" ")));
            let help = format!("run 'wp-gears doctor --fix' or '{restart}'");
            let mut finding = Finding::failed(message, help);
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
            let message = format!(
                "{} is not the one of this version ({})",
                path.display(),
                env!("CARGO_PKG_VERSION")
            );
            problems.push(
                Finding::failed(message, "install it with 'wp-gears doctor --fix'")
                    .fixed_by(resource),
            );
        }
    }
    or_ok(problems, || {
        format!("workers run the installed {}", binary().display())
    })
}
