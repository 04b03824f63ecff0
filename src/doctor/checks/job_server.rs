//! Whether the job server runs, starts at boot and answers.

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding, service};
use crate::intent::options::Role;
use crate::resource::ResourceId;

pub const CHECK: Check = Check {
    name: "job-server",
    describes: "whether gearmand runs, starts at boot and answers on its port",
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
            // The finding about the service already says why.
            Err(_) if findings.iter().any(Finding::is_problem) => {}
            Err(why) => findings.push(Finding::failed(
                why,
                "make sure that it runs there (see its log) and that no firewall blocks it",
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
    let services = context.services();
    let resource = ResourceId::Service(name.to_owned());
    let unit = match context.gearmand() {
        Ok(unit) => unit,
        Err(error) => return vec![Finding::skipped(format!("{error:#}"))],
    };
    if let Some(masked) = service::masked(services, name, &unit) {
        return vec![masked];
    }
    if !unit.present {
        let message = format!("there is no service {name}");
        return vec![
            Finding::failed(message, "install it with 'wp-gears doctor --fix'")
                .fixed_by(ResourceId::Packages),
        ];
    }
    let mut problems: Vec<Finding> = service::inactive(context, name, &unit)
        .into_iter()
        .collect();
    problems.extend(service::not_at_boot(services, name, &unit));
    if unit.needs_reload {
        let message = format!("the definition of the service {name} changed after it was loaded");
        let help = format!("run '{}'", services.reload_hint());
        problems.push(Finding::warning(message, help).fixed_by(resource.clone()));
    }
    problems
}
