//! The processes of a host, read from outside.

use std::fs;
use std::os::unix::fs::MetadataExt;

#[derive(Clone, Debug, PartialEq)]
pub struct Process {
    /// Its process ID inside the host.
    pub pid: u32,
    /// Its process ID on the machine.
    pub outer: u32,
    pub uid: u32,
    /// When it started, in clock ticks: identifies a process together with its ID.
    pub start: u64,
    /// The processor time used so far, in clock ticks of 10 ms.
    pub ticks: u64,
    pub command: String,
}

/// All processes in the PID namespace of the process `init`.
pub fn list(init: u32) -> Vec<Process> {
    let Ok(namespace) = fs::read_link(format!("/proc/{init}/ns/pid")) else {
        return vec![];
    };
    let Ok(entries) = fs::read_dir("/proc") else {
        return vec![];
    };
    let mut list: Vec<Process> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|ns| ns == namespace))
        .filter_map(read)
        .collect();
    list.sort_by_key(|process| process.pid);
    list
}

fn read(outer: u32) -> Option<Process> {
    let file = |name: &str| fs::read(format!("/proc/{outer}/{name}")).ok();
    let stat = String::from_utf8(file("stat")?).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    let words = String::from_utf8_lossy(&file("cmdline")?).into_owned();
    Some(Process {
        pid: inner_pid(outer)?,
        outer,
        uid: fs::metadata(format!("/proc/{outer}")).ok()?.uid(),
        start: number(19)?,
        ticks: number(11)? + number(12)?,
        command: words.replace('\0', " ").trim_end().to_owned(),
    })
}

/// The process ID in the innermost namespace, if there is more than one namespace.
fn inner_pid(outer: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{outer}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))?;
    let pids: Vec<&str> = line.split_whitespace().collect();
    if pids.len() < 2 {
        None
    } else {
        pids.last()?.parse().ok()
    }
}

/// Process 1 of the PID namespace started by `ancestor`.
pub fn init_below(ancestor: u32) -> Option<u32> {
    let mut generation = vec![ancestor];
    while !generation.is_empty() {
        let mut next = vec![];
        for pid in generation {
            let path = format!("/proc/{pid}/task/{pid}/children");
            let children = fs::read_to_string(path).unwrap_or_default();
            next.extend(
                children
                    .split_whitespace()
                    .filter_map(|pid| pid.parse::<u32>().ok()),
            );
        }
        if let Some(init) = next.iter().find(|pid| inner_pid(**pid) == Some(1)) {
            return Some(*init);
        }
        generation = next;
    }
    None
}
