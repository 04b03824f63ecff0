//! The PHP process that runs the jobs: how it is started, spoken with, and ended.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use rustix::net::RecvFlags;
use rustix::process::{Pid, Signal};

use crate::worker::fresh::Stamps;
use crate::worker::message::{Hello, JobHeader, Message};
use crate::worker::signals::Signals;

/// Where the runner finds the pipe.
const PIPE: i32 = 3;

/// A line of the runner's is never longer; the list of files is the longest.
const LONGEST: usize = 16 << 20;

/// Of what PHP says, so much is logged for a job, and so much kept for its record.
const MOST_LOGGED: usize = 256 << 10;
const TAIL: usize = 4 << 10;

pub struct Start<'a> {
    pub php: &'a Path,
    pub runner: &'a Path,
    pub site: &'a Path,
    pub cache: Option<&'a Path>,
    pub hello: Hello<'a>,
}

pub struct Php {
    pub pid: Pid,
    pub born: Instant,
    pub born_at: SystemTime,
    pub jobs: u64,
    /// Known once it is ready.
    pub ready: Option<Booted>,
    /// How it ended, where it has.
    pub gone: Option<rustix::process::WaitStatus>,
    pipe: UnixStream,
    /// The runner's end is closed: there is nothing to poll for.
    closed: bool,
    inbox: Vec<u8>,
    pub output: Output,
}

pub struct Booted {
    pub fork: bool,
    pub stamps: Stamps,
    pub checked: Instant,
}

impl Php {
    pub fn start(start: &Start) -> io::Result<Php> {
        let (ours, theirs) = UnixStream::pair()?;
        let (read, write) = rustix::pipe::pipe_with(
            rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK,
        )?;
        // The writing end blocks, as PHP expects of its standard error.
        rustix::fs::fcntl_setfl(&write, rustix::fs::OFlags::empty())?;

        let mut command = Command::new(start.php);
        for (name, value) in [
            ("log_errors", "1"),
            ("error_log", ""),
            ("display_errors", "0"),
            ("html_errors", "0"),
            ("max_execution_time", "0"),
            // Stack traces are logged, arguments are not.
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
            // Pages for browsers, of what jobs call.
            .stdout(Stdio::null())
            .stderr(Stdio::from(write));
        // Set but empty it makes isset() true and the host empty.
        if std::env::var_os("HTTP_HOST").is_some_and(|host| host.is_empty()) {
            command.env_remove("HTTP_HOST");
        }
        let (pipe, worker) = (theirs.as_raw_fd(), rustix::process::getpid());
        // SAFETY: only system calls between fork and exec.
        unsafe {
            command.pre_exec(move || {
                pass_on(pipe)?;
                Signals::unblock_all()?;
                // The runner must not work on for a worker that is gone: its job is given to another.
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
        Ok(Php {
            pid: Pid::from_child(&child),
            born,
            born_at,
            jobs: 0,
            ready: None,
            gone: None,
            pipe: ours,
            closed: false,
            inbox: Vec::new(),
            output: Output::new(read),
        })
    }

    pub fn pipe(&self) -> Option<BorrowedFd<'_>> {
        (!self.closed).then(|| self.pipe.as_fd())
    }

    /// Hands a job over; the runner waits for it, so this does not block for long.
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

    /// Takes in what came over the pipe by now.
    pub fn receive(&mut self) -> io::Result<()> {
        let mut chunk = [0; 16384];
        loop {
            match rustix::net::recv(&self.pipe, &mut chunk[..], RecvFlags::DONTWAIT) {
                Ok((0, _)) => break,
                Ok((n, _)) => self.inbox.extend_from_slice(&chunk[..n]),
                Err(rustix::io::Errno::AGAIN) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                // A process that died with a line unread.
                Err(rustix::io::Errno::CONNRESET) => break,
                Err(e) => {
                    self.closed = true;
                    return Err(e.into());
                }
            }
            if self.inbox.len() > LONGEST {
                self.closed = true;
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "a line without end from the runner",
                ));
            }
        }
        self.closed = true;
        Ok(())
    }

    /// The next whole line; a line that is none of the runner's is skipped.
    pub fn next(&mut self) -> Option<Message> {
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

/// Makes the descriptor the runner's, whatever number it has here.
fn pass_on(fd: i32) -> io::Result<()> {
    use rustix::fd::FromRawFd;
    // SAFETY: both are open, or about to be, in this child alone, which execs next.
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

/// What PHP and the jobs write to standard error.
pub struct Output {
    /// None once its end was reached.
    from: Option<OwnedFd>,
    line: Vec<u8>,
    tail: VecDeque<u8>,
    logged: usize,
}

impl Output {
    fn new(from: OwnedFd) -> Output {
        Output {
            from: Some(from),
            line: Vec::new(),
            tail: VecDeque::new(),
            logged: 0,
        }
    }

    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.from.as_ref().map(AsFd::as_fd)
    }

    /// Whole lines for the log, as many as a job may have.
    pub fn read(&mut self, log: &mut dyn FnMut(&str)) {
        let mut chunk = [0; 16384];
        // A flood must not keep the worker from its other work.
        for _ in 0..16 {
            let Some(from) = &self.from else { return };
            let n = match rustix::io::read(from, &mut chunk) {
                Ok(0) => {
                    self.from = None;
                    return self.end_line(log);
                }
                Ok(n) => n,
                Err(_) => return,
            };
            self.tail.extend(&chunk[..n]);
            let over = self.tail.len().saturating_sub(TAIL);
            self.tail.drain(..over);
            for byte in &chunk[..n] {
                if *byte == b'\n' || self.line.len() > 4096 {
                    self.end_line(log);
                }
                if *byte != b'\n' {
                    self.line.push(*byte);
                }
            }
        }
    }

    fn end_line(&mut self, log: &mut dyn FnMut(&str)) {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            return;
        }
        let before = self.logged;
        self.logged += line.len();
        if self.logged <= MOST_LOGGED {
            log(&String::from_utf8_lossy(&line));
        } else if before <= MOST_LOGGED {
            log("(what more this job prints is not logged)");
        }
    }

    pub fn begin_job(&mut self) {
        self.tail.clear();
        self.logged = 0;
    }

    pub fn tail(&mut self) -> String {
        String::from_utf8_lossy(self.tail.make_contiguous()).into_owned()
    }
}

/// Ends a process and all that it started and that is still below it.
pub fn kill_tree(pid: Pid) {
    // Stopped first, so that it starts nothing while its children are looked up.
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
