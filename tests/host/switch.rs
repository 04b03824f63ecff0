//! The switch in wp-config.php: it is thrown only once everything else works, and it is
//! taken back when the run fails.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Host, Out, Site};
use crate::phase::phase;
use crate::support::{SECOND, add_second, jobs_run, none, on_both, on_site, ready_host};

const CONFIG: &str = "/var/www/site/wp-config.php";
const PLUGIN: &str = "/var/www/site/wp-content/mu-plugins/fault.php";

/// Two setups fail with the same words, and leave the switch as it was.
#[track_caller]
fn fails_twice(host: &Host, says: &[&str]) -> Out {
    let text = host.read(CONFIG).unwrap();
    let first = on_site(host, "setup", &[]).exits(1);
    for word in says {
        assert!(
            first.stderr.contains(word),
            "does not say {word:?}: {first}"
        );
    }
    let second = on_site(host, "setup", &[]).exits(1);
    // Only the job's number differs.
    let plain = |out: &Out| out.stderr.replace(|c: char| c.is_ascii_digit(), "");
    assert_eq!(plain(&second), plain(&first), "{second}");
    assert_eq!(host.read(CONFIG).unwrap(), text, "{first}");
    assert_eq!(Site::first(host).get("http://localhost/").0, 200);
    first
}

/// What was wrong is right now: setup succeeds, jobs run, and remove takes it all out.
#[track_caller]
fn succeeds(host: &Host) {
    let before = host.read(CONFIG).unwrap();
    on_site(host, "setup", &[]).exits(0);
    jobs_run(&Site::first(host), 3);
    let again = on_site(host, "setup", &[]).exits(0);
    assert!(again.stdout.contains("Nothing to change."), "{again}");
    host.run(&["wp-gears", "doctor"]).exits(0);
    on_site(host, "remove", &[]).exits(0);
    assert_eq!(host.read(CONFIG).unwrap(), before);
}

fn put_plugin(host: &Host, code: &str) {
    host.put(PLUGIN, format!("<?php\n{code}\n"), 0o644).unwrap();
}

#[test]
fn a_site_that_does_not_load_for_workers_is_not_switched_on() {
    let host = ready_host("load");
    for (name, code, says) in [
        (
            "exits at init",
            "if ('cli' === PHP_SAPI) add_action('init', function () { exit; });",
            "exited while loading",
        ),
        (
            "exits in wp_loaded",
            "if ('cli' === PHP_SAPI) add_action('wp_loaded', function () { exit; });",
            "exited while loading",
        ),
        (
            "a fatal error",
            "if ('cli' === PHP_SAPI) no_such_function();",
            "undefined function no_such_function()",
        ),
        (
            "wp_die",
            "if ('cli' === PHP_SAPI) add_action('init', function () { wp_die('Closed for lunch'); });",
            "Closed for lunch",
        ),
    ] {
        phase(name);
        put_plugin(&host, code);
        let failed = fails_twice(&host, &["load WordPress in /var/www/site", says]);
        assert!(
            !host.read("/etc/wp-gears.toml").unwrap().is_empty(),
            "{failed}"
        );
        assert_eq!(host.processes_of("wp-gears worker"), [], "{name}");
    }
    host.run(&["rm", PLUGIN]).ok();
    phase("the fault is gone");
    succeeds(&host);
}

/// The test job ends before it leaves its trace, as if no worker ran it.
const NO_JOB_RUNS: &str = "add_action('wp_gears_probe', function () { exit; }, 1);";

/// Setup is killed as soon as it has thrown the switch.
fn killed_after_the_switch(host: &Host) {
    std::thread::scope(|scope| {
        let setup = scope.spawn(|| on_site(host, "setup", &[]));
        while !host.read(CONFIG).unwrap().contains("WP_GEARS") {
            assert!(!setup.is_finished(), "{}", setup.join().unwrap());
        }
        host.run(&["pkill", "-KILL", "-f", "^wp-gears setup"]).ok();
    });
}

