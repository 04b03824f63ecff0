//! Commands: run by argument list with a clean environment, in a session that
//! is killed as a whole at the time limit. Their output is kept.
//!
//! `duct` starts the child, feeds its standard input and waits with a limit.
//! The session, the user and the limits on time and output are ours.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::SigSet;
use rustix::process::{Gid, Pid, Resource, Rlimit, Signal, Uid};

use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::users::User;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// More output than this ends the command: a runaway must not fill memory.
const OUTPUT_LIMIT: u64 = 64 << 20;

/// A command to run.
#[derive(Clone)]
pub struct Command {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    stdin: Vec<u8>,
    user: Option<User>,
    dir: PathBuf,
    limit: Duration,
    changes: bool,
}

/// How a command ended, and what it printed.
pub struct Output {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Output {
    pub fn success(&self) -> bool {
        self.status.success()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Whether it printed this text, on either output.
    pub fn says(&self, text: &str) -> bool {
        [&self.stdout, &self.stderr]
            .iter()
            .any(|bytes| String::from_utf8_lossy(bytes).contains(text))
    }

    /// The last lines of its standard output, then those of its standard error.
    pub fn tail(&self, lines: usize) -> String {
        let tails: Vec<String> = [&self.stdout, &self.stderr]
            .into_iter()
            .map(|bytes| last_lines(bytes, lines))
            .filter(|tail| !tail.is_empty())
            .collect();
        match tails.is_empty() {
            true => "it printed nothing".into(),
            false => tails.join("\n"),
        }
    }
}

impl Command {
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Command {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            stdin: Vec::new(),
            user: None,
            dir: PathBuf::from("/"),
            limit: Duration::from_secs(30),
            changes: false,
        }
    }

    pub fn args<I, S>(mut self, args: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.args
            .extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// With the variables of the caller's environment that say how to reach the
    /// network, and those whose names `also` accepts.
    pub fn caller_env(mut self, also: fn(&str) -> bool) -> Self {
        const NETWORK: [&str; 5] = [
            "http_proxy",
            "https_proxy",
            "no_proxy",
            "ssl_cert_file",
            "ssl_cert_dir",
        ];
        self.env.extend(std::env::vars_os().filter(|(name, _)| {
            name.to_str().is_some_and(|name| {
                also(name) || NETWORK.contains(&name.to_ascii_lowercase().as_str())
            })
        }));
        self
    }

    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = dir.into();
        self
    }

    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// It changes the machine: it counts as an act, and what the host knows of
    /// units and packages is forgotten.
    pub fn changes(mut self) -> Self {
        self.changes = true;
        self
    }

    /// Run as this user, with none of root's rights.
    pub fn user(mut self, user: &User) -> Self {
        self.user = Some(user.clone());
        self
    }

    fn words(&self) -> String {
        let mut words = self.program.to_string_lossy().into_owned();
        for arg in &self.args {
            words.push(' ');
            words.push_str(&arg.to_string_lossy());
        }
        words
    }
}

impl Host {
    /// Runs a command and keeps its output. Fails if it cannot be started, takes
    /// too long or prints too much; its exit status is the caller's business.
    pub fn run(&self, command: &Command) -> Result<Output> {
        self.run_watched(command, &|_| {})
    }

    /// Like `run`, but fails if the command does, with the end of its output.
    pub fn check(&self, command: &Command) -> Result<Output> {
        let output = self.run(command)?;
        if !output.success() {
            return Err(
                Problem::new(format!("run '{}'", command.words()), explain(&output)).into(),
            );
        }
        Ok(output)
    }

    /// Like `run`; passes the last line of its standard output to `watch` now and then.
    pub fn run_watched(&self, command: &Command, watch: &dyn Fn(&str)) -> Result<Output> {
        let words = command.words();
        anyhow::ensure!(self.live, "with --root no command is run: {words}");
        if let Some(trace) = self.trace {
            trace(&format!("$ {words}"));
        }
        if command.changes {
            self.act(&words)?;
        }
        let result = self.spawn_and_wait(command, watch);
        if command.changes {
            self.forget();
        }
        result.with_context(|| format!("run '{words}'"))
    }

    /// Forgets what was looked up about units and packages.
    pub(crate) fn forget(&self) {
        for_lock(&self.units, |known| *known = None);
        for_lock(&self.packages, |known| *known = None);
        for_lock(&self.candidates, |known| *known = Default::default());
        for_lock(&self.simulations, |known| known.clear());
    }

