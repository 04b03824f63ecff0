//! Processor time, from the kernel's accounts of processes.

use std::fs;

use crate::lab::children;

/// Whose time it is.
pub const PARTS: [&str; 5] = ["child", "parent", "worker", "gearmand", "database"];

/// Milliseconds of each.
pub struct Cost {
    pub parts: [f64; PARTS.len()],
}

pub struct Process {
    pub pid: i32,
    pub is_php: bool,
}

impl Cost {
    /// What a worker, its descendants and its servers have used until now.
    pub fn now(worker: u32) -> Cost {
        let mut parts = [0.0; PARTS.len()];
        for process in descendants(worker) {
            let (own, of_children) = used(process.pid);
            if process.is_php {
                parts[0] += of_children;
                parts[1] += own;
            } else {
                parts[2] += own;
            }
        }
        for server in children(std::process::id() as i32) {
            match program(server).as_str() {
                "gearmand" => parts[3] += used(server).0,
                "mariadbd" => parts[4] += used(server).0,
                _ => {}
            }
        }
        Cost { parts }
    }

    /// A job's share of what was used since then.
    pub fn since(&self, before: &Cost, jobs: usize) -> Cost {
        let mut parts = self.parts;
        for (part, was) in parts.iter_mut().zip(before.parts) {
            *part = (*part - was) / jobs as f64;
        }
        Cost { parts }
    }

    pub fn total(&self) -> f64 {
        self.parts.iter().sum()
    }
}

/// A process and those below it, without those of jobs.
pub fn descendants(pid: u32) -> Vec<Process> {
    let mut all = Vec::new();
    let mut queue = vec![pid as i32];
    while let Some(pid) = queue.pop() {
        let is_php = program(pid).starts_with("php");
        if !is_php {
            queue.extend(children(pid));
        }
        all.push(Process { pid, is_php });
    }
    all
}

fn program(pid: i32) -> String {
    let exe = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    exe.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// Memory that it shares with no other process.
pub fn private_kb(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let lines = text.lines().filter(|line| line.starts_with("Private_"));
    lines
        .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        .sum()
}

/// Milliseconds used by a process, and by the children that it has waited for.
pub fn used(pid: i32) -> (f64, f64) {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest = text.rsplit(')').next().unwrap_or_default();
    let fields: Vec<f64> = rest
        .split_whitespace()
        .skip(1)
        .map(|word| word.parse().unwrap_or(0.0))
        .collect();
    // Fields 14 to 17 of proc_pid_stat(5), in hundredths of a second.
    let at = |n: usize| fields.get(n).copied().unwrap_or(0.0) * 10.0;
    (at(10) + at(11), at(12) + at(13))
}
