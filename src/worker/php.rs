//! The PHP process that runs jobs: starting it, communicating with it, killing it.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use rustix::net::RecvFlags;
use rustix::process::{Pid, Signal};

use crate::worker::message::{Hello, JobHeader, RunnerMessage, StoreHeader, StoreOrder};
use crate::worker::output::PhpOutput;
use crate::worker::signals::Signals;
use crate::worker::staleness::Stamps;

/// The file descriptor at which the runner expects the pipe.
const PIPE: i32 = 3;

/// Asks PHP and the C library for huge pages, which a fork copies faster.
const HUGE_PAGES: [(&str, &str); 2] = [
    ("USE_ZEND_ALLOC_HUGE_PAGES", "1"),
    // Grown by several of them at a time, as they have to be free as a whole.
    (
        "GLIBC_TUNABLES",
        "glibc.malloc.hugetlb=1:glibc.malloc.top_pad=6291456",
    ),
];

/// The maximum length of a line from the runner, in bytes. The list of files is the
/// longest.
const MAX_LINE: usize = 16 << 20;

/// The variables that ask for huge pages, except those that somebody has set.
pub fn huge_pages() -> Vec<(&'static str, &'static str)> {
    let is_free = |(name, _): &(&str, &str)| std::env::var_os(name).is_none();
    HUGE_PAGES.into_iter().filter(is_free).collect()
}

pub struct Start<'a> {
    pub php: &'a Path,
    pub runner: &'a Path,
    pub site: &'a Path,
    /// The folder for cached opcodes, if they may be cached.
    pub cache: Option<&'a Path>,
    pub hello: Hello<'a>,
}

pub struct PhpProcess {
    pub pid: Pid,
    pub born: Instant,
    pub born_at: SystemTime,
    pub jobs: u64,
    /// Set when it has loaded the site.
    pub ready: Option<Booted>,
    /// The job's process that waits for another job.
    pub kept: Option<Kept>,
    /// It has exited, and was reaped.
    pub gone: bool,
    pipe: UnixStream,
    /// The runner has closed its end, so there is nothing to poll for.
    closed: bool,
    inbox: Vec<u8>,
    pub output: PhpOutput,
}

/// A process that has run jobs, and waits for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    pub pid: Pid,
    /// How many it has run, or is running.
    pub jobs: u32,
    /// When it was asked to exit.
    pub dismissed: Option<Instant>,
}

/// What is known of a process that has loaded the site.
pub struct Booted {
    /// It forks a child for each job, rather than running a single job itself.
    pub fork: bool,
    /// It takes orders for the site's table.
    pub stores: bool,
    pub stamps: Stamps,
    /// When the stamps were last compared.
    pub checked: Instant,
}

impl PhpProcess {
    pub fn start(start: &Start) -> io::Result<PhpProcess> {
        let (ours, theirs) = UnixStream::pair()?;
        let (read, write) = rustix::pipe::pipe_with(
            rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK,
        )?;
        // The writing end blocks, as PHP expects its standard error to.
        rustix::fs::fcntl_setfl(&write, rustix::fs::OFlags::empty())?;

        let mut command = Command::new(start.php);
        for (name, value) in [
            ("log_errors", "1"),
            ("error_log", ""),
            ("display_errors", "0"),
            ("html_errors", "0"),
            ("max_execution_time", "0"),
            // Log stack traces without arguments.
            ("zend.exception_ignore_args", "1"),
        ] {
            command.arg("-d").arg(format!("{name}={value}"));
        }
        if let Some(cache) = start.cache {
            for option in [
                "enable=1",
                "enable_cli=1",
                "file_cache_only=1",
                "validate_timestamps=1",
            ] {
                command.arg("-d").arg(format!("opcache.{option}"));
            }
            command
                .arg("-d")
                .arg(format!("opcache.file_cache={}", cache.display()));
        }
        command
            .arg(start.runner)
            .arg("--worker")
            .current_dir(start.site)
            .stdin(Stdio::null())
            // What jobs call may print pages meant for browsers.
            .stdout(Stdio::null())
            .stderr(Stdio::from(write));
        // The runner sets it, if the host is known.
        command.env_remove("HTTP_HOST");
        command.envs(start.hello.environment.iter().copied());
        let (pipe, worker) = (theirs.as_raw_fd(), rustix::process::getpid());
        // SAFETY: only system calls between fork and exec.
        unsafe {
            command.pre_exec(move || {
                pass_on(pipe)?;
                Signals::unblock_all()?;
                // The runner must die with its worker, because another worker gets the job.
                rustix::process::set_parent_process_death_signal(Some(Signal::HUP))?;
                if rustix::process::getppid() != Some(worker) {
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
                Ok(())
            });
        }
        let (born, born_at) = (Instant::now(), SystemTime::now());
        let child = command.spawn()?;
        drop(theirs);
        ours.set_write_timeout(Some(Duration::from_secs(30)))?;
        let mut hello = serde_json::to_vec(&start.hello)?;
        hello.push(b'\n');
        (&ours).write_all(&hello)?;
        Ok(PhpProcess {
            pid: Pid::from_child(&child),
            born,
            born_at,
            jobs: 0,
            ready: None,
            kept: None,
            gone: false,
            pipe: ours,
            closed: false,
            inbox: Vec::new(),
            output: PhpOutput::new(read),
        })
    }

    pub fn pipe(&self) -> Option<BorrowedFd<'_>> {
        (!self.closed).then(|| self.pipe.as_fd())
    }

