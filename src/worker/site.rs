//! The site as its worker knows it: which function it serves, and a PHP
//! process that has it loaded and is neither old nor stale.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{FlockOperation, OFlags, flock};
use serde::{Deserialize, Serialize};

use crate::worker::connection::pause;
use crate::worker::fresh::Stamps;
use crate::worker::log::Log;
use crate::worker::message::{Hello, Message, Ready};
use crate::worker::options::{Mode, WorkerArgs};
use crate::worker::php::{Booted, Php, Start};
use crate::worker::presence::Activity;
use crate::worker::serve::Worker;
use crate::worker::{Paths, opcache};

/// How long WordPress may take to load.
const BOOT: Duration = Duration::from_secs(120);

/// How often the files are looked at while jobs come in a row.
const CHECK: Duration = Duration::from_millis(500);

/// The longest pause before a site that cannot be loaded is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How often the size of the opcode cache is looked at.
const TRIM: Duration = Duration::from_secs(86_400);

/// In the site's run folder: what is remembered.
const MEMORY: &str = "function";
const LARGEST_MEMORY: u64 = 8 << 20;

/// An option that changed so often in a minute configures nothing.
const VOLATILE: usize = 3;

pub(super) struct Site {
    pub function: Option<String>,
    /// The function may be another by now.
    relearn: bool,
    known: Option<Known>,
    php: PathBuf,
    cache: PathBuf,
    /// Why no opcodes are cached at the moment.
    no_cache: Option<String>,
    trim_at: Instant,
    run: PathBuf,
    site_dir: PathBuf,
    reload: PathBuf,
    reload_was: Option<SystemTime>,
    /// Held by the one worker of the site that asks.
    learning: Option<File>,
    /// Whether a PHP waits for the next job even before it comes (spawn).
    warm: bool,
    pub failures: u32,
    pub again: Instant,
    last_words: String,
    loaded: String,
    why_not: String,
    volatile: Vec<String>,
    changes: HashMap<String, Vec<Instant>>,
}

/// What is remembered for the next start, so that an idle worker needs no PHP.
#[derive(Serialize, Deserialize, PartialEq)]
pub(super) struct Known {
    pub function: String,
    pub stamps: Stamps,
}

impl Site {
    pub fn remembered(args: &WorkerArgs, paths: &Paths, php: PathBuf) -> Site {
        let known = recall(&paths.run, &args.site);
        Site {
            function: known.as_ref().map(|k| k.function.clone()),
            relearn: known.is_none(),
            known,
            php,
            cache: paths.cache.clone(),
            no_cache: None,
            trim_at: Instant::now(),
            run: paths.run.clone(),
            site_dir: args.site.clone(),
            reload_was: modified(&paths.reload),
            reload: paths.reload.clone(),
            learning: None,
            warm: false,
            failures: 0,
            again: Instant::now(),
            last_words: String::new(),
            loaded: String::new(),
            why_not: String::new(),
            volatile: Vec::new(),
            changes: HashMap::new(),
        }
    }

    pub fn reload_asked(&mut self) -> bool {
        let now = modified(&self.reload);
        let asked = now.is_some() && now != self.reload_was;
        self.reload_was = now;
        asked
    }

    /// A changed wp-config.php or plugin may have another function. True where
    /// it has to be asked.
    pub fn look_around(&mut self, log: &mut Log) -> bool {
        let Some(known) = &self.known else {
            return false;
        };
        if let Some(path) = known.stamps.changed() {
            log.line(&format!("{} changed", path.display()));
            // Another worker of the site may have seen to it.
            self.known = recall(&self.run, &known.stamps.site);
            self.relearn = self
                .known
                .as_ref()
                .is_none_or(|k| Some(&k.function) != self.function.as_ref());
        }
        self.relearn
    }

    /// One worker asks the site for its function; the others wait for what it finds.
    fn may_learn(&mut self, now: Instant) -> bool {
        if !self.relearn || now < self.again {
            return false;
        }
        if let Some(known) = recall(&self.run, &self.site_dir)
            && self.function.as_ref().is_none_or(|f| *f == known.function)
        {
            self.function = Some(known.function.clone());
            self.known = Some(known);
            self.relearn = false;
            return false;
        }
        if self.learning.is_none() {
            let file = File::create(self.run.join("function.lock"));
            self.learning = file
                .ok()
                .filter(|file| flock(file, FlockOperation::NonBlockingLockExclusive).is_ok());
        }
        if self.learning.is_none() {
            self.again = now + Duration::from_secs(1);
        }
        self.learning.is_some()
    }

