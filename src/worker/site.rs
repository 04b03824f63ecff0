//! What a worker knows about its site: the function to serve, whether forking is
//! safe, which options change too often, and when to retry after a failure.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::worker::Paths;
use crate::worker::backoff::pause;
use crate::worker::badge::Mark;
use crate::worker::generation::Generation;
use crate::worker::log::SiteLog;
use crate::worker::memory::SiteMemory;
use crate::worker::message::Ready;
use crate::worker::staleness::Stamps;

/// The longest pause before trying again to load a site.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// An option that changes this often in a minute is not a setting.
const VOLATILE: usize = 3;

/// How often PHP starts again because it learned another home of the site.
const MAX_HOME_CHANGES: u32 = 2;

/// How often PHP starts again because a file changed while it loaded the site.
const MAX_DISTRUSTED: u32 = 3;

/// `HTTP_HOST` in the environment, by which administrators named a host before there
/// was an option.
pub fn host_of_environment() -> Option<String> {
    std::env::var("HTTP_HOST")
        .ok()
        .filter(|host| !host.is_empty())
}

pub struct ServedSite {
    dir: PathBuf,
    run: PathBuf,
    pub function: Option<String>,
    /// The URL of its home; empty if it is unknown.
    pub home: String,
    /// By which hosts of the site know each other, as far as it is known.
    pub mark: Option<Mark>,
    /// How often that changed since PHP last loaded the site.
    home_changes: u32,
    memory: Option<SiteMemory>,
    /// How often in a row a file changed while PHP loaded the site.
    pub distrusted: u32,
    /// PHP has other settings than when it last loaded the site, or may have.
    pub php_changed: bool,
    /// The function may have changed.
    relearn: bool,
    /// A lock held by the one worker of the site that determines the function.
    learning: Option<File>,
    reload_marker: PathBuf,
    generation: Generation,
    /// Why jobs cannot be forked; empty if they can, as far as is known.
    pub why_not_fork: String,
    /// What was last loaded: plugin, PHP version and mode.
    loaded: String,
    /// Options that change so often that they are ignored.
    pub volatile: Vec<String>,
    changes: HashMap<String, Vec<Instant>>,
    failures: u32,
    /// Do not start PHP before this time.
    pub retry_at: Instant,
    last_error: String,
}

impl ServedSite {
    /// From what the site's workers remember.
    pub fn remembered(dir: &Path, paths: &Paths) -> ServedSite {
        let memory = SiteMemory::read(&paths.run);
        let php_changed = memory
            .as_ref()
            .is_some_and(|it| it.stamps.settings_changed() || it.stamps.changed_unnoticed());
        let generation = Generation::of(&paths.reload);
        let memory = memory.filter(|memory| memory.is_valid(dir, &generation));
        ServedSite {
            php_changed,
            dir: dir.to_path_buf(),
            run: paths.run.clone(),
            function: memory.as_ref().map(|m| m.function.clone()),
            home: memory.as_ref().map(|m| m.home.clone()).unwrap_or_default(),
            mark: memory.as_ref().and_then(|m| m.mark.clone()),
            home_changes: 0,
            relearn: memory.is_none(),
            memory,
            distrusted: 0,
            learning: None,
            generation,
            reload_marker: paths.reload.clone(),
            why_not_fork: String::new(),
            loaded: String::new(),
            volatile: Vec::new(),
            changes: HashMap::new(),
            failures: 0,
            retry_at: Instant::now(),
            last_error: String::new(),
        }
    }

    /// Whether `wp-gears reload` was run since the last check. Then what is remembered
    /// counts no more.
    pub fn reload_requested(&mut self) -> bool {
        let now = Generation::of(&self.reload_marker);
        let asked = now != self.generation;
        self.generation = now;
        if asked {
            self.memory = None;
            self.home.clear();
            self.relearn = true;
        }
        asked
    }

