//! `setup --dashboard` on a host whose workers run already, and its way back.

use serde_json::Value;

use crate::harness::{Host, Site};
use crate::phase::phase;
use crate::support::{daemons, everything, jobs_run, none, on_site, ready_host, until};

const RUN: &str = "/var/lib/wp-gears/run/site";
const MUST_USE: &str = "/var/www/site/wp-content/mu-plugins";
const PROGRAM: &str = "/etc/supervisor/conf.d/wp-gears.dashboard.conf";

/// The body, if the status is this one.
#[track_caller]
pub fn get(host: &Host, path: &str, more: &[&str]) -> String {
    let url = format!("http://127.0.0.1:8730{path}");
    host.run(&[&["curl", "-sS", "-m", "20", &url], more].concat())
        .ok()
}

pub fn status(host: &Host) -> Value {
    serde_json::from_str(&get(host, "/api/status", &[])).unwrap()
}

fn owners(host: &Host, paths: &str) -> String {
    host.shell(&format!("cd {RUN} && stat -c '%U:%G %a' {paths}"))
        .ok()
}

/// On a host whose workers run.
pub fn comes_and_goes(host: &Host) {
    let on = ["wp-gears", "setup", "--dashboard", "--yes"];
    host.run(&on).exits(0);
    let again = host.run(&on).exits(0);
    assert!(again.stdout.contains("Nothing to change."), "{again}");
    host.run(&["wp-gears", "doctor"]).exits(0);
    assert_eq!(get(host, "/healthz", &[]), "ok\n");
    let seen = status(host);
    assert!(
        seen["sites"][0]["workers"].as_u64().unwrap() > 0,
        "{seen:#}"
    );
    assert!(
        seen["sites"][0]["done_ever"].as_u64().unwrap() > 0,
        "{seen:#}"
    );
    assert!(get(host, "/metrics", &[]).contains("wp_gears_up"));
    let page = host.processes_of("status --serve");
    assert_eq!(page.len(), 1, "{page:?}");
    let user = ["stat", "-c", "%U", &format!("/proc/{}", page[0].pid)];
    assert_eq!(host.run(&user).ok(), "wp-gears\n");
    host.run(&["wp-gears", "setup", "--dashboard=false", "--yes"])
        .exits(0);
    assert!(host.processes_of("status --serve").is_empty());
}

