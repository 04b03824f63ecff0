//! Several sites on one host.

use std::time::Duration;

use crate::harness::{Site, site};
use crate::support::{everything, none, ready_host};

const SECOND: &str = "/var/www/second";

#[test]
fn each_site_runs_its_own_jobs_as_its_own_user() {
    let host = ready_host("sites");
    site::add(&host, SECOND, "second", "second.test").unwrap();
    host.shell("chmod 1777 /srv/jobs; echo '127.0.0.1 second.test' >>/etc/hosts")
        .ok();
    let both = [
        "wp-gears",
        "setup",
        "--site",
        site::FOLDER,
        "--site",
        SECOND,
        "--yes",
    ];
    host.run(&both).exits(0);
    let first = Site::first(&host);
    let second = Site {
        host: &host,
        folder: SECOND,
        user: "second",
    };
    for site in [first, second] {
        site.forget_done();
        site.send(1, 5, 0.0).ok();
        let mut done = site.wait_for(5, Duration::from_secs(10));
        done.sort();
        assert_eq!(done, [1, 2, 3, 4, 5]);
        let owner = host.run(&["stat", "-c", "%U", "/srv/jobs/done"]).ok();
        assert_eq!(owner.trim(), site.user);
    }

    // One of them goes; the other stays as it is.
    host.run(&["wp-gears", "remove", "--site", SECOND, "--yes"])
        .exits(0);
    let before = everything(&host);
    let again = host.run(&["wp-gears", "setup", "--site", site::FOLDER, "--yes"]);
    none(
        before.touches_to(&everything(&host)),
        &format!("touched after the other site's removal, {again}"),
    );
    let first = Site::first(&host);
    first.forget_done();
    first.send(1, 1, 0.0).ok();
    assert_eq!(first.wait_for(1, Duration::from_secs(10)), [1]);
}

#[test]
fn a_refused_site_does_not_stop_the_other() {
    let host = ready_host("half");
    site::add(&host, SECOND, "second", "second.test").unwrap();
    host.put(
        &format!("{SECOND}/wp-config.php"),
        "<?php\nif (true {\n",
        0o640,
    )
    .unwrap();
    let before = host.tree(&[SECOND]);
    let both = [
        "wp-gears",
        "setup",
        "--site",
        site::FOLDER,
        "--site",
        SECOND,
        "--yes",
    ];
    let out = host.run(&both).exits(1);
    assert!(
        out.text().contains("/var/www/second/wp-config.php"),
        "{out}"
    );
    none(
        before.touches_to(&host.tree(&[SECOND])),
        "touched in the refused site",
    );
    let first = Site::first(&host);
    first.forget_done();
    first.send(1, 1, 0.0).ok();
    assert_eq!(first.wait_for(1, Duration::from_secs(10)), [1]);
}
