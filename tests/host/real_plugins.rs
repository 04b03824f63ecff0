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

#[test]
fn jobs_of_wp_gears_without_a_salt_are_not_left_behind() {
    let host = ready_host("moving");
    let site = Site::first(&host);
    // This queue survives a restart, so that only the salt can lose jobs.
    let params = "PARAMS=\"--listen=127.0.0.1 --daemon -q libsqlite3 --libsqlite3-db=/var/lib/gearman/queue.sqlite\"\n";
    host.put("/etc/default/gearman-job-server", params, 0o644)
        .unwrap();
    host.run(&["systemctl", "restart", "gearman-job-server"])
        .ok();
    host.put("/var/www/site/send.php", SEND, 0o644).unwrap();

    let config = "/var/www/site/wp-config.php";
    let define = |line: &str| {
        let text = host.read(config).unwrap();
        let text = text.replacen("<?php", &format!("<?php\n{line}"), 1);
        host.put(config, text, 0o640).unwrap();
        host.run(&["chown", "www-data:", config]).ok();
    };
    define("$gearman_servers = array( '127.0.0.1:4730' );");

    phase("WP Gears 2.1.0 submits jobs, without a switch or a salt");
    if activate(&host, &WP_GEARS_2_1).is_none() {
        return;
    }
    assert_eq!(site.get("http://localhost/send.php").0, 200);

    phase("WP Minions 4.1.0 takes its place");
    host.run(&["rm", "-r", "/var/www/site/wp-content/plugins/wp-gears"])
        .ok();
    if activate(&host, &WP_MINIONS_4).is_none() {
        return;
    }
    let refused = on_site(&host, "setup", &[]).exits(1);
    assert!(refused.text().contains("3 jobs are queued on"), "{refused}");

    phase("the advice is followed");
    define("define( 'WP_MINIONS_BACKEND', 'gearman' );");
    let runner = "/var/www/site/wp-minions-runner.php";
    let link = "wp-content/plugins/wp-minions/wp-minions-runner.php";
    host.run(&["ln", "-s", link, runner]).ok();
    for _ in 0..3 {
        host.as_user("www-data", &["php", runner]).ok();
    }
    assert_eq!(site.wait_for(3, MINUTE), [3, 2, 1]);
    on_site(&host, "setup", &[]).exits(0);
}