#[test]
fn a_dashboard_comes_and_goes_and_sees_no_secret() {
    let host = ready_host("dashboard");
    let site = Site::first(&host);
    let throws =
        "<?php add_action('test_throw', function () { throw new Exception('<script>'); });";
    host.put(&format!("{MUST_USE}/throws.php"), throws, 0o644)
        .unwrap();
    let before = everything(&host);
    phase("setup, and then with a dashboard");
    on_site(&host, "setup", &[]).exits(0);
    jobs_run(&site, 3);
    let workers = daemons(&host);
    let setup = host
        .run(&["wp-gears", "setup", "--dashboard", "--yes"])
        .exits(0);
    assert!(setup.stdout.contains("user wp-gears"), "{setup}");
    let after = daemons(&host);
    assert!(workers.iter().all(|it| after.contains(it)), "{setup}");
    let file = host.read("/etc/wp-gears.toml").unwrap();
    assert!(file.contains("dashboard = \"127.0.0.1:8730\""), "{file}");
    host.run(&["wp-gears", "plan", "--check"]).exits(0);
    host.run(&["wp-gears", "doctor"]).exits(0);
    let page = host.processes_of("status --serve");
    assert_eq!(page.len(), 1, "{page:?}");
    let uid = host.shell("id -u wp-gears").ok();
    let status_of = format!("/proc/{}/status", page[0].pid);
    let text = host.run(&["grep", "Uid", &status_of]).ok();
    assert!(text.contains(uid.trim()), "{text}");

    phase("what it shows");
    assert_eq!(get(&host, "/healthz", &[]), "ok\n");
    jobs_run(&site, 3);
    let seen = status(&host);
    let of_site = &seen["sites"][0];
    assert_eq!(of_site["site"], "site", "{seen:#}");
    assert!(of_site["workers"].as_u64().unwrap() > 0, "{seen:#}");
    assert!(of_site["done_ever"].as_u64().unwrap() >= 6, "{seen:#}");
    assert!(get(&host, "/", &[]).contains("<h1>wp-gears"));
    assert!(get(&host, "/metrics", &[]).contains("wp_gears_up"));
    let rebound = get(
        &host,
        "/",
        &[
            "-H",
            "Host: evil.test",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
        ],
    );
    assert_eq!(rebound, "421");
    let code = "require '/var/www/site/wp-load.php'; wp_async_task_add('test_throw', ['secret' => 'geheim']);";
    host.as_user("www-data", &["php", "-r", code]).ok();
    until(20, "the failed job", || {
        status(&host)["sites"][0]["latest_failed"][0]["error"].is_string()
    });
    let page = get(&host, "/", &[]);
    assert!(
        page.contains("u003cscript") && !page.contains("geheim"),
        "{page}"
    );

    phase("what it may read");
    assert_eq!(owners(&host, "."), "www-data:wp-gears 2750\n");
    let readable = "runuser -u wp-gears -- find . -type f -readable 2>&1 | sort";
    let readable = host.shell(&format!("cd {RUN} && {readable}")).ok();
    for line in readable.lines() {
        let known = [
            "./worker-",
            "./crew-",
            "./jobs.json",
            "./events.json",
            "./retired",
            "./unconfirmed",
            "./figures",
            "./log",
        ];
        assert!(known.iter().any(|it| line.starts_with(it)), "{readable}");
    }
    let closed =
        "runuser -u wp-gears -- ls /var/lib/wp-gears/failed/site /var/lib/wp-gears/cache/site";
    host.shell(closed).exits(2);

    phase("with a token, at all addresses");
    host.shell("umask 077; echo 0123456789abcdef0123 >/root/token")
        .ok();
    let words = ["setup", "--yes", "--dashboard=0.0.0.0:8730"];
    let refused = host.run(&[&["wp-gears"][..], &words].concat()).exits(2);
    assert!(
        refused.stderr.contains("--dashboard-token-file"),
        "{refused}"
    );
    let token = ["--dashboard-token-file", "/root/token"];
    host.run(&[&["wp-gears"][..], &words, &token].concat())
        .exits(0);
    let code = ["-o", "/dev/null", "-w", "%{http_code}"];
    assert_eq!(get(&host, "/api/status", &code), "401");
    let bearer = ["-H", "Authorization: Bearer 0123456789abcdef0123"];
    assert_eq!(
        get(&host, "/api/status", &[&bearer[..], &code].concat()),
        "200"
    );
    let shown = host
        .shell("stat -c '%U:%G %a' /etc/wp-gears/dashboard.token")
        .ok();
    assert_eq!(shown, "root:wp-gears 640\n");

    phase("without one again");
    host.run(&["wp-gears", "setup", "--dashboard=false", "--yes"])
        .exits(0);
    assert!(host.processes_of("status --serve").is_empty());
    assert!(!host.exists(PROGRAM) && !host.exists("/etc/wp-gears/dashboard.token"));
    assert_eq!(owners(&host, "."), "www-data:www-data 700\n");
    host.run(&["wp-gears", "plan", "--check"]).exits(0);

    phase("remove");
    host.run(&["wp-gears", "setup", "--dashboard=8730", "--yes"])
        .exits(0);
    host.run(&["wp-gears", "failed", "forget", "--all"])
        .exits(0);
    host.run(&["rm", "/root/token"]).ok();
    let removed = host.run(&["wp-gears", "remove", "--yes"]).exits(0);
    host.run(&["getent", "passwd", "wp-gears"]).exits(2);
    host.run(&["getent", "group", "wp-gears"]).exits(2);
    assert!(host.processes_of("status --serve").is_empty());
    let left = before.changes_to(&everything(&host)).into_iter();
    // Their backups, too.
    let theirs = ["passwd", "group", "shadow", "gshadow"];
    let left = left.filter(|line| {
        let is_theirs = |name: &&str| line[1..].trim().starts_with(&format!("/etc/{name}"));
        !theirs.iter().any(is_theirs)
    });
    none(left.collect(), &format!("left by remove, {removed}"));
}
