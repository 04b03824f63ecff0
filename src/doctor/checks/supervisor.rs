//! Whether supervisord can be queried, and if not, why.

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding, service};
use crate::host::services::Action;
use crate::intent::options::Role;
use crate::resource::ResourceId;
use crate::supervisor::rpc::Unreachable;

pub const CHECK: Check = Check {
    name: "supervisor",
    describes: "whether supervisord is installed, runs, starts at boot and answers on its socket",
    vital: true,
    run,
};

fn run(context: &Context) -> Vec<Finding> {
    if !context.has_role(Role::Worker) {
        return vec![Finding::skipped("no workers run here")];
    }
    let supervisor = context.resolved.host.supervisor;
    let (name, socket) = (supervisor.unit, supervisor.socket);
    let services = context.services();
    let resource = ResourceId::Service(name.to_owned());
    let unit = match context.supervisor_unit() {
        Ok(unit) => unit,
        Err(error) => return vec![Finding::skipped(format!("{error:#}"))],
    };
    if let Some(masked) = service::masked(services, name, &unit) {
        return vec![masked];
    }
    if !unit.present {
        let help = "install it with 'wp-gears doctor --fix'";
        return vec![
            Finding::failed("supervisor is not installed", help).fixed_by(ResourceId::Packages),
        ];
    }
    let mut findings = Vec::new();
    findings.extend(service::not_at_boot(services, name, &unit));
    if !unit.active {
        let message = format!("supervisord is not running: its service is {}", unit.state);
        findings.push(
            Finding::failed(
                message,
                format!("run '{}'", services.command(Action::Start, name)),
            )
            .fixed_by(resource),
        );
        return findings;
    }
    let restart = format!(
        "run '{}', then check 'orphans' for leftover workers",
        services.command(Action::Restart, name)
    );
    let why = match context.programs() {
        Ok(programs) => {
            findings.push(Finding::ok(format!(
                "supervisord answers and runs {} processes",
                programs.len()
            )));
            return findings;
        }
        Err(Unreachable::Denied) => {
            findings.push(Finding::skipped(format!("only root can use {socket}")));
            return findings;
        }
        Err(Unreachable::NoSocket) => format!("supervisord runs, but its socket {socket} is gone"),
        Err(Unreachable::Refused) => format!("supervisord runs, but does not listen on {socket}"),
        Err(Unreachable::Other(answer)) => {
            format!("what listens on {socket} does not answer like supervisord: {answer}")
        }
    };
    findings.push(Finding::failed(why, restart));
    findings
}
