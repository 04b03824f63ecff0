//! What a site's user can write into the workers' folders decides nothing for root. The
//! folders stand outside of a host, and belong to users who have nothing else; these
//! tests need root.

use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The state of two sites' workers, whose users are not the same.
struct State {
    dir: tempfile::TempDir,
}

const ALICE: u32 = 4001;
const BOB: u32 = 4002;

impl State {
    fn new() -> State {
        let state = State {
            dir: tempfile::tempdir().unwrap(),
        };
        for (site, user) in [("a", ALICE), ("b", BOB)] {
            for folder in ["run", "failed"] {
                let path = state.at(&format!("{folder}/{site}"));
                std::fs::create_dir_all(path.join("waiting")).unwrap();
                chown(path.join("waiting"), Some(user), Some(user)).unwrap();
                chown(path, Some(user), Some(user)).unwrap();
            }
        }
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(state.dir.path(), open).unwrap();
        state
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn put(&self, path: &str, text: &str) {
        std::fs::write(self.at(path), text).unwrap();
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wp-gears"));
        command.args(words).arg("--state").arg(self.dir.path());
        command.env_clear().stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }
}

/// What a worker remembers of its site.
fn memory(function: &str, dir: &str) -> String {
    let stamps = json!({ "site": dir, "real": null, "files": [] });
    json!({ "function": function, "home": "", "stamps": stamps }).to_string()
}

/// A job in the folder of failed jobs.
fn job(id: &str, server: &str) -> String {
    let payload = r#"{"hook":"h","args":[]}"#;
    let record = json!({
        "id": id, "name": "a", "site": "/srv/a", "server": server, "function": "f",
        "unique": "", "handle": "H:1", "hook": "h", "blog": null, "size": payload.len(),
        "whole": true, "taken": 1, "tries": [],
    });
    format!("{record}\n{payload}")
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    String::from_utf8_lossy(&[out.clone(), err.clone()].concat()).into_owned()
}

#[test]
fn a_site_is_not_the_one_that_its_run_folder_claims_to_be() {
    let state = State::new();
    state.put("run/a/function", &memory("f", "/srv/b"));
    let output = state.run(&["pause", "--site", "/srv/b"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(!state.at("run/a.paused").exists());
    let output = state.run(&["status", "--json", "--servers", "127.0.0.1:9"]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["sites"][0]["site"], "a", "{document}");
    assert_eq!(document["sites"][0]["dir"], Value::Null);
    // By its name, which root gave it.
    assert_eq!(state.run(&["pause", "--site", "b"]).status.code(), Some(0));
    assert!(state.at("run/b.paused").exists());
}

#[test]
fn a_failed_job_does_not_say_where_root_connects() {
    let state = State::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let server = listener.local_addr().unwrap().to_string();
    state.put("failed/a/1-refused.job", &job("1-refused", &server));
    let output = state.run(&["failed", "retry", "1-refused"]);
    assert!(listener.accept().is_err(), "root connected");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("--servers"), "{}", text(&output));
    // To a server that root names, even if the record names another.
    state.put("failed/a/1-refused.job", &job("1-refused", "127.0.0.1:9"));
    let mut retry = state.command(&["failed", "retry", "1-refused", "--servers", &server]);
    let mut retry = retry.spawn().unwrap();
    let start = Instant::now();
    while listener.accept().is_err() {
        assert!(start.elapsed() < Duration::from_secs(10));
        std::thread::yield_now();
    }
    retry.kill().unwrap();
    retry.wait().unwrap();
}

#[test]
fn a_planted_job_is_not_taken_for_another_sites() {
    let state = State::new();
    state.put("failed/b/1-b.job", &job("1-b", "127.0.0.1:9"));
    state.put("failed/a/0-a.job", &job("1-b", "127.0.0.1:9"));
    let output = state.run(&["failed", "forget", "1-b"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(!state.at("failed/b/1-b.job").exists() && state.at("failed/a/0-a.job").exists());
    for site in ["a", "b"] {
        state.put(
            &format!("failed/{site}/2-c.job"),
            &job("2-c", "127.0.0.1:9"),
        );
    }
    let output = state.run(&["failed", "forget", "2-c"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("a, b"), "{}", text(&output));
}

/// Runs a command with this many megabytes of address space.
pub fn within(megabytes: u64, mut command: Command) -> Output {
    let limit = nix::libc::rlimit {
        rlim_cur: megabytes << 20,
        rlim_max: megabytes << 20,
    };
    // SAFETY: only a system call between fork and exec.
    unsafe {
        command.pre_exec(
            move || match nix::libc::setrlimit(nix::libc::RLIMIT_AS, &limit) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            },
        );
    }
    command.output().unwrap()
}

#[test]
fn planted_files_cost_little() {
    let state = State::new();
    let mut record: Value = serde_json::from_str(job("1-a", "x").lines().next().unwrap()).unwrap();
    record["tries"] = json!([{ "at": 1, "ms": 1, "error": "x".repeat(1_000_000), "output": "" }]);
    let first = state.at("failed/a/0000.job");
    std::fs::write(&first, format!("{record}\n")).unwrap();
    for n in 1..1500 {
        std::fs::hard_link(&first, state.at(&format!("failed/a/{n:04}.job"))).unwrap();
    }
    state.put("failed/b/1-b.job", &job("1-b", "x"));
    for words in [
        &["failed"][..],
        &["failed", "--json"],
        &["failed", "show", "1-b"],
    ] {
        let start = Instant::now();
        let output = within(256, state.command(words));
        assert!(output.status.success(), "{words:?}: {:?}", output.status);
        assert!(text(&output).contains("1-b"));
        assert!(start.elapsed() < Duration::from_secs(10), "{words:?}");
    }
    // Neither do many.
    for n in 0..10_000 {
        std::fs::hard_link(&first, state.at(&format!("run/a/planted-{n}"))).unwrap();
    }
    for words in [&["status", "--servers", "127.0.0.1:9"][..], &["pause"]] {
        let output = within(256, state.command(words));
        assert!(text(&output).contains("10000 files"), "{}", text(&output));
    }
    assert!(state.at("run/a.paused").exists() && state.at("run/b.paused").exists());
}

/// A process of the site's user that claims to be a worker with a job.
fn claim(run: &Path) -> Child {
    let script = "printf '%s' '{\"pid\":'$$',\"activity\":\"busy\",\"since\":1,\"started\":1,\"jobs\":0,\"failed\":0,\"mode\":null,\"php\":null}' >worker-$$
        exec 9<worker-$$; flock 9; echo; exec sleep 100";
    let mut child = Command::new("sh")
        .args(["-c", script])
        .current_dir(run)
        .uid(ALICE)
        .gid(ALICE)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = [0];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
    child
}

#[test]
fn a_site_that_claims_to_be_busy_delays_no_other() {
    let state = State::new();
    let mut claims = claim(&state.at("run/a"));
    let start = Instant::now();
    let output = state.run(&["pause", "--wait", "--timeout", "1"]);
    claims.kill().unwrap();
    claims.wait().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output);
    assert!(
        said.contains("b: paused") && said.contains("current jobs of a"),
        "{said}"
    );
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_site_whose_folder_cannot_be_read_hides_no_other() {
    let state = State::new();
    state.put("failed/b/1-b.job", &job("1-b", "127.0.0.1:9"));
    let waiting = state.at("failed/a/waiting");
    std::fs::remove_dir(&waiting).unwrap();
    std::os::unix::fs::symlink("/etc", &waiting).unwrap();
    let output = state.run(&["failed"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output);
    assert!(said.contains("1-b") && said.contains("failed/a"), "{said}");
    let output = state.run(&["failed", "forget", "1-b"]);
    assert!(!state.at("failed/b/1-b.job").exists(), "{}", text(&output));
}
