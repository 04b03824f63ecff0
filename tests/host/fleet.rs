//! A fleet: a job server, a host with workers and one with pages, on a network of their
//! own.

use std::time::Duration;

use crate::harness::{Host, Out, Site, Switch, site};
use crate::phase::phase;
use crate::support::ready_host;

const SERVER: u8 = 1;
const WEB: u8 = 2;
const WORKER: u8 = 3;

const SALT: &str = "salt-of-the-fleet";

/// Lets the other hosts use this one's database.
pub fn share_database(web: &Host) {
    web.shell(
        "printf '[mysqld]\\nbind-address = 0.0.0.0\\n' >/etc/mysql/mariadb.conf.d/99-fleet.cnf
         systemctl restart mariadb
         mysql -e \"CREATE USER site@'10.77.0.%' IDENTIFIED BY 'pw-site'; GRANT ALL ON site.* TO site@'10.77.0.%'\"",
    )
    .ok();
}

/// A host that has the site's files, and neither its pages nor its database.
pub fn use_database(host: &Host) {
    host.shell(&format!(
        "systemctl disable --now mariadb nginx 2>/dev/null
         sed -i \"s/'DB_HOST', *'localhost'/'DB_HOST', '10.77.0.{WEB}'/\" {}/wp-config.php
         grep -q 10.77.0.{WEB} {0}/wp-config.php",
        site::FOLDER
    ))
    .ok();
}

fn setup(host: &Host, words: &[&str]) -> Out {
    let out = host.run(&[&["wp-gears", "setup", "--yes"], words].concat());
    let out = out.exits(0);
    // Setup and doctor agree, and a second setup has nothing to do.
    host.run(&["wp-gears", "doctor"]).exits(0);
    host.run(&["wp-gears", "plan", "--check"]).exits(0);
    out
}

fn of_site(host: &Host, role: &str) -> Out {
    let site = ["--servers", "10.77.0.1:4730", "--site", site::FOLDER];
    setup(
        host,
        &[&["--role", role, "--salt", SALT], &site[..]].concat(),
    )
}

#[test]
fn each_role_proves_its_part() {
    let switch = Switch::new().unwrap();
    let server = ready_host("fleet-server");
    let web = ready_host("fleet-web");
    let worker = ready_host("fleet-worker");
    switch.connect(&server, SERVER, "jobs1").unwrap();
    switch.connect(&web, WEB, "web1").unwrap();
    switch.connect(&worker, WORKER, "worker1").unwrap();
    share_database(&web);
    use_database(&worker);

    phase("the job server");
    let out = setup(&server, &["--role", "server", "--listen", "10.77.0.1"]);
    assert!(
        out.text().contains("a job went through 10.77.0.1:4730"),
        "{out}"
    );
    let status = server.run(&["wp-gears", "status", "--json"]).ok();
    assert!(!status.contains("wp-gears-test"), "{status}");

    phase("pages, before any worker is there");
    let out = of_site(&web, "web");
    assert!(
        out.text()
            .contains("no other host has workers for this site yet"),
        "{out}"
    );

    phase("workers");
    let out = of_site(&worker, "worker");
    assert!(
        out.text().contains("ran a test job through WordPress"),
        "{out}"
    );

    phase("pages");
    let out = web.run(&["wp-gears", "setup", "--yes", "--prove"]).exits(0);
    assert!(out.text().contains("done on worker1 after"), "{out}");
    let out = web.run(&["wp-gears", "doctor", "job"]).exits(0);
    assert!(out.text().contains("done on worker1 after"), "{out}");
    let left = web.shell("mysql -N site -e \"SELECT option_name FROM wp_options WHERE option_name LIKE 'wp_gears%'\"").ok();
    assert_eq!(left.trim(), "");

    phase("a page's job");
    let page = format!("{}/send.php", site::FOLDER);
    let text = "<?php require 'wp-load.php'; echo wp_async_task_add('test_job', ['n' => 7]) ? 'sent' : 'not sent';";
    web.put(&page, text, 0o644).unwrap();
    let answer = Site::first(&web).get("http://localhost/send.php");
    assert_eq!(answer, (200, "sent".into()));
    let there = Site::first(&worker);
    assert_eq!(there.wait_for(1, Duration::from_secs(20)), [7]);

    phase("the worker's host is away");
    switch.cut(WORKER, true).unwrap();
    web.run(&["wp-gears", "doctor", "job"]);
    switch.cut(WORKER, false).unwrap();
}
