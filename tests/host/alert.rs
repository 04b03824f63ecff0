//! `wp-gears alert` on a host: who is told, how often, and that no URL is shown.

use serde_json::{Value, json};

use crate::harness::site::FOLDER;
use crate::harness::{Host, Site};
use crate::phase::phase;
use crate::support::{on_site, ready_host, until};

const SECRET: &str = "T0K3N";

/// Notes what it is told of, as a command, a web server and a mail program would.
const NOTE: &str = "#!/bin/sh\necho \"$1 $WP_GEARS_ALERT $WP_GEARS_ALERT_KIND $WP_GEARS_ALERT_SUBJECT\" >>/root/told\n";
const HOOK: &str = "<?php file_put_contents( '/root/hooks', $_SERVER['REQUEST_URI'] . ' ' . file_get_contents( 'php://input' ) . \"\\n\", FILE_APPEND );\n";
const MAIL: &str = "#!/bin/sh\ncat >>/root/mails\n";

/// A job that fails; and while the site is sick, no job of a page gets to the job server.
/// Pages do not run WP-Cron.
const BAD: &str = "<?php
    add_action( 'bad_job', function () { throw new RuntimeException( 'bad' ); } );
    if ( 'cli' !== PHP_SAPI && file_exists( '/srv/jobs/sick' ) ) { $GLOBALS['gearman_servers'] = array( '127.0.0.1:1' ); }
";
const CONFIG: &str =
    "<?php define( 'DISABLE_WP_CRON', true ); define( 'WP_HTTP_BLOCK_EXTERNAL', true );";

fn told(host: &Host) -> Vec<String> {
    let text = host.read("/root/told").unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn check(host: &Host) {
    let out = host.run(&["wp-gears", "alert", "check"]).exits(0);
    assert!(!out.text().contains(SECRET), "{out}");
}

/// What was told since the last time.
fn news(host: &Host) -> Vec<String> {
    let told = told(host);
    host.run(&["rm", "-f", "/root/told"]).ok();
    told
}

/// As if so many minutes had passed since the time at this place of what alerts remember.
fn let_pass(host: &Host, place: &str, minutes: u64) {
    let file = "/var/lib/wp-gears/state/alerts.json";
    let mut memory: Value = serde_json::from_str(&host.read(file).unwrap()).unwrap();
    let at = memory.pointer_mut(place).unwrap();
    *at = json!(at.as_u64().unwrap() - minutes * 60_000);
    host.put(file, memory.to_string(), 0o600).unwrap();
}

fn add_job(host: &Host, hook: &str) {
    let code = r#"define("WP_GEARS_TIMEOUT", 5000); require "$argv[1]/wp-load.php";
        exit(wp_async_task_add($argv[2], []) ? 0 : 9);"#;
    let site = Site::first(host);
    host.as_user(site.user, &["php", "-r", code, "--", site.folder, hook])
        .exits(0);
}

fn site(host: &Host) -> Value {
    let out = host.run(&["wp-gears", "status", "--json"]).exits(0);
    let document: Value = serde_json::from_str(&out.stdout).unwrap();
    document["sites"][0].clone()
}

/// Lets a worker look at the site's events, as it does once a minute while jobs run.
fn look(host: &Host) {
    let before = site(host)["events"].clone();
    add_job(host, "wp_gears_look");
    until(20, "a look", || site(host)["events"] != before);
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
    let config = format!("{FOLDER}/wp-config.php");
    host.run(&["sed", "-i", &format!("1s/.*/{CONFIG}/"), &config])
        .ok();
    let plugin = format!("{FOLDER}/wp-content/mu-plugins/bad.php");
    host.put(&plugin, BAD, 0o644).unwrap();
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
        "webhook-file = \"/etc/wp-gears.webhook\"\nmail = \"ops@example.com\"\nevents = 0\n",
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

    phase("a job fails");
    host.run(&["systemctl", "stop", "wp-gears-alert.timer"])
        .ok();
    settings(&host, 0, "events = 0\n");
    check(&host);
    news(&host);
    add_job(&host, "bad_job");
    until(20, "the failed job", || site(&host)["failed"] == 1);
    check(&host);
    check(&host);
    assert_eq!(news(&host), ["told begin failed site"]);
    let_pass(&host, "/failed/site/at", 11);
    check(&host);
    check(&host);
    assert_eq!(news(&host), ["told end failed site"]);

    phase("no worker runs");
    host.run(&["supervisorctl", "stop", "all"]).ok();
    check(&host);
    assert_eq!(news(&host), [""; 0]);
    check(&host);
    check(&host);
    assert_eq!(news(&host), ["told begin workers site"]);
    host.run(&["supervisorctl", "start", "all"]).ok();
    until(20, "a worker", || site(&host)["workers"] != 0);
    check(&host);
    check(&host);
    assert_eq!(news(&host), ["told end workers site"]);

    phase("events are overdue");
    settings(&host, 0, "");
    let code = r#"require "$argv[1]/wp-load.php"; wp_schedule_single_event(time() - 5000, "old");"#;
    host.as_user(Site::first(&host).user, &["php", "-r", code, "--", FOLDER])
        .ok();
    look(&host);
    look(&host);
    check(&host);
    check(&host);
    assert_eq!(news(&host), ["told begin events site"]);
    let cron = format!("{FOLDER}/wp-cron.php");
    host.as_user(Site::first(&host).user, &["php", &cron]).ok();
    look(&host);
    check(&host);
    check(&host);
    assert_eq!(news(&host), ["told end events site"]);

    phase("doctor's job fails");
    settings(&host, 60, "events = 0\n");
    host.put("/srv/jobs/sick", "", 0o644).unwrap();
    check(&host);
    check(&host);
    let begun = news(&host);
    assert_eq!(
        begun
            .iter()
            .filter(|it| it.starts_with("told begin doctor job of "))
            .count(),
        1,
        "{begun:?}"
    );
    host.run(&["rm", "/srv/jobs/sick"]).ok();
    let_pass(&host, "/doctor/0", 61);
    check(&host);
    check(&host);
    let ended = news(&host);
    let begun: Vec<String> = begun.iter().map(|it| it.replace("begin", "end")).collect();
    assert_eq!(ended, begun);

    phase("a job server is away");
    host.run(&["systemctl", "stop", "gearman-job-server"]).ok();
    check(&host);
    check(&host);
    check(&host);
    assert_eq!(news(&host), ["told begin server 127.0.0.1:4730"]);
    host.run(&["systemctl", "start", "gearman-job-server"]).ok();
    check(&host);
    check(&host);
    assert_eq!(news(&host), ["told end server 127.0.0.1:4730"]);
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