    /// Checks the files that determine the function. True if PHP has to determine it
    /// again.
    pub fn look_around(&mut self, log: &SiteLog) -> bool {
        let Some(memory) = &self.memory else {
            return false;
        };
        if let Some(path) = memory.stamps.changed() {
            log.line(&format!("{} changed", path.display()));
            self.php_changed |= memory.stamps.changed_unnoticed();
            // Another worker of the site may already have determined it.
            self.memory = SiteMemory::recall(&self.run, &self.dir, &self.generation);
            self.relearn = self
                .memory
                .as_ref()
                .is_none_or(|m| Some(&m.function) != self.function.as_ref());
        }
        self.relearn
    }

    pub fn has_to_learn(&self) -> bool {
        self.relearn
    }

    /// Whether to determine the function now, by starting PHP. One worker of the site
    /// does; the others wait for its result.
    pub fn may_learn(&mut self, now: Instant) -> bool {
        if !self.relearn || now < self.retry_at {
            return false;
        }
        if let Some(memory) = SiteMemory::recall(&self.run, &self.dir, &self.generation)
            && self.function.as_ref().is_none_or(|f| *f == memory.function)
        {
            self.function = Some(memory.function.clone());
            self.home.clone_from(&memory.home);
            self.mark.clone_from(&memory.mark);
            self.memory = Some(memory);
            self.relearn = false;
            return false;
        }
        if self.learning.is_none() {
            let file = File::options()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(self.run.join("function.lock"));
            self.learning = file.ok().filter(|file| file.try_lock().is_ok());
        }
        if self.learning.is_none() {
            self.retry_at = now + Duration::from_secs(1);
        }
        self.learning.is_some()
    }

    /// Whether to load the site again because a file changed meanwhile. It ends where
    /// files have times in the future.
    pub fn may_distrust(&mut self) -> bool {
        self.distrusted += 1;
        self.distrusted <= MAX_DISTRUSTED
    }

    /// PHP has loaded the site. True if it serves another function than before.
    pub fn learn(&mut self, ready: Ready, stamps: &Stamps, took: Duration, log: &SiteLog) -> bool {
        if self.failures > 0 {
            log.line("the site can run jobs again");
        }
        self.failures = 0;
        self.home_changes = 0;
        self.last_error.clear();
        let mode = mode(ready.fork);
        let what = format!("{}, PHP {}, {mode}", ready.plugin, ready.php);
        // If each job has a process of its own, this is logged only once.
        if ready.fork || what != self.loaded {
            let ms = took.as_millis();
            log.line(&format!("loaded the site in {ms} ms ({what})"));
            self.loaded = what;
        }
        if !ready.why_not.is_empty() && ready.why_not != self.why_not_fork {
            let why = &ready.why_not;
            log.line(&format!("using a PHP process for each job (spawn): {why}"));
            self.why_not_fork = ready.why_not;
        }

        self.relearn = false;
        let changed = self.function.as_ref() != Some(&ready.function);
        if changed {
            // The salt, before the colon, must not be shown.
            let name = ready.function.rsplit(':').next().unwrap_or_default();
            log.line(&format!("serves {name}"));
            self.function = Some(ready.function.clone());
        }
        self.mark = Some(Mark::new(&ready.database, &ready.key));
        let memory = SiteMemory {
            function: ready.function,
            home: self.home.clone(),
            mark: self.mark.clone(),
            stamps: stamps.without_core(),
            generation: self.generation.name().to_owned(),
        };
        if self.memory.as_ref() != Some(&memory) {
            if let Err(e) = memory.write(&self.run) {
                let run = self.run.display();
                log.line(&format!("cannot save the function in {run}: {e}"));
            }
            self.memory = Some(memory);
        }
        self.learning = None; // only after it is written
        changed
    }

    /// The site's home is another one than was assumed.
    pub fn home_is(&mut self, home: String, log: &SiteLog) {
        log.line(&format!("the site's home is {home}"));
        self.home = home;
        self.home_changes += 1;
    }

    /// Whether a home that differs again is due to the site: it depends on something
    /// else than the request's host.
    pub fn has_settled(&self) -> bool {
        self.home_changes >= MAX_HOME_CHANGES
    }

