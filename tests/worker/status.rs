//! `wp-gears status` against a real job server, run by root and by nobody.

use std::process::{Command, Output};

use serde_json::{Value, json};

use super::common::judge::is_valid;
use super::common::terminal::Terminal;
use super::lab::{Site, lab, signal, wait_for};
use super::prometheus::samples;

fn status(site: &Site, user: Option<&str>, more: &[&str]) -> Command {
    let program = lab().dir.join("lib/wp-gears");
    let mut command = match user {
        Some(user) => {
            let mut command = Command::new("setpriv");
            command.args([
                "--reuid",
                user,
                "--regid",
                "nogroup",
                "--clear-groups",
                "--",
            ]);
            command.arg(program);
            command
        }
        None => Command::new(program),
    };
    command
        .arg("status")
        .arg("--state")
        .arg(lab().dir.join("state"))
        .args(["--site", &site.name])
        .args(more);
    if !more.contains(&"--servers") {
        command
            .arg("--servers")
            .arg(site.gearmand.server.to_string());
    }
    command
}

fn out(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let shown = format!("{output:?}");
    assert!(!shown.contains("salt-of-"), "a salt is shown: {shown}");
    output
}

fn document(output: &Output) -> Value {
    let document = serde_json::from_slice(&output.stdout).unwrap();
    is_valid("status", &document);
    document
}

#[test]
fn counts_are_those_of_the_job_server_and_of_the_workers() {
    let site = Site::new("status");
    let worker = site.worker(&["--workers", "2"]);
    site.add("t_throw", json!([]));
    for n in 0..3 {
        site.add("t_line", json!([n.to_string()]));
    }
    site.wait_for_out(60, 3);
    wait_for(20, "the failed job", || site.kept().len() == 1);
    for n in 0..5 {
        site.add("t_sleep", json!([n.to_string(), 4000]));
    }
    wait_for(20, "two running jobs", || site.lines("begun").len() == 2);
    let latest = || {
        let document = document(&out(&mut status(&site, None, &["--json"])));
        document["sites"][0]["latest_failed"].clone()
    };
    wait_for(10, "the failed job's error", || latest() != json!([]));
    let failed = &latest()[0];
    assert_eq!(failed["hook"], "t_throw");
    assert!(failed["error"].as_str().unwrap().len() > 3, "{failed}");

    let output = out(&mut status(&site, None, &["--json"]));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let root = document(&output);
    let queue = &root["queues"][0];
    assert_eq!(
        (&queue["waiting"], &queue["running"], &queue["workers"]),
        (&json!(3), &json!(2), &json!(2)),
        "{root:#}"
    );
    assert_eq!(queue["site"], json!(site.name));
    assert_eq!(queue["function"], "••••:WP_Async_Task");
    let kept = &root["sites"][0];
    assert_eq!(
        (
            &kept["done"],
            &kept["failed"],
            &kept["busy"],
            &kept["workers"]
        ),
        (&json!(4), &json!(1), &json!(2), &json!(2)),
        "{root:#}"
    );
    assert!(kept["oldest_ms"].as_u64().unwrap() < 4000);

    let samples = samples(
        &String::from_utf8(out(&mut status(&site, None, &["--prometheus"])).stdout).unwrap(),
    );
    let (server, name) = (&site.gearmand.server, &site.name);
    let of_queue = format!("{{function=••••:WP_Async_Task,server={server},site={name}}}");
    for wanted in [
        format!("wp_gears_up{{server={server}}} 1"),
        format!("wp_gears_jobs_waiting{of_queue} 3"),
        format!("wp_gears_jobs_running{of_queue} 2"),
        format!("wp_gears_workers{of_queue} 2"),
        format!("wp_gears_jobs_done_total{{site={name}}} 4"),
        format!("wp_gears_jobs_failed{{site={name}}} 1"),
        format!("wp_gears_paused{{site={name}}} 0"),
    ] {
        assert!(samples.contains(&wanted), "no {wanted} in {samples:#?}");
    }
    if lab().is_root() {
        // The user nobody also sees the queue, and its site from its workers, but not their
        // counts.
        let nobody = document(&out(&mut status(&site, Some("nobody"), &["--json"])));
        assert_eq!(nobody["queues"], root["queues"], "{nobody}");
        assert_eq!(nobody["sites"][0]["done"], Value::Null);
        let why = nobody["sites"][0]["why_null"].as_str().unwrap();
        assert!(why.contains("root"), "{why}");
    }
    // Jobs of workers that exited still count.
    site.wait_for_out(60, 8);
    worker.stop();
    let after = document(&out(&mut status(&site, None, &["--json"])));
    assert_eq!(after["sites"][0]["done"], 0);
    assert_eq!(after["sites"][0]["done_ever"], 9, "{after:#}");
}

