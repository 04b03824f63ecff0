//! A worker that waits for something sleeps meanwhile, whatever it waits for.

use std::fs;

use serde_json::json;

use super::lab::{Plan, Site, Worker, sleep, wait_for};

/// How often the processes of wp-gears below this one, and itself, went to sleep or were ready to go on.
fn wakes(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map_or(0, |value| value.trim().parse().unwrap())
    };
    // What others preempt does not sleep.
    field("voluntary_ctxt_switches:") + field("nonvoluntary_ctxt_switches:")
}

/// The worker wakes so often in a second that it waits.
#[track_caller]
fn sleeps(what: &str, worker: &Worker) {
    let before = wakes(worker.pid());
    sleep(1000);
    let often = wakes(worker.pid()) - before;
    println!("{what}: wakes {often} times in a second");
    assert!(often < 60, "{what}: {often} times in a second");
}

/// While `wait` exists, workers cannot load the site, and with `exits` that ends at once.
const SLOW: &str = "if ( defined( 'DOING_ASYNC' ) ) {
	while ( file_exists( __DIR__ . '/wait' ) ) { usleep( 50000 ); clearstatcache(); }
	if ( file_exists( __DIR__ . '/exits' ) ) { exit; }
}";

fn site(name: &str) -> Site {
    let plan = Plan {
        jobs: SLOW.into(),
        ..Plan::default()
    };
    Site::with(name, plan)
}

const WAIT: &str = "wp-content/mu-plugins/wait";
const EXITS: &str = "wp-content/mu-plugins/exits";

#[test]
fn a_worker_sleeps_while_php_loads_the_site() {
    let site = site("calm-boot");
    site.write(WAIT, "");
    let worker = site.worker(&["--idle-timeout", "1"]);
    wait_for(20, "PHP", || worker.php().is_some());
    sleeps("a new site loads", &worker);
    fs::remove_file(site.dir.join(WAIT)).unwrap();
    site.add("t_line", json!(["1"]));
    site.wait_for_out(30, 1);
    // It knows the site now.
    wait_for(20, "no PHP", || worker.php().is_none());
    sleeps("an idle worker", &worker);
    site.write(WAIT, "");
    site.add("t_line", json!(["2"]));
    wait_for(20, "PHP", || worker.php().is_some());
    sleeps("a known site loads", &worker);
    fs::remove_file(site.dir.join(WAIT)).unwrap();
    site.wait_for_out(30, 2);
    site.add("t_sleep", json!(["3", 3000]));
    wait_for(20, "the job", || site.lines("begun").len() == 1);
    sleeps("a job runs", &worker);
    site.wait_for_out(30, 3);
}

#[test]
fn a_worker_sleeps_while_it_can_do_nothing() {
    let mut site = site("calm-none");
    site.write(EXITS, "");
    let worker = site.worker(&["--idle-timeout", "1"]);
    site.wait_for_log(20, "exited while loading");
    sleeps("a new site that is broken", &worker);
    fs::remove_file(site.dir.join(EXITS)).unwrap();
    site.add("t_line", json!(["1"]));
    site.wait_for_out(60, 1);
    wait_for(20, "no PHP", || worker.php().is_none());
    site.write(EXITS, "");
    site.add("t_line", json!(["2"]));
    wait_for(20, "the broken site", || {
        site.log().matches("exited while loading").count() > 1
    });
    sleeps("a job of a broken site", &worker);
    site.gearmand.kill();
    sleeps("no job server", &worker);
    site.gearmand.start();
    fs::remove_file(site.dir.join(EXITS)).unwrap();
    site.wait_for_out(60, 2);
}
