//! Who listens on the job server's port, and who can reach it. gearmand has no
//! passwords: anyone who reaches it can run any WordPress hook.

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding, or_ok};
use crate::gearman::peer;
use crate::gearman::port_rules::{self, HOOK, TABLE};
use crate::intent::exposure;
use crate::intent::options::Role;
use crate::resource::admission::Admission;
use crate::resource::{ResourceId, rules};

pub const CHECK: Check = Check {
    name: "port",
    describes: "who listens on the job server's port, and who can reach it",
    vital: false,
    run,
};

fn run(context: &Context) -> Vec<Finding> {
    if !context.has_role(Role::Server) {
        return vec![Finding::skipped("the job server runs elsewhere")];
    }
    let resolved = &context.resolved.host;
    let port = resolved.port;
    let listeners = context.host.listeners(port);
    if listeners.is_empty() {
        return match context.gearmand() {
            Ok(unit) if unit.active => vec![Finding::failed(
                format!("gearmand runs, but nothing listens on port {port}"),
                format!(
                    "check --port and --listen in {}",
                    context.options_file().display()
                ),
            )],
            _ => vec![Finding::skipped(format!("nothing listens on port {port}"))],
        };
    }
    let mut problems = Vec::new();
    let mut addresses = Vec::new();
    for listener in &listeners {
        addresses.push(listener.address.to_string());
        let holder = context.host.holder(listener);
        let stranger = match &holder {
            Some(holder) => match context.host.is_gearmand(holder) {
                Ok(true) => None,
                _ => Some(context.host.describe(holder)),
            },
            // Only root sees other users' processes, but everyone their sockets' users.
            None if !peer::is_trusted(listener.uid) => {
                let user = context.host.user_name(listener.uid);
                Some(format!("a process of the user {user}"))
            }
            None => None,
        };
        if let Some(stranger) = stranger {
            problems.push(Finding::failed(
                format!("port {port} of {} belongs to {stranger}, not to gearmand: it gets the jobs of pages", listener.address),
                format!(
                    "stop it and start gearmand, or move the job server with 'wp-gears setup --port {}'",
                    port.wrapping_add(1)
                ),
            ));
            continue;
        }
        if listener.address.is_loopback() {
            continue;
        }
        if !resolved.firewall.is_empty() {
            problems.extend(closed(context));
            continue;
        }
        let asked = context.spec.host.listen.is_some();
        let message = format!(
            "open to {}: gearmand has no passwords, so anyone who reaches it can take and cancel jobs, and run any hook of a site without seal = true",
            match listener.address.is_unspecified() {
                true => "every network of this host".to_owned(),
                false => format!("the network of {}", listener.address),
            }
        );
        let help = format!(
            "admit only the hosts of workers and pages, each as PEER, with '{}'; or run 'wp-gears setup --listen 127.0.0.1'",
            exposure::admission(context.host, port, Some(listener.address))
        );
        problems.push(match asked {
            true => Finding::warning(message, help),
            false => Finding::failed(message, help),
        });
    }
    problems.extend(
        exposure::neighbours(context.host, &context.resolved).map(|message| {
            let help = "if they do not trust each other, run 'wp-gears setup --isolation owner', or give them hosts of their own";
            Finding::warning(message, help)
        }),
    );
    or_ok(problems, || {
        let closed = match &resolved.firewall[..] {
            [] => String::new(),
            peers => format!(", and the firewall admits only {}", peers.join(", ")),
        };
        format!(
            "gearmand listens on port {port} of {} only{closed}",
            addresses.join(", ")
        )
    })
}

/// What is wrong if the rules that were asked for are not in force.
fn closed(context: &Context) -> Option<Finding> {
    if context.needs_root().is_some() {
        return None;
    }
    let resolved = &context.resolved.host;
    let text = port_rules::rules(resolved.port, &resolved.firewall);
    let loaded = text.and_then(|text| rules::are_loaded(context.host, TABLE, HOOK, &text));
    let why = match loaded {
        Ok(true) => return shut_out(context),
        Ok(false) => "the kernel does not have the rules of --firewall".to_owned(),
        Err(error) => format!("{error:#}"),
    };
    let message = format!("port {} is open to every host: {why}", resolved.port);
    let by = ResourceId::Rules(TABLE.to_owned());
    Some(Finding::failed(message, "run 'wp-gears setup'").fixed_by(by))
}

/// What is wrong if another firewall does not admit the peers.
fn shut_out(context: &Context) -> Option<Finding> {
    let resolved = &context.resolved.host;
    let looked = context.host.firewall().and_then(|firewall| {
        let admission = Admission {
            firewall,
            port: resolved.port,
            peers: resolved.firewall.clone(),
        };
        Ok((firewall, admission.differences(context.host)?))
    });
    let run = "run 'wp-gears setup'";
    match looked {
        Ok((_, lines)) if lines.is_empty() => None,
        Ok((firewall, lines)) => {
            let message = format!(
                "{firewall} does not have what --firewall says about port {}: {}",
                resolved.port,
                lines.join(", ")
            );
            let finding = Finding::failed(message, run).fixed_by(ResourceId::Admission(firewall));
            let file = firewall.admission().and_then(|it| it.file());
            Some(match file {
                Some(file) => finding.fixed_by(ResourceId::File(file)),
                None => finding,
            })
        }
        Err(error) => Some(Finding::failed(
            format!("the host's firewall: {error:#}"),
            run,
        )),
    }
}
