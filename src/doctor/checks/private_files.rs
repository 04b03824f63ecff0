//! Whether other users of this host can read jobs where they wait, or hold a file that
//! they opened when they could.

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding, or_ok};
use crate::intent::options::Role;
use crate::queue::exposed;
use crate::resource::ResourceId;

pub const CHECK: Check = Check {
    name: "private-files",
    describes: "whether other users can read the job server's queue and log",
    vital: false,
    run,
};

fn run(context: &Context) -> Vec<Finding> {
    if !context.has_role(Role::Server) {
        return vec![Finding::skipped("the job server runs elsewhere")];
    }
    if let Some(skipped) = context.needs_root() {
        return vec![skipped];
    }
    let host = context.host;
    let gearmand = &context.platform.family.gearmand;
    let pid = context.gearmand().map_or(0, |unit| unit.main_pid);
    let Some(process) = host.process(pid) else {
        return vec![Finding::skipped("gearmand is not running")];
    };
    let found = match exposed::exposed(host, gearmand.user, &process.args) {
        Ok(found) => found,
        Err(error) => return vec![Finding::of_error(&error)],
    };
    let mut problems: Vec<Finding> = found
        .into_iter()
        .map(|it| {
            let path = it.path.display();
            let message = format!(
                "other users can read {path} ({:04o}), which may contain arguments of jobs",
                it.mode
            );
            let finding = Finding::failed(message, format!("run 'chmod o= {path}'"))
                .fixed_by(ResourceId::Private);
            match it.is_folder {
                true => finding.fixed_by(ResourceId::Directory(it.path)),
                false => finding,
            }
        })
        .collect();
    // An open file stays open, whatever becomes of its mode.
    let files = exposed::files(&process.args);
    for other in context.processes() {
        let is_other = other.uid.is_some_and(|uid| uid != 0) && other.uid != process.uid;
        if !is_other {
            continue;
        }
        if let Some(file) = host
            .open_files(other.pid)
            .iter()
            .find(|it| files.contains(it))
        {
            let user = host.user_name(other.uid.unwrap_or_default());
            let message = format!(
                "process {} of {user} has {} open",
                other.pid,
                file.display()
            );
            problems.push(Finding::failed(
                message,
                format!("end it: kill {}", other.pid),
            ));
        }
    }
    or_ok(problems, || {
        "only gearmand and root can read its queue and its log".into()
    })
}
