//! `isolation = "owner"`: two owners on one host, and a local user without a site, who
//! try to reach each other's jobs.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::dashboard;
use crate::harness::{Host, Image, Out, Release, Shape, Site, rhel, site};
use crate::phase::phase;
use crate::support::{
    daemons, everything, host_of, jobs_run, none, packages_with, ready_host, refused, until,
    wp_gears,
};

const ALICE: &str = "/srv/alice";
const BOB: &str = "/srv/bob";
const PORTS: [(&str, u16); 2] = [("alice", 4731), ("bob", 4732)];
const UNITS: [&str; 2] = ["wp-gears-gearmand-alice", "wp-gears-gearmand-bob"];

fn both(host: &Host, verb: &str, more: &[&str]) -> Out {
    let words = ["wp-gears", verb, "--site", ALICE, "--site", BOB, "--yes"];
    host.run(&[&words[..], more].concat())
}

fn sites(host: &Host) -> [Site<'_>; 2] {
    [(ALICE, "alice"), (BOB, "bob")].map(|(folder, user)| Site { host, folder, user })
}

fn two_owners(name: &str) -> Host {
    let image = Image::with_packages(Release::Bookworm).unwrap();
    let bind = format!(
        "{}:/srv/nftables:ro",
        packages_with("nftables").unwrap().display()
    );
    let host = Host::start(&image, name, Shape::Booted, &[bind]).unwrap();
    host.install(wp_gears()).unwrap();
    let source = "deb [trusted=yes] file:/srv/nftables ./\n";
    host.put("/etc/apt/sources.list.d/nftables.list", source, 0o644)
        .unwrap();
    host.run(&["apt-get", "update"]).ok();
    site::add(&host, ALICE, "alice", "alice.test").unwrap();
    site::add(&host, BOB, "bob", "bob.test").unwrap();
    // WordPress asks for its wp-cron.php by that name.
    host.shell("echo 127.0.0.1 alice.test bob.test >>/etc/hosts")
        .ok();
    host.shell("chmod 1777 /srv/jobs; useradd -m mallory").ok();
    host
}

/// Pages give their jobs to WP-Cron for ten seconds after they saw a stranger.
fn pages_forget_the_stranger(host: &Host) {
    let code = "require '/srv/alice/wp-load.php';
        while (max(array_merge([0], array_values((array) get_site_transient('wp_gears_dead_servers')))) > microtime(true)) usleep(100000);";
    host.as_user("alice", &["php", "-r", code]).ok();
}

/// The port that the site's pages submit to.
fn port_of(host: &Host, folder: &str) -> String {
    let script = format!("grep -o '127.0.0.1:[0-9]*' {folder}/wp-config.php");
    host.shell(&script).ok().trim().to_owned()
}

/// Jobs of both, from pages and the command line, run by their own workers.
#[track_caller]
fn jobs_of_both_run(host: &Host) {
    for site in sites(host) {
        site.forget_done();
        jobs_run(&site, 5);
        let page = format!("{}/send.php", site.folder);
        let text = "<?php require 'wp-load.php';
            echo wp_async_task_add('test_job', ['n' => 7]) ? 'sent' : 'not sent';";
        host.put(&page, text, 0o644).unwrap();
        site.forget_done();
        let domain = format!("Host: {}.test", site.user);
        let words = [
            "curl",
            "-s",
            "-m",
            "20",
            "-H",
            &domain,
            "http://127.0.0.1/send.php",
        ];
        assert_eq!(host.run(&words).ok(), "sent");
        host.run(&["rm", &page]).ok();
        assert_eq!(site.wait_for(1, Duration::from_secs(20)), [7]);
        host.run(&["rm", "-f", "/srv/jobs/done"]).ok();
    }
}