    /// Looks whether code may be cached for the next PHP: the folder may be
    /// another's by now, or too large, and PHP would not even start.
    fn look_at_cache(&mut self, now: Instant, log: &mut Log) {
        let cache = self.cache.display();
        let why = opcache::check(&self.cache).err();
        if why != self.no_cache {
            match &why {
                Some(why) => log.line(&format!("no opcode cache in {cache}: {why}")),
                None => log.line(&format!("the opcode cache in {cache} is used again")),
            }
            self.no_cache = why;
        }
        if self.no_cache.is_some() || now < self.trim_at {
            return;
        }
        self.trim_at = now + TRIM;
        match opcache::trim(&self.cache) {
            Ok(true) => log.line("emptied the opcode cache: it had grown too large"),
            Ok(false) => {}
            Err(e) => log.line(&format!("look at the opcode cache in {cache}: {e}")),
        }
    }

    fn failed(&mut self, why: &str, log: &mut Log) {
        let wait = pause(self.failures, Duration::from_secs(1), LONGEST_PAUSE);
        self.failures += 1;
        self.again = Instant::now() + wait;
        self.warm = false;
        if why != self.last_words || self.failures.is_multiple_of(20) {
            log.line(&format!(
                "the site cannot run jobs now: {why}; trying again"
            ));
            self.last_words = why.to_string();
        }
    }

    fn succeeded(&mut self, log: &mut Log) {
        if self.failures > 0 {
            log.line("the site can run jobs again");
        }
        self.failures = 0;
        self.last_words.clear();
    }

    /// Counts these changes; what changes all the time is not looked at any more.
    pub fn options_changed(&mut self, names: &[String], log: &mut Log) {
        let now = Instant::now();
        for name in names {
            let times = self.changes.entry(name.clone()).or_default();
            times.retain(|at| now - *at < Duration::from_secs(60));
            times.push(now);
            if times.len() >= VOLATILE {
                log.line(&format!(
                    "the option {name} changes all the time: not looked at any more"
                ));
                self.volatile.push(name.clone());
                self.changes.remove(name);
            }
        }
    }
}

