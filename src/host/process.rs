//! Running processes, their open files and their sockets, from /proc.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::host::Host;

/// A process that is stopped until this is dropped.
pub struct Held {
    guard: Child,
    end: Option<ChildStdin>,
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.end.take());
        let _ = self.guard.wait();
    }
}

/// A running process, as /proc shows it.
#[derive(Debug, Clone)]
pub struct Process {
    pub pid: u32,
    pub parent: u32,
    /// Its effective user.
    pub uid: Option<u32>,
    pub args: Vec<String>,
    /// When it started, to about 10 ms.
    pub started: SystemTime,
    /// Its program file; ends in " (deleted)" if that was replaced.
    pub exe: Option<PathBuf>,
}

impl Host {
    pub fn process(&self, pid: u32) -> Option<Process> {
        match self.live() && pid != 0 {
            true => look(pid),
            false => None,
        }
    }

    pub fn signal(&self, pid: u32, signal: Signal) -> Result<()> {
        self.act(&format!("signal {} to process {pid}", signal.as_raw()))?;
        let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let process = process.with_context(|| format!("there is no process {pid}"))?;
        kill_process(process, signal).with_context(|| format!("signal process {pid}"))
    }

    /// Stops a process until the answer is dropped. If this program ends before, in
    /// whatever way, the process goes on.
    pub fn hold(&self, pid: u32) -> Result<Held> {
        let failed = || format!("hold process {pid}");
        self.act(&failed())?;
        // A shell of its own sees the end of its input when we end.
        let mut guard = Command::new("/bin/sh")
            .args(["-c", "read -r _; kill -CONT \"$1\"", "sh"])
            .arg(pid.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .with_context(failed)?;
        let end = guard.stdin.take();
        let held = Held { guard, end };
        self.signal(pid, Signal::STOP)?;
        Ok(held)
    }

    /// The processes that this one has started and that have not ended.
    pub fn children(&self, pid: u32) -> Vec<u32> {
        let all = self.processes().into_iter();
        all.filter(|process| process.parent == pid)
            .map(|process| process.pid)
            .collect()
    }

    /// The soft and the hard limit of a process's open files.
    pub fn files_limits(&self, pid: u32) -> Option<(u64, u64)> {
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
        let line = limits.lines().find(|l| l.starts_with("Max open files"))?;
        let mut numbers = line["Max open files".len()..].split_whitespace();
        let mut next = || numbers.next()?.parse().ok();
        Some((next()?, next()?))
    }

    /// The files that a process has mapped or open, as far as we may see them.
    pub fn files_of(&self, pid: u32) -> Vec<PathBuf> {
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        let mapped = maps
            .lines()
            .filter_map(|line| Some(PathBuf::from(&line[line.find('/')?..])));
        let open = std::fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|fd| std::fs::read_link(fd.path()).ok());
        mapped.chain(open).collect()
    }

    /// Whether the process has a file mapped or open whose name starts with this.
    pub fn has_loaded(&self, pid: u32, name: &str) -> bool {
        self.files_of(pid).iter().any(|path| {
            let file = path.file_name();
            file.is_some_and(|file| file.to_string_lossy().starts_with(name))
        })
    }

    /// All processes, except the kernel's own.
    pub fn processes(&self) -> Vec<Process> {
        if !self.live() {
            return Vec::new();
        }
        let Ok(entries) = std::fs::read_dir("/proc") else {
            return Vec::new();
        };
        entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter_map(|pid| self.process(pid))
            .filter(|process| !process.args.is_empty())
            .collect()
    }

