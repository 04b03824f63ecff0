//! `wp-gears status --serve`: what it shows, and who cannot bring it down.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::common::judge::is_valid;
use super::lab::{Site, Worker, lab, processor_ms, wait_for};

/// The dashboard, ended with the test.
pub struct Dashboard {
    child: Child,
    pub at: SocketAddr,
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Dashboard {
    pub fn start(servers: &str, more: &[&str]) -> Dashboard {
        // A port that nobody has now.
        let at = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let child = lab()
            .command(lab().dir.join("lib/wp-gears"))
            .args(["status", "--serve", &at.to_string(), "--servers", servers])
            .arg("--state")
            .arg(lab().dir.join("state"))
            .args(more)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        lab().remember(child.id());
        wait_for(20, "the dashboard", || TcpStream::connect(at).is_ok());
        Dashboard { child, at }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.at).unwrap();
        let limit = Some(Duration::from_secs(20));
        stream.set_read_timeout(limit).unwrap();
        stream
    }

    /// What it answers to these bytes.
    fn raw(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect();
        // It may refuse before it has everything.
        let _ = stream.write_all(bytes.as_ref());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn with(&self, path: &str, fields: &str) -> (u16, String) {
        let request = format!("GET {path} HTTP/1.1\r\n{fields}\r\n");
        let answer = self.raw(request);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|it| it.parse().ok());
        (status.unwrap_or(0), body.to_owned())
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        self.with(path, &format!("Host: {}\r\n", self.at))
    }

    pub fn status(&self) -> Value {
        serde_json::from_str(&self.get("/api/status").1).unwrap()
    }

    /// Memory in kB, and processor time in ms.
    fn costs(&self) -> (u64, u64) {
        let proc = format!("/proc/{}", self.child.id());
        let text = std::fs::read_to_string(format!("{proc}/status")).unwrap();
        let line = text.lines().find_map(|it| it.strip_prefix("RssAnon:"));
        let memory = line
            .unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .unwrap();
        (memory, processor_ms(self.child.id() as i32))
    }
}

/// A site with two workers that has done a job and failed one, and the dashboard that
/// shows them.
pub fn of_a_failed_job(name: &str) -> (Site, Worker, Dashboard) {
    let site = Site::new(name);
    let worker = site.worker(&["--workers", "2"]);
    site.add("t_throw", json!([]));
    site.add("t_line", json!(["1"]));
    site.wait_for_out(60, 1);
    wait_for(20, "the failed job", || site.kept().len() == 1);
    let server = site.gearmand.server.to_string();
    let it = Dashboard::start(&server, &["--site", &site.name]);
    wait_for(20, "the failed job's error", || {
        it.status()["sites"][0]["latest_failed"][0]["error"].is_string()
    });
    (site, worker, it)
}

