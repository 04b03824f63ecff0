//! A site with two job servers, of which one is killed, cut off or loses its power, and
//! comes back.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use crate::harness::{Host, Site, Switch, site};
use crate::phase::phase;
use crate::support::{ready_host, until};

const FIRST: u8 = 1;
const SECOND: u8 = 2;
const SITE: u8 = 3;

/// A page that submits a job, and says how long it waited for that. Notes when that was,
/// and whether the job went to WP-Cron.
const PAGE: &str = r#"<?php require 'wp-load.php'; $began = microtime(true); $n = (int) $_GET['n'];
    $sent = wp_async_task_add('test_job', ['n' => $n, 'sleep' => $_GET['sleep'] ?? 0]);
    $took = microtime(true) - $began; $cron = 0;
    foreach (_get_cron_array() as $hooks) {
        foreach ($hooks['test_job'] ?? [] as $event) { $cron |= $event['args'][0]['n'] === $n; }
    }
    note($cron ? 'cron' : 'sent', $n, $began);
    echo $sent ? 'sent ' : 'not sent ', (int) ($took * 1000);"#;
/// Notes when jobs run.
const NOTES: &str = r#"<?php
    function note($what, $n, $from) {
        $line = sprintf("%s %d %.3f %.3f\n", $what, $n, $from, microtime(true));
        file_put_contents('/srv/jobs/notes', $line, FILE_APPEND | LOCK_EX);
    }
    add_action('test_job', function () { $GLOBALS['began'] = microtime(true); }, 1);
    add_action('test_job', function ($args) { note('ran', $args['n'], $GLOBALS['began']); }, 99);"#;

/// Requests pages that submit these jobs: how long the jobs took to submit, in
/// milliseconds, from the quickest to the slowest.
fn pages(host: &Host, numbers: RangeInclusive<u32>, sleep: f32) -> Vec<u32> {
    let mut times = Vec::new();
    for n in numbers {
        let url = format!("http://localhost/send.php?n={n}&sleep={sleep}");
        let (code, text) = Site::first(host).get(&url);
        let time: Option<u32> = text.strip_prefix("sent ").and_then(|ms| ms.parse().ok());
        assert_eq!((code, time.is_some()), (200, true), "{text}");
        times.extend(time);
    }
    times.sort_unstable();
    times
}

fn forget(host: &Host) {
    host.shell("rm -f /srv/jobs/done /srv/jobs/notes").ok();
}

/// Something that a page or a job has noted: from when to when it was.
struct Note {
    what: String,
    from: f64,
    to: f64,
}

fn notes(host: &Host) -> BTreeMap<u32, Vec<Note>> {
    let mut all: BTreeMap<u32, Vec<Note>> = BTreeMap::new();
    for line in host.read("/srv/jobs/notes").unwrap_or_default().lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let note = Note {
            what: words[0].into(),
            from: words[2].parse().unwrap(),
            to: words[3].parse().unwrap(),
        };
        all.entry(words[1].parse().unwrap()).or_default().push(note);
    }
    all
}

/// Waits until each of these jobs ran. Says how many ran again, of those that ran, or were
/// being submitted, at one of these moments; others must not. Neither are those counted
/// that went to WP-Cron, which may run some twice.
#[track_caller]
fn all_ran(host: &Host, count: u32, moments: &[f64]) -> usize {
    let wanted: Vec<u32> = (1..=count).collect();
    let began = Instant::now();
    loop {
        let mut done = Site::first(host).done();
        done.sort_unstable();
        done.dedup();
        if done == wanted {
            break;
        }
        let missing = || wanted.iter().filter(|n| !done.contains(n));
        let lost: Vec<_> = missing().collect();
        assert!(began.elapsed().as_secs() < 60, "did not run: {lost:?}");
        // Visitors go on, and WP-Cron with them.
        Site::first(host).get("http://localhost/");
        std::thread::sleep(Duration::from_millis(100));
    }
    let mut again = 0;
    let mut by_cron = 0;
    for (n, notes) in notes(host) {
        let is_twice = notes.iter().filter(|note| note.what == "ran").count() > 1;
        if notes.iter().any(|note| note.what == "cron") {
            by_cron += 1;
        } else if is_twice {
            // Its end is not known to the job server for a moment.
            let spans = |note: &Note, at: f64| note.from < at + 0.1 && at < note.to + 0.2;
            let is_due = notes
                .iter()
                .any(|note| moments.iter().any(|at| spans(note, *at)));
            let said: Vec<String> = notes
                .iter()
                .map(|note| format!("{} {:.3} {:.3}", note.what, note.from, note.to))
                .collect();
            assert!(is_due, "job {n} ran twice: {said:?}, {moments:?}");
            again += 1;
        }
    }
    println!("{again} jobs ran twice, {by_cron} went to WP-Cron");
    again
}

/// The 99th percentile of pages, none of which may take much longer than `usual`: that of
/// pages with both servers, which a busy machine makes long as well.
#[track_caller]
fn pages_stay_quick(host: &Host, what: &str, first: u32, usual: Option<u32>) -> u32 {
    let times = pages(host, first..=first + 99, 0.0);
    let (median, p99, slowest) = (times[50], times[98], times[99]);
    println!("{what}: median {median} ms, p99 {p99} ms, slowest {slowest} ms");
    if let Some(usual) = usual {
        assert!(p99 < 300.max(usual + 250), "{what}: {times:?}");
    }
    assert!(slowest < 3000, "{what}: {times:?}");
    p99
}

/// How many outcomes the site's workers could not report.
fn unconfirmed(host: &Host) -> u64 {
    let status = host.run(&["wp-gears", "status", "--json"]).stdout;
    let document: serde_json::Value = serde_json::from_str(&status).unwrap_or_default();
    document["sites"][0]["unconfirmed_ever"]
        .as_u64()
        .unwrap_or(0)
}

