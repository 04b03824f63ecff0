//! Where queued jobs are stored, and whether they would survive a restart.

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding};
use crate::host::services::Action;
use crate::intent::options::Role;
use crate::queue::{Condition, Repair, Running};
use crate::resource::ResourceId;

pub const CHECK: Check = Check {
    name: "queue-store",
    describes: "the queue store and its file: owner, header, and whether gearmand writes to it",
    vital: false,
    run,
};

fn run(context: &Context) -> Vec<Finding> {
    let (Some(store), true) = (&context.resolved.host.store, context.has_role(Role::Server)) else {
        return vec![Finding::skipped("the job server runs elsewhere")];
    };
    if context.resolved.host.queue.place().is_some()
        && let Some(skipped) = context.needs_root()
    {
        return vec![skipped];
    }
    let pid = context.gearmand().map_or(0, |unit| unit.main_pid);
    let process = context.host.process(pid);
    let gearmand = &context.platform.family.gearmand;
    let running = Running {
        pid,
        args: process.as_ref().map_or(&[], |process| &process.args),
        restart: &context.services().command(Action::Restart, gearmand.unit),
    };
    match store.examine(context.host, &running) {
        Ok(conditions) => {
            let service = ResourceId::Service(gearmand.unit.to_owned());
            let findings = conditions.into_iter();
            findings.map(|it| finding(it, &service)).collect()
        }
        Err(error) => vec![Finding::of_error(&error)],
    }
}

/// `service` is gearmand's.
pub fn finding(condition: Condition, service: &ResourceId) -> Finding {
    match condition {
        Condition::Sound(message) => Finding::ok(message),
        Condition::Warning(fault) => Finding::warning(fault.message, fault.help),
        Condition::Fault(fault) => {
            let by = fault.repair.map(|repair| match repair {
                Repair::Folder(folder) => ResourceId::Directory(folder),
                Repair::Restart => service.clone(),
            });
            let finding = Finding::failed(fault.message, fault.help);
            by.into_iter().fold(finding, Finding::fixed_by)
        }
        Condition::Unchecked(why) => Finding::skipped(why),
    }
}
