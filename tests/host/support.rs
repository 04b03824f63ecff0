//! What several tests do: bring the program onto a host, run it, look at it.

use std::path::Path;
use std::time::Duration;

use crate::harness::{Host, Image, Out, Release, Site, Tree, site};

pub const SECOND: &str = "/var/www/second";

/// The program under test.
pub fn wp_gears() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_wp-gears"))
}

/// A host with a site, without any of our packages.
pub fn fresh_host(name: &str) -> Host {
    host_of(&Image::site(Release::Bookworm).unwrap(), name)
}

/// A host with a site and our packages as installed: saves apt's time.
pub fn ready_host(name: &str) -> Host {
    host_of(&Image::with_packages(Release::Bookworm).unwrap(), name)
}

pub fn host_of(image: &Image, name: &str) -> Host {
    let host = Host::boot(image, name).unwrap();
    host.install(wp_gears()).unwrap();
    host
}

/// `wp-gears VERB --site /var/www/site …`, answered with yes where it asks.
pub fn on_site(host: &Host, verb: &str, more: &[&str]) -> Out {
    let yes: &[&str] = if verb == "plan" { &[] } else { &["--yes"] };
    host.run(&[&["wp-gears", verb, "--site", site::FOLDER], yes, more].concat())
}

/// `wp-gears VERB --site /var/www/site --site /var/www/second --yes`
pub fn on_both(verb: &str) -> [&str; 7] {
    [
        "wp-gears",
        verb,
        "--site",
        site::FOLDER,
        "--site",
        SECOND,
        "--yes",
    ]
}

/// Adds a second site, of a user of its own.
pub fn add_second(host: &Host) {
    site::add(host, SECOND, "second", "second.test").unwrap();
    host.run(&["chmod", "1777", "/srv/jobs"]).ok();
}

/// Sends jobs number 1 to `count`; each must run, and once.
#[track_caller]
pub fn jobs_run(site: &Site, count: u32) {
    site.forget_done();
    site.send(1, count, 0.0).ok();
    let mut done = site.wait_for(count as usize, Duration::from_secs(20));
    done.sort();
    assert_eq!(done, (1..=count).collect::<Vec<_>>());
}

/// All that a run could have changed.
pub fn everything(host: &Host) -> Tree {
    let folders = [
        "/etc",
        "/var/www",
        "/usr/local",
        "/opt",
        "/root",
        "/var/lib/wp-gears",
    ];
    let tree = host.tree(&[&folders[..], &["/var/spool/cron", "/usr/lib/systemd"]].concat());
    // Idle workers come and go there.
    tree.without("/var/lib/wp-gears/cache")
        .without("/var/lib/wp-gears/run")
}

/// The daemons and workers, each with what tells it from a restarted one.
pub fn daemons(host: &Host) -> Vec<(u32, u64, String)> {
    let names = [
        "gearmand",
        "supervisord",
        "wp-gears worker",
        "nginx: master",
        "mariadbd",
    ];
    let daemon = |command: &str| {
        command.contains("php-fpm: master") || names.iter().any(|name| command.contains(name))
    };
    let processes = host
        .processes()
        .into_iter()
        .filter(|process| daemon(&process.command));
    processes
        .map(|process| (process.pid, process.start, process.command))
        .collect()
}

/// Fails with a list of all differences.
#[track_caller]
pub fn none(differences: Vec<String>, what: &str) {
    assert!(
        differences.is_empty(),
        "{what}:\n{}",
        differences.join("\n")
    );
}

/// Runs what must be refused: one clear error, and nothing changed.
#[track_caller]
pub fn refused(host: &Host, words: &[&str], code: i32, says: &[&str]) {
    let (before, daemons_before) = (everything(host), daemons(host));
    let out = host.run(words).exits(code);
    none(
        before.touches_to(&everything(host)),
        &format!("changed by a refused run, {out}"),
    );
    assert_eq!(
        daemons_before,
        daemons(host),
        "restarted by a refused run, {out}"
    );
    for word in says {
        assert!(out.stderr.contains(word), "does not say {word:?}: {out}");
    }
}
