//! `worker --check`: whether a worker could load a site that is not switched on yet.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use super::lab::{Plan, Site, lab};

/// A site whose wp-config.php has none of setup's settings.
fn unswitched(name: &str, jobs: &str) -> Site {
    let plan = Plan {
        jobs: jobs.into(),
        ..Plan::default()
    };
    let site = Site::with(name, plan);
    let config = std::fs::read_to_string(site.dir.join("wp-config.php")).unwrap();
    let ours = |line: &&str| {
        !["'WP_GEARS', true", "gearman_servers", "WP_ASYNC_TASK_SALT"]
            .iter()
            .any(|word| line.contains(word))
    };
    let without: Vec<&str> = config.lines().filter(ours).collect();
    site.write("wp-config.php", &without.join("\n"));
    site
}

/// The answer with these settings, and everything that was printed.
fn check(site: &Site, settings: &Value) -> (Value, String) {
    let state = lab().dir.join("state");
    let mut child = lab()
        .command(lab().dir.join("lib/wp-gears"))
        .args(["worker", "--check", "--name", &site.name])
        .arg("--site")
        .arg(&site.dir)
        .arg("--runner")
        .arg(lab().dir.join("lib/runner.php"))
        .arg("--state")
        .arg(&state)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let text = settings.to_string();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let printed =
        String::from_utf8_lossy(&[output.stdout.clone(), output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{printed}");
    (serde_json::from_slice(&output.stdout).unwrap(), printed)
}

fn settings(site: &Site) -> Value {
    json!({
        "constants": { "WP_GEARS": true, "WP_ASYNC_TASK_SALT": "the-new-salt" },
        "servers": [site.gearmand.server.to_string()],
    })
}

#[test]
fn a_site_that_is_not_switched_on_is_loaded_with_its_settings_to_be() {
    let jobs = "file_put_contents( WP_CONTENT_DIR . '/uploads/seen', WP_ASYNC_TASK_SALT . implode( ',', $GLOBALS['gearman_servers'] ) );";
    let site = unswitched("check", jobs);
    let (answer, printed) = check(&site, &settings(&site));
    assert_eq!(answer["ready"]["plugin"], "bundled", "{printed}");
    assert_eq!(answer["ready"]["fork"], true, "{printed}");
    assert!(!printed.contains("the-new-salt"), "{printed}");
    let seen = format!("the-new-salt{}", site.gearmand.server);
    assert_eq!(site.lines("seen"), [seen]);
    // It is no worker, and leaves nothing that one would believe.
    assert!(!site.state("run").join("function").exists());
    site.write("wp-content/mu-plugins/more.php", "");
    let (answer, _) = check(&site, &json!({ "constants": {}, "servers": null }));
    let why = answer["broken"].as_str().unwrap();
    assert!(why.contains("define( 'WP_GEARS', true )"), "{why}");
}

#[test]
fn what_ends_the_load_is_the_answer() {
    for (name, jobs, says) in [
        (
            "check-init",
            "add_action( 'init', function () { exit; } );",
            "exited while loading",
        ),
        (
            "check-loaded",
            "add_action( 'wp_loaded', function () { exit; } );",
            "exited while loading",
        ),
        ("check-fatal", "missing_function();", "missing_function()"),
        (
            "check-die",
            "wp_die( 'Closed for lunch' );",
            "Closed for lunch",
        ),
        (
            "check-crash",
            "posix_kill( getmypid(), 9 );",
            "PHP exited while loading",
        ),
    ] {
        let site = unswitched(name, "");
        site.write(
            "wp-content/mu-plugins/more.php",
            &format!("<?php if ( 'cli' === PHP_SAPI ) {{ {jobs} }}"),
        );
        let (answer, printed) = check(&site, &settings(&site));
        let why = answer["broken"].as_str().unwrap_or_default();
        assert!(why.contains(says), "{name}: {answer} {printed}");
    }
}