impl Worker<'_> {
    /// Without a job at hand: PHP is there only where it saves time soon.
    pub fn keep_site_ready(&mut self, now: Instant) {
        if self.php.is_some() && now >= self.idle_since + Duration::from(self.options.idle_timeout)
        {
            self.site.warm = false;
            self.end_php();
        }
        if self.php.as_ref().is_some_and(|php| php.gone.is_some()) {
            self.end_php();
        }
        if self.php.is_none() && (self.site.warm || self.site.may_learn(now)) {
            self.boot(now);
        }
        self.check_boot_time(now);
    }

    /// Starts PHP, unless a failure is too short ago.
    pub fn boot(&mut self, now: Instant) {
        if now < self.site.again {
            return;
        }
        self.site.look_at_cache(now, &mut self.log);
        let fork = self.options.worker_mode == Mode::Fork && self.site.why_not.is_empty();
        let start = Start {
            php: &self.site.php,
            runner: &self.args.runner,
            site: &self.args.site,
            cache: Some(self.site.cache.as_path()).filter(|_| self.site.no_cache.is_none()),
            hello: Hello {
                site: &self.args.site.to_string_lossy(),
                name: &self.args.name,
                run: &self.paths.run.to_string_lossy(),
                fork,
                volatile: &self.site.volatile,
            },
        };
        match Php::start(&start) {
            Ok(php) => {
                self.presence.now.php = Some(php.pid.as_raw_nonzero().get());
                self.php = Some(php);
                self.idle_since = self.idle_since.max(now);
            }
            Err(e) => {
                let why = format!("start {}: {e}", self.site.php.display());
                self.boot_failed(&why);
            }
        }
    }

    pub fn boot_failed(&mut self, why: &str) {
        self.end_php();
        self.site.failed(why, &mut self.log);
        if self.current.is_some() || self.site.function.is_none() {
            self.presence.set(Activity::Broken);
        }
    }

    pub fn check_boot_time(&mut self, now: Instant) {
        let late = |php: &Php| php.ready.is_none() && now >= php.born + BOOT;
        if self.php.as_ref().is_some_and(late) {
            self.boot_failed(&format!("not loaded after {} s", BOOT.as_secs()));
        }
    }

    /// Reads what the runner and the jobs say.
    pub fn hear_php(&mut self) {
        let Some(php) = &mut self.php else { return };
        let log = &mut self.log;
        php.output
            .read(&mut |line| log.line(&format!("php: {line}")));
        if let Err(e) = php.receive() {
            self.log.line(&format!("the runner: {e}"));
        }
        while let Some(message) = self.php.as_mut().and_then(Php::next) {
            match message {
                Message::Ready(ready) => self.booted(ready),
                Message::Broken(why) => {
                    let said = self
                        .php
                        .as_mut()
                        .map(|php| php.output.tail())
                        .unwrap_or_default();
                    self.boot_failed(&with_tail(&why, &said));
                }
                other => self.hear_of_job(other),
            }
        }
        let booting = |php: &Php| php.gone.is_some() && php.ready.is_none();
        if self.php.as_ref().is_some_and(booting) {
            let said = self
                .php
                .as_mut()
                .map(|php| php.output.tail())
                .unwrap_or_default();
            self.boot_failed(&with_tail("PHP ended while it loaded", &said));
        }
    }

    fn booted(&mut self, ready: Ready) {
        let Some(php) = &mut self.php else { return };
        self.site.succeeded(&mut self.log);
        let took = php.born.elapsed().as_millis();
        let stamps = Stamps::take(&self.args.site, ready.files.into_iter().map(PathBuf::from));
        let known = Known {
            function: ready.function.clone(),
            stamps: stamps.of_site_only(),
        };
        php.ready = Some(Booted {
            fork: ready.fork,
            stamps,
            checked: Instant::now(),
        });
        let mode = if ready.fork { "fork" } else { "spawn" };
        let what = format!("{}, PHP {}, {mode}", ready.plugin, ready.php);
        // With one for each job, once says it.
        if ready.fork || what != self.site.loaded {
            self.log
                .line(&format!("loaded the site in {took} ms ({what})"));
            self.site.loaded = what;
        }
        if !ready.why_not.is_empty() && ready.why_not != self.site.why_not {
            self.log.line(&format!(
                "a PHP process for each job (spawn): {}",
                ready.why_not
            ));
            self.site.why_not = ready.why_not;
        }
        self.presence.now.mode = Some(mode.into());
        self.presence.write();
        if self.current.is_none() {
            self.presence.set(Activity::Idle);
        }

        self.site.relearn = false;
        let learnt = self.site.learning.take();
        if self.site.function.as_ref() != Some(&ready.function) {
            // Without the salt, which stands before the colon.
            let name = ready.function.rsplit(':').next().unwrap_or_default();
            self.log.line(&format!("serves {name}"));
            self.site.function = Some(ready.function);
            self.register_anew();
        }
        if self.site.known.as_ref() != Some(&known) {
            if let Err(e) = remember(&self.site.run, &known) {
                let text = format!("remember the function in {}: {e}", self.site.run.display());
                self.log.line(&text);
            }
            self.site.known = Some(known);
        }
        drop(learnt); // Once it is written down.
    }

    /// Why the PHP at hand must not run another job, if so.
    pub fn stale(&mut self, now: Instant) -> Option<String> {
        let options = &self.options;
        let reload = self.site.reload_asked();
        let php = self.php.as_mut()?;
        let booted = php.ready.as_mut()?;
        if reload {
            return Some("reload".into());
        }
        if booted.fork {
            if now >= php.born + Duration::from(options.max_age) {
                return Some(format!("older than {} s", options.max_age));
            }
            if php.jobs >= options.max_jobs {
                return Some(format!("ran {} jobs", php.jobs));
            }
        }
        if now < booted.checked + CHECK {
            return None;
        }
        booted.checked = now;
        let changed = booted.stamps.changed();
        let changed = changed.or_else(|| booted.stamps.newer_than(php.born_at));
        if let Some(path) = changed {
            return Some(format!("{} changed", path.display()));
        }
        let fork = booted.fork;
        let memory = php.memory();
        (fork && memory > options.max_memory).then(|| format!("has grown to {memory} MB"))
    }

    /// After a job: the next PHP is made ready now (spawn), as more jobs may come.
    pub fn stay_warm(&mut self) {
        self.site.warm = self.options.worker_mode == Mode::Spawn || !self.site.why_not.is_empty();
    }

    pub fn site_wakes_at(&self) -> Option<Instant> {
        let idle = self.idle_since + Duration::from(self.options.idle_timeout);
        match &self.php {
            Some(php) if php.ready.is_none() => Some(php.born + BOOT),
            Some(_) if self.current.is_none() => Some(idle),
            None if self.site.relearn || self.site.warm || self.current.is_some() => {
                Some(self.site.again)
            }
            _ => None,
        }
    }
}

fn with_tail(why: &str, said: &str) -> String {
    match said.trim() {
        "" => why.to_string(),
        said => format!("{why}; PHP said: {said}"),
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|m| m.modified()).ok()
}

/// What the site's workers remember, however old. The folder is the worker
/// user's: nothing but a plain file is read, and only so much of it.
pub(super) fn known(run: &Path) -> Option<Known> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32)
        .open(run.join(MEMORY))
        .ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = Vec::new();
    file.take(LARGEST_MEMORY).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

fn recall(run: &Path, site: &Path) -> Option<Known> {
    let known = known(run)?;
    (known.stamps.site == site && known.stamps.changed().is_none()).then_some(known)
}

fn remember(run: &Path, known: &Known) -> std::io::Result<()> {
    let new = run.join(format!("{MEMORY}.new-{}", std::process::id()));
    fs::write(&new, serde_json::to_vec(known)?)?;
    fs::rename(&new, run.join(MEMORY))
}
