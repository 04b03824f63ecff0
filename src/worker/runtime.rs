//! The site's PHP: a process that has loaded the site. It is started ahead of jobs
//! when that saves time, replaced when it is stale, and stopped when idle.

mod ending;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::process::Pid;

use crate::base::problem::Problem;
use crate::worker::Paths;
use crate::worker::heartbeat::{Activity, Heartbeat};
use crate::worker::log::SiteLog;
use crate::worker::maintenance;
use crate::worker::message::{Hello, JobHeader, Predefined, Ready, RunnerMessage, StoreOrder};
use crate::worker::opcache::OpcodeCache;
use crate::worker::options::{Mode, WorkerArgs, WorkerSettings};
use crate::worker::php::{Booted, PhpProcess, Start, huge_pages};
use crate::worker::rest::{MAINTENANCE, Rest};
use crate::worker::site::{self, ServedSite};
use crate::worker::staleness::Stamps;

/// How long WordPress may take to load.
const BOOT: Duration = Duration::from_secs(120);

/// If this is in the environment, jobs are forked without what makes that faster. For
/// tests, which run in both ways.
const PLAINLY: &str = "WP_GEARS_FORK_PLAINLY";

/// How often files are compared while jobs follow each other.
const CHECK: Duration = Duration::from_millis(500);

/// The result of trying to give a job to PHP. An error is the reason why the site
/// cannot run jobs now.
pub enum Handover {
    /// PHP is not ready yet.
    NotYet,
    /// PHP was stale and is being replaced: try again.
    Renewed,
    /// PHP has the job; `pid` is the process that runs it, if already known. `reuses`: it
    /// has run others.
    Given { pid: Option<Pid>, reuses: bool },
}

pub struct PhpRuntime<'a> {
    args: &'a WorkerArgs,
    settings: &'a WorkerSettings,
    log: &'a SiteLog,
    program: PathBuf,
    run: PathBuf,
    /// Where remove keeps the settings that wp-config.php has lost.
    lost: PathBuf,
    cache: OpcodeCache,
    pub site: ServedSite,
    process: Option<PhpProcess>,
    /// Processes that were asked to exit, and when they will be killed.
    leaving: Vec<(Pid, Instant)>,
    /// Keep a process ready for the next job (spawn).
    warm: bool,
    idle_since: Instant,
    /// PHP does more before it forks, and less after.
    ahead: bool,
    /// In a check: what wp-config.php does not set yet.
    predefine: Option<Predefined>,
    /// The host that jobs see, if not that of the site's home.
    host: Option<String>,
    /// Why WordPress exited while loading, if the next start traces that.
    trace: String,
    /// Maintenance mode keeps PHP from loading the site.
    is_in_maintenance: bool,
}