    fn spawn_and_wait(&self, command: &Command, watch: &dyn Fn(&str)) -> Result<Output> {
        // Files in memory, not pipes: we need not wait for a daemon that inherits them.
        let out = memory_file("stdout")?;
        let err = memory_file("stderr")?;
        let home = match &command.user {
            Some(user) => user.home.clone(),
            None => "/root".into(),
        };
        let mut env: Vec<(OsString, OsString)> = vec![
            ("PATH".into(), PATH.into()),
            ("LC_ALL".into(), "C".into()),
            ("HOME".into(), home.into()),
        ];
        env.extend(command.env.iter().cloned());
        let user = command.user.clone();
        let handle = duct::cmd(&command.program, &command.args)
            .full_env(env)
            .dir(&command.dir)
            .stdin_bytes(command.stdin.clone())
            .stdout_file(out.try_clone()?)
            .stderr_file(err.try_clone()?)
            .unchecked()
            .before_spawn(move |child| {
                let user = user.clone();
                // SAFETY: only system calls between fork and exec, on data made before.
                unsafe { child.pre_exec(move || become_child(user.as_ref())) };
                Ok(())
            })
            .start()?;
        let begun = Instant::now();
        let status = loop {
            if let Some(output) = handle.wait_timeout(Duration::from_millis(100))? {
                break output.status;
            }
            let too_long = begun.elapsed() > command.limit;
            if too_long || out.metadata()?.len().max(err.metadata()?.len()) > OUTPUT_LIMIT {
                for pid in handle.pids() {
                    if let Some(pid) = Pid::from_raw(pid as i32) {
                        let _ = rustix::process::kill_process_group(pid, Signal::KILL);
                    }
                }
                handle.wait()?;
                let output = Output {
                    status: ExitStatus::default(),
                    stdout: content(&out)?,
                    stderr: content(&err)?,
                };
                let why = if too_long {
                    format!("it was still running after {} s", command.limit.as_secs())
                } else {
                    format!("it printed more than {} MB", OUTPUT_LIMIT >> 20)
                };
                return Err(Problem::new(
                    format!("run '{}'", command.words()),
                    format!(
                        "{why} and was killed; its output ends with:\n{}",
                        output.tail(10)
                    ),
                )
                .into());
            }
            if let Some(line) = last_line(&out)? {
                watch(&line);
            }
        };
        Ok(Output {
            status,
            stdout: content(&out)?,
            stderr: content(&err)?,
        })
    }
}

/// "exit status: 100", then the end of the output.
pub fn explain(output: &Output) -> String {
    format!("{}\n{}", output.status, output.tail(15))
}

/// The last lines that are not blank.
fn last_lines(bytes: &[u8], lines: usize) -> String {
    let end = &bytes[bytes.len().saturating_sub(64 << 10)..];
    let text = String::from_utf8_lossy(end);
    let all: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// In the child: a session of its own (no terminal to read from, one group to
/// kill), and only the user's rights.
fn become_child(user: Option<&User>) -> std::io::Result<()> {
    rustix::process::setsid()?;
    // We block signals during prompts. A daemon that inherits that could
    // not be stopped.
    SigSet::empty().thread_set_mask()?;
    let Some(user) = user else { return Ok(()) };
    // A core dump could hold the site's secrets.
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    rustix::process::setrlimit(Resource::Core, none)?;
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let gid = Gid::from_raw(user.gid);
    // At most 64: nothing may be allocated after the fork.
    let mut groups = [gid; 64];
    let count = user.groups.len().min(64);
    for (slot, group) in groups.iter_mut().zip(&user.groups) {
        *slot = Gid::from_raw(*group);
    }
    let uid = Uid::from_raw(user.uid);
    rustix::thread::set_thread_groups(&groups[..count])?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    rustix::thread::set_no_new_privs(true)?;
    // If we die, nobody waits for it any more. This comes after the change of
    // user, which would reset it.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    Ok(())
}

fn memory_file(name: &str) -> std::io::Result<File> {
    let fd: OwnedFd = rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC)?;
    Ok(File::from(fd))
}

fn content(file: &File) -> std::io::Result<Vec<u8>> {
    let size = file.metadata()?.len() as usize;
    read_at(file, 0, size)
}

fn last_line(file: &File) -> std::io::Result<Option<String>> {
    let size = file.metadata()?.len();
    let tail = read_at(file, size.saturating_sub(400), 400)?;
    let text = String::from_utf8_lossy(&tail).into_owned();
    Ok(text
        .split(['\n', '\r'])
        .rfind(|line| !line.trim().is_empty())
        .map(str::to_owned))
}

fn read_at(file: &File, offset: u64, size: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; size];
    let mut filled = 0;
    while filled < size {
        let rest = &mut bytes[filled..];
        match rustix::io::pread(file.as_fd(), rest, offset + filled as u64)? {
            0 => break,
            n => filled += n,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// A poisoned lock means that another thread panicked; it only guards a cache.
fn for_lock<T>(lock: &std::sync::Mutex<T>, change: impl FnOnce(&mut T)) {
    change(&mut lock.lock().unwrap_or_else(|held| held.into_inner()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_starts_with_no_signal_blocked() {
        SigSet::all().thread_block().unwrap();
        let host = Host::new(None).unwrap();
        let command = Command::new("grep").args(["SigBlk", "/proc/self/status"]);
        let said = host.run(&command).unwrap().text();
        assert_eq!(said.trim(), "SigBlk:\t0000000000000000");
    }

    fn shell(script: &str) -> Command {
        Command::new("sh").args(["-c", script])
    }

    #[test]
    fn a_command_that_hangs_is_killed_with_its_children() {
        let host = Host::new(None).unwrap();
        let hangs = shell("(sleep 987 & echo $!; wait) & wait").limit(Duration::from_secs(1));
        let begun = Instant::now();
        let error = host.run(&hangs).err().map(|error| format!("{error:#}"));
        assert!(begun.elapsed() < Duration::from_secs(5));
        let said = error.unwrap_or_default();
        assert!(said.contains("still running after 1 s"), "{said}");
        // It printed the grandchild's number.
        let pid = said.lines().last().unwrap_or_default();
        let state = format!("/proc/{pid}/stat");
        for _ in 0..100 {
            let stat = std::fs::read_to_string(&state).unwrap_or_default();
            if stat.is_empty() || stat.contains(") Z ") {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the grandchild {pid} lives on");
    }

    #[test]
    fn a_command_that_prints_without_end_is_killed() {
        let host = Host::new(None).unwrap();
        let error = host.run(&Command::new("yes")).err();
        let said = error.map(|error| format!("{error:#}")).unwrap_or_default();
        assert!(said.contains("more than 64 MB"), "{said}");
    }
}
