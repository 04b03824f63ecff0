//! Several sites on one host.

use crate::harness::Site;
use crate::support::{
    SECOND, add_second, everything, jobs_run, none, on_both, on_site, ready_host,
};

#[test]
fn each_site_runs_its_own_jobs_as_its_own_user() {
    let host = ready_host("sites");
    add_second(&host);
    let setup = host.run(&on_both("setup")).exits(0);
    let shared = "sites of second, www-data share one job server";
    assert!(setup.text().contains(shared), "{setup}");
    let second = Site {
        host: &host,
        folder: SECOND,
        user: "second",
    };
    for site in [Site::first(&host), second] {
        jobs_run(&site, 5);
        let owner = host.run(&["stat", "-c", "%U", "/srv/jobs/done"]).ok();
        assert_eq!(owner.trim(), site.user);
    }

    // Removing one does not affect the other.
    host.run(&["wp-gears", "remove", "--site", SECOND, "--yes"])
        .exits(0);
    let before = everything(&host);
    let again = on_site(&host, "setup", &[]).exits(0);
    none(
        before.touches_to(&everything(&host)),
        &format!("touched after the other site's removal, {again}"),
    );
    jobs_run(&Site::first(&host), 5);
}

#[test]
fn a_refused_site_does_not_stop_the_other() {
    let host = ready_host("half");
    add_second(&host);
    let config = format!("{SECOND}/wp-config.php");
    host.put(&config, "<?php\nif (true {\n", 0o640).unwrap();
    let before = host.tree(&[SECOND]);
    let out = host.run(&on_both("setup")).exits(1);
    assert!(out.text().contains(&config), "{out}");
    none(
        before.touches_to(&host.tree(&[SECOND])),
        "touched in the refused site",
    );
    jobs_run(&Site::first(&host), 5);
}
