//! The crew of a site: one process, which supervisor or a container starts, and its
//! members, the workers. It keeps as many of them as are wanted, adopts changed settings
//! and a new program without ending a job, and lets all of them go while there are no
//! jobs.

mod backlog;
mod bell;
mod members;
mod scaling;

use std::io;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal as Received;
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Signal, getpid, set_parent_process_death_signal};

use crate::base::clock::now_ms;
use crate::base::problem::Problem;
use crate::worker::badge::Badge;
use crate::worker::binary::Binary;
use crate::worker::bulletin::Publisher;
use crate::worker::crew::backlog::Backlog;
use crate::worker::crew::bell::Bell;
use crate::worker::crew::members::Members;
use crate::worker::crew::scaling::Scaling;
use crate::worker::crew_status::{self, CrewReport};
use crate::worker::gate::Gate;
use crate::worker::generation::Generation;
use crate::worker::heartbeat::{self, Activity, Heartbeat, WorkerStatus};
use crate::worker::log::SiteLog;
use crate::worker::memory::SiteMemory;
use crate::worker::options::WorkerArgs;
use crate::worker::rest::{LOOK, Rest};
use crate::worker::rules::Rules;
use crate::worker::seal::{Sealing, is_exclusive};
use crate::worker::settings::{self, Adopted};
use crate::worker::signals::{self, LEAVE, Signals};
use crate::worker::store::{JobStore, Ledger};
use crate::worker::{Paths, status_file, tally};

/// How often it looks for members of a crew before it, as long as there are any.
const STRANGERS: Duration = Duration::from_millis(250);

struct Crew<'a> {
    given: &'a WorkerArgs,
    /// What it and its members run with.
    args: WorkerArgs,
    adopted: Option<Adopted>,
    paths: Paths,
    log: &'a SiteLog,
    report: CrewReport,
    members: Members,
    scaling: Scaling,
    bulletin: Publisher,
    backlog: Backlog,
    /// Members of a crew that was killed. They finish their jobs.
    strangers: Vec<i32>,
    /// It has no members, as there are no jobs.
    bell: Option<Bell<'a>>,
    binary: Option<Binary>,
    /// What was last wrong with the settings file.
    said: String,
    /// When to check files and markers again.
    look_at: Instant,
    /// When to check whether the members are idle.
    sleep_at: Instant,
    /// Set by TERM: when members that still run are killed.
    stop: Option<Instant>,
}

pub(super) fn run(given: &WorkerArgs, adopted: Option<Adopted>) -> anyhow::Result<()> {
    let signals = Signals::take()?;
    if adopted.is_some() {
        // If supervisord is killed, the next one starts another crew.
        set_parent_process_death_signal(Some(LEAVE)).map_err(io::Error::from)?;
    }
    let args = settings::args(given, adopted.as_ref().map(|it| &it.settings));
    let log = SiteLog::open(&args.log(), format!("crew {}", std::process::id()));
    let mut crew = Crew::new(given, args, adopted, &log)?;
    while crew.step(&signals) {
        crew.wait(&signals);
    }
    Ok(())
}

