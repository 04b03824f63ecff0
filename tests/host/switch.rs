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
    assert_eq!(second.stderr, first.stderr, "{second}");
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