/// Everything that needs a connection: to list, cancel, submit and take jobs.
const ATTACK: &str = r#"$port = (int) $argv[1]; $got = [];
    foreach (["127.0.0.1", "localhost", "127.0.0.2", "0.0.0.0"] as $at) {
        $socket = @stream_socket_client("tcp://$at:$port", $code, $why, 2);
        if (!$socket) continue;
        fwrite($socket, "status\n");
        stream_set_timeout($socket, 2);
        $got[] = "$at: " . fgets($socket);
    }
    try {
        $client = new GearmanClient(); $client->setTimeout(2000); $client->addServer("127.0.0.1", $port);
        @$client->doBackground("x", "y");
        if (GEARMAN_SUCCESS === $client->returnCode()) $got[] = "submitted";
    } catch (Exception $e) {}
    try {
        $worker = new GearmanWorker(); $worker->setTimeout(500); $worker->addServer("127.0.0.1", $port);
        $worker->addFunction("x", function () {});
        if (@$worker->work() || GEARMAN_TIMEOUT === $worker->returnCode()) $got[] = "took";
    } catch (Exception $e) {}
    echo implode("; ", $got);"#;

#[track_caller]
fn attack(host: &Host, user: &str, port: u16) -> String {
    let begun = Instant::now();
    let words = ["php", "-r", ATTACK, "--", &port.to_string()];
    let got = host.as_user(user, &words).stdout;
    assert!(begun.elapsed() < Duration::from_secs(8), "{user} hangs");
    got
}

#[track_caller]
fn each_reaches_only_the_own(host: &Host) {
    for (owner, port) in PORTS {
        for user in ["alice", "bob", "mallory", "www-data"] {
            let got = attack(host, user, port);
            assert_eq!(got.is_empty(), user != owner, "{user} at {owner}'s: {got}");
        }
    }
}

#[track_caller]
fn doctor(host: &Host, code: i32) -> Out {
    host.run(&["wp-gears", "doctor"]).exits(code)
}

/// Each site's workers, as far as the dashboard sees them.
fn workers_seen(host: &Host) -> [Option<u64>; 2] {
    let seen = dashboard::status(host);
    [0, 1].map(|at| seen["sites"][at]["workers"].as_u64())
}

