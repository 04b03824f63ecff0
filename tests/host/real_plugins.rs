//! The published versions of the plugins, whose jobs pages submit.

use std::process::Command;
use std::time::Duration;

use crate::compatibility::seen;
use crate::harness::{Host, Site};
use crate::phase::phase;
use crate::software::{
    Software, WP_GEARS_1_0, WP_GEARS_2_0, WP_GEARS_2_1, WP_MINIONS_3, WP_MINIONS_4,
};
use crate::support::{on_site, ready_host};

const MINUTE: Duration = Duration::from_secs(60);

/// Submits a job of each priority, the most important one last.
const SEND: &str = r#"<?php
require '/var/www/site/wp-load.php';
foreach (['low', 'normal', 'high'] as $n => $priority) {
    wp_async_task_add('test_job', ['n' => $n + 1], $priority);
}
echo get_class($GLOBALS['wp_async_task']);
"#;

/// Installs a plugin, and makes it the site's only active one.
fn activate(host: &Host, software: &Software) -> Option<()> {
    let from = software.folder()?;
    let name = match software.title.contains("Minions") {
        true => "wp-minions",
        false => "wp-gears",
    };
    let to = format!("/var/www/site/wp-content/plugins/{name}");
    let packed = Command::new("tar")
        .arg("c")
        .arg("-C")
        .arg(from)
        .arg(".")
        .output();
    host.run(&["mkdir", &to]).ok();
    host.run_with(&["tar", "x", "-C", &to], &packed.unwrap().stdout, MINUTE)
        .ok();
    host.run(&["chown", "-R", "www-data:", &to]).ok();
    let code = format!(
        "require '/var/www/site/wp-load.php'; update_option('active_plugins', ['{name}/{name}.php']);"
    );
    host.as_user("www-data", &["php", "-r", &code]).ok();
    Some(())
}

#[test]
fn pages_submit_jobs_with_each_version() {
    let host = ready_host("plugins");
    host.put("/var/www/site/send.php", SEND, 0o644).unwrap();
    let site = Site::first(&host);
    for software in [
        &WP_GEARS_1_0,
        &WP_GEARS_2_0,
        &WP_GEARS_2_1,
        &WP_MINIONS_3,
        &WP_MINIONS_4,
    ] {
        phase(software.title);
        if activate(&host, software).is_none() {
            continue;
        }
        // One worker, as several would run jobs of different priorities at once.
        let setup = on_site(&host, "setup", &["--workers", "1"]).exits(0);
        assert!(setup.stdout.contains("a page submitted a job"), "{setup}");
        host.run(&["wp-gears", "doctor"]).exits(0);

        host.run(&["wp-gears", "pause"]).exits(0);
        site.forget_done();
        let (code, class) = site.get("http://localhost/send.php");
        assert_eq!(code, 200, "{class}");
        let class = class.trim();
        let client = ["Gearman_Async_Task", "WpGears\\Plugin", "WpMinions\\Plugin"];
        assert!(client.contains(&class), "{class}");
        host.run(&["wp-gears", "resume"]).exits(0);
        // A number for each priority, high first.
        assert_eq!(site.wait_for(3, Duration::from_secs(30)), [3, 2, 1]);

        let again = on_site(&host, "setup", &[]).exits(0);
        assert!(again.stdout.contains("Nothing to change."), "{again}");
        on_site(&host, "remove", &[]).exits(0);
        host.shell("rm -r /var/www/site/wp-content/plugins/wp-*")
            .ok();
        seen(
            "Plugins on pages",
            &[software.title, "ran, in the order of priorities", "healthy"],
        );
    }
}
