//! Whether supervisord can be asked; if not, which of the reasons it is.

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding};
use crate::spec::Role;
use crate::supervisor::rpc::Unreachable;

pub const CHECK: Check = Check {
    name: "supervisor",
    looks_at: "whether supervisord is installed, runs, starts at boot, and answers on its socket",
    vital: true,
    run,
};

fn run(context: &Context) -> Vec<Finding> {
    if !context.has_role(Role::Worker) {
        return vec![Finding::skipped("no workers run here")];
    }
    let supervisor = context.decided.host.supervisor;
    let (name, socket) = (supervisor.unit, supervisor.socket);
    let service = format!("service {name}");
    let unit = match context.supervisor_unit() {
        Ok(unit) => unit,
        Err(error) => return vec![Finding::skipped(format!("{error:#}"))],
    };
    if unit.masked {
        let todo = format!("systemctl unmask {name}, then wp-gears doctor --fix");
        return vec![Finding::failed(
            format!("somebody masked the service {name}"),
            todo,
        )];
    }
    if !unit.present {
        let todo = "wp-gears doctor --fix installs it";
        return vec![Finding::failed("supervisor is not installed", todo).mended_by("packages")];
    }
    let mut findings = Vec::new();
    if !unit.enabled {
        let seen = format!("the service {name} does not start at boot");
        findings
            .push(Finding::failed(seen, format!("systemctl enable {name}")).mended_by(&service));
    }
    if !unit.active {
        let seen = format!("supervisord does not run: its service is {}", unit.state);
        findings.push(Finding::failed(seen, format!("systemctl start {name}")).mended_by(&service));
        return findings;
    }
    let restart = format!(
        "systemctl restart {name} (workers that go on meanwhile are told by the check 'orphans')"
    );
    let why = match context.programs() {
        Ok(programs) => {
            findings.push(Finding::ok(format!(
                "supervisord answers, with {} processes",
                programs.len()
            )));
            return findings;
        }
        Err(Unreachable::Denied) => {
            findings.push(Finding::skipped(format!("{socket} is for root")));
            return findings;
        }
        Err(Unreachable::NoSocket) => format!("supervisord runs, but its socket {socket} is gone"),
        Err(Unreachable::Refused) => format!("supervisord runs, but nobody listens on {socket}"),
        Err(Unreachable::Odd(answer)) => {
            format!("what listens on {socket} does not answer as supervisord does: {answer}")
        }
    };
    findings.push(Finding::failed(why, restart));
    findings
}