#[test]
fn a_switch_whose_proof_fails_is_taken_back() {
    let host = ready_host("trial");
    let before = host.read(CONFIG).unwrap();
    let taken_back = "wp-config.php is back to what it was before";
    phase("no worker runs the job");
    put_plugin(&host, NO_JOB_RUNS);
    fails_twice(&host, &["no worker ran the job", taken_back]);
    assert_eq!(host.read(CONFIG).unwrap(), before);
    let log = host.read("/var/log/wp-gears/site.log").unwrap();
    assert!(!log.contains("cannot run jobs"), "{log}");
    assert!(
        log.trim_end()
            .ends_with("waiting until setup has switched the site on"),
        "{log}"
    );

    phase("killed between the switch and the proof");
    killed_after_the_switch(&host);
    assert_ne!(host.read(CONFIG).unwrap(), before);
    let next = on_site(&host, "setup", &[]).exits(1);
    assert!(next.stderr.contains(taken_back), "{next}");
    assert_eq!(host.read(CONFIG).unwrap(), before);

    phase("killed, and then the site does not load");
    killed_after_the_switch(&host);
    put_plugin(&host, "if ('cli' === PHP_SAPI) no_such_function();");
    let next = on_site(&host, "setup", &[]).exits(1);
    for word in ["no_such_function", taken_back] {
        assert!(next.stderr.contains(word), "does not say {word:?}: {next}");
    }
    assert_eq!(host.read(CONFIG).unwrap(), before);

    phase("killed, with nothing wrong");
    put_plugin(&host, NO_JOB_RUNS);
    killed_after_the_switch(&host);
    host.run(&["rm", PLUGIN]).ok();
    let next = on_site(&host, "setup", &[]).exits(0);
    assert!(next.stdout.contains("ran a test job"), "{next}");
    let again = on_site(&host, "setup", &[]).exits(0);
    assert!(again.stdout.contains("Nothing to change."), "{again}");

    phase("a later setup fails");
    let proved = host.read(CONFIG).unwrap();
    put_plugin(&host, NO_JOB_RUNS);
    let later = on_site(&host, "setup", &["--salt", "another-salt"]).exits(1);
    assert!(
        later.stderr.contains("what it was when jobs last ran"),
        "{later}"
    );
    assert_eq!(host.read(CONFIG).unwrap(), proved);
    host.run(&["rm", PLUGIN]).ok();
    jobs_run(&Site::first(&host), 2);
    on_site(&host, "setup", &[]).exits(0);
    on_site(&host, "remove", &["--drain", "20"]).exits(0);
    assert_eq!(host.read(CONFIG).unwrap(), before);
}

/// Only workers fail to load the site, and only once it is switched on: no check before
/// the switch can know.
const WORKERS_STOP_LOADING: &str = "if ('wp-gears-runner.php' === basename($_SERVER['SCRIPT_FILENAME'])
    && false !== strpos(file_get_contents(ABSPATH . 'wp-config.php'), 'WP_ASYNC_TASK_SALT')) no_such_function();";

/// Submits a job and says whether it went to Gearman.
const SEND: &str = "<?php require '/var/www/site/wp-load.php';
    $answer = wp_async_task_add('test_job', ['n' => (int) $_GET['n']]);
    echo is_string($answer) ? 'gearman' : 'elsewhere';";

