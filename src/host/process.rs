//! Running processes, their open files and their sockets, from /proc.
//!
//! Users choose the title and the arguments of their processes, also those of
//! programs that become root. So what a process is follows from its program file and
//! its user, or from being the main process of a service.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal};

use crate::base::budget;
use crate::base::signal::signal_if;
use crate::base::sockets::{self, TABLES};
use crate::host::Host;

/// After the path of a program that was replaced or removed.
const DELETED: &str = " (deleted)";
/// Users below are the system's.
const FIRST_PERSON: u32 = 1000;

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

/// One process and no later one with its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProcessId {
    pub pid: u32,
    /// In ticks since boot.
    birth: u64,
}

/// A running process, as /proc shows it.
#[derive(Debug, Clone)]
pub struct Process {
    pub pid: u32,
    /// When it started, in ticks since boot.
    pub birth: u64,
    pub parent: u32,
    /// Its effective user.
    pub uid: Option<u32>,
    pub args: Vec<String>,
    /// When it started, to about 10 ms.
    pub started: SystemTime,
    /// Its program file; ends in " (deleted)" if that was replaced.
    pub exe: Option<PathBuf>,
}

impl Process {
    pub fn id(&self) -> ProcessId {
        ProcessId {
            pid: self.pid,
            birth: self.birth,
        }
    }

    /// The name of its program file; without root's rights, what it says.
    pub fn program(&self) -> Option<&str> {
        let name = match &self.exe {
            Some(exe) => exe.file_name()?.to_str()?,
            None if rustix::process::geteuid().is_root() => return None,
            None => Path::new(self.args.first()?).file_name()?.to_str()?,
        };
        Some(name.strip_suffix(DELETED).unwrap_or(name))
    }
}

impl Host {
    /// Whether this is the program of a service: root runs it, or the init system
    /// started it as a service's main process.
    pub fn is_service(&self, process: &Process, is: impl Fn(&str) -> bool) -> bool {
        process.program().is_some_and(is) && (process.uid == Some(0) || self.is_main(process))
    }

    /// Whether it is the main process of a service. Init scripts keep no account of
    /// that: there, it may be every process of a system user.
    pub fn is_main(&self, process: &Process) -> bool {
        let Ok(services) = self.services() else {
            return false;
        };
        match services.keeps_track() {
            false => process.uid.is_some_and(|uid| uid < FIRST_PERSON),
            true => self.unit_of(process.pid).is_some_and(|name| {
                let unit = self.unit(&name, &[]);
                unit.is_ok_and(|unit| unit.main_pid == process.pid)
            }),
        }
    }

    /// Whether this is the host's gearmand.
    pub fn is_gearmand(&self, process: &Process) -> Result<bool> {
        let gearmand = &self.platform()?.family.gearmand;
        let program = Path::new(gearmand.program).file_name();
        let is = |name: &str| program.is_some_and(|it| it == name);
        let own = self.user(gearmand.user)?.map(|user| user.uid);
        let is_own = own.is_some() && process.uid == own;
        Ok(process.program().is_some_and(is) && is_own || self.is_service(process, is))
    }

    /// Its number, program and user, for people who look for it.
    pub fn describe(&self, process: &Process) -> String {
        let program = process.program().unwrap_or("unknown program");
        let user = process
            .uid
            .map_or_else(String::new, |uid| format!(", user {}", self.user_name(uid)));
        format!("process {} ({program}{user})", process.pid)
    }

    pub fn process(&self, pid: u32) -> Option<Process> {
        match self.live() && pid != 0 {
            true => look(pid),
            false => None,
        }
    }

    /// Signals this process, or none.
    ///
    /// # Errors
    /// If it has ended.
    pub fn signal(&self, process: ProcessId, signal: Signal) -> Result<()> {
        let ProcessId { pid, .. } = process;
        self.act(&format!("signal {} to process {pid}", signal.as_raw()))?;
        let failed = || format!("signal process {pid}");
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let number = number.with_context(failed)?;
        signal_if(number, signal, || self.is_there(process)).with_context(failed)
    }

    pub fn is_there(&self, process: ProcessId) -> bool {
        self.process(process.pid)
            .is_some_and(|now| now.id() == process)
    }

    /// Stops a process until the answer is dropped. If this program ends before, in
    /// whatever way, the process goes on.
    pub fn hold(&self, process: ProcessId) -> Result<Held> {
        let ProcessId { pid, .. } = process;
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
        self.signal(process, Signal::STOP)?;
        Ok(held)
    }

    /// The processes that this one has started and that have not ended.
    pub fn children(&self, pid: u32) -> Vec<ProcessId> {
        let all = self.processes().into_iter();
        all.filter(|process| process.parent == pid)
            .map(|process| process.id())
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

    /// Whether a process and its children can gain no privileges from programs.
    pub fn gains_no_privileges(&self, pid: u32) -> Option<bool> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let value = status.lines().find_map(|l| l.strip_prefix("NoNewPrivs:"))?;
        Some(value.trim() == "1")
    }

