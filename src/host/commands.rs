//! Commands: run by argument list with a clean environment, in a session that
//! is killed as a whole at the time limit. Their output is kept.
//!
//! `duct` starts them. The session, the user and the limits on time and output are ours.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::fs::{MemfdFlags, Mode, SealFlags};

use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::child::Running;
pub use crate::host::command::Command;
use crate::host::own_program::PATH;

/// More output than this ends the command: a runaway must not fill memory.
const OUTPUT_LIMIT: u64 = 64 << 20;

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
        if let Some(name) = &command.refused {
            let program = command.program.to_string_lossy();
            let why = format!("{program} would take the name '{name}' for an option");
            return Err(Problem::new(format!("run '{words}'"), why).into());
        }
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
        let program = match &command.user {
            // With that user's rights, it is what the user could run as well.
            Some(_) if rustix::process::geteuid().is_root() => command.program.clone(),
            _ => self.own_program(&command.program)?.into(),
        };
        // Files in memory, not pipes: nobody waits for a daemon that inherits them, or
        // for a process that does not read.
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
        let child = duct::cmd(program, &command.args)
            .full_env(env)
            .stdin_file(input(&command.stdin)?)
            .stdout_file(out.try_clone()?)
            .stderr_file(err.try_clone()?);
        let dir = CString::new(command.dir.as_os_str().as_bytes())?;
        let mut running = Running::start(child, dir, command.user.clone())?;
        let begun = Instant::now();
        let ended = loop {
            let limit = match &command.site {
                Some(site) => self.pace.limit(site, command.limit),
                None => command.limit,
            };
            let left = limit.saturating_sub(begun.elapsed());
            let ended = running.wait(left.min(Duration::from_millis(100)))?;
            if out.metadata()?.len().max(err.metadata()?.len()) > OUTPUT_LIMIT {
                break Err(format!("it printed more than {} MB", OUTPUT_LIMIT >> 20));
            }
            if let Some(status) = ended {
                if let Some(site) = &command.site {
                    self.pace.note(site, begun.elapsed());
                }
                break Ok(status);
            }
            if begun.elapsed() >= limit {
                let than = match limit < command.limit {
                    true => ", far longer than any other site takes,",
                    false => "",
                };
                let limit = limit.as_secs();
                break Err(format!("it was still running after {limit} s{than}"));
            }
            if let Some(line) = last_line(&out)? {
                watch(&line);
            }
        };
        if ended.is_err() {
            running.kill()?;
        }
        let output = Output {
            status: *ended.as_ref().unwrap_or(&ExitStatus::default()),
            stdout: content(&out)?,
            stderr: content(&err)?,
        };
        let Err(why) = ended else {
            return Ok(output);
        };
        let why = format!(
            "{why} and was killed; its output ends with:\n{}",
            output.tail(10)
        );
        Err(Problem::new(format!("run '{}'", command.words()), why).into())
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

/// A file that only the command reads, and nobody can change.
fn input(bytes: &[u8]) -> std::io::Result<File> {
    let mut file = memory_file("stdin")?;
    file.write_all(bytes)?;
    file.rewind()?;
    // MariaDB's client ignores option files that everybody may write.
    rustix::fs::fchmod(&file, Mode::from_raw_mode(0o444))?;
    rustix::fs::fcntl_add_seals(
        &file,
        SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK,
    )?;
    Ok(file)
}

fn memory_file(name: &str) -> std::io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    Ok(File::from(rustix::fs::memfd_create(name, flags)?))
}