#[test]
fn jobs_of_a_failed_trial_run_once_setup_succeeds() {
    let host = ready_host("jobs");
    let before = host.read(CONFIG).unwrap();
    let site = Site::first(&host);
    host.put("/var/www/site/send.php", SEND, 0o644).unwrap();
    put_plugin(&host, WORKERS_STOP_LOADING);

    phase("pages submit jobs while the proof fails");
    let ended = AtomicBool::new(false);
    let (setup, sent) = std::thread::scope(|scope| {
        let pages = scope.spawn(|| {
            let mut sent = Vec::new();
            for n in 1.. {
                let url = format!("http://localhost/send.php?n={n}");
                if site.get(&url) == (200, "gearman".into()) {
                    sent.push(n);
                }
                if ended.load(Ordering::Relaxed) {
                    return sent;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            unreachable!("the numbers do not end");
        });
        let setup = on_site(&host, "setup", &[]);
        ended.store(true, Ordering::Relaxed);
        (setup, pages.join().unwrap())
    });
    let setup = setup.exits(1);
    assert!(setup.stderr.contains("no worker ran the job"), "{setup}");
    assert!(
        setup.stderr.contains("submitted meanwhile are queued"),
        "{setup}"
    );
    assert_eq!(host.read(CONFIG).unwrap(), before);
    assert!(sent.len() > 10, "{sent:?}");
    println!(
        "{} jobs were accepted during the trial: {}",
        sent.len(),
        setup.stderr
    );
    let kept = host
        .shell("stat -c '%U %a' /var/lib/wp-gears/state/site-site.salt")
        .ok();
    assert_eq!(kept.trim(), "root 600");
    phase("remove refuses to strand them");
    let remove = on_site(&host, "remove", &[]).exits(1);
    assert!(remove.stderr.contains("jobs are queued"), "{remove}");

    phase("the next setup runs them, once each");
    host.run(&["rm", PLUGIN]).ok();
    site.forget_done();
    on_site(&host, "setup", &[]).exits(0);
    // A page that was answered after the trial gave its job to WP-Cron.
    let ours = || -> Vec<u32> {
        let mut done = site.done();
        done.retain(|n| sent.contains(n));
        done
    };
    let began = Instant::now();
    while ours().len() < sent.len() && began.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut done = ours();
    done.sort_unstable();
    assert_eq!(done, sent);
    assert!(!host.exists("/var/lib/wp-gears/state/site-site.salt"));
    on_site(&host, "remove", &[]).exits(0);
    assert_eq!(host.read(CONFIG).unwrap(), before);
}

#[test]
fn a_test_job_that_nobody_ran_does_not_stop_remove() {
    let host = ready_host("probe");
    let before = host.read(CONFIG).unwrap();
    put_plugin(&host, WORKERS_STOP_LOADING);
    fails_twice(
        &host,
        &["no worker ran the job", "is back to what it was before"],
    );
    let queues = host.shell("printf 'status\\n' | timeout 1 bash -c 'exec 3<>/dev/tcp/127.0.0.1/4730; cat >&3; cat <&3' || true");
    assert!(!queues.stdout.contains("\t1\t"), "{queues}");
    on_site(&host, "remove", &[]).exits(0);
    assert_eq!(host.read(CONFIG).unwrap(), before);
}

#[test]
fn a_job_server_that_accepts_no_job_ends_the_trial() {
    let host = ready_host("full");
    let before = host.read(CONFIG).unwrap();
    phase("the queue's disk is full");
    host.shell(
        "mkdir /mnt/small; mount -t tmpfs -o size=1m,mode=777 small /mnt/small
         systemd-run -q --unit=other gearmand --listen=127.0.0.1 --port=4731 \\
             --queue-type=libsqlite3 --libsqlite3-db=/mnt/small/queue --log-file=stderr
         until echo version | timeout 1 bash -c 'exec 3<>/dev/tcp/127.0.0.1/4731; cat >&3; head -1 <&3'; do sleep 0.1; done
         dd if=/dev/zero of=/mnt/small/filling bs=1k 2>/dev/null || test -s /mnt/small/filling",
    )
    .ok();
    let elsewhere = ["--role", "worker,web", "--servers", "127.0.0.1:4731"];
    let first = on_site(&host, "setup", &elsewhere).exits(1);
    println!("{}", first.stderr);
    assert!(
        first.stderr.contains("is back to what it was before"),
        "{first}"
    );
    assert_eq!(host.read(CONFIG).unwrap(), before);
    fails_twice(&host, &["is back to what it was before"]);
    assert_eq!(host.read(CONFIG).unwrap(), before);
    assert_eq!(
        host.shell("ls /var/lib/wp-gears/state | grep -c salt")
            .ok()
            .trim(),
        "1"
    );

    phase("there is room again");
    // gearmand does not recover from the error by itself.
    host.shell("rm /mnt/small/filling; systemctl restart other")
        .ok();
    on_site(&host, "setup", &[]).exits(0);
    jobs_run(&Site::first(&host), 2);
    on_site(&host, "remove", &[]).exits(0);
    assert_eq!(host.read(CONFIG).unwrap(), before);
}

#[test]
fn one_sites_trial_fails_and_the_other_site_is_done() {
    let host = ready_host("two");
    add_second(&host);
    let config = format!("{SECOND}/wp-config.php");
    let before = host.read(&config).unwrap();
    let plugin = format!("{SECOND}/wp-content/mu-plugins/fault.php");
    host.put(&plugin, format!("<?php {NO_JOB_RUNS}"), 0o644)
        .unwrap();
    let first = host.run(&on_both("setup")).exits(1);
    assert!(
        first
            .stdout
            .contains("ran a test job through WordPress [site]"),
        "{first}"
    );
    assert!(first.stderr.contains("error: second: "), "{first}");
    assert_eq!(host.read(&config).unwrap(), before, "{first}");
    jobs_run(&Site::first(&host), 2);
    let proved = host.tree(&[CONFIG]);
    let again = host.run(&on_both("setup")).exits(1);
    assert_eq!(host.read(&config).unwrap(), before, "{again}");
    none(
        proved.touches_to(&host.tree(&[CONFIG])),
        "touched in the other site",
    );
    host.run(&["rm", &plugin]).ok();
    host.run(&on_both("setup")).exits(0);
    let again = host.run(&on_both("setup")).exits(0);
    assert!(again.stdout.contains("Nothing to change."), "{again}");
    host.run(&["wp-gears", "doctor"]).exits(0);
}
