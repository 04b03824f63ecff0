//! The life of a host, from a fresh site to the removal of its workers.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::harness::{Host, Image, Release, Site, rhel, site};
use crate::phase::phase;
use crate::support::{PortWatch, daemons, everything, host_of, members, none, on_site};
use crate::wp_admin::an_administrator_sees_no_complaint_of_php;

const SECOND: Duration = Duration::from_secs(1);

/// A kind of host, and the name of its job server.
struct Kind {
    fresh: Image,
    /// With the packages that setup installs, without any configuration.
    packages: Image,
    server: &'static str,
}

#[test]
fn life_of_a_host_with_debian_12() {
    life_of_a_host(debian(Release::Bookworm));
}

#[test]
fn life_of_a_host_with_debian_13() {
    life_of_a_host(debian(Release::Trixie));
}

#[test]
fn life_of_a_rhel_shaped_host() {
    life_of_a_host(Kind {
        fresh: rhel::site().unwrap(),
        packages: rhel::with_packages().unwrap(),
        server: "gearmand",
    });
}

fn debian(release: Release) -> Kind {
    Kind {
        fresh: Image::site(release).unwrap(),
        packages: Image::with_packages(release).unwrap(),
        server: "gearman-job-server",
    }
}

fn life_of_a_host(kind: Kind) {
    let mut host = host_of(&kind.fresh, "life");
    phase("plan changes nothing");
    a_plan_changes_nothing(&host, &kind);
    phase("setup proves itself");
    setup_proves_itself(&host);
    phase("a second setup touches nothing");
    the_second_setup_touches_nothing(&host);
    phase("a job runs soon");
    a_job_runs_soon(&host);
    phase("WordPress sees the workers");
    a_page_sees_the_workers(&host);
    phase("an administrator sees no complaint of PHP's");
    an_administrator_sees_no_complaint_of_php(&host);
    phase("the port is open to loopback alone");
    the_port_is_open_to_loopback_alone(&host);
    phase("all jobs of a burst run");
    a_burst_runs_whole(&host);
    phase("an outage costs nothing");
    an_outage_costs_nothing(&host, &kind);
    phase("queued jobs run after a reboot");
    queued_jobs_run_after(&mut host, "a reboot", |host| host.reboot().unwrap());
    phase("queued jobs run after a power cut");
    queued_jobs_run_after(&mut host, "a power cut", |host| {
        host.power_cut();
        host.power_on().unwrap();
    });
    phase("remove leaves only packages");
    remove_leaves_only_packages(&host, &kind);
}

fn a_plan_changes_nothing(host: &Host, kind: &Kind) {
    let (before, daemons_before) = (everything(host), daemons(host));
    let plan = on_site(host, "plan", &[]).exits(0);
    assert!(plan.stdout.contains(kind.server), "{plan}");
    assert!(plan.stdout.contains("wp-config.php"), "{plan}");
    on_site(host, "plan", &["--check"]).exits(3);
    none(before.touches_to(&everything(host)), "touched by plan");
    assert_eq!(daemons_before, daemons(host));
}

fn setup_proves_itself(host: &Host) {
    let port = PortWatch::start(host);
    let setup = on_site(host, "setup", &[]).exits(0);
    port.saw_loopback_alone();
    println!("fresh setup: {:.1?}\n{}", setup.took, setup.text());
}

fn the_second_setup_touches_nothing(host: &Host) {
    let (before, daemons_before) = (everything(host), daemons(host));
    let second = on_site(host, "setup", &["-v"]).exits(0);
    println!("second setup: {:.0?}\n{}", second.took, second.text());
    for manager in ["apt", "dnf", "yum"] {
        let starts = second.stderr.contains(&format!("$ {manager}"));
        assert!(!starts, "starts {manager}: {second}");
    }
    assert!(second.stderr.contains("$ "), "shows no command: {second}");
    none(
        before.touches_to(&everything(host)),
        "touched by a second setup",
    );
    assert_eq!(daemons_before, daemons(host));
    on_site(host, "plan", &["--check"]).exits(0);
}

fn a_job_runs_soon(host: &Host) {
    let site = Site::first(host);
    let began = Instant::now();
    site.send(1, 1, 0.0).ok();
    assert_eq!(site.wait_for(1, 10 * SECOND), [1]);
    println!("one job through WordPress: {:.1?}", began.elapsed());
    assert!(began.elapsed() < 2 * SECOND);
}

