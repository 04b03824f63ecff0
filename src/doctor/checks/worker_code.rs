//! Whether workers run the installed binary, and whether it is this one.

use std::path::Path;
use std::time::Duration;

use crate::base::paths::{LIB, binary};
use crate::doctor::checks::orphans::is_worker;
use crate::doctor::context::Context;
use crate::doctor::{Check, Finding, or_ok};
use crate::host::files::Node;
use crate::intent::options::Role;
use crate::plan::recipe;
use crate::resource::ResourceId;

pub const CHECK: Check = Check {
    name: "worker-code",
    describes: "workers that run an older binary than the installed one, and outdated PHP files",
    vital: false,
    run,
};

/// How long workers may take to notice that their program was replaced.
const SWITCH: Duration = Duration::from_secs(180);

/// Whether the installed program is so new that workers may still switch to it
/// by themselves, between two jobs.
fn is_recent(context: &Context) -> bool {
    let Ok(Node::File(meta)) = context.host.look(&binary()) else {
        return false;
    };
    meta.mtime().elapsed().is_ok_and(|age| age < SWITCH)
}

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
        if gone && exe.starts_with(LIB) && !is_recent(context) {
            let message = format!(
                "process {} runs a binary that has been replaced",
                process.pid
            );
            let groups = context.resolved.sites.iter();
            let groups: Vec<String> = groups.map(|site| format!("{}:*", site.program)).collect();
            let restart = context.supervisorctl(&format!("restart {}", groups.join(" ")));
            let help = format!("run '{restart}': the jobs in progress are finished first");
            problems.push(Finding::failed(message, help));
        }
    }
    let php = recipe::PHP.iter().map(|(name, _)| *name);
    for name in ["wp-gears"].into_iter().chain(php) {
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