impl<'a> Crew<'a> {
    fn new(
        given: &'a WorkerArgs,
        args: WorkerArgs,
        adopted: Option<Adopted>,
        log: &'a SiteLog,
    ) -> Result<Crew<'a>, Problem> {
        let paths = Paths::new(&args.state, &args.name);
        heartbeat::sweep(&paths.run);
        tally::show(&paths.run);
        let hash = adopted.as_ref().map(|it| it.hash.clone());
        let report = CrewReport::start(&paths.run, hash, args.workers).map_err(|e| {
            Problem::new(format!("write in {}", paths.run.display()), e)
                .help("run 'wp-gears setup', which creates this folder for the worker user")
        })?;
        let now = Instant::now();
        let is_first = getpid().is_init();
        let mut crew = Crew {
            given,
            members: Members::inherited(is_first.then(|| args.log())),
            scaling: Scaling::new(&args),
            backlog: Backlog::new(&args),
            bulletin: Publisher::new(&paths.run, &paths.failed),
            strangers: Vec::new(),
            bell: None,
            binary: Binary::of_this_process(),
            said: String::new(),
            look_at: now,
            sleep_at: now,
            stop: None,
            args,
            adopted,
            paths,
            log,
            report,
        };
        crew.find_strangers();
        crew.scaling.go_on_with(crew.members.running());
        if crew.members.are_gone() {
            // Members start with the first job, unless they have to learn something.
            crew.fall_asleep(now)?;
        }
        Ok(crew)
    }

    /// How many workers there are to be while there are jobs.
    fn wanted(&self) -> u32 {
        self.scaling.wanted()
    }

    /// Does everything that can be done now. False if it should exit.
    fn step(&mut self, signals: &Signals) -> bool {
        let now = Instant::now();
        while let Some(signal) = signals.next() {
            match signal {
                Received::SIGTERM | Received::SIGINT => self.begin_stop(now),
                Received::SIGUSR1 => {
                    self.members.signal_all(Signal::USR1);
                    self.bulletin.hurry(now);
                    if self.bell.is_some() {
                        self.look_at_disk();
                    }
                    self.look_at = now;
                }
                // Without it, its members finish their jobs and exit.
                Received::SIGUSR2 if self.adopted.is_some() => {
                    self.log
                        .line("supervisord is gone: leaving the site to another crew");
                    return false;
                }
                _ => {}
            }
        }
        self.members.reap(self.stop.is_some(), self.log);
        if let Some(until) = self.stop {
            return self.stopping(until, now);
        }
        if now >= self.look_at {
            self.look_around(now);
        }
        if self.bell.is_none() && now >= self.sleep_at {
            self.may_sleep(now);
        } else if self.bell.as_mut().is_some_and(|bell| bell.rings(now)) {
            self.wake_up(now);
        }
        if self.bell.is_none() {
            self.scaling.look(&self.paths.run, now, self.log);
            self.bulletin.look(now);
        }
        if self.watches()
            && let Some(at) = self.backlog.look(&self.paths.run, now)
        {
            self.report.set(|it| it.empty_at = Some(at));
        }
        self.keep_members(now);
        true
    }

    fn keep_members(&mut self, now: Instant) {
        let wanted = self.wanted();
        let held_by = self.scaling.held_by();
        self.report
            .set(|it| (it.wanted, it.held_by) = (wanted, held_by));
        if let Some(bell) = &mut self.bell {
            bell.heartbeat.stand_for(wanted);
        }
        let number = self.number();
        let run = &self.paths.run;
        let seen = || heartbeat::read(run).unwrap_or_default();
        self.members.adjust(number, seen);
        self.members.start_due(self.most(), now, self.log);
        let failures = self.members.failures(now);
        self.report.set(|it| it.failures = failures);
    }

    /// Whether jobs may wait without its knowledge: it has members, which may all be busy, or
    /// takes no jobs for now.
    fn watches(&self) -> bool {
        self.bell.as_ref().is_none_or(Bell::rests)
    }

    /// How many members there are to be now.
    fn number(&self) -> usize {
        match self.bell {
            Some(_) => 0,
            None => self.wanted() as usize,
        }
    }

    /// How many processes it may have: strangers take the place of some.
    fn most(&self) -> usize {
        self.number().saturating_sub(self.strangers.len())
    }

    fn begin_stop(&mut self, now: Instant) {
        // A little longer than a worker gives its job.
        let stop_timeout = self.args.options.clone().settings().stop_timeout;
        let limit = Duration::from(stop_timeout) + Duration::from_secs(10);
        self.stop.get_or_insert(now + limit);
        self.signal_everybody(Signal::TERM);
    }

    /// False once everybody has ended.
    fn stopping(&mut self, until: Instant, now: Instant) -> bool {
        self.find_strangers();
        if self.members.are_gone() && self.strangers.is_empty() {
            return false;
        }
        if now >= until {
            self.signal_everybody(Signal::KILL);
        }
        true
    }

    fn signal_everybody(&self, what: Signal) {
        self.members.signal_all(what);
        for pid in &self.strangers {
            status_file::signal(*pid, what);
        }
    }

    /// Looks for members of a crew that was killed: they are workers of the site, too.
    fn find_strangers(&mut self) {
        let run = &self.paths.run;
        let crews = crew_status::read(run).unwrap_or_default();
        let is_lost = |crew: i32| crews.iter().all(|it| it.pid != crew);
        let all = heartbeat::read(run).unwrap_or_default();
        let lost = all.iter().filter(|seen| seen.crew.is_some_and(is_lost));
        self.strangers = lost.map(|seen| seen.pid).collect();
    }

    /// Looks at settings, the program, markers, and what the site's workers have learned.
    fn look_around(&mut self, now: Instant) {
        self.adopt(now);
        self.go_on_as_new_program();
        self.bulletin.look(now);
        if !self.strangers.is_empty() {
            self.find_strangers();
        }
        self.look_at = now
            + match self.strangers.is_empty() {
                true => Rest::look_again(None),
                false => STRANGERS,
            };
        if let Some(wait) = self.look_while_asleep(now) {
            self.look_at = self.look_at.min(now + wait);
        }
    }

    /// Adopts settings that have changed.
    fn adopt(&mut self, now: Instant) {
        let Some(adopted) = &self.adopted else { return };
        let next = match adopted.changed() {
            Ok(Some(next)) => next,
            Ok(None) => return,
            Err(problem) => {
                let text = format!("{problem}: keeping the former ones");
                if self.said != text {
                    self.log.line(&text);
                    self.said = text;
                }
                return;
            }
        };
        self.said.clear();
        let before = self.args.clone();
        let alike = next.settings.is_alike_for_members(&adopted.settings);
        self.args = settings::args(self.given, Some(&next.settings));
        self.scaling.adopt(&self.args);
        self.backlog.adopt(&self.args);
        if before.workers != self.args.workers {
            let (old, new) = (before.workers, self.args.workers);
            self.log
                .line(&format!("adopted {new} workers instead of {old}"));
        }
        if !alike {
            self.log.line("adopted changed options");
            self.members.signal_all(Signal::USR1);
            self.members.retry_now(now);
            if self.bell.is_some() {
                self.wake_up(now);
            }
        }
        let (hash, range) = (next.hash.clone(), self.args.workers);
        self.report
            .set(|it| (it.settings, it.range) = (Some(hash), range));
        self.adopted = Some(next);
    }

    /// If an upgrade has replaced its program: goes on as that, in the same process, so
    /// that its members remain its children.
    fn go_on_as_new_program(&mut self) {
        if !self.binary.as_ref().is_some_and(Binary::is_replaced) {
            return;
        }
        let Some(binary) = self.binary.take() else {
            return;
        };
        self.log
            .line("upgraded: continuing as the installed program");
        self.members.signal_all(Signal::USR1);
        let error = binary.run_new(&[self.members.bequest()]);
        // It stays what it is.
        self.log.line(&format!("cannot run it: {error}"));
    }

    /// Lets the members go if they have had nothing to do for long enough.
    fn may_sleep(&mut self, now: Instant) {
        let idle_timeout = self.idle_timeout();
        let remaining = self
            .idle_for()
            .map(|idle| idle_timeout.saturating_sub(idle));
        self.sleep_at = now
            + remaining
                .unwrap_or(idle_timeout)
                .max(Duration::from_millis(100));
        let is_known = Rest::of(&self.paths, &self.args.site).is_some() || self.recall().is_some();
        let no_retry = self.next_retry().is_none_or(|wait| wait > idle_timeout);
        if remaining == Some(Duration::ZERO) && is_known && no_retry {
            match self.fall_asleep(now) {
                Ok(()) => self.log.line("no jobs: the workers end until one comes"),
                Err(e) => self.log.line(&format!("cannot let the workers go: {e}")),
            }
        }
    }

    fn idle_timeout(&self) -> Duration {
        let options = self.args.options.clone().settings();
        let idle = Duration::from(options.idle_timeout);
        // Workers end the time for jobs that are not sealed, or with a former key.
        let sealing = Sealing::of(&self.paths.run);
        let exclusive = is_exclusive(options.seal, self.args.shared, &self.args.servers);
        let is_unsettled = sealing.on && (sealing.former > 0 || exclusive && !sealing.only);
        match is_unsettled {
            true => idle.max(Duration::from_secs(self.args.seal_grace) + 2 * LOOK),
            false => idle,
        }
    }

    /// How long all members have had nothing to do; `None` if one has.
    fn idle_for(&self) -> Option<Duration> {
        let seen = heartbeat::read(&self.paths.run).ok()?;
        let own: Vec<&WorkerStatus> = seen
            .iter()
            .filter(|seen| self.members.is_member(seen.pid))
            .collect();
        let is_idle = |seen: &&WorkerStatus| {
            matches!(
                seen.activity,
                Activity::Idle | Activity::Paused | Activity::Maintenance
            )
        };
        let all_are = own.len() == self.members.running() && own.iter().all(is_idle);
        let since = own.iter().map(|seen| seen.since).max()?;
        all_are.then(|| Duration::from_millis(now_ms().saturating_sub(since)))
    }

    /// How long it is until a job on disk may run, or the site's table has to be looked at.
    fn next_retry(&self) -> Option<Duration> {
        let store = JobStore::open(&self.paths.failed).ok()?;
        let gate = Gate::new(Rules::new(&self.args.hook), &self.paths.run);
        let now = now_ms();
        let due = store.next_turn(&|key| gate.turn(key, now)).unwrap_or(None);
        let look = Ledger::schedule_of(&self.paths.failed).map(|it| it.next);
        let next = due.into_iter().chain(look).min()?;
        Some(Duration::from_millis(next.saturating_sub(now)))
    }

    /// What its members do when they are woken, while it has none.
    fn look_at_disk(&self) {
        let ledger = Ledger::open(&self.paths.failed, self.args.retry_grace * 1000);
        // If that fails, a member will say why.
        let _ = ledger.and_then(|ledger| ledger.look_if_behind());
    }

    fn recall(&self) -> Option<SiteMemory> {
        let generation = Generation::of(&self.paths.reload);
        SiteMemory::recall(&self.paths.run, &self.args.site, &generation)
    }

    fn fall_asleep(&mut self, now: Instant) -> Result<(), Problem> {
        let heartbeat = Heartbeat::of_crew(&self.paths.run, self.wanted());
        let heartbeat = heartbeat
            .map_err(|e| Problem::new(format!("write in {}", self.paths.run.display()), e))?;
        let servers = self.args.servers.len();
        let badge = Badge::new(&self.args.name, std::process::id(), None, servers);
        self.bell = Some(Bell::new(&self.args, badge, heartbeat, self.log));
        self.report.set(|it| it.asleep = true);
        self.scaling.rest();
        self.look_at = now;
        Ok(())
    }

    fn wake_up(&mut self, now: Instant) {
        self.bell = None;
        self.report.set(|it| it.asleep = false);
        self.sleep_at = now + self.idle_timeout();
    }

    /// While it has no members: listens for jobs, unless the site's workers are to take
    /// none, and starts members where there is something to learn or to retry. Returns
    /// when to look again.
    fn look_while_asleep(&mut self, now: Instant) -> Option<Duration> {
        let rest = Rest::of(&self.paths, &self.args.site);
        let generation = Generation::of(&self.paths.reload);
        let is_outdated = self.bell.as_ref()?.is_outdated(&generation);
        let memory = match is_outdated && rest.is_none() {
            true => self.recall(),
            false => None,
        };
        let retry = self.next_retry();
        let bell = self.bell.as_mut()?;
        bell.heartbeat.set(Rest::activity(rest));
        if rest.is_some() {
            bell.rest();
            return Some(Rest::look_again(rest));
        }
        if retry.is_some_and(|wait| wait.is_zero()) {
            self.wake_up(now);
            return None;
        }
        match (is_outdated, memory) {
            (true, Some(memory)) => bell.listen(memory),
            (true, None) => self.wake_up(now),
            (false, _) => bell.go_on(),
        }
        retry
    }

    /// Sleeps until something happens or is due.
    fn wait(&self, signals: &Signals) {
        let now = Instant::now();
        let mut fds = vec![PollFd::new(signals, PollFlags::IN)];
        let mut times: Vec<Instant> = Vec::new();
        match self.stop {
            Some(until) => {
                times.push(until);
                if now >= until || !self.strangers.is_empty() {
                    times = vec![now + STRANGERS];
                }
            }
            None => {
                times.push(self.look_at);
                match &self.bell {
                    Some(bell) => {
                        times.extend(bell.rests().then(|| self.backlog.due()));
                        fds.extend(bell.poll_fds());
                        times.extend(bell.deadlines());
                    }
                    None => {
                        times.push(self.sleep_at);
                        times.extend(self.scaling.due());
                        times.push(self.bulletin.due());
                        times.push(self.backlog.due());
                        let due = self.members.next_start();
                        let is_full = self.members.running() >= self.most();
                        times.extend(due.filter(|_| !is_full));
                        times.extend(self.members.next_stable(now));
                    }
                }
            }
        }
        let next = times.into_iter().min().unwrap_or(now + LOOK);
        signals::wait_for(&mut fds, Some(next.saturating_duration_since(now)));
    }
}