    /// The files that a process has mapped or open, as far as we may see them.
    pub fn files_of(&self, pid: u32) -> Vec<PathBuf> {
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        let mapped = maps
            .lines()
            .filter_map(|line| Some(PathBuf::from(&line[line.find('/')?..])));
        mapped.chain(self.open_files(pid)).collect()
    }

    /// The files that a process has open, as far as we may see them.
    pub fn open_files(&self, pid: u32) -> Vec<PathBuf> {
        let all = std::fs::read_dir(format!("/proc/{pid}/fd"));
        let all = all.into_iter().flatten().flatten();
        all.filter_map(|fd| std::fs::read_link(fd.path()).ok())
            .collect()
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
        let kilobytes = std::fs::read_to_string("/proc/meminfo")
            .ok()
            .and_then(|text| budget::meminfo(&text, "MemTotal"))
            .unwrap_or(1 << 20);
        (budget::cores(), kilobytes)
    }

    /// How many jobs may run at a time.
    pub fn worker_budget(&self) -> u32 {
        let (cores, kilobytes) = self.strength();
        budget::of_machine(cores, kilobytes)
    }

    /// The sockets that listen on a TCP port.
    pub fn listeners(&self, port: u16) -> Vec<Listener> {
        let mut all = self.all_listeners();
        all.retain(|listener| listener.port == port);
        all
    }

    /// The TCP sockets that a process listens on.
    pub fn listeners_of(&self, pid: u32) -> Vec<Listener> {
        let open = self.open_files(pid);
        let mut all = self.all_listeners();
        all.retain(|listener| open.contains(&listener.link()));
        all
    }

    fn all_listeners(&self) -> Vec<Listener> {
        if !self.live() {
            return Vec::new();
        }
        let tables = TABLES.iter().flat_map(std::fs::read_to_string);
        let listening = |table: String| -> Vec<Listener> {
            sockets::parse(&table)
                .filter(|socket| socket.listens)
                .map(|socket| Listener {
                    address: socket.local.ip(),
                    port: socket.local.port(),
                    uid: socket.uid,
                    inode: socket.inode,
                })
                .collect()
        };
        tables.flat_map(listening).collect()
    }

    /// The process that has a listening socket open.
    pub fn holder(&self, listener: &Listener) -> Option<Process> {
        let link = listener.link();
        let mut all = self.processes().into_iter();
        all.find(|process| self.open_files(process.pid).contains(&link))
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
        birth: ticks,
        parent: fields.get(1)?.parse().ok()?,
        uid: std::fs::metadata(&base).ok().map(|meta| meta.uid()),
        args,
        started,
        exe: std::fs::read_link(format!("{base}/exe")).ok(),
    })
}

/// A TCP socket that waits for connections.
#[derive(Debug, Clone)]
pub struct Listener {
    pub address: std::net::IpAddr,
    pub port: u16,
    /// The user of the process that opened it.
    pub uid: u32,
    inode: u64,
}

impl Listener {
    /// What an open descriptor of it links to.
    fn link(&self) -> PathBuf {
        format!("socket:[{}]", self.inode).into()
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
        let process = host.process(pid).unwrap().id();
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
        let held = host.hold(process).unwrap();
        until('T');
        drop(held);
        until('S');
        sleep.kill().unwrap();
        sleep.wait().unwrap();
    }
    #[test]
    fn a_signal_reaches_one_process_and_no_later_one() {
        let host = Host::new(None).unwrap();
        let mut sleep = Command::new("sleep").arg("60").spawn().unwrap();
        let process = host.process(sleep.id()).unwrap().id();
        let later = ProcessId {
            birth: process.birth + 1,
            ..process
        };
        assert!(host.signal(later, Signal::KILL).is_err());
        assert!(sleep.try_wait().unwrap().is_none());
        host.signal(process, Signal::KILL).unwrap();
        sleep.wait().unwrap();
        assert!(host.signal(process, Signal::KILL).is_err());
    }

    #[test]
    fn a_process_is_its_program_and_not_its_title() {
        let host = Host::new(None).unwrap();
        let mut sleep = Command::new("sleep");
        let mut sleep = sleep.arg0("gearmand").arg("60").spawn().unwrap();
        // Its parent goes on a moment before it has its arguments.
        let process = loop {
            let process = host.process(sleep.id()).unwrap();
            if !process.args.is_empty() {
                break process;
            }
        };
        sleep.kill().unwrap();
        sleep.wait().unwrap();
        assert_eq!(process.args[0], "gearmand");
        if rustix::process::geteuid().is_root() {
            assert!(!host.is_gearmand(&process).unwrap());
            assert_ne!(process.program(), Some("gearmand"));
        }
    }
}
