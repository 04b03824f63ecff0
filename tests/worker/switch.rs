//! A worker whose site is not switched on yet: setup starts it before it edits
//! wp-config.php.

use std::fs;
use std::time::Instant;

use serde_json::json;

use super::lab::{Plan, Site, lab, processor_ms, signal, sleep, wait_for};

#[test]
fn a_worker_waits_for_the_switch_and_serves_at_once_after_it() {
    let site = Site::new("unswitched");
    // The first load of a new site writes options, which would restart PHP.
    site.php("");
    let config = fs::read_to_string(site.dir.join("wp-config.php")).unwrap();
    let off = config.replace("define( 'WP_GEARS', true );", "");
    site.write("wp-config.php", &off);
    let marker = lab().dir.join("state/run/unswitched.unswitched");
    mark(&site, &marker);

    let worker = site.worker(&[]);
    site.wait_for_log(10, "waiting until setup has switched the site on");
    let before = processor_ms(worker.pid());
    sleep(1500);
    let used = processor_ms(worker.pid()) - before;
    assert!(
        used <= 20,
        "it used {used} ms of processor time: {}",
        site.log()
    );
    assert_eq!(worker.php(), None, "{}", site.log());
    assert_eq!(site.log().lines().count(), 2, "{}", site.log());

    site.write("wp-config.php", &config);
    signal(worker.pid(), "USR1");
    let start = Instant::now();
    site.wait_for_log(10, "serves WP_Async_Task");
    let took = start.elapsed().as_millis();
    assert!(!site.log().contains("cannot run jobs"), "{}", site.log());
    site.add("t_line", json!(["on"]));
    site.wait_for_out(10, 1);
    println!("served {took} ms after the switch");

    // Taken back: it waits again, and gives no job to PHP.
    site.write("wp-config.php", &off);
    mark(&site, &marker);
    signal(worker.pid(), "USR1");
    wait_for(10, "PHP to exit", || worker.php().is_none());
    assert_eq!(
        site.log().matches("waiting until").count(),
        2,
        "{}",
        site.log()
    );
}

/// The function that a worker serves is that of the wp-config.php that is there, even if
/// that replaced the one which PHP was just loading.
#[test]
fn a_salt_that_comes_while_the_site_is_loaded_is_seen() {
    let plan = Plan {
        jobs: "if ( isset( $_SERVER['SCRIPT_NAME'] ) && 'wp-gears-runner.php' === basename( $_SERVER['SCRIPT_NAME'] ) ) { touch( WP_CONTENT_DIR . '/uploads/loading' ); usleep( 700000 ); }".into(),
        ..Plan::default()
    };
    let site = Site::with("salted", plan);
    site.php("");
    let config = fs::read_to_string(site.dir.join("wp-config.php")).unwrap();
    let without: Vec<&str> = config
        .lines()
        .filter(|line| !line.contains("TASK_SALT"))
        .collect();
    site.write("wp-config.php", &without.join("\n"));
    sleep(50);
    let worker = site.worker(&[]);
    let loading = site.dir.join("wp-content/uploads/loading");
    wait_for(10, "PHP to load the site", || loading.exists());
    site.write("wp-config.php", &config);
    signal(worker.pid(), "USR1");
    site.add("t_line", json!(["salted"]));
    site.wait_for_out(10, 1);
}

/// What setup writes: the state of wp-config.php.
fn mark(site: &Site, marker: &std::path::Path) {
    let config = site.dir.join("wp-config.php");
    let text = wp_gears::worker::rest::unswitched(&site.dir, &config).unwrap();
    let run = marker.parent().unwrap();
    fs::create_dir_all(run).unwrap();
    lab().give_away(run);
    fs::write(marker, text).unwrap();
}
