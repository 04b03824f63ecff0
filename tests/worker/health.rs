//! `wp-gears worker --health`, as the probes of a container run it.

use std::process::Output;

use serde_json::json;

use super::lab::{Site, lab, wait_for};

fn probe(site: &Site) -> Output {
    lab()
        .command(lab().dir.join("lib/wp-gears"))
        .args(["worker", "--health", "--name", &site.name, "--site"])
        .arg(&site.dir)
        .args(["--servers", &site.gearmand.server.to_string()])
        .arg("--state")
        .arg(lab().dir.join("state"))
        .output()
        .unwrap()
}

fn is_healthy(site: &Site) -> bool {
    probe(site).status.success()
}

fn complaint(site: &Site) -> String {
    let output = probe(site);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_probe_is_told_whether_jobs_can_run() {
    let mut site = Site::new("health");
    assert!(complaint(&site).contains("health"));

    let worker = site.worker(&["--workers", "2"]);
    wait_for(20, "health", || is_healthy(&site));
    site.add("t_line", json!(["1"]));
    site.wait_for_out(20, 1);
    let said = probe(&site);
    let text = String::from_utf8(said.stdout).unwrap();
    assert_eq!(
        text,
        "health: 2 workers, known to 1 of 1 job servers\n",
        "{}",
        String::from_utf8_lossy(&said.stderr)
    );

    site.gearmand.kill();
    let why = complaint(&site);
    assert!(why.contains(&site.gearmand.server.to_string()), "{why}");
    site.gearmand.start();
    wait_for(20, "health after the job server's return", || {
        is_healthy(&site)
    });

    // A site that workers can no longer load.
    let broken = "<?php if ( 'wp-gears-runner.php' === basename( $_SERVER['SCRIPT_NAME'] ?? '' ) ) throw new Error( 'no such thing' );";
    let mu_plugins = site.dir.join("wp-content/mu-plugins/zz-broken.php");
    std::fs::write(&mu_plugins, broken).unwrap();
    site.wp_gears(&["reload"]);
    site.add("t_line", json!(["2"]));
    wait_for(30, "ill health", || !is_healthy(&site));
    let why = complaint(&site);
    assert!(why.contains("no such thing"), "{why}");
    std::fs::remove_file(&mu_plugins).unwrap();
    wait_for(60, "health of the mended site", || is_healthy(&site));

    worker.stop();
    assert!(complaint(&site).contains("none runs"));
}