/// What an administrator's page says, in the PHP of the web server.
fn a_page_sees_the_workers(host: &Host) {
    let page = format!("{}/seen.php", site::FOLDER);
    let text = "<?php require 'wp-load.php'; require WPMU_PLUGIN_DIR . '/wp-gears-admin/admin.php';
        list( $workers, $queue ) = array( WP_Gears_Seen::workers(), WP_Gears_Seen::queue() );
        echo json_encode( array( $workers['alive'], $queue['workers'], $queue['waiting'], WP_Gears_Seen::why_not() ) );";
    host.put(&page, text, 0o644).unwrap();
    let workers = members(host).len();
    let answer = Site::first(host).get("http://localhost/seen.php");
    host.run(&["rm", &page]).ok();
    assert_eq!(answer, (200, format!("[{workers},{workers},0,\"\"]")));
    // Nobody gets it by its address.
    let direct = "http://localhost/wp-content/mu-plugins/wp-gears-admin/admin.php";
    assert_eq!(Site::first(host).get(direct).1, "");
}

fn the_port_is_open_to_loopback_alone(host: &Host) {
    let listening = host.run(&["ss", "-Hltn", "sport = :4730"]).ok();
    let addresses: Vec<&str> = listening
        .lines()
        .filter_map(|line| line.split_whitespace().nth(3))
        .collect();
    assert_eq!(addresses, ["127.0.0.1:4730"], "{listening}");
}

fn a_burst_runs_whole(host: &Host) {
    on_site(host, "setup", &["--workers", "3"]).exits(0);
    assert_eq!(members(host).len(), 3);
    let site = Site::first(host);
    site.forget_done();
    let began = Instant::now();
    site.send(1, 300, 0.0).ok();
    let mut done = site.wait_for(300, 240 * SECOND);
    println!("300 jobs, 3 workers: {:.1?}", began.elapsed());
    println!(
        "{}",
        host.shell("tail -n 3 /var/log/wp-gears/site.log").text()
    );
    let states = host.run(&["supervisorctl", "status"]).stdout;
    assert_eq!(states.matches("RUNNING").count(), 1, "{states}");
    assert_eq!(states.lines().count(), 1, "{states}");
    assert_eq!(members(host).len(), 3);
    std::thread::sleep(SECOND); // would anything run twice?
    done.append(&mut site.done().split_off(done.len().min(300)));
    done.sort();
    assert_eq!(
        (done.len(), done.first(), done.last()),
        (300, Some(&1), Some(&300))
    );
    done.dedup();
    assert_eq!(done.len(), 300, "some ran twice");
    let processes: BTreeSet<u32> = site.done_by().into_iter().collect();
    assert_eq!(processes.len(), 300, "a process of its own for each job");
}

fn an_outage_costs_nothing(host: &Host, kind: &Kind) {
    let site = Site::first(host);
    site.forget_done();
    host.run(&["systemctl", "stop", kind.server]).ok();
    std::thread::sleep(2 * SECOND);
    let (before, began) = (host.cpu(), Instant::now());
    std::thread::sleep(10 * SECOND);
    let share = (host.cpu() - before).as_secs_f64() / began.elapsed().as_secs_f64();
    println!(
        "job server down, 3 workers: {:.1}% of a core",
        share * 100.0
    );
    assert!(share < 0.05, "{share}");
    let states = host.run(&["supervisorctl", "status"]).stdout;
    assert_eq!(states.matches("RUNNING").count(), 1, "{states}");
    assert_eq!(members(host).len(), 3);

    host.run(&["systemctl", "start", kind.server]).ok();
    let began = Instant::now();
    site.send(1, 1, 0.0).ok();
    assert_eq!(site.wait_for(1, 20 * SECOND), [1]);
    println!("back in business: {:.1?}", began.elapsed());
    assert!(began.elapsed() < 8 * SECOND);
}

fn queued_jobs_run_after(host: &mut Host, what: &str, happens: impl FnOnce(&mut Host)) {
    host.run(&["supervisorctl", "stop", "all"]).ok();
    Site::first(host).forget_done();
    Site::first(host).send(1, 20, 0.0).ok();
    std::thread::sleep(SECOND);
    assert!(
        Site::first(host).done().is_empty(),
        "no worker should have run them yet"
    );
    happens(host);
    let began = Instant::now();
    let mut done = Site::first(host).wait_for(20, 30 * SECOND);
    println!("20 jobs, {:.1?} after {what}", began.elapsed());
    done.sort();
    assert_eq!(done, (1..=20).collect::<Vec<_>>(), "after {what}");
}

/// Compares with a host on which only the same packages were installed.
fn remove_leaves_only_packages(host: &Host, kind: &Kind) {
    let remove = on_site(host, "remove", &[]).exits(0);
    println!("{}", remove.text());
    let packages = host_of(&kind.packages, "only");
    // What a later --purge has to know.
    assert_eq!(
        everything(&packages).changes_to(&everything(host)),
        [
            "+ /var/lib/wp-gears (folder)",
            "+ /var/lib/wp-gears/state (folder)",
            "+ /var/lib/wp-gears/state/host.jsonl (file)",
        ]
    );
    assert_eq!(host.processes_of("wp-gears"), []);
}
