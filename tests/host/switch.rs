//! The switch in wp-config.php: it is thrown only once everything else works, and it is
//! taken back when the run fails.

use crate::harness::{Host, Out, Site};
use crate::phase::phase;
use crate::support::{jobs_run, on_site, ready_host};

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
    let taken_back = "wp-config.php is again what it was before";
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
