//! The owners' own job servers: each runs as its unit says, with its own queue, and the
//! kernel keeps other users of this host from its port.

use crate::doctor::checks::queue_store;
use crate::doctor::context::Context;
use crate::doctor::{Check, Finding, or_ok, service};
use crate::gearman::instance::{self, JobServer};
use crate::gearman::peer;
use crate::host::services::{Action, Unit};
use crate::intent::options::Isolation;
use crate::queue::{Running, exposed};
use crate::resource::{ResourceId, rules};

pub const CHECK: Check = Check {
    name: "isolation",
    describes: "whether each owner's job server runs, and is closed to other users",
    vital: true,
    run,
};

fn run(context: &Context) -> Vec<Finding> {
    let resolved = &context.resolved.host;
    if resolved.isolation == Isolation::None {
        return vec![Finding::skipped("all sites share one job server")];
    }
    let mut findings: Vec<Finding> = Vec::new();
    for server in &resolved.owners {
        findings.extend(of_server(context, server));
    }
    findings
}

fn of_server(context: &Context, server: &JobServer) -> Vec<Finding> {
    let name = server.unit();
    let unit = match context
        .host
        .unit(&name, &[context.resolved.host.supervisor.unit])
    {
        Ok(unit) => unit,
        Err(error) => return vec![Finding::of_error(&error)],
    };
    if let Some(masked) = service::masked(context.services(), &name, &unit) {
        return vec![masked];
    }
    let owner = &server.owner;
    if !unit.present {
        let message = format!("{owner} has no job server: there is no service {name}");
        return vec![
            Finding::failed(message, "create it with 'wp-gears doctor --fix'")
                .fixed_by(ResourceId::File(instance::unit_file(&name))),
        ];
    }
    let mut problems = runs(context, server, &name, &unit);
    problems.extend(closed(context, server));
    problems.extend(listener(context, server, &unit));
    problems.extend(queue(context, server, &name, &unit));
    or_ok(problems, || match context.root {
        true => format!(
            "{} is {owner}'s alone: other users cannot connect",
            server.address()
        ),
        false => format!(
            "{} is {owner}'s (only root sees its rules)",
            server.address()
        ),
    })
}

fn runs(context: &Context, server: &JobServer, name: &str, unit: &Unit) -> Vec<Finding> {
    let services = context.services();
    let resource = ResourceId::Service(name.to_owned());
    let mut problems: Vec<Finding> = service::inactive(context, name, unit).into_iter().collect();
    problems.extend(service::not_at_boot(services, name, unit));
    let restart = services.command(Action::Restart, name);
    if context.differs(&resource) && unit.active {
        let message = format!(
            "the job server of {} does not run as configured",
            server.owner
        );
        problems.push(Finding::failed(message, format!("run '{restart}'")).fixed_by(resource));
    } else if unit.active && context.host.gains_no_privileges(unit.main_pid) == Some(false) {
        let message = format!(
            "the job server of {} runs without its sandbox",
            server.owner
        );
        problems.push(Finding::warning(message, format!("run '{restart}'")).fixed_by(resource));
    }
    problems
}

/// The rules, as the kernel has them.
fn closed(context: &Context, server: &JobServer) -> Option<Finding> {
    if !context.root {
        return None;
    }
    let gearmand = &context.platform.family.gearmand;
    let loaded = server
        .rules(gearmand.user)
        .and_then(|text| rules::are_loaded(context.host, &server.table(), instance::HOOK, &text));
    let file = server.rules_file();
    match loaded {
        Ok(true) => None,
        Ok(false) => {
            let message = format!(
                "the kernel does not have the rules of {}: every local user can take or cancel the jobs of {}",
                file.display(),
                server.owner
            );
            let help = format!(
                "load them with 'nft -f {}', and find out what removed them",
                file.display()
            );
            Some(
                Finding::failed(message, help)
                    .fixed_by(ResourceId::File(file))
                    .fixed_by(ResourceId::Rules(server.table())),
            )
        }
        Err(error) => Some(Finding::of_error(&error)),
    }
}

/// Whoever has the port has to be its gearmand.
fn listener(context: &Context, server: &JobServer, unit: &Unit) -> Vec<Finding> {
    let host = context.host;
    let strangers = host.listeners(server.port).into_iter().filter_map(|it| {
        let who = match host.holder(&it) {
            Some(holder) if holder.pid == unit.main_pid => return None,
            Some(holder) => host.describe(&holder),
            None if peer::is_trusted(it.uid) => return None,
            None => format!("a process of the user {}", host.user_name(it.uid)),
        };
        let message = format!(
            "port {} belongs to {who}, not to the job server of {}",
            server.port, server.owner
        );
        let help = "stop that program, or name another port with --owner-ports USER:PORT";
        Some(Finding::failed(message, help))
    });
    strangers.collect()
}

fn queue(context: &Context, server: &JobServer, name: &str, unit: &Unit) -> Vec<Finding> {
    let (Some(store), true) = (&context.resolved.host.store, context.root) else {
        return Vec::new();
    };
    let Some(process) = context.host.process(unit.main_pid) else {
        return Vec::new();
    };
    let running = Running {
        pid: process.pid,
        args: &process.args,
        restart: &context.services().command(Action::Restart, name),
    };
    let conditions = match store.examine(context.host, &running) {
        Ok(conditions) => conditions,
        Err(error) => return vec![Finding::of_error(&error)],
    };
    let gearmand = &context.platform.family.gearmand;
    let service = ResourceId::Service(name.to_owned());
    let findings = conditions
        .into_iter()
        .map(|it| queue_store::finding(it, &service));
    let mut problems: Vec<Finding> = findings.filter(Finding::is_problem).collect();
    let open = exposed::exposed(context.host, gearmand.user, &process.args);
    for it in open.unwrap_or_default() {
        let path = it.path.display();
        let message = format!("other users can read {path} ({:04o})", it.mode);
        problems.push(
            Finding::failed(message, format!("run 'chmod o= {path}'"))
                .fixed_by(ResourceId::Directory(server.folder(gearmand))),
        );
    }
    problems
}
