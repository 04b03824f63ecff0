//! The job server: running, on at boot, and answering.

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding, service};
use crate::intent::options::Role;
use crate::resource::ResourceId;

pub const CHECK: Check = Check {
    name: "job-server",
    describes: "whether gearmand runs, starts at boot, and answers on its port",
    vital: true,
    run,
};

fn run(context: &Context) -> Vec<Finding> {
    let mut findings = Vec::new();
    if context.has_role(Role::Server) {
        findings.extend(unit(context));
    }
    for server in context.servers() {
        match context.look(server) {
            Ok(looked) => {
                findings.push(Finding::ok(format!(
                    "gearmand {} answers on {server}",
                    looked.version
                )));
            }
            // One line where the unit says why.
            Err(_) if findings.iter().any(Finding::is_problem) => {}
            Err(why) => findings.push(Finding::failed(
                why,
                "see that it runs there and that this host reaches it (its unit's log, a firewall)",
            )),
        }
    }
    if findings.is_empty() {
        findings.push(Finding::skipped("no job server is used here"));
    }
    findings
}

fn unit(context: &Context) -> Vec<Finding> {
    let name = context.platform.family.gearmand.unit;
    let resource = ResourceId::Service(name.to_owned());
    let unit = match context.gearmand() {
        Ok(unit) => unit,
        Err(error) => return vec![Finding::skipped(format!("{error:#}"))],
    };
    if let Some(masked) = service::masked(name, &unit) {
        return vec![masked];
    }
    if !unit.present {
        let seen = format!("there is no service {name}");
        return vec![
            Finding::failed(seen, "wp-gears doctor --fix installs it")
                .fixed_by(ResourceId::Packages),
        ];
    }
    let mut problems = Vec::new();
    if !unit.active {
        let log = context.host.service_log(name);
        let last = log.lines().last().unwrap_or("its log says nothing");
        let seen = format!(
            "the service {name} does not run: it is {}; {last}",
            unit.state
        );
        let todo = format!("systemctl start {name}; its log: journalctl -u {name}");
        problems.push(Finding::failed(seen, todo).fixed_by(resource.clone()));
    }
    problems.extend(service::not_at_boot(name, &unit));
    if unit.needs_reload {
        let seen = format!("the definition of the service {name} changed since it was loaded");
        problems.push(Finding::warning(seen, "systemctl daemon-reload").fixed_by(resource.clone()));
    }
    problems
}
