//! What visitors and scripts see: pages, the runner over HTTP, JSON.

use std::time::Duration;

use crate::harness::Site;
use crate::phase::phase;
use crate::support::{on_site, ready_host};

/// How long a page's call took, and where the job went.
const SEND: &str = r#"<?php
require '/var/www/site/wp-load.php';
$began = microtime(true);
$sent = wp_async_task_add('test_job', ['n' => (int) $_GET['n']]);
$took = (int) ((microtime(true) - $began) * 1000);
$cron = array_merge(...array_map('array_keys', array_values(_get_cron_array())));
echo json_encode(['sent' => (bool) $sent, 'ms' => $took, 'cron' => in_array('test_job', $cron)]);
"#;

#[test]
fn pages_work_with_and_without_a_job_server() {
    let host = ready_host("web");
    phase("setup");
    let json = on_site(&host, "setup", &["--json"]).exits(0);
    let document: serde_json::Value = serde_json::from_str(&json.stdout)
        .unwrap_or_else(|error| panic!("not one JSON document: {error}, {json}"));
    assert!(document.is_object(), "{json}");

    let site = Site::first(&host);
    let (code, body) = site.get("http://localhost/wp-gears-runner.php");
    assert_eq!(code, 403, "{body}");
    host.put("/var/www/site/send.php", SEND, 0o644).unwrap();
    let send = |n: u32| {
        let (code, body) = site.get(&format!("http://localhost/send.php?n={n}"));
        assert_eq!(code, 200, "{body}");
        serde_json::from_str::<serde_json::Value>(&body).unwrap_or_else(|_| panic!("{body}"))
    };

    phase("a page submits a job");
    let up = send(1);
    assert_eq!(
        (&up["sent"], &up["cron"]),
        (&true.into(), &false.into()),
        "{up}"
    );
    assert_eq!(site.wait_for(1, Duration::from_secs(10)), [1]);

    phase("the job server hangs");
    // A job server that accepts connections and never answers.
    host.run(&["pkill", "-STOP", "gearmand"]).ok();
    let silent = send(2);
    host.run(&["pkill", "-CONT", "gearmand"]).ok();
    println!("silent job server: {silent}");
    assert_eq!(
        (&silent["sent"], &silent["cron"]),
        (&true.into(), &true.into()),
        "{silent}"
    );
    assert!(silent["ms"].as_u64().unwrap() < 500, "{silent}");

    // WordPress loses an event that is scheduled while a run of WP-Cron takes out another.
    host.as_user("www-data", &["php", "/var/www/site/wp-cron.php"])
        .ok();
    assert_eq!(site.wait_for(2, Duration::from_secs(10)), [1, 2]);

    phase("the job server is down");
    host.run(&["systemctl", "stop", "gearman-job-server"]).ok();
    let down = send(3);
    println!("no job server: {down}");
    assert_eq!(
        (&down["sent"], &down["cron"]),
        (&true.into(), &true.into()),
        "{down}"
    );
    assert!(down["ms"].as_u64().unwrap() < 500, "{down}");
    assert_eq!(site.get("http://localhost/").0, 200);

    phase("WP-Cron runs the jobs");
    // WP-Cron runs the jobs passed to it. A run that a page started may hold its lock for a minute.
    let start = std::time::Instant::now();
    let mut done = Vec::new();
    while done.len() < 3 && start.elapsed() < Duration::from_secs(75) {
        host.as_user("www-data", &["php", "/var/www/site/wp-cron.php"])
            .ok();
        done = site.wait_for(3, Duration::from_secs(5));
    }
    done.sort();
    assert_eq!(done, [1, 2, 3]);
}