/// What the file has, up to the limit: the command may have made it any size.
fn content(file: &File) -> std::io::Result<Vec<u8>> {
    let size = file.metadata()?.len().min(OUTPUT_LIMIT);
    read_at(file, 0, size as usize)
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
    use crate::base::old_kernel;
    use crate::host::users::User;

    #[test]
    fn a_command_starts_with_no_signal_blocked() {
        nix::sys::signal::SigSet::all().thread_block().unwrap();
        let host = Host::new(None).unwrap();
        let command = Command::new("grep").args(["SigBlk", "/proc/self/status"]);
        let said = host.run(&command).unwrap().text();
        assert_eq!(said.trim(), "SigBlk:\t0000000000000000");
    }

    fn shell(script: &'static str) -> Command {
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

    /// Its path works as that of any file, too: clients of databases check who may write.
    #[test]
    fn nobody_else_may_write_a_commands_input() {
        let host = Host::new(None).unwrap();
        let input = "stat -L -c %a /dev/stdin; cat /dev/stdin";
        for command in [shell(input), as_alice(input)] {
            let output = host.check(&command.stdin("secret")).unwrap();
            assert_eq!(output.text(), "444\nsecret");
        }
    }

    /// Runs a script as a user that nobody is. These tests need root.
    fn as_alice(script: &'static str) -> Command {
        as_user(4001, script)
    }

    fn as_user(id: u32, script: &'static str) -> Command {
        shell(script).user(&User {
            name: "alice".into(),
            uid: id,
            gid: id,
            groups: vec![id],
            home: "/".into(),
        })
    }

    fn is_gone(pid: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    }

    #[test]
    fn a_users_command_leaves_no_process_behind() {
        let host = Host::new(None).unwrap();
        let leave = "setsid sh -c 'echo $$; setsid sleep 987 & exec sleep 987' & read -r _; sleep 0.2; exit 7";
        // Other tests have processes of alice's.
        let output = host.run(&as_user(4010, leave)).unwrap();
        assert_eq!(output.status.code(), Some(7));
        let pid = output.text();
        assert!(!pid.is_empty() && is_gone(pid.trim()), "{pid}");
        let ps = host.run(&Command::new("ps").args(["-u", "4010"])).unwrap();
        assert_eq!(ps.text().lines().count(), 1, "{}", ps.text());
        // A command of root's may start daemons.
        let output = host.run(&shell("setsid sleep 987 & echo $!")).unwrap();
        assert!(!is_gone(output.text().trim()));
        host.check(&Command::new("kill").operands([output.text().trim()]))
            .unwrap();
    }

    #[test]
    fn how_a_command_ended_is_told() {
        use std::os::unix::process::ExitStatusExt;
        let host = Host::new(None).unwrap();
        for command in [shell, as_alice] {
            assert_eq!(host.run(&command("exit 3")).unwrap().status.code(), Some(3));
            let output = host.run(&command("kill -SEGV $$")).unwrap();
            assert_eq!(output.status.signal(), Some(11));
            let output = host.run(&command("cat; pwd").stdin("text")).unwrap();
            assert_eq!(output.text(), "text/\n");
        }
        let missing = host.run(&Command::new("/no/such/program")).err().unwrap();
        assert_eq!(
            missing.root_cause().to_string(),
            "No such file or directory (os error 2)"
        );
    }

    #[test]
    fn nothing_that_we_have_open_is_passed_on() {
        let host = Host::new(None).unwrap();
        let file = File::open("/etc/passwd").unwrap();
        let kept = rustix::io::dup(&file).unwrap(); // without CLOEXEC
        let run = || host.run(&as_alice("ls -l /proc/$$/fd; umask")).unwrap();
        for output in [run(), old_kernel::on_one(run)] {
            assert!(!output.says("/etc/passwd"), "{}", output.text());
            assert!(output.text().ends_with("0022\n"), "{}", output.text());
        }
        drop(kept);
    }

    #[test]
    fn the_size_of_the_output_is_no_trap() {
        let host = Host::new(None).unwrap();
        let script = "truncate -s 1T /proc/self/fd/1";
        let goes_on = "truncate -s 1T /proc/self/fd/1; sleep 987";
        for script in [script, goes_on] {
            let error = host.run(&as_alice(script)).err();
            let said = error.map(|error| format!("{error:#}")).unwrap_or_default();
            assert!(said.contains("more than 64 MB"), "{said}");
        }
    }

    #[test]
    fn input_that_nobody_reads_holds_nothing_up() {
        let host = Host::new(None).unwrap();
        let stopped = as_alice("exec 7<&0; (sleep 988 <&7 &); kill -STOP $$")
            .stdin(vec![b'x'; 1 << 20])
            .limit(Duration::from_secs(1));
        let begun = Instant::now();
        let error = host.run(&stopped).err().map(|error| format!("{error:#}"));
        assert!(begun.elapsed() < Duration::from_secs(4));
        assert!(error.unwrap_or_default().contains("still running"));
    }
}
