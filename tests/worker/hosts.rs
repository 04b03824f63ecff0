//! Several worker hosts of a site: what one has kept, the others have too.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use super::lab::{Plan, Site, Worker, lab, run, wait_for};

/// Jobs that kill their process as long as the site is sick, and fail otherwise.
const JOBS: &str = r#"
add_action( 't_dies', function ( $args ) {
	if ( file_exists( WP_CONTENT_DIR . '/uploads/sick' ) ) {
		file_put_contents( WP_CONTENT_DIR . '/uploads/died', "$args[0]\n", FILE_APPEND | LOCK_EX );
		posix_kill( getmypid(), SIGKILL );
	}
	out( $args[0] );
} );
"#;

/// A worker host: its folder is all that it has of its own.
struct Host<'a> {
    site: &'a Site,
    state: PathBuf,
}

impl<'a> Host<'a> {
    fn new(site: &'a Site, name: &str) -> Host<'a> {
        let state = lab().dir.join(format!("{}-{name}", site.name));
        fs::create_dir_all(&state).unwrap();
        lab().give_away(&state);
        Host { site, state }
    }

    fn work(&self, options: &[&str]) -> Worker {
        let state = self.state.to_str().unwrap();
        let all = [&["--state", state, "--retry-grace", "2"], options].concat();
        self.site.worker(&all)
    }

    fn failed(&self) -> Vec<Value> {
        let output = run(Command::new(lab().dir.join("lib/wp-gears"))
            .args(["failed", "--json", "--site", &self.site.name, "--state"])
            .arg(&self.state));
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        document["failed"].as_array().unwrap().clone()
    }

    fn kept(&self) -> usize {
        self.failed()
            .iter()
            .filter(|it| it["due"].is_null())
            .count()
    }

    fn waiting(&self) -> usize {
        self.failed().len() - self.kept()
    }

    /// It is deleted, with its disk.
    fn vanish(self, worker: Worker) {
        for pid in super::lab::children(worker.pid()) {
            super::lab::signal(pid, "KILL");
        }
        worker.signal("KILL");
        drop(worker);
        fs::remove_dir_all(&self.state).unwrap();
    }
}

fn site(name: &str) -> Site {
    let site = Site::with(
        name,
        Plan {
            jobs: JOBS.into(),
            ..Plan::default()
        },
    );
    site.write("wp-content/uploads/sick", "");
    site
}

fn table(site: &Site, what: &str) -> String {
    lab().sql(&format!(
        "SELECT {what} FROM wp.{}_wp_gears_jobs",
        site.name
    ))
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|n| n.to_string()).collect()
}

fn add(site: &Site, count: usize) {
    let mut jobs = Vec::new();
    for n in 0..count {
        jobs.push(("t_dies", json!([n])));
        jobs.push(("t_throw", json!([])));
    }
    site.add_many(&jobs);
}

#[test]
fn the_next_host_has_what_a_vanished_one_had() {
    let site = site("vanishes");
    let first = Host::new(&site, "first");
    let worker = first.work(&["--workers", "2", "--retry-pause", "600"]);
    add(&site, 20);
    wait_for(60, "20 retries and 20 failed jobs", || {
        (first.waiting(), first.kept()) == (20, 20)
    });
    wait_for(20, "the rows", || table(&site, "COUNT(*)") == "40");
    let payloads = table(&site, "GROUP_CONCAT(FROM_BASE64(body))");
    assert!(payloads.contains("wp-gears-seal:1:"));
    first.vanish(worker);
    fs::remove_file(site.dir.join("wp-content/uploads/sick")).unwrap();
    // The time passes in which they are due and late.
    lab().sql(&format!(
        "UPDATE wp.{}_wp_gears_jobs SET due = 1, held_until = 2 WHERE state = 0",
        site.name
    ));
    let second = Host::new(&site, "second");
    let third = Host::new(&site, "third");
    let workers = (
        second.work(&["--workers", "2"]),
        third.work(&["--workers", "2"]),
    );
    site.wait_for_out(60, 20);
    site.assert_once(numbers(20));
    assert_eq!((second.kept(), third.kept()), (20, 20));
    wait_for(20, "the end of all retries", || {
        table(&site, "SUM(state = 2)") == "20"
    });
    assert_eq!(second.waiting() + third.waiting(), 0);
    drop(workers);
}