fn now(host: &Host) -> f64 {
    host.shell("date +%s.%N").ok().trim().parse().unwrap()
}

#[test]
fn a_site_goes_on_with_one_of_two_job_servers() {
    let switch = Switch::new().unwrap();
    let mut servers = [ready_host("servers-1"), ready_host("servers-2")];
    let host = ready_host("servers-site");
    switch.connect(&servers[0], FIRST, "jobs1").unwrap();
    switch.connect(&servers[1], SECOND, "jobs2").unwrap();
    switch.connect(&host, SITE, "site1").unwrap();
    for (server, listen) in [(&servers[0], "10.77.0.1"), (&servers[1], "10.77.0.2")] {
        let words = ["wp-gears", "setup", "--yes", "--role", "server", "--listen"];
        server.run(&[&words[..], &[listen]].concat()).exits(0);
        // Its cable is plugged in once it has started.
        let unit = format!(
            "[Service]\nType=oneshot\nExecStart=ip address add {listen}/32 dev lo\n\
             [Install]\nWantedBy=sysinit.target\n"
        );
        server
            .put("/etc/systemd/system/address.service", unit, 0o644)
            .unwrap();
        server.shell("systemctl enable address").ok();
    }
    let addresses = "10.77.0.1:4730,10.77.0.2:4730";
    let words = ["wp-gears", "setup", "--yes", "--role", "worker,web"];
    let site = ["--servers", addresses, "--site", site::FOLDER];
    host.run(&[&words[..], &site, &["--workers", "4"]].concat())
        .exits(0);
    host.put(&format!("{}/send.php", site::FOLDER), PAGE, 0o644)
        .unwrap();
    let plugins = format!("{}/wp-content/mu-plugins", site::FOLDER);
    host.put(&format!("{plugins}/notes.php"), NOTES, 0o644)
        .unwrap();

    phase("both answer");
    forget(&host);
    let usual = pages_stay_quick(&host, "both", 1, None);
    assert_eq!(all_ran(&host, 100, &[]), 0);
    host.run(&["wp-gears", "doctor"]).exits(0);

    phase("one is killed, again and again");
    forget(&host);
    let before = unconfirmed(&host);
    let gearmand = &servers[0];
    let moments = std::thread::scope(|scope| {
        let kills = scope.spawn(|| {
            let mut moments = Vec::new();
            for _ in 0..3 {
                std::thread::sleep(Duration::from_millis(700));
                // It starts again after two seconds; pages use it after ten.
                let out = gearmand.shell("kill -KILL $(pidof gearmand) && date +%s.%N");
                moments.extend(out.stdout.trim().parse::<f64>());
                std::thread::sleep(Duration::from_millis(2300));
            }
            moments
        });
        let times = pages(&host, 1..=150, 0.2);
        println!("killed: p99 {} ms, slowest {} ms", times[148], times[149]);
        assert!(times[148] < 300.max(usual + 250), "{times:?}");
        kills.join().unwrap()
    });
    assert!(!moments.is_empty());
    let again = all_ran(&host, 150, &moments) as u64;
    let counted = unconfirmed(&host) - before;
    println!("{} kills, {counted} outcomes unconfirmed", moments.len());
    assert!(again <= counted + 1, "{again} ran twice, {counted} counted");

    let waits = |server: &Host| {
        let status = server.run(&["wp-gears", "status", "--json"]).ok();
        let document: serde_json::Value = serde_json::from_str(&status).unwrap();
        document["queues"][0]["waiting"].as_u64().unwrap_or(0)
    };
    for what in ["partitioned", "powered off"] {
        phase(what);
        host.shell(&format!("rm -f /srv/jobs/* && cd {} && runuser -u {} -- php -r 'require \"wp-load.php\"; delete_site_transient(\"wp_gears_dead_servers\");'", site::FOLDER, site::USER)).ok();
        // Jobs whose end the one that was killed did not hear of come again.
        let none = || [waits(&servers[0]), waits(&servers[1])] == [0, 0];
        until(60, "both queues are empty", none);
        host.run(&["wp-gears", "pause", "--wait"]).exits(0);
        pages(&host, 1..=40, 0.0);
        let waiting = [waits(&servers[0]), waits(&servers[1])];
        println!("{waiting:?} wait");
        assert_eq!(waiting.iter().sum::<u64>(), 40);
        // The one that most pages use.
        let at = usize::from(waiting[1] > waiting[0]);
        let number = [FIRST, SECOND][at];
        switch.cut(number, true).unwrap();
        let cut = now(&host);
        if what == "powered off" {
            servers[at].power_cut();
        }
        host.run(&["wp-gears", "resume"]).ok();
        let out = host.run(&["wp-gears", "doctor", "job-server"]);
        let named = out.text().contains(&format!("10.77.0.{number}:4730"));
        assert!(named, "{out}");
        assert_ne!(host.run(&["wp-gears", "status"]).code, 0);
        pages_stay_quick(&host, what, 41, Some(usual));
        let done = Site::first(&host).wait_for(100, Duration::from_secs(30));
        assert!(done.len() >= 100, "jobs do not go on: {done:?}");
        if what == "powered off" {
            servers[at].power_on().unwrap();
            switch
                .connect(&servers[at], number, ["jobs1", "jobs2"][at])
                .unwrap();
        }
        switch.cut(number, false).unwrap();
        let back = Instant::now();
        all_ran(&host, 140, &[cut]);
        println!(
            "{what}: its jobs had run {:?} after its return",
            back.elapsed()
        );
    }
}
