//! Plugins and drop-ins of others that tests run, each in the cache folder. Nothing of
//! them is part of this project.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Write, stderr};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use crate::common::needs::cache_folder;

pub struct Software {
    /// Its name, as in docs/compatibility.md.
    pub title: &'static str,
    repository: &'static str,
    /// The tag of the version, or a branch if it has no tags.
    tag: &'static str,
}

const fn row(title: &'static str, repository: &'static str, tag: &'static str) -> Software {
    Software {
        title,
        repository,
        tag,
    }
}

pub static WP_GEARS_1_0: Software = row("WP Gears 1.0.0", "10up/WP-Minions", "1.0.0");
pub static WP_GEARS_2_0: Software = row("WP Gears 2.0.1", "10up/WP-Minions", "2.0.1");
pub static WP_GEARS_2_1: Software = row("WP Gears 2.1.0", "10up/WP-Minions", "2.1.0");
pub static WP_MINIONS_3: Software = row("WP Minions 3.0.0", "10up/WP-Minions", "3.0.0");
pub static WP_MINIONS_4: Software = row("WP Minions 4.1.0", "10up/WP-Minions", "4.1.0");

pub static REDIS_CACHE: Software = row(
    "Redis Object Cache 2.6.3",
    "rhubarbgroup/redis-cache",
    "2.6.3",
);
pub static MEMCACHED_CACHE: Software = row(
    "Memcached Object Cache 1.0.0",
    "tollmanz/wordpress-pecl-memcached-object-cache",
    "1.0.0",
);
pub static HYPERDB: Software = row("HyperDB", "Automattic/HyperDB", "trunk");
pub static LUDICROUSDB: Software = row("LudicrousDB 5.2.0", "stuttter/ludicrousdb", "5.2.0");
pub static SQLITE: Software = row(
    "SQLite Database Integration 2.1.15",
    "WordPress/sqlite-database-integration",
    "v2.1.15",
);
pub static ACTION_SCHEDULER: Software = row(
    "Action Scheduler 3.8.2",
    "woocommerce/action-scheduler",
    "3.8.2",
);

/// Whoever gets software that is not in this list has a test that never says what it
/// skipped.
pub static ALL: [&Software; 11] = [
    &WP_GEARS_1_0,
    &WP_GEARS_2_0,
    &WP_GEARS_2_1,
    &WP_MINIONS_3,
    &WP_MINIONS_4,
    &REDIS_CACHE,
    &MEMCACHED_CACHE,
    &HYPERDB,
    &LUDICROUSDB,
    &SQLITE,
    &ACTION_SCHEDULER,
];

impl Software {
    /// Its folder. Where it cannot be had, says so once: the test must pass then.
    pub fn folder(&self) -> Option<PathBuf> {
        static ASKED: Mutex<BTreeMap<&str, bool>> = Mutex::new(BTreeMap::new());
        let mut asked = ASKED.lock().unwrap();
        let name = self.repository.rsplit('/').next().unwrap();
        let place = cache_folder()
            .join("software")
            .join(format!("{name}-{}", self.tag));
        let there = *asked.entry(self.title).or_insert_with(|| {
            let there = place.exists() || self.clone_to(&place);
            if !there {
                // Past the test harness, which shows no output of tests that pass.
                let _ = writeln!(stderr(), "skipped: {} cannot be had here", self.title);
            }
            there
        });
        there.then_some(place)
    }

    /// One try, which takes a while only where the network does not say no.
    fn clone_to(&self, place: &PathBuf) -> bool {
        let parent = place.parent().unwrap();
        if fs::create_dir_all(parent).is_err() {
            return false;
        }
        // Other tests wait for it rather than get the same.
        let lock = File::create(place.with_extension("lock")).unwrap();
        lock.lock().unwrap();
        if place.exists() {
            return true;
        }
        let half = place.with_extension("half");
        let _ = fs::remove_dir_all(&half);
        let cloned = Command::new("timeout")
            .args(["30", "git", "clone", "-q", "--depth", "1", "--branch"])
            .arg(self.tag)
            .arg(format!("https://github.com/{}", self.repository))
            .arg(&half)
            .env("GIT_TERMINAL_PROMPT", "0")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status();
        cloned.is_ok_and(|status| status.success()) && fs::rename(&half, place).is_ok()
    }
}

#[test]
fn software_that_tests_skip() {
    let skipped = ALL.iter().filter(|software| software.folder().is_none());
    let skipped: Vec<_> = skipped.map(|software| software.title).collect();
    if !skipped.is_empty() {
        let _ = writeln!(
            stderr(),
            "not tested, as it cannot be had here: {}",
            skipped.join(", ")
        );
    }
}
