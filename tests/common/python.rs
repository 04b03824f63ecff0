//! Runs scripts in Debian's Python, whose modules check our results.

use std::io::Write;
use std::process::{Command, Stdio};

use super::needs::{installed, missing};

/// The script's output, or its error if it fails.
///
/// # Panics
///
/// With one line, if Python or a module that the script imports is missing.
#[track_caller]
pub fn run(script: &str, args: &[&str], input: &str) -> Result<String, String> {
    let child = Command::new("/usr/bin/python3")
        .args(["-c", script])
        .args(args)
        .env("PYTHONIOENCODING", "utf-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = installed("python3", child);
    let mut stdin = child.stdin.take().unwrap();
    // In parallel to reading its output, as either pipe may fill up.
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input.as_bytes()));
        child.wait_with_output().unwrap()
    });
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    if output.status.success() {
        return Ok(text(output.stdout));
    }
    let complaint = text(output.stderr);
    let module = complaint
        .lines()
        .find_map(|line| line.strip_prefix("ModuleNotFoundError: No module named "));
    match module {
        Some(module) => missing(&format!("Python's module {module}")),
        None => Err(complaint),
    }
}