#[test]
fn a_job_server_that_is_away_is_named_and_fails() {
    let mut site = Site::new("status-away");
    let _worker = site.worker(&[]);
    site.add("t_line", json!(["1"]));
    site.wait_for_out(60, 1);
    let here = site.gearmand.server.to_string();
    let both = format!("{here},127.0.0.1:9");
    let output = out(&mut status(&site, None, &["--servers", &both, "--json"]));
    assert_eq!(output.status.code(), Some(1));
    let said = document(&output);
    assert_eq!(
        (&said["ok"], &said["servers"][0]["up"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(said["servers"][1]["server"], "127.0.0.1:9");
    let why = said["servers"][1]["error"].as_str().unwrap();
    assert!(why.contains("refused"), "{why}");
    site.gearmand.kill();
    let output = out(&mut status(&site, None, &["--prometheus"]));
    assert_eq!(output.status.code(), Some(1));
    let samples = samples(&String::from_utf8(output.stdout).unwrap());
    assert!(samples.contains(&format!("wp_gears_up{{server={here}}} 0")));
    let text = out(&mut status(&site, None, &[]));
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains(&format!("{here}  not available: ")), "{text}");
}

#[test]
fn watching_draws_in_place_and_gives_the_terminal_back() {
    let site = Site::new("status-watch");
    let _worker = site.worker(&[]);
    site.add("t_line", json!(["1"]));
    site.wait_for_out(60, 1);
    // Queues of another program, one of them the longest.
    for (name, jobs) in [("aaa", 1), ("zzz", 30)] {
        for _ in 0..jobs {
            site.gearmand.submit(name, b"");
        }
    }
    let watch = |columns, lines| {
        let words = ["--watch", "0.2"];
        let program = lab().dir.join("lib/wp-gears");
        let mut command = Command::new(program);
        command
            .args(["status", "--state"])
            .arg(lab().dir.join("state"))
            .args(words)
            .args(["--servers", &site.gearmand.server.to_string()]);
        Terminal::run(command, columns, lines)
    };
    let order = |screen: &str| {
        let at = |name: &str| screen.find(name).unwrap_or(usize::MAX);
        at("aaa") < at("zzz")
    };

    let mut terminal = watch(90, 24);
    let screen = terminal.wait_for("zzz");
    println!("{screen}");
    for word in [
        "SITE", "FUNCTION", "WAITING", "RUNNING", "WORKERS", "JOBS/S", "gearmand", "q quit",
    ] {
        assert!(screen.contains(word), "no {word} in\n{screen}");
    }
    assert!(order(&screen), "{screen}");
    terminal.keys("w");
    terminal.wait_until("the longest queue first", |screen| {
        screen.contains("by waiting") && !order(screen)
    });
    // It is redrawn in place: new numbers, still one table.
    site.gearmand.submit("zzz", b"");
    let screen = terminal.wait_until("31 jobs", |screen| screen.contains(" 31 "));
    assert_eq!(screen.matches("SITE").count(), 1, "{screen}");
    assert!(screen.contains('█'), "{screen}");
    terminal.pty.resize(40, 20);
    let screen = terminal.wait_until("a narrow table", |screen| {
        screen.contains("q quit   sort: n w r k j")
    });
    println!("{screen}");
    for line in screen.lines() {
        assert!(line.chars().count() <= 40, "{line}");
    }
    assert!(
        screen.contains("31") && screen.lines().count() <= 20,
        "{screen}"
    );
    terminal.keys("q");
    assert_eq!(terminal.ends().code(), Some(0));

    for name in ["INT", "TERM", "HUP"] {
        let terminal = watch(40, 20);
        terminal.wait_for("q quit");
        signal(terminal.pid(), name);
        assert_eq!(terminal.ends().code(), Some(0), "{name}");
    }
    // Ctrl-C as a key, in a terminal that is too small.
    let mut terminal = watch(10, 3);
    terminal.wait_for("q quit");
    terminal.keys("\x03");
    assert_eq!(terminal.ends().code(), Some(0));
}

#[test]
fn without_a_terminal_each_look_is_a_plain_block() {
    let site = Site::new("status-plain");
    let server = site.gearmand.server.to_string();
    let program = lab().dir.join("lib/wp-gears");
    let mut command = Command::new(program);
    command.args(["status", "--watch", "0.2", "--servers", &server]);
    command.env("TERM", "dumb");
    let terminal = Terminal::run(command, 80, 24);
    let screen = terminal.wait_until("two blocks", |screen| {
        screen.matches("gearmand 1").count() >= 2
    });
    assert!(screen.contains("no queues"), "{screen}");
    signal(terminal.pid(), "INT");
    // By the signal itself: there is nothing to restore.
    assert_eq!(terminal.ends().code(), None);
}
