//! `wp-gears status` by a user with no rights, on a host that setup made.

use std::time::Duration;

use crate::common::judge::is_valid;
use crate::common::terminal::Terminal;
use crate::harness::{Host, Site};
use crate::phase::phase;
use crate::support::{jobs_run, on_site, ready_host};

const ONE_SERVER: &str = "127.0.0.1:4730  gearmand";

#[test]
fn who_has_no_rights_sees_the_queues_and_root_sees_all() {
    let host = ready_host("status");
    phase("setup");
    on_site(&host, "setup", &[]).exits(0);
    let site = Site::first(&host);
    jobs_run(&site, 5);
    host.run(&["wp-gears", "pause", "--wait"]).exits(0);
    site.send(1, 3, 0.0).ok();

    phase("status --json");
    for (user, done) in [("nobody", false), ("root", true)] {
        let out = host
            .as_user(user, &["wp-gears", "status", "--json"])
            .exits(0);
        let document: serde_json::Value = serde_json::from_str(&out.stdout).unwrap();
        is_valid("status", &document);
        assert_eq!(document["servers"][0]["server"], "127.0.0.1:4730", "{out}");
        let site = &document["sites"][0];
        assert_eq!(
            (&site["site"], &site["dir"]),
            (&"site".into(), &"/var/www/site".into())
        );
        assert_eq!(site["paused"], true);
        assert_eq!(site["done_ever"].is_u64(), done, "{user}: {out}");
        let waiting = |queue: &&serde_json::Value| queue["waiting"] == 3;
        assert!(
            document["queues"]
                .as_array()
                .unwrap()
                .iter()
                .any(|queue| waiting(&queue)),
            "{out}"
        );
    }
    host.run(&["wp-gears", "resume"]).exits(0);
    site.wait_for(8, Duration::from_secs(20));

    phase("status --watch");
    let screen = watched(&host, 80, 24);
    println!("{screen}");
    assert!(
        screen.contains("FUNCTION") && screen.contains("••••:WP_Async_Task"),
        "{screen}"
    );
    let screen = watched(&host, 40, 20);
    println!("{screen}");
    assert!(
        screen.lines().all(|line| line.chars().count() <= 40),
        "{screen}"
    );

    phase("the job server is down");
    host.run(&["systemctl", "stop", "gearman-job-server"]).ok();
    let out = host.as_user("nobody", &["wp-gears", "status"]).exits(1);
    assert!(
        out.stdout.contains("127.0.0.1:4730  not available: "),
        "{out}"
    );
}

/// The screen of nobody's terminal, which then gets a q.
fn watched(host: &Host, columns: u16, lines: u16) -> String {
    let user = [
        "setpriv",
        "--reuid=nobody",
        "--regid=nogroup",
        "--clear-groups",
    ];
    let words = ["wp-gears", "status", "--watch", "0.3"];
    let command = host.command(&[&user[..], &words].concat());
    let mut terminal = Terminal::run(command, columns, lines);
    let screen = terminal.wait_until("the site", |screen| {
        screen.contains(ONE_SERVER) && screen.contains("site ") && screen.contains("q quit")
    });
    terminal.keys("q");
    assert_eq!(terminal.ends().code(), Some(0));
    screen
}