    /// Gives it a job. The runner is waiting for one, so this does not block for long.
    pub fn give(&mut self, header: &JobHeader, payload: &[u8]) -> io::Result<()> {
        let mut line = serde_json::to_vec(header)?;
        line.push(b'\n');
        if payload.len() < 64 << 10 {
            line.extend_from_slice(payload);
            return self.pipe.write_all(&line);
        }
        self.pipe.write_all(&line)?;
        self.pipe.write_all(payload)
    }

    /// Keeps in mind which of the jobs' processes waits for another job.
    pub fn note(&mut self, message: &RunnerMessage) {
        match message {
            RunnerMessage::Kept(pid) => {
                let is_it = |kept: &Kept| kept.pid.as_raw_nonzero().get() == *pid;
                if !self.kept.as_ref().is_some_and(is_it) {
                    self.kept = Pid::from_raw(*pid).map(|pid| Kept {
                        pid,
                        jobs: 1,
                        dismissed: None,
                    });
                }
            }
            RunnerMessage::Ended(_) => self.kept = None,
            _ => {}
        }
    }

    /// Asks the process that waits for another job to exit. PHP says when it is gone.
    pub fn dismiss(&mut self) -> io::Result<()> {
        match &mut self.kept {
            Some(kept) if kept.dismissed.is_none() => {
                kept.dismissed = Some(Instant::now());
                self.pipe.write_all(b"null\n")
            }
            _ => Ok(()),
        }
    }

    /// Gives it an order for the site's table, with the texts of jobs.
    pub fn give_order(&mut self, order: &StoreOrder, bodies: &[u8]) -> io::Result<()> {
        let size = bodies.len();
        let mut line = serde_json::to_vec(&StoreHeader { store: order, size })?;
        line.push(b'\n');
        self.pipe.write_all(&line)?;
        self.pipe.write_all(bodies)
    }

    /// Reads what has arrived in the pipe.
    pub fn receive(&mut self) -> io::Result<()> {
        let mut chunk = [0; 16384];
        loop {
            match rustix::net::recv(&self.pipe, &mut chunk[..], RecvFlags::DONTWAIT) {
                Ok((0, _)) => break,
                Ok((n, _)) => self.inbox.extend_from_slice(&chunk[..n]),
                Err(rustix::io::Errno::AGAIN) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                // The process died before it had read everything.
                Err(rustix::io::Errno::CONNRESET) => break,
                Err(e) => {
                    self.closed = true;
                    return Err(e.into());
                }
            }
            if self.inbox.len() > MAX_LINE {
                self.closed = true;
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the runner sent an endless line",
                ));
            }
        }
        self.closed = true;
        Ok(())
    }

    /// The next message. Lines that are not messages of the runner are skipped.
    pub fn next(&mut self) -> Option<RunnerMessage> {
        loop {
            let end = self.inbox.iter().position(|b| *b == b'\n')?;
            let message = serde_json::from_slice(&self.inbox[..end]);
            self.inbox.drain(..=end);
            if self.inbox.is_empty() {
                self.inbox.shrink_to(4096);
            }
            if let Ok(message) = message {
                return Some(message);
            }
        }
    }

    /// Resident memory in megabytes.
    pub fn memory(&self) -> u64 {
        std::fs::read_to_string(format!("/proc/{}/status", self.pid.as_raw_nonzero()))
            .ok()
            .and_then(|text| {
                let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
                line.trim().trim_end_matches(" kB").parse::<u64>().ok()
            })
            .map_or(0, |kilobytes| kilobytes >> 10)
    }
}

/// Duplicates the descriptor to the number that the runner expects.
fn pass_on(fd: i32) -> io::Result<()> {
    use rustix::fd::FromRawFd;
    // SAFETY: both are open, or about to be, and only in this child, which execs next.
    let (from, mut to) = unsafe {
        (
            BorrowedFd::borrow_raw(fd),
            std::mem::ManuallyDrop::new(OwnedFd::from_raw_fd(PIPE)),
        )
    };
    if fd == PIPE {
        Ok(rustix::io::fcntl_setfd(from, rustix::io::FdFlags::empty())?)
    } else {
        Ok(rustix::io::dup2(from, &mut to)?)
    }
}

/// Kills a process and all its descendants.
pub fn kill_tree(pid: Pid) {
    // Stop it first, so that it cannot start others in the meantime.
    let _ = rustix::process::kill_process(pid, Signal::STOP);
    for child in children(pid) {
        kill_tree(child);
    }
    let _ = rustix::process::kill_process(pid, Signal::KILL);
}

fn children(pid: Pid) -> Vec<Pid> {
    let path = format!("/proc/{0}/task/{0}/children", pid.as_raw_nonzero());
    let mut text = String::new();
    let _ = std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text));
    text.split_whitespace()
        .filter_map(|word| Pid::from_raw(word.parse().ok()?))
        .collect()
}
