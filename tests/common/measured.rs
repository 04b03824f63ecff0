//! A run of wp-gears below a folder, with its time, processor time and memory.

use std::path::Path;
use std::time::Duration;

use crate::common::python;

/// What a run took, and what it said.
pub struct Run {
    pub code: i64,
    pub took: Duration,
    pub processor: Duration,
    /// The most memory that it held, in kilobytes.
    pub kb: u64,
    pub text: String,
}

/// Python can wait for a process and learn what it used.
const SCRIPT: &str = r#"
import json, os, resource, signal, subprocess, sys, tempfile, time
with tempfile.TemporaryFile() as out:
    begun = time.monotonic()
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=out, stderr=out, env={"PATH": "/usr/bin:/bin"})
    signal.signal(signal.SIGALRM, lambda *_: child.kill())
    signal.alarm(60)
    _, status, used = os.wait4(child.pid, 0)
    took = time.monotonic() - begun
    out.seek(0)
    text = out.read().decode(errors="replace")
print(json.dumps({"code": os.waitstatus_to_exitcode(status), "ms": int(took * 1000), "cpu": int((used.ru_utime + used.ru_stime) * 1000), "kb": used.ru_maxrss, "text": text}))
"#;

/// Runs a program of wp-gears with these words on a folder that serves as a host. It is killed after a minute.
pub fn run(program: &Path, words: &[&str], root: &Path) -> Run {
    let root = root.to_str().expect("a path in UTF-8");
    measure(program, &[words, &["--root", root]].concat())
}

/// Runs a program with these words. It is killed after a minute.
pub fn measure(program: &Path, words: &[&str]) -> Run {
    let program = program.to_str().expect("a path in UTF-8");
    let words = [&[program], words].concat();
    let answer = python::run(SCRIPT, &words, "").expect("Python");
    let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    let number = |name: &str| answer[name].as_u64().expect("a number");
    Run {
        code: answer["code"].as_i64().expect("a number"),
        took: Duration::from_millis(number("ms")),
        processor: Duration::from_millis(number("cpu")),
        kb: number("kb"),
        text: answer["text"].as_str().expect("a text").to_owned(),
    }
}
