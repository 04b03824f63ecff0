//! `wp-gears alert` on a host: who is told, how often, and that no URL is shown.

use crate::harness::{Host, Site};
use crate::phase::phase;
use crate::support::{on_site, ready_host, until};

const SECRET: &str = "T0K3N";

/// Notes what it is told of, as a command, a web server and a mail program would.
const NOTE: &str = "#!/bin/sh\necho \"$1 $WP_GEARS_ALERT $WP_GEARS_ALERT_KIND $WP_GEARS_ALERT_SUBJECT\" >>/root/told\n";
const HOOK: &str = "<?php file_put_contents( '/root/hooks', $_SERVER['REQUEST_URI'] . ' ' . file_get_contents( 'php://input' ) . \"\\n\", FILE_APPEND );\n";
const MAIL: &str = "#!/bin/sh\ncat >>/root/mails\n";

fn told(host: &Host) -> Vec<String> {
    let text = host.read("/root/told").unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn check(host: &Host) {
    let out = host.run(&["wp-gears", "alert", "check"]).exits(0);
    assert!(!out.text().contains(SECRET), "{out}");
}

fn settings(host: &Host, doctor: u32, more: &str) {
    let file = "/etc/wp-gears.toml";
    let text = host.read(file).unwrap();
    let own = text.split("\n[alert]").next().unwrap();
    let alert = format!(
        "\n[alert]\nwaiting = 2\ndoctor = {doctor}\ncommand = [\"/root/note\", \"told\"]\n{more}"
    );
    host.put(file, format!("{own}{alert}"), 0o644).unwrap();
}

#[test]
fn somebody_is_told_once_of_each_beginning_and_end() {
    let host = ready_host("alert");
    phase("setup");
    on_site(&host, "setup", &[]).exits(0);
    host.run(&["wp-gears", "alert", "check"]).exits(2);
    for (path, text) in [
        ("/root/note", NOTE),
        ("/usr/sbin/sendmail", MAIL),
        ("/root/hook.php", HOOK),
    ] {
        host.put(path, text, 0o755).unwrap();
    }
    let url = format!("http://127.0.0.1:9999/{SECRET}\n");
    host.put("/etc/wp-gears.webhook", &url, 0o644).unwrap();
    settings(
        &host,
        0,
        "webhook-file = \"/etc/wp-gears.webhook\"\nmail = \"ops@example.com\"\n",
    );
    let out = host.run(&["wp-gears", "setup", "--yes"]).exits(0);
    assert!(out.text().contains("wp-gears-alert.timer"), "{out}");
    let out = host.run(&["wp-gears", "plan", "--check"]).exits(0);
    assert!(!out.text().contains(SECRET), "{out}");
    host.run(&["systemctl", "is-enabled", "wp-gears-alert.timer"])
        .exits(0);
    host.run(&["systemctl", "is-active", "wp-gears-alert.timer"])
        .exits(0);

    phase("test");
    let out = host.run(&["wp-gears", "alert", "test"]).exits(1);
    assert!(out.stderr.contains("chmod 600"), "{out}");
    host.put("/etc/wp-gears.webhook", &url, 0o600).unwrap();
    // Nobody listens yet.
    let out = host.run(&["wp-gears", "alert", "test"]).exits(1);
    assert!(!out.text().contains(SECRET), "{out}");
    host.run(&[
        "systemd-run",
        "--unit=hook",
        "php",
        "-S",
        "127.0.0.1:9999",
        "/root/hook.php",
    ])
    .ok();
    until(10, "the web server", || {
        host.run(&["curl", "-s", "http://127.0.0.1:9999/up"]).code == 0
    });
    host.run(&["rm", "/root/hooks", "/root/told", "/root/mails"])
        .ok();
    let out = host.run(&["wp-gears", "alert", "test"]).exits(0);
    assert!(!out.text().contains(SECRET), "{out}");
    let hooks = host.read("/root/hooks").unwrap();
    let line = hooks.lines().next_back().unwrap();
    let body = line.strip_prefix(&format!("/{SECRET} ")).unwrap();
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["alert"], "test");
    assert!(
        body["text"].as_str().unwrap().contains("test alert"),
        "{body}"
    );
    let mails = host.read("/root/mails").unwrap();
    assert!(mails.contains("To: ops@example.com\n"), "{mails}");
    assert!(
        told(&host)[0].starts_with("told test test "),
        "{:?}",
        told(&host)
    );

    phase("jobs wait");
    host.run(&["rm", "/root/told"]).ok();
    check(&host);
    assert_eq!(told(&host), [""; 0]);
    host.run(&["wp-gears", "pause", "--wait"]).exits(0);
    Site::first(&host).send(1, 1, 0.0).ok();
    // The timer sees it.
    until(90, "the alert", || !told(&host).is_empty());
    check(&host);
    assert_eq!(told(&host), ["told begin waiting site"]);
    host.run(&["wp-gears", "resume"]).exits(0);
    until(60, "its end", || {
        check(&host);
        told(&host).len() > 1
    });
    assert_eq!(told(&host)[1], "told end waiting site");

    phase("a job server is away, and doctor fails");
    settings(&host, 60, "");
    host.run(&["rm", "/root/told"]).ok();
    host.run(&[
        "systemctl",
        "stop",
        "wp-gears-alert.timer",
        "gearman-job-server",
    ])
    .ok();
    check(&host);
    check(&host);
    check(&host);
    let seen = told(&host);
    let count = |line: &str| seen.iter().filter(|it| *it == line).count();
    assert_eq!(count("told begin server 127.0.0.1:4730"), 1, "{seen:?}");
    assert!(
        seen.iter().any(|it| it.starts_with("told begin doctor ")),
        "{seen:?}"
    );
    host.run(&["systemctl", "start", "gearman-job-server"]).ok();
    check(&host);
    check(&host);
    let seen = told(&host);
    let ends = |line: &str| seen.iter().filter(|it| *it == line).count();
    assert_eq!(ends("told end server 127.0.0.1:4730"), 1, "{seen:?}");
    let journal = host.run(&["journalctl", "--no-pager"]);
    assert!(!journal.text().contains(SECRET), "the journal has the URL");

    phase("remove");
    host.run(&["wp-gears", "remove", "--yes"]).exits(0);
    for path in [
        "/etc/systemd/system/wp-gears-alert.timer",
        "/etc/systemd/system/wp-gears-alert.service",
        "/var/lib/wp-gears/state/alerts.json",
    ] {
        assert!(!host.exists(path), "{path}");
    }
    let out = host.run(&["systemctl", "is-active", "wp-gears-alert.timer"]);
    assert_ne!(out.code, 0, "{out}");
}
