//! Rules for hooks on a host: from the file to the workers, without a restart.

use std::time::Duration;

use serde_json::Value;

use crate::harness::{Host, Site};
use crate::phase::phase;
use crate::support::{on_site, ready_host};

const FILE: &str = "/etc/wp-gears.toml";
const RULE: &str = "\n# the shop's API allows no more\n[[site.hook]]\nmatch = \"test_*\"\n";

fn waiting(host: &Host) -> u64 {
    let status = host.run(&["wp-gears", "status", "--json"]).ok();
    let status: Value = serde_json::from_str(&status).unwrap();
    let hooks = status["sites"][0]["waiting_for_limit"].as_array();
    let of_hook = |it: &Value| {
        assert_eq!(it["hook"], "test_job");
        it["jobs"].as_u64().unwrap()
    };
    hooks.into_iter().flatten().map(of_hook).sum()
}

fn crew(host: &Host) -> String {
    let process = "wp-gears-site";
    host.run(&["supervisorctl", "status", &format!("{process}:*")])
        .stdout
}

#[test]
fn rules_in_the_file_reach_running_workers() {
    let host = ready_host("rules");
    let site = Site::first(&host);
    on_site(&host, "setup", &["--workers", "3"]).exits(0);
    let text = host.read(FILE).unwrap();
    let put = |rule: &str| {
        host.put(FILE, format!("{text}{RULE}{rule}"), 0o644)
            .unwrap()
    };

    phase("a wrong rule changes nothing");
    put("concurency = 1\n");
    let refused = on_site(&host, "setup", &[]).exits(2);
    let line = format!("line {}, column 1", text.lines().count() + 5);
    assert!(refused.stderr.contains(&line), "{}", refused.stderr);
    assert!(refused.stderr.contains("did you mean 'concurrency'?"));

    phase("the plan shows a rule, and setup hands it over");
    put("concurrency = 1\n");
    let plan = on_site(&host, "plan", &[]).ok();
    assert!(plan.contains("concurrency = 1"), "{plan}");
    let before = crew(&host);
    on_site(&host, "setup", &[]).exits(0);
    assert_eq!(pid(&crew(&host)), pid(&before), "no restart");
    assert!(host.read(FILE).unwrap().contains("# the shop's API"));
    let printed = host.run(&["wp-gears", "setup", "--print-config"]).ok();
    assert!(
        printed.contains("[[site.hook]]\nmatch = \"test_*\""),
        "{printed}"
    );

    phase("jobs wait, and run one after the other");
    site.forget_done();
    site.send(1, 6, 1.0).ok();
    let mut most = 0;
    while site.done().len() < 6 {
        most = most.max(waiting(&host));
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!((3..=5).contains(&most), "{most} waited");
    // The oldest first, as far as three workers take them in order.
    let done = site.done();
    let ordered = |(at, n): (usize, &u32)| n.abs_diff(at as u32 + 1) <= 2;
    assert!(done.iter().enumerate().all(ordered), "{done:?}");

    phase("remove lets those that wait run first");
    site.forget_done();
    site.send(1, 4, 1.0).ok();
    while waiting(&host) < 2 {
        std::thread::sleep(Duration::from_millis(50));
    }
    on_site(&host, "remove", &[]).exits(0);
    let mut done = site.done();
    done.sort();
    assert_eq!(done, [1, 2, 3, 4]);
}

/// The process in supervisor's line.
fn pid(line: &str) -> Option<&str> {
    line.split("pid ").nth(1)?.split(',').next()
}
