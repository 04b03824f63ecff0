//! Failed jobs that several people retry or delete at the same time: in WordPress, and on
//! the command line of several hosts.

use std::fs;
use std::process::Command;

use serde_json::json;

use super::admin;
use super::hosts::Host;
use super::lab::{Site, Worker, lab, run, wait_for};

const COUNT: usize = 100;

/// Code that loads what administrators have in WordPress.
const ADMIN: &str = "load(); require WPMU_PLUGIN_DIR . '/wp-gears-admin/admin.php';";

/// The state of each job in the table, with the number of jobs.
fn states(site: &Site) -> String {
    let table = format!("wp.{}_wp_gears_jobs", site.name);
    let like = format!("SHOW TABLES IN wp LIKE '{}_wp_gears_jobs'", site.name);
    if lab().sql(&like).is_empty() {
        return String::new();
    }
    lab().sql(&format!(
        "SELECT IFNULL(GROUP_CONCAT(CONCAT(state, ':', n) ORDER BY state), '') FROM (SELECT state, COUNT(*) AS n FROM {table} GROUP BY state) AS s"
    ))
}

/// Two hosts of a site that have the same failed jobs.
fn two_hosts<'a>(site: &'a Site) -> ([Host<'a>; 2], [Worker; 2], Vec<String>) {
    let hosts = ["first", "second"].map(|name| Host::new(site, name));
    let first = hosts[0].work(&["--workers", "2", "--reuse", "50"]);
    let numbers: Vec<_> = (0..COUNT)
        .map(|n| ("t_import", json!([n.to_string()])))
        .collect();
    site.add_many(&numbers);
    wait_for(60, "the failed jobs", || hosts[0].kept() == COUNT);
    wait_for(20, "the rows", || states(site) == format!("1:{COUNT}"));
    let second = hosts[1].work(&["--workers", "2", "--reuse", "50"]);
    wait_for(30, "the copies", || hosts[1].kept() == COUNT);
    fs::remove_file(site.dir.join("wp-content/uploads/sick")).unwrap();
    let failed = hosts[0].failed();
    let ids = failed
        .iter()
        .map(|it| it["job"]["id"].as_str().unwrap().to_owned());
    let ids = ids.collect();
    (hosts, [first, second], ids)
}

/// What one of them does, with these jobs in this order. In parts, as it would be done
/// before PHP has begun.
fn on_the_command_line(host: &Host, verb: &str, ids: &[String]) {
    let server = host.site.gearmand.server.to_string();
    for ids in ids.chunks(5) {
        let mut command = Command::new(lab().dir.join("lib/wp-gears"));
        command.args(["failed", verb, "--site", &host.site.name, "--state"]);
        command.arg(&host.state).args(ids);
        if verb == "retry" {
            command.args(["--servers", &server]);
        }
        command.output().unwrap();
    }
}

fn in_wordpress(site: &Site, verb: &str, ids: &[String]) {
    let ids = json!(ids).to_string();
    site.php(&format!(
        "{ADMIN} global $wpdb;
         foreach ( json_decode( '{ids}' ) as $id ) {{
             $size = $wpdb->get_var( \"SELECT size FROM {{$wpdb->base_prefix}}wp_gears_jobs WHERE id = '$id'\" );
             WP_Gears_Jobs::{verb}( array( \"$id:$size\" ) );
         }}
         WP_Gears_Jobs::wake();"
    ));
}

#[test]
fn a_job_that_several_people_retry_runs_once() {
    let site = admin::site("retried", false);
    let (hosts, workers, ids) = two_hosts(&site);
    let mut backward = ids.clone();
    backward.reverse();
    std::thread::scope(|scope| {
        scope.spawn(|| in_wordpress(&site, "retry", &ids));
        scope.spawn(|| in_wordpress(&site, "retry", &backward));
        for host in &hosts {
            for ids in [&ids, &backward] {
                scope.spawn(|| on_the_command_line(host, "retry", ids));
            }
        }
    });
    site.wait_for_out(60, COUNT);
    wait_for(60, "the end of all", || {
        states(&site) == format!("2:{COUNT}") && site.waits() == 0
    });
    let expected = (0..COUNT).map(|n| format!("import {n}"));
    site.assert_once(expected.collect());
    drop(workers);
}

#[test]
fn of_retry_and_delete_one_counts() {
    let site = admin::site("undecided", false);
    let (hosts, workers, ids) = two_hosts(&site);
    let mut backward = ids.clone();
    backward.reverse();
    std::thread::scope(|scope| {
        scope.spawn(|| in_wordpress(&site, "retry", &ids));
        scope.spawn(|| in_wordpress(&site, "forget", &backward));
        scope.spawn(|| on_the_command_line(&hosts[0], "forget", &backward));
        scope.spawn(|| on_the_command_line(&hosts[1], "retry", &ids));
    });
    wait_for(60, "the end of all", || {
        let left = || hosts.iter().map(|host| host.failed().len()).sum::<usize>();
        states(&site) == format!("2:{COUNT}") && left() == 0
    });
    let counts = site.counts();
    assert!(counts.values().all(|times| *times == 1), "{counts:?}");
    assert!((1..COUNT).contains(&counts.len()), "{}", counts.len());
    drop(workers);
}

/// A host whose workers are away, or whose database is, goes on later.
#[test]
fn what_is_retried_without_workers_waits_for_them() {
    let site = admin::site("later", false);
    let host = Host::new(&site, "only");
    let worker = host.work(&[]);
    site.add("t_import", json!(["a"]));
    wait_for(30, "the failed job", || {
        host.kept() == 1 && states(&site) == "1:1"
    });
    worker.stop();
    let mut retry = Command::new(lab().dir.join("lib/wp-gears"));
    retry
        .args(["failed", "retry", "--all", "--state"])
        .arg(&host.state);
    let output = run(&mut retry);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("no worker of it runs on this host"), "{said}");
    assert_eq!((host.kept(), states(&site).as_str()), (0, "1:1"));
    fs::remove_file(site.dir.join("wp-content/uploads/sick")).unwrap();
    let _worker = host.work(&[]);
    assert_eq!(site.wait_for_out(30, 1), ["import a"]);
    wait_for(20, "the row", || states(&site) == "2:1");
}