    /// The machine's cores, and its memory in KB.
    pub fn strength(&self) -> (u64, u64) {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
        let kilobytes = std::fs::read_to_string("/proc/meminfo")
            .ok()
            .and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok())
            .unwrap_or(1 << 20);
        (cores, kilobytes)
    }

    /// How many jobs may run at a time: four for each core, with 64 MB for each in
    /// half of the memory.
    pub fn worker_budget(&self) -> u32 {
        let (cores, kilobytes) = self.strength();
        let by_memory = kilobytes / 2 / (64 << 10);
        u32::try_from((4 * cores).min(by_memory).max(1)).unwrap_or(u32::MAX)
    }

    /// The sockets that listen on a TCP port.
    pub fn listeners(&self, port: u16) -> Vec<Listener> {
        let mut all = self.all_listeners();
        all.retain(|listener| listener.port == port);
        all
    }

    /// The TCP sockets that a process listens on.
    pub fn listeners_of(&self, pid: u32) -> Vec<Listener> {
        let sockets: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|fd| Some(std::fs::read_link(fd.path()).ok()?.to_str()?.to_owned()))
            .collect();
        let mut all = self.all_listeners();
        all.retain(|listener| sockets.contains(&format!("socket:[{}]", listener.inode)));
        all
    }

    fn all_listeners(&self) -> Vec<Listener> {
        let mut found = Vec::new();
        if !self.live() {
            return found;
        }
        for (file, v6) in [("/proc/net/tcp", false), ("/proc/net/tcp6", true)] {
            let Ok(table) = std::fs::read_to_string(file) else {
                continue;
            };
            for line in table.lines().skip(1) {
                let fields: Vec<&str> = line.split_whitespace().collect();
                // State 0A is LISTEN.
                if fields.len() < 10 || fields[3] != "0A" {
                    continue;
                }
                let Some((address, port)) = fields[1].split_once(':') else {
                    continue;
                };
                if let (Some(address), Ok(port)) =
                    (decode_address(address, v6), u16::from_str_radix(port, 16))
                {
                    let inode = fields[9].to_owned();
                    found.push(Listener {
                        address,
                        port,
                        inode,
                    });
                }
            }
        }
        found
    }

    /// The process that has a listening socket open.
    pub fn holder(&self, listener: &Listener) -> Option<Process> {
        let wanted = format!("socket:[{}]", listener.inode);
        self.processes().into_iter().find(|process| {
            std::fs::read_dir(format!("/proc/{}/fd", process.pid))
                .into_iter()
                .flatten()
                .flatten()
                .any(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to.as_os_str() == &*wanted))
        })
    }
}

/// A process of this machine, under `--root` too.
pub(super) fn look(pid: u32) -> Option<Process> {
    let base = format!("/proc/{pid}");
    let args = std::fs::read(format!("{base}/cmdline"))
        .ok()?
        .split(|b| *b == 0)
        .filter(|word| !word.is_empty())
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    let stat = std::fs::read_to_string(format!("{base}/stat")).ok()?;
    // Field 22, in ticks since boot. The command before it may contain blanks.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(19)?.parse().ok()?;
    let hertz = rustix::param::clock_ticks_per_second().max(1);
    let since_boot = Duration::from_millis(ticks * 1000 / hertz);
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let up = Duration::new(now.tv_sec as u64, now.tv_nsec as u32);
    let started = SystemTime::now() - up.checked_sub(since_boot).unwrap_or_default();
    Some(Process {
        pid,
        parent: fields.get(1)?.parse().ok()?,
        uid: std::fs::metadata(&base).ok().map(|meta| meta.uid()),
        args,
        started,
        exe: std::fs::read_link(format!("{base}/exe")).ok(),
    })
}

#[derive(Debug, Clone)]
pub struct Listener {
    pub address: std::net::IpAddr,
    pub port: u16,
    inode: String,
}

/// /proc/net writes addresses as hexadecimal words in the machine's byte order.
fn decode_address(hex: &str, v6: bool) -> Option<std::net::IpAddr> {
    let mut bytes = Vec::new();
    for start in (0..hex.len()).step_by(8) {
        let word = u32::from_str_radix(hex.get(start..start + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    if v6 {
        Some(std::net::IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?))
    } else {
        Some(std::net::IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The guard sees the end of its input, whether we drop it or are killed.
    #[test]
    fn a_held_process_goes_on_when_its_holder_ends() {
        let host = Host::new(None).unwrap();
        let mut sleep = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = sleep.id();
        let state = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            stat.rsplit(") ").next().unwrap().chars().next()
        };
        let until = |wanted: char| {
            let start = std::time::Instant::now();
            while state() != Some(wanted) {
                assert!(start.elapsed() < Duration::from_secs(10), "{:?}", state());
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        let held = host.hold(pid).unwrap();
        until('T');
        drop(held);
        until('S');
        sleep.kill().unwrap();
        sleep.wait().unwrap();
    }
}