impl<'a> PhpRuntime<'a> {
    pub fn new(
        args: &'a WorkerArgs,
        settings: &'a WorkerSettings,
        paths: &Paths,
        log: &'a SiteLog,
    ) -> Result<PhpRuntime<'a>, Problem> {
        let program = match &settings.php {
            Some(path) => path.clone(),
            None => which::which("php")
                .map_err(|e| Problem::new("find php in PATH", e).help("name it with --php"))?,
        };
        Ok(PhpRuntime {
            args,
            settings,
            log,
            program,
            run: paths.run.clone(),
            lost: paths.leaving.clone(),
            cache: OpcodeCache::new(paths),
            site: ServedSite::remembered(&args.site, paths),
            process: None,
            leaving: Vec::new(),
            warm: false,
            idle_since: Instant::now(),
            predefine: None,
            host: settings.host.clone().or_else(site::host_of_environment),
            ahead: std::env::var_os(PLAINLY).is_none(),
            trace: String::new(),
            is_in_maintenance: false,
        })
    }

    /// For a check: PHP starts with these settings.
    pub fn with(mut self, predefine: Predefined) -> Self {
        self.predefine = Some(predefine);
        self
    }

    pub fn is_loaded(&self) -> bool {
        self.process.as_ref().is_some_and(|php| php.ready.is_some())
    }

    /// The process has died, and is not replaced yet.
    pub fn is_gone(&self) -> bool {
        self.process.as_ref().is_some_and(|php| php.gone)
    }

    /// Called when there is no job: keeps PHP running only if that saves time soon.
    pub fn keep_ready(&mut self, now: Instant, heartbeat: &mut Heartbeat) -> Result<(), String> {
        let idle = Duration::from(self.settings.idle_timeout);
        if self.process.is_some() && now >= self.idle_since + idle {
            self.warm = false;
            self.end(heartbeat);
        }
        if self.is_gone() {
            self.end(heartbeat);
        }
        if self.process.is_none() && (self.warm || self.site.may_learn(now)) {
            self.boot(now, heartbeat, false)?;
        }
        self.check_boot_time(now)
    }

    /// Starts PHP if none runs.
    pub fn load(&mut self, now: Instant, heartbeat: &mut Heartbeat) -> Result<(), String> {
        if self.is_gone() && self.is_loaded() {
            self.end(heartbeat);
        }
        match self.process {
            None => self.boot(now, heartbeat, true),
            Some(_) => self.check_boot_time(now),
        }
    }

    /// Whether PHP must not start because the site is in maintenance mode. A worker
    /// that has a job sees, and says, that only here.
    fn waits_for_maintenance(
        &mut self,
        now: Instant,
        heartbeat: &mut Heartbeat,
        says_so: bool,
    ) -> bool {
        let is_on = maintenance::is_on(&self.args.site);
        if is_on {
            self.site.retry_at = now + MAINTENANCE;
        }
        if is_on && says_so {
            heartbeat.set(Activity::Maintenance);
        }
        let was_on = self.is_in_maintenance;
        self.is_in_maintenance = is_on && (was_on || says_so);
        if self.is_in_maintenance != was_on {
            let rest = |on: bool| on.then_some(Rest::Maintenance);
            self.log
                .line(Rest::line(rest(was_on), rest(self.is_in_maintenance)));
        }
        is_on
    }

    /// Starts PHP, unless it failed just before. `is_needed`: a job waits for it.
    fn boot(
        &mut self,
        now: Instant,
        heartbeat: &mut Heartbeat,
        is_needed: bool,
    ) -> Result<(), String> {
        if now < self.site.retry_at {
            return Ok(());
        }
        if self.waits_for_maintenance(now, heartbeat, is_needed) {
            return Ok(());
        }
        if std::mem::take(&mut self.site.php_changed) {
            self.cache.distrust();
        }
        let fork = self.may_fork();
        let kept = match &self.predefine {
            Some(given) => Some(given.clone()),
            None => Predefined::read(&self.lost),
        };
        let trace = std::mem::take(&mut self.trace);
        let cache = self
            .cache
            .usable(now, self.log)
            .filter(|_| trace.is_empty());
        let environment = if self.ahead { huge_pages() } else { vec![] };
        let start = Start {
            php: &self.program,
            runner: &self.args.runner,
            site: &self.args.site,
            cache,
            hello: Hello {
                site: &self.args.site.to_string_lossy(),
                name: &self.args.name,
                run: &self.run.to_string_lossy(),
                fork,
                volatile: &self.site.volatile,
                predefine: kept.as_ref(),
                home: &self.site.home,
                host: self.host.as_deref().unwrap_or_default(),
                settled: self.site.has_settled(),
                trace: &trace,
                seal: self.settings.seal != Some(false),
                ahead: self.ahead,
                environment: &environment,
            },
        };
        let php = PhpProcess::start(&start)
            .map_err(|e| format!("cannot start {}: {e}", self.program.display()))?;
        heartbeat.status.php = Some(php.pid.as_raw_nonzero().get());
        self.process = Some(php);
        self.idle_since = self.idle_since.max(now);
        Ok(())
    }

    fn may_fork(&self) -> bool {
        self.settings.worker_mode == Mode::Fork && self.site.why_not_fork.is_empty()
    }

    fn check_boot_time(&self, now: Instant) -> Result<(), String> {
        match &self.process {
            Some(php) if php.ready.is_none() && now >= php.born + BOOT => {
                Err(format!("it did not load within {} s", BOOT.as_secs()))
            }
            _ => Ok(()),
        }
    }

    /// Reads the output of PHP and its jobs, and the messages of the runner.
    pub fn receive(&mut self) {
        let Some(php) = &mut self.process else { return };
        php.output.read(|line| self.log.php(line));
        if let Err(e) = php.receive() {
            self.log.line(&format!("cannot read from the runner: {e}"));
        }
    }

    /// The next message that is not about how PHP has to be started.
    pub fn next_message(&mut self, heartbeat: &mut Heartbeat) -> Option<RunnerMessage> {
        match self.process.as_mut()?.next()? {
            RunnerMessage::Home(home) => {
                // The next PHP starts with it.
                self.end(heartbeat);
                self.site.home_is(home, self.log);
                None
            }
            RunnerMessage::Exited(_) | RunnerMessage::Broken(_)
                if self.waits_for_maintenance(Instant::now(), heartbeat, false) =>
            {
                // It began while PHP was loading the site.
                self.end(heartbeat);
                None
            }
            RunnerMessage::Exited(why) => {
                // The next PHP finds out where.
                self.end(heartbeat);
                self.trace = why;
                None
            }
            message => {
                if let Some(php) = &mut self.process {
                    php.note(&message);
                }
                Some(message)
            }
        }
    }

    pub fn is_in_maintenance(&self) -> bool {
        self.is_in_maintenance
    }

    /// The PHP that runs, if one does.
    pub fn pid(&self) -> Option<Pid> {
        self.process.as_ref().map(|php| php.pid)
    }

    /// Whether PHP died before it had loaded the site.
    pub fn died_at_boot(&self) -> bool {
        self.is_gone() && !self.is_loaded()
    }

    /// PHP has loaded the site. True if it serves another function than before.
    pub fn loaded(&mut self, mut ready: Ready, heartbeat: &mut Heartbeat) -> bool {
        let Some(php) = &mut self.process else {
            return false;
        };
        let files = std::mem::take(&mut ready.files);
        let stamps = Stamps::take(&self.args.site, files.into_iter().map(PathBuf::from));
        // What it loaded may be older than what the stamps describe.
        if let Some(path) = stamps.newer_than(php.born_at)
            && self.site.may_distrust()
        {
            let why = format!("{} changed while it was loaded", path.display());
            self.renew(&why, heartbeat);
            return false;
        }
        self.site.distrusted = 0;
        heartbeat.set_mode(Some(site::mode(ready.fork)));
        let booted = php.ready.insert(Booted {
            fork: ready.fork,
            stores: ready.stores,
            stamps,
            checked: Instant::now(),
        });
        let took = php.born.elapsed();
        self.site.learn(ready, &booted.stamps, took, self.log)
    }

    /// The site cannot run jobs now: `why`, with what PHP printed.
    pub fn failed(&mut self, why: &str, heartbeat: &mut Heartbeat) {
        self.end(heartbeat);
        self.warm = false;
        self.site.failed(why, self.log);
    }

    /// Adds the end of PHP's output to a reason.
    pub fn with_output(&mut self, why: &str) -> String {
        let printed = self.process.as_mut().map(|php| php.output.tail());
        match printed.as_deref().map(str::trim) {
            None | Some("") => why.to_string(),
            Some(printed) => format!("{why}; PHP printed: {printed}"),
        }
    }

    /// Gives a job to PHP as soon as PHP is ready and not stale. `reuse`: how many jobs its
    /// process may run.
    pub fn give(
        &mut self,
        mut header: JobHeader,
        reuse: u32,
        payload: &[u8],
        may_renew: bool,
        now: Instant,
        heartbeat: &mut Heartbeat,
    ) -> Result<Handover, String> {
        if self.is_gone() {
            self.end(heartbeat);
        }
        if may_renew && let Some(why) = self.stale(now) {
            self.renew(&why, heartbeat);
            return Ok(Handover::Renewed);
        }
        let Some(php) = &mut self.process else {
            self.boot(now, heartbeat, true)?;
            return Ok(Handover::NotYet);
        };
        let Some(booted) = &php.ready else {
            self.check_boot_time(now)?;
            return Ok(Handover::NotYet);
        };
        let (fork, failed) = (booted.fork, |e| format!("cannot talk to the runner: {e}"));
        match &mut php.kept {
            Some(kept) if kept.dismissed.is_none() && kept.jobs < reuse => {
                kept.jobs += 1;
                header.child = Some(kept.pid.as_raw_nonzero().get());
                header.keep = kept.jobs < reuse;
            }
            // It runs once that process is gone.
            Some(_) => return php.dismiss().map_err(failed).map(|()| Handover::NotYet),
            None => header.keep = fork && reuse > 1,
        }
        php.output.begin_job();
        php.give(&header, payload).map_err(failed)?;
        php.jobs += 1;
        let kept = php.kept.map(|kept| kept.pid);
        Ok(Handover::Given {
            pid: kept.or((!fork).then_some(php.pid)),
            reuses: kept.is_some(),
        })
    }

    /// Gives PHP an order for the site's table. False if it is not ready for that.
    pub fn order(&mut self, order: &StoreOrder, bodies: &[u8]) -> Result<bool, String> {
        let is_gone = self.is_gone();
        match &mut self.process {
            Some(php) if php.ready.is_some() && !is_gone => {
                if !php.ready.as_ref().is_some_and(|booted| booted.stores) {
                    return Err("the runner is an older one".into());
                }
                let failed = |e| format!("cannot pass an order to the runner: {e}");
                if php.kept.is_some() {
                    // It reads from the same pipe.
                    return php.dismiss().map(|()| false).map_err(failed);
                }
                php.give_order(order, bodies).map(|()| true).map_err(failed)
            }
            _ => Ok(false),
        }
    }

    /// Why the process must not run another job, if it must not.
    fn stale(&mut self, now: Instant) -> Option<String> {
        let settings = self.settings;
        let reload = self.site.reload_requested();
        let php = self.process.as_mut()?;
        let booted = php.ready.as_mut()?;
        if reload {
            return Some("a reload was requested".into());
        }
        if booted.fork {
            if now >= php.born + Duration::from(settings.max_age) {
                return Some(format!("it is older than {} s", settings.max_age));
            }
            if php.jobs >= settings.max_jobs {
                return Some(format!("it ran {} jobs", php.jobs));
            }
        }
        if now < booted.checked + CHECK {
            return None;
        }
        booted.checked = now;
        let changed = booted.stamps.changed();
        self.site.php_changed |= booted.stamps.settings_changed()
            || changed.is_some() && booted.stamps.changed_unnoticed();
        if let Some(path) = changed.or_else(|| booted.stamps.newer_than(php.born_at)) {
            return Some(format!("{} changed", path.display()));
        }
        let fork = booted.fork;
        let memory = php.memory();
        (fork && memory > settings.max_memory).then(|| format!("it uses {memory} MB of memory"))
    }

    /// Stops PHP, so that the next one loads the present state of the site.
    fn renew(&mut self, why: &str, heartbeat: &mut Heartbeat) {
        self.log.line(&format!("restarting PHP: {why}"));
        self.end(heartbeat);
    }

    /// A job reported that these options have changed.
    pub fn options_changed(&mut self, names: &[String], now: Instant, heartbeat: &mut Heartbeat) {
        self.site.options_changed(names, now, self.log);
        self.renew(&format!("{} changed", names.join(", ")), heartbeat);
    }

    /// The job's process has ended. Returns the end of its output. Releases a PHP that
    /// only ran this job, or has died.
    pub fn job_ended(&mut self, heartbeat: &mut Heartbeat) -> String {
        let Some(php) = &mut self.process else {
            return String::new();
        };
        php.output.read(|line| self.log.php(line));
        let printed = php.output.tail();
        if php.gone || !php.ready.as_ref().is_some_and(|booted| booted.fork) {
            self.end(heartbeat);
        }
        printed
    }

    /// A job has finished, and others may follow soon.
    pub fn begin_idle(&mut self) {
        self.idle_since = Instant::now();
        self.warm = !self.may_fork();
    }

    pub fn poll_fds(&self) -> impl Iterator<Item = PollFd<'_>> {
        let php = self.process.as_ref();
        let pipe = php.filter(|php| !php.gone).and_then(PhpProcess::pipe);
        let output = php.and_then(|php| php.output.fd());
        pipe.into_iter()
            .chain(output)
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
    }

    /// When to call again. `busy`: there is a job. `rests`: no PHP is started.
    pub fn wakes_at(&self, busy: bool, rests: bool) -> impl Iterator<Item = Instant> {
        let leaving = self.leaving.iter().map(|(_, until)| *until);
        let idle = self.idle_since + Duration::from(self.settings.idle_timeout);
        let wanted = !rests && (self.site.has_to_learn() || self.warm) || busy;
        let process = match &self.process {
            Some(php) if php.ready.is_none() => Some(php.born + BOOT),
            Some(_) if !busy => Some(idle),
            None if wanted => Some(self.site.retry_at),
            _ => None,
        };
        let farewell = self.farewell().map(|(_, until)| until);
        leaving.chain(process).chain(farewell)
    }
}
