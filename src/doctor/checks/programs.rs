//! The state of each program in supervisor. Our own have to run.

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding, or_ok};
use crate::intent::options::Role;
use crate::resource::ResourceId;
use crate::supervisor::rpc::ProcessInfo;

pub const CHECK: Check = Check {
    name: "programs",
    describes: "states of supervisor's programs: ours, and other programs that failed",
    vital: true,
    run,
};

fn run(context: &Context) -> Vec<Finding> {
    if !context.has_role(Role::Worker) {
        return vec![Finding::skipped("no workers run here")];
    }
    let Ok(all) = context.programs() else {
        return vec![Finding::skipped("supervisord cannot be queried")];
    };
    let mut findings = Vec::new();
    for site in &context.resolved.sites {
        // Before setup, an older program may serve the site under another name.
        let group = site
            .existing
            .as_ref()
            .map_or(&site.program, |program| &program.name);
        let by = ResourceId::Program(group.clone());
        let mine: Vec<&ProcessInfo> = all
            .iter()
            .filter(|process| process.group == *group)
            .collect();
        let start = format!(
            "run '{}'; its log is {}/{}.log",
            context.supervisorctl(&format!("start {group}:*")),
            crate::base::paths::LOGS,
            site.name
        );
        let mut problems = Vec::new();
        if mine.is_empty() {
            let message = format!("supervisord does not know the program {group}");
            problems.push(
                Finding::failed(
                    message,
                    format!("run '{}'", context.supervisorctl("update")),
                )
                .fixed_by(by.clone()),
            );
        }
        for process in &mine {
            let why = match process.state.as_str() {
                "RUNNING" | "STARTING" => continue,
                "FATAL" => "supervisord gave up on it",
                "BACKOFF" => "it exits as soon as it starts",
                _ => "it is not running",
            };
            let message = format!(
                "{} is {}: {why} {}",
                process.name, process.state, process.error
            );
            problems.push(Finding::failed(message.trim_end(), &start).fixed_by(by.clone()));
        }
        let found = or_ok(problems, || {
            format!("{group} is running, for {} workers", site.workers)
        });
        findings.extend(found.into_iter().map(|finding| finding.of_site(&site.name)));
    }
    let ours = |process: &ProcessInfo| {
        context.resolved.sites.iter().any(|site| {
            site.program == process.group
                || site
                    .existing
                    .as_ref()
                    .is_some_and(|program| program.name == process.group)
        })
    };
    for process in all.iter().filter(|process| !ours(process)) {
        if matches!(process.state.as_str(), "FATAL" | "BACKOFF") {
            let message = format!(
                "unrelated program {} is {} {}",
                process.name, process.state, process.error
            );
            let tail = format!("tail {}:{} stderr", process.group, process.name);
            let help = format!("see '{}'", context.supervisorctl(&tail));
            findings.push(Finding::warning(message.trim_end(), help));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::skipped("no site has workers here"));
    }
    findings
}
