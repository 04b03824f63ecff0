//! The worker's loop: waits for signals, job servers and PHP, turns what happens into
//! events of the job, and performs their effects.

mod admit;
mod finish;
mod look;
mod share;

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rustix::event::{PollFd, PollFlags};

use crate::base::clock::now_ms;
use crate::base::problem::Problem;
use crate::gearman::binary::request;
use crate::worker::Paths;
use crate::worker::badge::Badge;
use crate::worker::binary::Binary;
use crate::worker::figures::journal::Recorder;
use crate::worker::gate::Gate;
use crate::worker::heartbeat::{self, Activity, Heartbeat};
use crate::worker::job::{Job, JobSource};
use crate::worker::log::SiteLog;
use crate::worker::machine::{JobEffect, JobEvent, JobState};
use crate::worker::maintenance;
use crate::worker::message::{JobHeader, MemoryLimit, RunnerMessage};
use crate::worker::options::{WorkerArgs, WorkerSettings};
use crate::worker::php::kill_tree;
use crate::worker::rest::{LOOK, Rest};
use crate::worker::retries::Retries;
use crate::worker::rules::Rules;
use crate::worker::runtime::{Handover, PhpRuntime};
use crate::worker::seal::Seal;
use crate::worker::serve::share::Shared;
use crate::worker::servers::{JobServers, ServerEvent};
use crate::worker::settings::Adopted;
use crate::worker::signals::{self, Signals};

struct Worker<'a> {
    args: &'a WorkerArgs,
    settings: &'a WorkerSettings,
    paths: Paths,
    log: &'a SiteLog,
    heartbeat: Heartbeat,
    servers: JobServers<'a>,
    runtime: PhpRuntime<'a>,
    retries: Retries<'a>,
    shared: Shared,
    gate: Gate,
    figures: Recorder,
    seal: Seal,
    job: Option<Job>,
    /// Set by TERM: when the current job has to be finished.
    stop: Option<Instant>,
    /// Why it takes no jobs, although it could.
    rest: Option<Rest>,
    binary: Option<Binary>,
    /// Finishes its job and exits, however long that takes.
    leaves: bool,
    /// What it runs with, if that is in a file.
    adopted: Option<Adopted>,
    /// Why it has to go on as another program, or with other settings.
    renewal: Option<Renewal>,
    /// When to check again.
    look_at: Instant,
    /// When to check again for jobs that other workers have put aside.
    peek_at: Instant,
}

/// What a worker continues with between two jobs, in the same process.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Renewal {
    /// The program that an upgrade has put in the place of its own.
    Program,
    /// Its own program, with the settings that are in the file now.
    Settings,
}

pub(super) fn serve(args: &WorkerArgs, adopted: Option<Adopted>) -> anyhow::Result<()> {
    let signals = Signals::take()?;
    let log = SiteLog::open(&args.log(), std::process::id().to_string());
    let settings = args.options.clone().settings();
    let mut worker = Worker::new(args, &settings, adopted, &log)?;
    // A job whose parent PHP dies becomes our child, so that we can wait for it.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    log.line("started");
    while worker.step(&signals) {
        worker.wait(&signals);
    }
    let new = worker.binary.take();
    let renewal = worker.renewal;
    drop(worker);
    let failed = match (renewal, new) {
        (Some(Renewal::Program), Some(new)) => {
            log.line("upgraded: continuing as the installed program");
            Some(new.run_new(&[]))
        }
        (Some(_), _) => {
            log.line("continuing with changed settings");
            Some(Binary::run_again())
        }
        (None, _) => None,
    };
    // It is started again if this process cannot become it.
    if let Some(error) = failed {
        log.line(&format!("cannot run it: {error}"));
    }
    log.line("stopped");
    Ok(())
}

