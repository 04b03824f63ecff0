//! Shared by several tests: installing the program on a host, running it, checking it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::harness::command::{command, run};
use crate::harness::process::Process;
use crate::harness::{Host, Image, Out, Release, Shape, Site, Tree, cache, machine, site};

pub const SECOND: &str = "/var/www/second";

/// The program under test.
pub fn wp_gears() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_wp-gears"))
}

/// A host with a site, without any of our packages.
pub fn fresh_host(name: &str) -> Host {
    host_of(&Image::site(Release::Bookworm).unwrap(), name)
}

/// A host with a site and our packages, without any configuration; saves time.
pub fn ready_host(name: &str) -> Host {
    host_of(&Image::with_packages(Release::Bookworm).unwrap(), name)
}

/// Waits until something is so, for at most so many seconds.
#[track_caller]
pub fn until(limit: u64, what: &str, mut is_so: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !is_so() {
        assert!(
            began.elapsed().as_secs() < limit,
            "{what}: not in {limit} s"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    began.elapsed()
}

/// A folder with one of Debian's packages and what it needs, for apt.
pub fn packages_with(name: &str) -> Result<PathBuf> {
    let base = Image::base(Release::Bookworm)?;
    cache::entry(name, &base.lower(), |folder| {
        let bind = format!("{}:/srv/download:rw", folder.display());
        let host = Host::start(&base, name, Shape::Networked, &[bind])?;
        let source = format!("deb {} bookworm main\n", machine::mirror()?);
        host.put("/etc/apt/sources.list", source, 0o644)?;
        host.shell(&format!(
            "apt-get update && apt-get install -y --download-only --no-install-recommends \
                -o Dir::Cache::archives=/srv/download {name} &&
             rm -rf /srv/download/partial /srv/download/lock"
        ))
        .check()?;
        let mut index = command(&["apt-ftparchive", "packages", "."]);
        index.current_dir(folder);
        let index = run(index, b"", Duration::from_secs(60)).check()?;
        Ok(std::fs::write(folder.join("Packages"), index)?)
    })
}

pub fn host_of(image: &Image, name: &str) -> Host {
    let host = Host::boot(image, name).unwrap();
    host.install(wp_gears()).unwrap();
    host
}

/// `wp-gears VERB --site /var/www/site …`, with `--yes` if it asks. After a setup
/// that succeeds, doctor has to agree with it.
#[track_caller]
pub fn on_site(host: &Host, verb: &str, more: &[&str]) -> Out {
    let yes: &[&str] = if verb == "plan" { &[] } else { &["--yes"] };
    let out = host.run(&[&["wp-gears", verb, "--site", site::FOLDER], yes, more].concat());
    let partial = ["--no-start", "--no-prove"];
    if verb == "setup" && out.code == 0 && !partial.iter().any(|it| more.contains(it)) {
        agree(host, &out);
    }
    out
}

/// Setup and doctor tell the same of a host: after a setup that ended well no check
/// fails, and then setup has nothing to change.
#[track_caller]
fn agree(host: &Host, setup: &Out) {
    let doctor = host.run(&["wp-gears", "doctor", "--site", site::FOLDER]);
    assert_eq!(
        doctor.code, 0,
        "doctor disagrees with setup: {doctor}\n{setup}"
    );
    let plan = host.run(&["wp-gears", "plan", "--check", "--site", site::FOLDER]);
    assert_eq!(
        plan.code, 0,
        "doctor agrees, but setup would change: {plan}\n{setup}"
    );
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

/// Adds a second site, with its own user.
pub fn add_second(host: &Host) {
    site::add(host, SECOND, "second", "second.test").unwrap();
    host.run(&["chmod", "1777", "/srv/jobs"]).ok();
}

/// The workers that a site's crew has started. The crew is a process of its own.
pub fn members(host: &Host) -> Vec<Process> {
    let mut all = host.processes_of("wp-gears worker");
    all.retain(|process| process.command.contains(" --one"));
    all
}

/// Submits jobs number 1 to `count`; each must run exactly once.
#[track_caller]
pub fn jobs_run(site: &Site, count: u32) {
    site.forget_done();
    site.send(1, count, 0.0).ok();
    let mut done = site.wait_for(count as usize, Duration::from_secs(20));
    done.sort();
    assert_eq!(done, (1..=count).collect::<Vec<_>>());
}

/// Whether the web's PHP has the extension, asked over HTTP.
pub fn web_has_it(host: &Host) -> bool {
    let page = format!("{}/has.php", site::FOLDER);
    let text = "<?php echo class_exists('GearmanClient') ? 'yes' : 'no';";
    host.put(&page, text, 0o644).unwrap();
    let answer = Site::first(host).get("http://localhost/has.php").1;
    host.run(&["rm", &page]).ok();
    answer.trim() == "yes"
}

/// The web's PHP submits a job, and it runs.
#[track_caller]
pub fn a_page_hands_in_a_job(host: &Host) {
    let page = format!("{}/send.php", site::FOLDER);
    let text = "<?php require 'wp-load.php';
        echo wp_async_task_add('test_job', ['n' => 7]) ? 'sent' : 'not sent', ', with ',
            extension_loaded('gearman') ? 'gearman' : 'nothing';";
    host.put(&page, text, 0o644).unwrap();
    let site = Site::first(host);
    site.forget_done();
    let answer = site.get("http://localhost/send.php");
    host.run(&["rm", &page]).ok();
    assert_eq!(answer, (200, "sent, with gearman".into()));
    assert_eq!(site.wait_for(1, Duration::from_secs(20)), [7]);
}

/// Everything that a run could change.
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
    // Files of idle workers come and go there.
    tree.without("/var/lib/wp-gears/cache")
        .without("/var/lib/wp-gears/run")
        // When workers last looked at their table.
        .without("/var/lib/wp-gears/failed/site/table")
        .without("/var/lib/wp-gears/failed/second/table")
}

/// The daemons and workers, identified so that restarts are detected.
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

/// Runs something that must be refused with one clear error and no changes.
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

/// Watches the addresses on which port 4730 of a host is open, to detect a daemon that
/// is open to everyone for a moment.
pub struct PortWatch {
    ended: Arc<AtomicBool>,
    seen: JoinHandle<BTreeSet<String>>,
}

impl PortWatch {
    pub fn start(host: &Host) -> PortWatch {
        let init = host.processes()[0].outer; // a host that runs has one
        let ended = Arc::new(AtomicBool::new(false));
        let ends = ended.clone();
        let seen = std::thread::spawn(move || {
            let mut seen = BTreeSet::new();
            while !ends.load(Ordering::Relaxed) {
                for table in ["tcp", "tcp6"] {
                    let path = format!("/proc/{init}/net/{table}");
                    let text = std::fs::read_to_string(path).unwrap_or_default();
                    seen.extend(text.lines().filter_map(listening));
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            seen
        });
        PortWatch { ended, seen }
    }

    /// Asserts that it was open, but never to other hosts.
    #[track_caller]
    pub fn saw_loopback_alone(self) {
        const LOOPBACK: [&str; 2] = ["0100007F", "00000000000000000000000001000000"];
        self.ended.store(true, Ordering::Relaxed);
        let seen = self.seen.join().unwrap();
        assert!(seen.contains(LOOPBACK[0]), "{seen:?}");
        assert!(seen.iter().all(|it| LOOPBACK.contains(&&**it)), "{seen:?}");
    }
}

/// The address in a row of the kernel's table that listens on port 4730.
fn listening(row: &str) -> Option<String> {
    let fields: Vec<&str> = row.split_whitespace().collect();
    let (address, port) = fields.get(1)?.split_once(':')?;
    (port == "127A" && *fields.get(3)? == "0A").then(|| address.to_owned())
}
