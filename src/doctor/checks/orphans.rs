//! Workers without a supervisord. They are left over from one that died, and still
//! take jobs, but nothing stops or restarts them.

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding};
use crate::host::process::Process;

pub const CHECK: Check = Check {
    name: "orphans",
    describes: "workers that no supervisord controls",
    vital: false,
    run,
};

fn run(context: &Context) -> Vec<Finding> {
    let processes = context.processes();
    let workers: Vec<&Process> = processes
        .iter()
        .filter(|process| is_worker(process))
        .collect();
    let orphans: Vec<&&Process> = workers
        .iter()
        .filter(|worker| {
            // In a container, process 1 may itself be such a worker.
            worker.parent == 1 && !workers.iter().any(|other| other.pid == 1)
        })
        .collect();
    if orphans.is_empty() {
        return vec![Finding::ok("no worker runs without a supervisord")];
    }
    let pids: Vec<String> = orphans
        .iter()
        .map(|worker| worker.pid.to_string())
        .collect();
    vec![Finding::failed(
        format!("workers without a supervisord: process {}", pids.join(", ")),
        format!(
            "run 'kill -TERM {}'; they finish their jobs first",
            pids.join(" ")
        ),
    )]
}

/// Whether the process is one of our workers.
pub fn is_worker(process: &Process) -> bool {
    process.program() == Some("wp-gears") && process.args.get(1).is_some_and(|it| it == "worker")
}
