//! Not a test: measures jobs per second, with the readme's recipe and with ours, on
//! one host in one run. `tests/run host bench --ignored --nocapture`

use std::time::{Duration, Instant};

use crate::harness::{Host, Site, site};
use crate::support::{on_site, ready_host};

/// The plugin's readme, with startsecs=0, without which supervisor gives up.
const README: &str = "[program:readme]
command=/usr/bin/php /var/www/site/wp-gears-runner.php
process_name=%(program_name)s_%(process_num)02d
numprocs=2
directory=/tmp
autostart=true
autorestart=true
startsecs=0
killasgroup=true
user=www-data
";

/// How workers are held back, and let go.
type Gate = [&'static [&'static str]; 2];
const OURS: Gate = [&["wp-gears", "pause", "--wait"], &["wp-gears", "resume"]];
const RECIPES: Gate = [
    &["supervisorctl", "stop", "readme:*"],
    &["supervisorctl", "start", "readme:*"],
];

#[test]
#[ignore = "takes minutes, and measures"]
fn bench() {
    let host = ready_host("bench");
    on_site(&host, "setup", &["--workers", "2"]).exits(0);
    let fork = rate(&host, "fork", 3000, &OURS);
    on_site(&host, "setup", &["--worker-mode", "spawn"]).exits(0);
    let spawn = rate(&host, "spawn", 300, &OURS);
    host.run(&["supervisorctl", "stop", "wp-gears-site:*"]).ok();
    host.put("/etc/supervisor/conf.d/readme.conf", README, 0o644)
        .unwrap();
    host.run(&["supervisorctl", "update", "readme"]).ok();
    let readme = rate(&host, "readme's recipe", 100, &RECIPES);
    println!(
        "fork {:.0} times the recipe's jobs a second, spawn {:.1} times",
        fork / readme,
        spawn / readme
    );
}

/// Jobs a second of jobs that wait already: the workers' speed, not the sender's.
fn rate(host: &Host, name: &str, count: u32, gate: &Gate) -> f64 {
    let site = Site::first(host);
    site.forget_done();
    // One job first, so that what is started once is started.
    site.send(0, 0, 0.0).ok();
    site.wait_for(1, Duration::from_secs(60));
    host.run(gate[0]).ok();
    let began = Instant::now();
    site.send(1, count, 0.0).ok();
    let sent = began.elapsed();
    let cpu = host.cpu();
    let began = Instant::now();
    host.run(gate[1]).ok();
    let done = site.wait_for(count as usize + 1, Duration::from_secs(300));
    let took = began.elapsed();
    let processor = host.cpu() - cpu;
    assert_eq!(done.len(), count as usize + 1, "{name}");
    let memory: u64 = host
        .processes_of(site::FOLDER)
        .iter()
        .map(|process| rss(host, process.pid))
        .sum();
    let rate = f64::from(count) / took.as_secs_f64();
    println!(
        "{name}: {count} jobs in {took:.1?} (sent in {sent:.1?}), {rate:.1} jobs/s, {:.1} ms of processor a job (the whole host), workers hold {} MB",
        processor.as_secs_f64() * 1000.0 / f64::from(count),
        memory >> 10,
    );
    rate
}

/// Resident kilobytes.
fn rss(host: &Host, pid: u32) -> u64 {
    let status = host
        .read(&format!("/proc/{pid}/status"))
        .unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}