    /// PHP could not load the site, or cannot run jobs.
    pub fn failed(&mut self, why: &str, log: &SiteLog) {
        // What is remembered may be the cause.
        self.home.clear();
        self.home_changes = 0;
        let wait = pause(self.failures, Duration::from_secs(1), LONGEST_PAUSE);
        self.failures += 1;
        self.retry_at = Instant::now() + wait;
        if why != self.last_error || self.failures.is_multiple_of(20) {
            log.line(&format!(
                "the site cannot run jobs now: {why}; trying again"
            ));
            self.last_error = why.to_string();
        }
    }

    /// These options changed since PHP booted. One that changes all the time is ignored
    /// from then on.
    pub fn options_changed(&mut self, names: &[String], now: Instant, log: &SiteLog) {
        for name in names {
            let times = self.changes.entry(name.clone()).or_default();
            times.retain(|at| now.saturating_duration_since(*at) < Duration::from_secs(60));
            times.push(now);
            if times.len() >= VOLATILE {
                log.line(&format!(
                    "the option {name} changes all the time: ignoring it from now on"
                ));
                self.volatile.push(name.clone());
                self.changes.remove(name);
            }
        }
    }
}

/// The mode's name in the log and status.
pub fn mode(fork: bool) -> &'static str {
    if fork { "fork" } else { "spawn" }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn site(root: &Path) -> ServedSite {
        let paths = Paths::new(root, "a");
        fs::create_dir_all(&paths.run).unwrap();
        ServedSite::remembered(root, &paths)
    }

    fn log() -> SiteLog {
        SiteLog::open(Path::new("/dev/null"), "test".into())
    }

    fn ready(function: &str) -> Ready {
        Ready {
            function: function.into(),
            plugin: "bundled".into(),
            fork: true,
            why_not: String::new(),
            files: Vec::new(),
            php: "8.2".into(),
            unsealed: String::new(),
            database: "12ab".into(),
            key: String::new(),
            stores: true,
        }
    }

    #[test]
    fn one_worker_learns_the_function_for_all() {
        let dir = tempfile::tempdir().unwrap();
        let (mut one, mut two) = (site(dir.path()), site(dir.path()));
        let now = Instant::now();
        assert!(one.may_learn(now) && !two.may_learn(now));
        let stamps = Stamps::take(dir.path(), []);
        assert!(one.learn(ready("a:f"), &stamps, Duration::ZERO, &log()));
        assert!(!one.learn(ready("a:f"), &stamps, Duration::ZERO, &log()));
        assert!(!two.may_learn(now + Duration::from_secs(2)));
        assert_eq!(two.function.as_deref(), Some("a:f"));
        assert_eq!(site(dir.path()).function.as_deref(), Some("a:f"));
    }

    #[test]
    fn a_reload_forgets_what_was_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let mut one = site(dir.path());
        let stamps = Stamps::take(dir.path(), []);
        one.learn(ready("a:f"), &stamps, Duration::ZERO, &log());
        assert!(!one.reload_requested() && !one.has_to_learn());
        fs::write(dir.path().join("run/a.reload"), "x").unwrap();
        assert!(one.reload_requested() && one.has_to_learn());
        assert!(!one.reload_requested());
        // Neither does a worker that starts later believe it.
        assert_eq!(site(dir.path()).function, None);
        one.learn(ready("a:f"), &stamps, Duration::ZERO, &log());
        assert_eq!(site(dir.path()).function.as_deref(), Some("a:f"));
    }

    #[test]
    fn an_option_that_changes_all_the_time_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let mut site = site(dir.path());
        let start = Instant::now();
        for seconds in [0, 70, 71, 72] {
            assert!(site.volatile.is_empty());
            let now = start + Duration::from_secs(seconds);
            site.options_changed(&["counter".into()], now, &log());
        }
        assert_eq!(site.volatile, ["counter"]);
    }

    #[test]
    fn a_failing_site_is_retried_less_and_less_often() {
        let dir = tempfile::tempdir().unwrap();
        let mut site = site(dir.path());
        let mut pause = || {
            site.failed("no database", &log());
            site.retry_at.saturating_duration_since(Instant::now())
        };
        let first = pause();
        assert!(first <= Duration::from_secs(1));
        let tenth = (0..9).map(|_| pause()).last().unwrap();
        assert!(tenth > Duration::from_secs(15) && tenth <= LONGEST_PAUSE);
    }
}
