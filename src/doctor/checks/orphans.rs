//! Workers without a supervisord: left over from one that died, they take
//! jobs and nobody stops or renews them.

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding};
use crate::host::process::Process;

pub const CHECK: Check = Check {
    name: "orphans",
    describes: "workers that no supervisord watches any more",
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
            // Process 1 may be such a worker itself: in a container.
            worker.parent == 1 && !workers.iter().any(|other| other.pid == 1)
        })
        .collect();
    if orphans.is_empty() {
        return vec![Finding::ok(format!(
            "{} workers, each watched",
            workers.len()
        ))];
    }
    let pids: Vec<String> = orphans
        .iter()
        .map(|worker| worker.pid.to_string())
        .collect();
    vec![Finding::failed(
        format!("workers without a supervisord: process {}", pids.join(", ")),
        format!(
            "kill -TERM {} (each finishes its job first)",
            pids.join(" ")
        ),
    )]
}

/// Ours, by its words, or one by the plugin's readme.
pub fn is_worker(process: &Process) -> bool {
    let mut words = process.args.iter();
    let program = words.next().is_some_and(|word| word.ends_with("wp-gears"));
    program && words.next().is_some_and(|word| word == "worker")
}
