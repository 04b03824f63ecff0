//! Runs programs, waits for them, and inspects their processes.

use std::fs;
use std::io::Read;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

pub fn run(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

pub fn wait_for(seconds: u64, what: &str, mut done: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !done() {
        assert!(
            start.elapsed().as_secs() < seconds,
            "waited {seconds} s for {what}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    start.elapsed()
}

pub fn sleep(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}

pub fn signal(pid: i32, name: &str) {
    // 0 and below address process groups, including that of the tests.
    if pid <= 1 {
        return;
    }
    let _ = Command::new("kill")
        .args(["-s", name, &pid.to_string()])
        .status();
}

pub fn children(pid: i32) -> Vec<i32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    fs::read_to_string(path)
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect()
}

/// Whether a process runs: neither gone nor a zombie.
pub fn is_alive(pid: i32) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    state
        .rsplit(')')
        .next()
        .is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

/// The processor time used by a process, in milliseconds.
pub fn processor_ms(pid: i32) -> u64 {
    let mut text = String::new();
    fs::File::open(format!("/proc/{pid}/stat"))
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    let fields: Vec<u64> = text[text.rfind(')').unwrap() + 2..]
        .split(' ')
        .map(|word| word.parse().unwrap_or(0))
        .collect();
    (fields[11] + fields[12]) * 10
}