#[test]
fn owners_cannot_reach_each_others_jobs() {
    let mut host = two_owners("isolation");
    let before = everything(&host);

    phase("setup, with nftables");
    let setup = both(&host, "setup", &["--isolation", "owner"]).exits(0);
    assert!(setup.stdout.contains("nftables"), "{setup}");
    for (folder, (_, port)) in [ALICE, BOB].into_iter().zip(PORTS) {
        assert_eq!(port_of(&host, folder), format!("127.0.0.1:{port}"));
    }
    assert!(!setup.stdout.contains("share one job server"), "{setup}");
    doctor(&host, 0);
    jobs_of_both_run(&host);

    phase("attacks");
    each_reaches_only_the_own(&host);
    let queue = "/var/lib/gearman/owner-alice/queue.sqlite";
    host.as_user("bob", &["cat", queue]).exits(1);

    phase("each sees its own files only");
    for (unit, other) in UNITS.into_iter().zip(["bob", "alice"]) {
        let pid = host.shell(&format!("systemctl show -p MainPID --value {unit}"));
        let seen = format!("ls /proc/{}/root/var/lib/gearman", pid.ok().trim());
        let seen = host.shell(&seen).ok();
        assert!(
            !seen.contains(other) && !seen.contains("queue.sqlite"),
            "{seen}"
        );
    }

    phase("a second setup");
    let (tree, running) = (everything(&host), daemons(&host));
    for words in [
        &["wp-gears", "setup", "--yes"][..],
        &["wp-gears", "setup", "--yes", "--site", BOB],
    ] {
        let again = host.run(words).exits(0);
        assert!(again.stdout.contains("Nothing to change."), "{again}");
    }
    none(
        tree.touches_to(&everything(&host)),
        "touched by a second setup",
    );
    assert_eq!(running, daemons(&host));

    phase("status");
    let status = host.run(&["wp-gears", "status"]).exits(0);
    for (_, port) in PORTS {
        assert!(
            status.stdout.contains(&format!("127.0.0.1:{port}")),
            "{status}"
        );
    }

    phase("somebody flushes the rules");
    host.run(&["nft", "flush", "ruleset"]).ok();
    assert_ne!(attack(&host, "mallory", 4731), "");
    let told = doctor(&host, 1);
    assert!(
        told.stdout.contains("/etc/wp-gears/owner-alice.nft"),
        "{told}"
    );
    let plan = host.run(&["wp-gears", "plan", "--check"]).exits(3);
    assert!(
        plan.stdout.contains("firewall rules wp_gears_alice"),
        "{plan}"
    );
    host.run(&["wp-gears", "doctor", "--fix", "--yes"]).exits(0);
    each_reaches_only_the_own(&host);
    // Debian's configuration begins with that, too.
    for verb in ["enable --now", "restart", "reload", "stop", "start"] {
        host.shell(&format!("systemctl {verb} nftables")).ok();
        let closed = attack(&host, "mallory", 4731).is_empty();
        assert_eq!(closed, verb != "stop", "after {verb}");
    }
    doctor(&host, 0);
    host.run(&["systemctl", "disable", "nftables"]).ok();

    phase("the job server stops, and mallory takes its port");
    host.run(&["systemctl", "stop", UNITS[0]]).ok();
    let listen = "setsid runuser -u mallory -- php -r '
        $s = stream_socket_server(\"tcp://127.0.0.1:4731\"); touch(\"/tmp/listens\");
        while ($c = stream_socket_accept($s, 600)) { file_put_contents(\"/tmp/got\", fread($c, 99)); }' \
        >/dev/null 2>&1 </dev/null & until [ -e /tmp/listens ]; do sleep 0.1; done";
    host.shell(listen).ok();
    let told = doctor(&host, 1);
    assert!(told.stdout.contains("user mallory"), "{told}");
    let code = "require '/srv/alice/wp-load.php'; wp_async_task_add('nothing', []);";
    host.as_user("alice", &["php", "-r", code]).ok();
    assert!(!host.exists("/tmp/got"), "mallory got a job");
    host.shell("pkill -u mallory; rm -f /tmp/listens").ok();
    host.run(&["wp-gears", "doctor", "--fix", "--yes"]);
    doctor(&host, 0);

    phase("gearmand is upgraded");
    host.shell("cp -p /usr/sbin/gearmand /usr/sbin/new && mv /usr/sbin/new /usr/sbin/gearmand")
        .ok();
    let plan = host.run(&["wp-gears", "plan", "--check"]).exits(3);
    assert!(plan.stdout.contains("its program was replaced"), "{plan}");
    host.run(&["wp-gears", "setup", "--yes"]).exits(0);
    let again = host.run(&["wp-gears", "setup", "--yes"]).exits(0);
    assert!(again.stdout.contains("Nothing to change."), "{again}");

    phase("reboot");
    host.reboot().unwrap();
    site::start(&host).unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    while host.run(&["wp-gears", "doctor"]).code != 0 {
        assert!(
            Instant::now() < until,
            "{}",
            host.run(&["wp-gears", "doctor"])
        );
    }
    each_reaches_only_the_own(&host);
    pages_forget_the_stranger(&host);
    jobs_of_both_run(&host);

    phase("bob leaves and comes back");
    host.run(&["wp-gears", "remove", "--site", BOB, "--yes"])
        .exits(0);
    let left = host.shell("systemctl is-active wp-gears-gearmand-bob; nft list tables; ls /etc/wp-gears /etc/systemd/system");
    assert!(
        left.stdout.starts_with("inactive") && !left.stdout.contains("bob"),
        "{left}"
    );
    host.run(&["wp-gears", "doctor"]).exits(0);
    jobs_run(&sites(&host)[0], 3);
    host.run(&["rm", "-f", "/srv/jobs/done"]).ok();
    host.run(&["wp-gears", "setup", "--site", BOB, "--yes"])
        .exits(0);
    assert_eq!(port_of(&host, BOB), "127.0.0.1:4732");
    each_reaches_only_the_own(&host);
    jobs_of_both_run(&host);

    phase("remove");
    let removed = host
        .run(&["wp-gears", "remove", "--purge", "--yes"])
        .exits(0);
    let left = before.changes_to(&everything(&host));
    none(left, &format!("left by remove, {removed}"));
    let left = host
        .shell("ls /var/lib/gearman; systemctl list-units --all 'wp-gears*' --no-legend --plain");
    assert!(
        !left.stdout.contains("owner-") && !left.stdout.contains("wp-gears"),
        "{left}"
    );
    assert!(host.run(&["nft", "list", "tables"]).stdout.is_empty());
}

#[test]
fn isolation_is_switched_on_and_off_without_losing_a_job() {
    let host = two_owners("isolate");
    both(&host, "setup", &[]).exits(0);
    let [alice, _] = sites(&host);
    jobs_of_both_run(&host);

    phase("a dashboard that one site has let look, and then both");
    let words = ["wp-gears", "setup", "--dashboard", "--yes"];
    host.run(&[&words[..], &["--site", ALICE]].concat())
        .exits(0);
    let page = dashboard::get(&host, "/", &[]);
    assert!(
        page.contains("of bob are unknown: 'wp-gears setup' has"),
        "{page}"
    );
    assert_eq!(workers_seen(&host), [Some(2), None]);
    host.run(&["wp-gears", "setup", "--yes"]).exits(0);
    assert_eq!(workers_seen(&host), [Some(2), Some(2)]);

    phase("nobody would run what waits");
    host.run(&["wp-gears", "pause", "--wait"]).exits(0);
    alice.forget_done();
    alice.send(1, 3, 0.0).ok();
    let on = ["wp-gears", "setup", "--isolation", "owner", "--yes"];
    let refused = host.run(&on).exits(1);
    assert!(refused.text().contains("3 jobs are queued"), "{refused}");
    assert_eq!(port_of(&host, ALICE), "127.0.0.1:4730");
    host.run(&["wp-gears", "resume"]).exits(0);
    assert_eq!(alice.wait_for(3, Duration::from_secs(20)).len(), 3);

    phase("jobs wait while it is switched on");
    alice.forget_done();
    alice.send(1, 30, 0.1).ok();
    host.run(&on).exits(0);
    assert_eq!(port_of(&host, ALICE), "127.0.0.1:4731");
    let mut done = alice.wait_for(30, Duration::from_secs(30));
    done.retain(|n| *n > 0 && *n <= 30);
    done.sort_unstable();
    done.dedup();
    assert_eq!(done.len(), 30);
    host.run(&["rm", "-f", "/srv/jobs/done"]).ok();
    doctor(&host, 0);
    jobs_of_both_run(&host);
    each_reaches_only_the_own(&host);

    phase("the dashboard reaches neither, and sees both");
    let done = |site: usize| dashboard::status(&host)["sites"][site]["done_ever"].as_u64();
    let before = [done(0), done(1)];
    jobs_of_both_run(&host);
    for (site, before) in before.into_iter().enumerate() {
        until(10, "its jobs", || done(site) >= before.map(|n| n + 6));
    }
    let seen = dashboard::status(&host);
    assert_eq!(workers_seen(&host), [Some(2), Some(2)]);
    assert!(
        seen["servers"]
            .as_array()
            .unwrap()
            .iter()
            .all(|it| it["closed"] == true),
        "{seen:#}"
    );
    assert_eq!(seen["sites"][0]["oldest_waiting_ms"], Value::Null);
    assert_eq!(dashboard::get(&host, "/healthz", &[]), "ok\n");

    phase("and off");
    alice.forget_done();
    alice.send(1, 30, 0.1).ok();
    host.run(&["wp-gears", "setup", "--isolation", "none", "--yes"])
        .exits(0);
    assert_eq!(port_of(&host, ALICE), "127.0.0.1:4730");
    assert!(alice.wait_for(30, Duration::from_secs(30)).len() >= 30);
    host.run(&["rm", "-f", "/srv/jobs/done"]).ok();
    let left = host.shell("systemctl list-units --all 'wp-gears*' --no-legend --plain; nft list tables; ls /etc/wp-gears /etc/systemd/system");
    assert!(
        !left.stdout.contains("wp-gears-") && !left.stdout.contains("wp_gears"),
        "{left}"
    );
    doctor(&host, 0);
    jobs_of_both_run(&host);
    let again = host.run(&["wp-gears", "setup", "--yes"]).exits(0);
    assert!(again.stdout.contains("Nothing to change."), "{again}");

    phase("mallory has a port before its owner");
    host.shell(
        "setsid runuser -u mallory -- php -r '
            $s = stream_socket_server(\"tcp://127.0.0.1:4731\"); touch(\"/tmp/listens\");
            sleep(600);' >/dev/null 2>&1 </dev/null &
         until [ -e /tmp/listens ]; do sleep 0.1; done",
    )
    .ok();
    let refused = host.run(&on).exits(1);
    assert!(refused.text().contains("--owner-ports"), "{refused}");
    assert_eq!(port_of(&host, ALICE), "127.0.0.1:4730");
    assert_eq!(port_of(&host, BOB), "127.0.0.1:4732", "{refused}");
    host.shell("pkill -u mallory").ok();

    phase("in memory");
    let words = ["wp-gears", "setup", "--queue", "memory", "--yes"];
    host.run(&words).exits(0);
    doctor(&host, 0);
    jobs_of_both_run(&host);
    each_reaches_only_the_own(&host);
    host.run(&["wp-gears", "pause", "--wait"]).exits(0);
    alice.send(1, 2, 0.0).ok();
    let words = ["wp-gears", "setup", "--queue", "sqlite", "--yes"];
    let refused = host.run(&words).exits(1);
    assert!(refused.text().contains("2 jobs are queued"), "{refused}");
    host.run(&["wp-gears", "resume"]).exits(0);
    alice.wait_for(2, Duration::from_secs(20));
    host.run(&words).exits(0);
    host.run(&["rm", "-f", "/srv/jobs/done"]).ok();
    doctor(&host, 0);
    jobs_of_both_run(&host);
}

#[test]
fn isolation_is_refused_with_what_is_missing() {
    let host = ready_host("unisolated");
    let with = |more: &[&str], code: i32, says: &str| {
        let words = [
            "wp-gears",
            "setup",
            "--site",
            site::FOLDER,
            "--yes",
            "--isolation",
            "owner",
        ];
        let out = host.run(&[&words[..], more].concat()).exits(code);
        assert!(out.text().contains(says), "{out}");
    };
    with(
        &["--servers", "10.0.0.1:4730"],
        2,
        "--servers names other job servers",
    );
    with(&["--listen", "10.0.0.1"], 2, "--listen 127.0.0.1");
    with(&["--role", "server,worker"], 2, "on one host");
    with(&["--queue", "mysql"], 2, "--queue sqlite");
}

#[test]
fn without_nftables_in_the_repositories_isolation_is_refused() {
    let host = host_of(&rhel::with_packages().unwrap(), "unisolated-el");
    let words = ["wp-gears", "setup", "--site", site::FOLDER, "--yes"];
    let isolated = [&words[..], &["--isolation", "owner"]].concat();
    phase("on a host without wp-gears");
    refused(&host, &isolated, 1, &["nftables"]);
    phase("on one whose jobs run");
    host.run(&words).exits(0);
    refused(&host, &isolated, 1, &["nftables"]);
    jobs_run(&Site::first(&host), 3);
    phase("a dashboard there");
    dashboard::comes_and_goes(&host);
}