impl<'a> Worker<'a> {
    fn new(
        args: &'a WorkerArgs,
        settings: &'a WorkerSettings,
        adopted: Option<Adopted>,
        log: &'a SiteLog,
    ) -> Result<Worker<'a>, Problem> {
        let paths = Paths::new(&args.state, &args.name);
        heartbeat::sweep(&paths.run);
        let crew = rustix::process::getppid().filter(|_| args.one);
        let heartbeat = match crew {
            Some(crew) => {
                let settings = adopted.as_ref().and_then(|it| it.settings.member_hash());
                Heartbeat::of_member(&paths.run, crew.as_raw_nonzero().get(), settings)
            }
            None => Heartbeat::start(&paths.run),
        };
        let heartbeat = heartbeat.map_err(|e| {
            Problem::new(format!("write in {}", paths.run.display()), e)
                .help("run 'wp-gears setup', which creates this folder for the worker user")
        })?;
        let runtime = PhpRuntime::new(args, settings, &paths, log)?;
        let mark = runtime.site.mark.clone();
        let badge = Badge::new(&args.name, std::process::id(), mark, args.servers.len());
        Ok(Worker {
            args,
            settings,
            log,
            heartbeat,
            servers: JobServers::new(&args.servers, badge, log),
            retries: Retries::new(args, &paths, log)?,
            shared: Shared::new(args, &paths, log),
            runtime,
            seal: Seal::new(args, settings, &paths.run),
            gate: Gate::new(Rules::new(&args.hook), &paths.run),
            figures: Recorder::new(&paths.run),
            paths,
            job: None,
            stop: None,
            rest: None,
            binary: Binary::of_this_process(),
            leaves: false,
            adopted,
            renewal: None,
            look_at: Instant::now(),
            peek_at: Instant::now(),
        })
    }

    /// Does everything that can be done now. False if the worker should exit.
    fn step(&mut self, signals: &Signals) -> bool {
        while let Some(signal) = signals.next() {
            match signal {
                Signal::SIGTERM | Signal::SIGINT => self.begin_stop(),
                Signal::SIGUSR1 => self.look_now(),
                Signal::SIGUSR2 => self.leaves = true,
                _ => {}
            }
        }
        let now = Instant::now();
        self.reap(now);
        self.hear_php(now);
        self.hear_servers();
        self.look_for_unconfirmed();
        self.tick(now);
        self.go_on_sharing(now);
        if self.job.is_some() {
            return true;
        }
        if self.stop.is_some() || self.leaves {
            self.runtime.end(&mut self.heartbeat);
            return false;
        }
        if now >= self.look_at {
            self.look_around(now);
        }
        if self.renewal.is_some() {
            self.servers.close();
            self.runtime.end(&mut self.heartbeat);
            return false;
        }
        if self.rest.is_some() {
            return true;
        }
        if let Err(why) = self.runtime.keep_ready(now, &mut self.heartbeat) {
            self.suspend(&why, self.job.is_some());
        }
        self.peek(now);
        self.servers.wear(self.runtime.site.mark.as_ref());
        self.look_for_others(now);
        if self.serves() && (self.servers.is_asking() || !self.take_due()) {
            self.servers.connect(now);
            self.ask(now);
        }
        self.go_on_sharing(now);
        true
    }

    fn begin_stop(&mut self) {
        if self.stop.is_some() {
            return;
        }
        self.stop = Some(Instant::now() + Duration::from(self.settings.stop_timeout));
        if let Some(job) = &self.job {
            let handle = &job.record.handle;
            self.log
                .line(&format!("TERM: finishing the current job ({handle}) first"));
        }
    }

    /// Whether the worker may take another job now. Checks for a pause itself, as the
    /// loop notices one only after the current job has been answered.
    fn may_take(&mut self) -> bool {
        if self.stop.is_some() || self.leaves || self.rest.is_some() {
            return false;
        }
        let rests = self.paths.paused.exists() || maintenance::is_on(&self.args.site);
        if rests {
            self.look_at = Instant::now();
        }
        !rests
    }

    /// Asks a server that may have a job.
    fn ask(&mut self, now: Instant) {
        if self.servers.is_asking() {
            return;
        }
        if let Some(server) = self.servers.next_awake()
            && self.may_take()
        {
            self.servers.ask(server, now);
        }
    }

    fn begin(&mut self, job: Job) {
        self.job = Some(job);
        self.heartbeat.set(Activity::Busy);
        self.tick(Instant::now());
    }

    fn reap(&mut self, now: Instant) {
        while let Some(ended) = self.runtime.reap() {
            self.advance(JobEvent::Exited(ended), now);
        }
        self.runtime.kill_overdue(now);
    }

    fn hear_php(&mut self, now: Instant) {
        self.runtime.receive();
        while let Some(message) = self.runtime.next_message(&mut self.heartbeat) {
            match message {
                RunnerMessage::Ready(ready) => {
                    self.shared.php_is_ready();
                    if let Some(wait) = self.seal.loaded(&ready.unsealed, self.log) {
                        self.look_at = self.look_at.min(now + wait);
                    }
                    if self.runtime.loaded(*ready, &mut self.heartbeat)
                        && let Some(function) = &self.runtime.site.function
                    {
                        self.servers.register(function);
                    }
                    if self.job.is_none() {
                        self.heartbeat.set(Activity::Idle);
                    }
                }
                RunnerMessage::Broken(why) => {
                    let why = self.runtime.with_output(&why);
                    self.suspend(&why, self.job.is_some());
                }
                RunnerMessage::Connections(left) => self.heartbeat.set_database(left),
                RunnerMessage::Opened(opened) => {
                    if let Some(job) = &mut self.job {
                        self.heartbeat.set_submitted(opened.at);
                        job.opened(opened);
                    }
                }
                RunnerMessage::Look(_) => self.shared.look_now(),
                RunnerMessage::Stored(answer) => self.hear_of_table(*answer, now),
                message => self.advance(JobEvent::Message(message), now),
            }
        }
        if self.runtime.died_at_boot() {
            // It may have crashed on code that was compiled with other settings.
            self.runtime.site.php_changed = true;
            let why = self
                .runtime
                .with_output("PHP exited while loading the site");
            self.suspend(&why, self.job.is_some());
        }
    }

    fn hear_servers(&mut self) {
        for server in 0..self.servers.len() {
            let function = self.runtime.site.function.as_deref().unwrap_or_default();
            self.servers.attend(server, function);
            while let Some(event) = self.servers.next_event(server, self.job.is_some()) {
                match event {
                    ServerEvent::NoJob => {
                        self.runtime.dismiss();
                        self.heartbeat.set(Activity::Idle);
                        if self.seal.is_unsettled {
                            self.settle_seal();
                        }
                    }
                    ServerEvent::Job(assignment) => {
                        self.retries.queue_was_served();
                        self.begin(Job::from_server(assignment, self.args, now_ms()));
                    }
                }
            }
        }
    }

    /// The site cannot run jobs for now. The status shows this only if there is a job, or
    /// if the function is unknown.
    fn suspend(&mut self, why: &str, has_job: bool) {
        self.runtime.failed(why, &mut self.heartbeat);
        if has_job || self.runtime.site.function.is_none() {
            self.heartbeat.set_broken(why);
        }
    }

    /// Lets the job react to the passing of time.
    fn tick(&mut self, now: Instant) {
        let Some(job) = &self.job else { return };
        // The parent that would report the job's end is gone. If the job's process is
        // running, it is now our child; but it may never have been started.
        if self.runtime.is_gone() && job.state.is_running() {
            let alive = |pid| rustix::process::test_kill_process(pid).is_ok();
            if !job.state.pid().is_some_and(alive) {
                self.advance(JobEvent::Vanished, now);
            }
        }
        let stop = self.stop;
        self.advance(JobEvent::Tick { now, stop }, now);
    }

    /// Takes the job to the next state, and performs the effects.
    fn advance(&mut self, event: JobEvent, now: Instant) {
        let Some(mut job) = self.job.take() else {
            return;
        };
        let mut next = Some(event);
        while let Some(event) = next.take() {
            let state = std::mem::replace(&mut job.state, JobState::Over);
            let (state, effects) = state.step(event, job.time_limit(self.settings));
            job.state = state;
            for effect in effects {
                next = self.perform(&mut job, effect, now).or(next);
            }
        }
        if job.state != JobState::Over {
            self.job = Some(job);
        }
    }

    /// Performs an effect, and returns the event that it causes, if any.
    fn perform(&mut self, job: &mut Job, effect: JobEffect, now: Instant) -> Option<JobEvent> {
        match effect {
            JobEffect::Admit => return self.admit(job, now),
            JobEffect::PutAside => return Some(self.put_aside(job)),
            JobEffect::Release => self.release(job),
            JobEffect::Give { may_renew } => return self.give(job, may_renew, now),
            JobEffect::Forward { kind, fields } => {
                if let JobSource::Server(id) = job.source {
                    let handle = [job.record.handle.as_bytes()];
                    let fields = handle.into_iter().chain(fields.iter().map(Vec::as_slice));
                    let packet = request(kind, &fields.collect::<Vec<_>>());
                    self.servers.send(id, &packet);
                }
            }
            JobEffect::Kill(pid) => {
                if let Some(pid) = pid.or(self.runtime.pid()) {
                    kill_tree(pid);
                }
            }
            JobEffect::Collect => job.output = self.runtime.job_ended(&mut self.heartbeat),
            JobEffect::KillPhp => self.runtime.kill(),
            JobEffect::RenewPhp { changed } => {
                self.runtime
                    .options_changed(&changed, now, &mut self.heartbeat);
            }
            JobEffect::SuspendPhp { why } => self.suspend(&why, true),
            JobEffect::Report {
                outcome,
                began_ms,
                took,
            } => {
                // Its process is gone, so the next may run.
                job.permit = None;
                let ms = took.as_millis() as u64;
                job.record_attempt(&outcome, began_ms, ms);
                self.log.line(&job.log_line(&outcome, ms));
            }
            JobEffect::Store { outcome, failures } => {
                return self.store(job, &outcome, failures);
            }
            JobEffect::Answer(outcome) => self.answer(job, &outcome),
            JobEffect::GiveUp { pid } => self.give_up(job, pid),
        }
        None
    }

    fn give(&mut self, job: &Job, may_renew: bool, now: Instant) -> Option<JobEvent> {
        if !self.may_run(job) {
            return None;
        }
        let reuse = job.reuse(self.settings);
        let header = JobHeader {
            handle: &job.record.handle,
            function: &job.record.function,
            unique: &job.record.unique,
            size: job.payload.len(),
            // What is on disk was accepted when it came.
            plain: matches!(job.source, JobSource::Retry(_)) || self.seal.takes_plain(),
            memory: job.rule.as_ref().and_then(|rule| {
                Some(MemoryLimit {
                    megabytes: rule.of.memory?,
                    rule: &rule.of.pattern,
                })
            }),
            child: None,
            keep: false,
        };
        let heartbeat = &mut self.heartbeat;
        let given = self
            .runtime
            .give(header, reuse, &job.payload, may_renew, now, heartbeat);
        match given {
            Ok(Handover::NotYet) => None,
            Ok(Handover::Renewed) => Some(JobEvent::PhpRenewed),
            Ok(Handover::Given { pid, reuses }) => {
                self.heartbeat.begin_job(job.record.submitted);
                let at_ms = now_ms();
                Some(JobEvent::Given {
                    now,
                    at_ms,
                    pid,
                    reuses,
                })
            }
            Err(why) => {
                self.suspend(&why, true);
                None
            }
        }
    }

    /// Sleeps until something happens or is due.
    fn wait(&self, signals: &Signals) {
        let mut fds = vec![PollFd::new(signals, PollFlags::IN)];
        fds.extend(self.servers.poll_fds());
        fds.extend(self.runtime.poll_fds());
        let now = Instant::now();
        let mut wait = self.wakes_at(now).saturating_duration_since(now);
        let takes_due = self.job.is_none() && self.serves() && !self.servers.is_asking();
        if let Some(due) = self.retries.next_due()
            && takes_due
        {
            wait = wait.min(Duration::from_millis(due.saturating_sub(now_ms())));
        }
        signals::wait_for(&mut fds, Some(wait));
    }

    fn wakes_at(&self, now: Instant) -> Instant {
        let job = self.job.as_ref();
        let wakes = self.runtime.wakes_at(job.is_some(), self.rest.is_some());
        let mut times: Vec<Instant> = wakes.collect();
        times.extend(self.shared.wakes_at(job.is_some() || self.rest.is_some()));
        match job {
            Some(job) => {
                let limit = job.time_limit(self.settings);
                times.extend(job.state.wakes_at(limit, self.stop));
            }
            None => {
                times.push(self.look_at);
                times.extend(self.gate.limits().then_some(self.peek_at));
                if self.serves() {
                    times.extend(self.servers.deadlines());
                }
            }
        }
        times.into_iter().min().unwrap_or(now + LOOK)
    }
}
