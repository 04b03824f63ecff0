//! How many connections gearmand may hold: at its limit it eats a processor.

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding};
use crate::gearman::daemon::FILES_LIMIT;
use crate::host::services::Action;
use crate::intent::options::Role;
use crate::resource::ResourceId;

pub const CHECK: Check = Check {
    name: "files-limit",
    describes: "how many files (connections) the running gearmand may open",
    vital: false,
    run,
};

/// systemd's and the shells' own default, which a busy host reaches.
const TOO_FEW: u64 = 1024;

fn run(context: &Context) -> Vec<Finding> {
    if !context.has_role(Role::Server) {
        return vec![Finding::skipped("the job server runs elsewhere")];
    }
    let pid = context.gearmand().map(|unit| unit.main_pid).unwrap_or(0);
    let Some((soft, hard)) = context.host.files_limits(pid) else {
        return vec![match context.host.process(pid) {
            Some(_) => Finding::skipped("that needs root"),
            None => Finding::skipped("gearmand does not run"),
        }];
    };
    let name = context.platform.family.gearmand.unit;
    let seen = format!("gearmand may open {soft} files");
    let services = context.services();
    let todo = format!(
        "raise {}, then {}",
        services.files_limit_hint(name),
        services.command(Action::Restart, name)
    );
    let service = ResourceId::Service(name.to_owned());
    vec![if soft <= TOO_FEW {
        Finding::failed(
            format!("{seen} only: with more connections it stops answering"),
            todo,
        )
        .fixed_by(service)
    } else if soft < FILES_LIMIT.min(hard) {
        Finding::warning(format!("{seen}, setup asks for {FILES_LIMIT}"), todo).fixed_by(service)
    } else {
        Finding::ok(seen)
    }]
}
