//! Runs a command with a time limit and captures all its output.

use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

pub struct Out {
    pub command: String,
    /// Exit code; 124 after the time limit, 128 + N after signal N.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Out {
    /// Standard output, or an error that shows everything.
    pub fn check(self) -> Result<String> {
        if self.code != 0 {
            bail!("{self}");
        }
        Ok(self.stdout)
    }

    /// Standard output of a command that must succeed, for tests.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self}");
        self.stdout
    }

    #[track_caller]
    pub fn exits(self, code: i32) -> Out {
        assert_eq!(self.code, code, "{self}");
        self
    }

    /// Both outputs, to search for words.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

impl std::fmt::Display for Out {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let (command, code, took) = (&self.command, self.code, self.took);
        let (stdout, stderr) = (tail(&self.stdout), tail(&self.stderr));
        write!(
            f,
            "`{command}` exited {code} after {took:.1?}\n{stdout}\n--- stderr\n{stderr}\n---"
        )
    }
}

/// The last lines: pages of WordPress are long, and the reason comes last.
fn tail(text: &str) -> &str {
    let line_before = text.trim_end().rmatch_indices('\n').nth(59);
    line_before
        .map_or(text, |(at, _)| &text[at + 1..])
        .trim_end()
}

/// Runs it until it ends or reaches the limit, and then kills its process group.
pub fn run(mut command: Command, input: &[u8], limit: Duration) -> Out {
    let began = Instant::now();
    let mut out = Out {
        command: shown(&command),
        code: 127,
        stdout: String::new(),
        stderr: String::new(),
        took: Duration::ZERO,
    };
    command
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            out.stderr = error.to_string();
            return out;
        }
    };
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    if let Some(mut stdin) = child.stdin.take() {
        let input = input.to_vec();
        thread::spawn(move || stdin.write_all(&input)); // a command may not read it
    }
    let mut note = "";
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Some(status),
            Ok(None) if began.elapsed() > limit => {
                kill_group(child.id());
                let _ = child.wait();
                note = "\n(still running at its time limit: killed)";
                break None;
            }
            Ok(None) => thread::sleep(Duration::from_millis(5)),
            Err(_) => break None,
        }
    };
    out.took = began.elapsed();
    out.code = status.map_or(124, |s| s.code().unwrap_or(128 + s.signal().unwrap_or(0)));
    out.stdout = stdout.text();
    out.stderr = stderr.text() + note;
    out
}

struct Collected {
    bytes: Arc<Mutex<Vec<u8>>>,
    thread: thread::JoinHandle<()>,
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> Collected {
    let bytes = Arc::new(Mutex::new(Vec::new()));
    let sink = bytes.clone();
    let thread = thread::spawn(move || {
        let Some(mut pipe) = pipe else { return };
        let mut buffer = [0; 65536];
        while let Ok(n @ 1..) = pipe.read(&mut buffer) {
            sink.lock()
                .unwrap_or_else(|e| e.into_inner())
                .extend_from_slice(&buffer[..n]);
        }
    });
    Collected { bytes, thread }
}

impl Collected {
    /// A daemon started by the command may hold the pipe open forever, so this only waits
    /// briefly for its end.
    fn text(self) -> String {
        let patience = Instant::now();
        while !self.thread.is_finished() && patience.elapsed() < Duration::from_secs(1) {
            thread::sleep(Duration::from_millis(2));
        }
        let bytes = self.bytes.lock().unwrap_or_else(|e| e.into_inner());
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

pub fn kill_group(leader: u32) {
    let group = format!("-{leader}");
    let _ = Command::new("kill")
        .args(["-KILL", "--", &group])
        .stderr(Stdio::null())
        .status();
}

/// As a user would type it.
pub fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

/// A `Command` from a list of words.
pub fn command(words: &[&str]) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command
}