#[test]
fn it_shows_what_status_does_live_and_through_an_outage() {
    let (mut site, _worker, it) = of_a_failed_job("dashboard");
    let status = it.status();
    is_valid("status", &status);
    assert_eq!(status["sites"][0]["failed"], 1, "{status:#}");
    assert_eq!(it.get("/healthz"), (200, "ok\n".into()));
    let (code, metrics) = it.get("/metrics");
    let done = format!("wp_gears_jobs_done_total{{site=\"{}\"}} 2", site.name);
    assert!(code == 200 && metrics.contains(&done), "{metrics}");
    let (code, page) = it.get("/");
    assert!(code == 200 && page.contains("t_throw"), "{page}");
    assert!(!page.contains("salt-of-"), "the salt is shown");

    // Events come as long as somebody watches.
    let mut events = it.connect();
    let request = format!("GET /events HTTP/1.1\r\nHost: {}\r\n\r\n", it.at);
    events.write_all(request.as_bytes()).unwrap();
    let mut seen = String::new();
    let mut until = |wanted: &dyn Fn(&str) -> bool| {
        let begun = Instant::now();
        while !wanted(&seen) {
            let mut buffer = [0; 4096];
            let length = events.read(&mut buffer).unwrap();
            assert!(
                length > 0 && begun.elapsed() < Duration::from_secs(30),
                "{seen}"
            );
            seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
        std::mem::take(&mut seen)
    };
    until(&|seen| seen.contains("\"done_ever\":2"));
    site.add("t_line", json!(["2"]));
    until(&|seen| seen.contains("\"done_ever\":3"));
    site.gearmand.kill();
    until(&|seen| seen.contains("\"up\":false"));
    let (code, why) = it.get("/healthz");
    assert!(
        code == 503 && why.contains(&site.gearmand.server.to_string()),
        "{code} {why}"
    );
    site.gearmand.start();
    until(&|seen| seen.contains("\"up\":true"));
    wait_for(30, "a healthy host", || it.get("/healthz").0 == 200);
}

#[test]
fn nobody_brings_it_down() {
    let site = Site::new("dashboard-attacks");
    let _worker = site.worker(&[]);
    site.add("t_line", json!(["1"]));
    site.wait_for_out(60, 1);
    let it = Dashboard::start(&site.gearmand.server.to_string(), &["--site", &site.name]);
    let is_up = |what: &str| assert_eq!(it.get("/api/status").0, 200, "{what}");
    is_up("at first");
    for (path, fields) in [
        ("/", "Host: evil.test\r\n"),
        ("/api/status", "Host: localhost.evil.test\r\n"),
        ("/events", ""),
    ] {
        assert_eq!(it.with(path, fields).0, 421, "{path} {fields}");
    }
    let here = format!("Host: {}\r\n", it.at);
    for path in [
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/metrics/",
        "/metrics/../",
        "/api/status%00",
        "/API/STATUS",
        "/index.html",
        "/.git/config",
        "http://127.0.0.1/metrics",
        "*",
    ] {
        assert_eq!(it.get(path).0, 404, "{path}");
    }
    for (request, wanted) in [
        (format!("POST / HTTP/1.1\r\n{here}\r\n"), "405"),
        (format!("POST /login HTTP/1.1\r\n{here}\r\n"), "405"),
        (format!("DELETE / HTTP/1.1\r\n{here}\r\n"), "405"),
        (
            format!("GET / HTTP/1.1\r\n{here}Transfer-Encoding: chunked\r\n\r\n"),
            "400",
        ),
        (
            format!("GET / HTTP/1.1\r\n{here}A: {}\r\n\r\n", "a".repeat(1 << 20)),
            "431",
        ),
        (
            format!("GET / HTTP/1.1\r\n{here}{}\r\n", "A: b\r\n".repeat(5000)),
            "431",
        ),
        (
            format!("GET /{} HTTP/1.1\r\n{here}\r\n", "a".repeat(1 << 20)),
            "431",
        ),
        ("\u{16}\u{3}\u{1}\u{2}".repeat(100), "400"),
        ("\r\n\r\n\0\0\0".into(), "400"),
        (
            format!("POST /login HTTP/1.1\r\n{here}Content-Length: 999999\r\n\r\n"),
            "413",
        ),
    ] {
        let answer = it.raw(&request);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {wanted} ")),
            "{wanted}: {answer}"
        );
    }
    // Of requests in one go, the first is answered.
    let two = format!("GET /healthz HTTP/1.1\r\n{here}\r\n").repeat(1000);
    assert_eq!(it.raw(two).matches("HTTP/1.1 ").count(), 1);
    let head = it.raw(format!("HEAD / HTTP/1.1\r\n{here}\r\n"));
    assert!(
        head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    for line in ["default-src 'none'", "nosniff", "no-store", "no-referrer"] {
        assert!(head.contains(line), "{head}");
    }
    assert!(!head.contains("unsafe"), "{head}");

    // Clients that say nothing, half of it, or do not read; all at once, and then more.
    let slow: Vec<TcpStream> = (0..200)
        .map(|n| {
            let mut stream = it.connect();
            let text: &str = match n % 4 {
                0 => "",
                1 => "GET / HTTP/1.1\r\nHost:",
                2 => "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n",
                _ => "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            };
            stream.write_all(text.as_bytes()).unwrap();
            stream
        })
        .collect();
    let begun = Instant::now();
    is_up("with 200 slow clients");
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
    let more: Vec<TcpStream> = (0..600).map(|_| it.connect()).collect();
    is_up("with 800");
    site.add("t_line", json!(["2"]));
    site.wait_for_out(10, 2);
    // Those that drip are ended, however they do.
    let mut drip = it.connect();
    let begun = Instant::now();
    while drip.write_all(b"A").is_ok() && begun.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    drop((slow, more));
    is_up("in the end");

    let (memory, before) = it.costs();
    assert!(memory < 15_000, "{memory} kB");
    // Viewers have left, which it learns with the next event at the latest.
    std::thread::sleep(Duration::from_secs(3));
    let idle = it.costs().1;
    std::thread::sleep(Duration::from_secs(2));
    let after = it.costs().1;
    println!(
        "{memory} kB, {before} ms so far, {} ms in 2 s",
        after - idle
    );
    assert!(after - idle <= 10, "{} ms of 2 s", after - idle);
}

#[test]
fn addresses_that_others_reach_need_a_token() {
    let run = |args: &[&str]| {
        let output = lab()
            .command(lab().dir.join("lib/wp-gears"))
            .args(["status", "--serve"])
            .args(args)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), text)
    };
    let (code, text) = run(&["0.0.0.0:18730"]);
    assert!(code == Some(2) && text.contains("--token-file"), "{text}");
    let token = lab().dir.join("token");
    std::fs::write(&token, "0123456789abcdef0123\n").unwrap();
    let path = token.to_str().unwrap().to_owned();
    let (code, text) = run(&["0.0.0.0:18730", "--token-file", &path]);
    assert!(code == Some(1) && text.contains("mode"), "{text}");
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
    lab().give_away(&token);

    let it = Dashboard::start("127.0.0.1:9", &["--token-file", &path]);
    let (code, form) = it.get("/");
    assert!(code == 401 && form.contains("type=\"password\""), "{form}");
    for path in ["/api/status", "/metrics", "/events", "/healthz"] {
        assert_eq!(it.get(path), (401, "Unauthorized\n".into()), "{path}");
    }
    let (code, _) = it.with(
        "/api/status",
        "Authorization: Bearer 0123456789abcdef0123\r\n",
    );
    assert_eq!(code, 200);
    let log_in = |token: &str| {
        let body = format!("token={token}");
        it.raw(format!(
            "POST /login HTTP/1.1\r\nHost: gears.test\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    };
    assert!(log_in("0123456789abcdef0124").starts_with("HTTP/1.1 401"));
    let answer = log_in("0123456789abcdef0123");
    let cookie = answer
        .lines()
        .find_map(|it| it.strip_prefix("Set-Cookie: "));
    let cookie = cookie.unwrap().split(';').next().unwrap();
    assert!(answer.starts_with("HTTP/1.1 303"), "{answer}");
    assert!(answer.contains("HttpOnly; SameSite=Strict"), "{answer}");
    assert_eq!(
        it.with("/api/status", &format!("Cookie: {cookie}\r\n")).0,
        200
    );
    assert_eq!(
        it.with("/api/status", "Cookie: wp_gears_dashboard=x\r\n").0,
        401
    );
}

#[test]
fn root_serves_no_page() {
    if !lab().is_root() {
        return;
    }
    let output = std::process::Command::new(lab().dir.join("lib/wp-gears"))
        .args(["status", "--serve", "127.0.0.1:0"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("setup --dashboard"), "{text}");
}
