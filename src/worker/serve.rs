//! The worker's loop: waits for signals, job servers and PHP at once, and
//! decides what is next.

use std::io;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, WaitOptions, WaitStatus, waitpid};

use crate::base::clock;
use crate::base::problem::Problem;
use crate::gearman::binary::kind;
use crate::worker::Paths;
use crate::worker::connection::{Connection, State};
use crate::worker::job::{Current, From};
use crate::worker::log::Log;
use crate::worker::options::{WorkerArgs, WorkerSettings};
use crate::worker::php::{Php, kill_tree};
use crate::worker::presence::{Activity, Presence};
use crate::worker::signals::Signals;
use crate::worker::site::Site;
use crate::worker::store::Store;

/// How often an idle worker looks around without being told to.
const LOOK: Duration = Duration::from_secs(60);

/// How long a PHP process may take to end by itself.
const GRACE: Duration = Duration::from_secs(5);

pub(super) struct Worker<'a> {
    pub args: &'a WorkerArgs,
    pub options: WorkerSettings,
    pub paths: Paths,
    pub log: Log,
    pub presence: Presence,
    pub store: Store,
    pub id: String,
    pub connections: Vec<Connection>,
    pub site: Site,
    pub php: Option<Php>,
    /// Processes that were asked to end, until when they may.
    leaving: Vec<(Pid, Instant)>,
    pub current: Option<Current>,
    /// Set by TERM: when the job at hand has to be over.
    pub stopping: Option<Instant>,
    paused: bool,
    pub idle_since: Instant,
    /// When to look around again.
    look_at: Instant,
    /// When a postponed job is due, in milliseconds since 1970.
    pub next_due: Option<u64>,
    /// The last job was a postponed one: the queue goes first now.
    pub was_postponed: bool,
    turn: usize,
}

pub(super) fn serve(args: &WorkerArgs) -> anyhow::Result<()> {
    let signals = Signals::take()?;
    let mut worker = Worker::new(args)?;
    // Children of a PHP parent that was killed become ours, and are waited for.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    worker.log.line("started");
    while worker.step(&signals) {
        worker.wait(&signals);
    }
    worker.log.line("stopped");
    Ok(())
}

impl<'a> Worker<'a> {
    fn new(args: &'a WorkerArgs) -> Result<Worker<'a>, Problem> {
        let paths = Paths::new(&args.state, &args.name);
        let pid = std::process::id();
        let log = Log::open(&args.log(), pid.to_string());
        let help = "`wp-gears setup` makes this folder, for the user that workers run as";
        crate::worker::presence::sweep(&paths.run);
        let presence = Presence::take(&paths.run)
            .map_err(|e| Problem::new(format!("write in {}", paths.run.display()), e).help(help))?;
        let store = Store::open(&paths.failed)
            .map_err(|e| Problem::new(format!("open {}", paths.failed.display()), e).help(help))?;
        store.sweep(clock::millis(SystemTime::now()));
        let php = match &args.options.php {
            Some(path) => path.clone(),
            None => which::which("php").map_err(|e| {
                Problem::new("find php in PATH", e).help("give its path with --php")
            })?,
        };
        let host = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        let now = Instant::now();
        Ok(Worker {
            args,
            options: args.options.clone().settings(),
            id: format!("{host}/{}/{pid}", args.name),
            connections: args.servers.iter().cloned().map(Connection::new).collect(),
            site: Site::remembered(args, &paths, php),
            paths,
            log,
            presence,
            store,
            php: None,
            leaving: Vec::new(),
            current: None,
            stopping: None,
            paused: false,
            idle_since: now,
            look_at: now,
            next_due: None,
            was_postponed: false,
            turn: 0,
        })
    }

    /// Does all that can be done now. False where the worker is to end.
    fn step(&mut self, signals: &Signals) -> bool {
        while let Some(signal) = signals.next() {
            match signal {
                Signal::SIGTERM | Signal::SIGINT => self.stop(),
                Signal::SIGUSR1 => self.look_at = Instant::now(),
                _ => {}
            }
        }
        let now = Instant::now();
        self.reap(now);
        self.hear_php();
        self.hear_servers();
        if self.current.is_some() && !self.work(now) {
            return false;
        }
        if self.current.is_some() {
            return true;
        }
        if self.stopping.is_some() {
            self.end_php();
            return false;
        }
        if now >= self.look_at {
            self.look_around(now);
        }
        if self.paused {
            return true;
        }
        self.keep_site_ready(now);
        if self.site.function.is_some() && (self.asking() || !self.take_due()) {
            self.connect(now);
            self.ask(now);
        }
        true
    }

    fn stop(&mut self) {
        if self.stopping.is_none() {
            self.stopping = Some(Instant::now() + Duration::from(self.options.stop_timeout));
            if let Some(job) = &self.current {
                let text = format!(
                    "TERM: the job at hand ({}) is finished first",
                    job.record.handle
                );
                self.log.line(&text);
            }
        }
    }

    /// What others may have left for us: markers, postponed jobs, changed files.
    fn look_around(&mut self, now: Instant) {
        self.look_at = now + crate::worker::connection::pause(0, LOOK, LOOK);
        let paused = self.paths.paused.exists();
        if paused != self.paused {
            self.paused = paused;
            self.log.line(if paused { "paused" } else { "resumed" });
            if paused {
                self.connections.iter_mut().for_each(Connection::close);
                self.end_php();
            }
            self.presence.set(if paused {
                Activity::Paused
            } else {
                Activity::Idle
            });
        }
        if self.site.reload_asked() {
            self.log.line("reloaded");
            self.end_php();
        }
        if self.site.look_around(&mut self.log)
            && self.php.as_ref().is_some_and(|p| p.ready.is_some())
        {
            self.end_php();
        }
        self.find_due();
    }

    /// Whether the worker may take another job now. A pause closes the
    /// connections, so the loop only notices it once the present job is answered.
    pub fn may_take(&mut self) -> bool {
        if self.stopping.is_some() || self.paused {
            return false;
        }
        let paused = self.paths.paused.exists();
        if paused {
            self.look_at = Instant::now();
        }
        !paused
    }

    fn connect(&mut self, now: Instant) {
        for connection in &mut self.connections {
            if let Err(e) = connection
                .connect_if_due(now)
                .and_then(|()| connection.check(now))
                && let Some(text) = connection.lost(&e)
            {
                self.log.line(&text);
            }
        }
    }

    /// A server may be about to give us a job.
    pub fn asking(&self) -> bool {
        self.connections.iter().any(|c| c.state == State::Asked)
    }

    /// Asks one server that may have a job, each in its turn.
    fn ask(&mut self, now: Instant) {
        if self.asking() {
            return;
        }
        let n = self.connections.len();
        let Some(index) = (0..n)
            .map(|i| (self.turn + i) % n)
            .find(|i| self.connections[*i].state == State::Awake)
        else {
            return;
        };
        if !self.may_take() {
            return;
        }
        self.turn = index + 1;
        self.ask_at(index, None, now);
    }

    pub fn ask_at(&mut self, index: usize, before: Option<Vec<u8>>, now: Instant) {
        let connection = &mut self.connections[index];
        if let Err(e) = connection.ask(before, now)
            && let Some(text) = connection.lost(&e)
        {
            self.log.line(&text);
        }
    }

    /// Whether another server than this has said that it has a job.
    pub fn others_wait(&self, index: usize) -> bool {
        let mut others = self
            .connections
            .iter()
            .enumerate()
            .filter(|(i, _)| *i != index);
        others.any(|(_, c)| c.state == State::Awake)
    }

    fn hear_servers(&mut self) {
        for index in 0..self.connections.len() {
            if let Err(e) = self.hear_server(index)
                && let Some(text) = self.connections[index].lost(&e)
            {
                self.log.line(&text);
            }
        }
    }

    fn hear_server(&mut self, index: usize) -> io::Result<()> {
        if self.connections[index].attend()? {
            let function = self.site.function.clone().unwrap_or_default();
            self.connections[index].register(&self.id, &function)?;
        }
        while let Some(packet) = self.connections[index].take()? {
            let connection = &mut self.connections[index];
            match packet.kind {
                kind::NOOP if connection.state == State::Asleep => connection.state = State::Awake,
                kind::NO_JOB if connection.state == State::Asked => {
                    connection.sleep()?;
                    self.presence.set(Activity::Idle);
                }
                // A job that could not be taken goes back when the connection ends.
                kind::JOB_ASSIGN_UNIQ if self.current.is_some() => {
                    return Err(io::Error::other("a job that was not asked for"));
                }
                kind::JOB_ASSIGN_UNIQ => {
                    connection.has_job();
                    self.take(index, &packet)?;
                }
                kind::ERROR => {
                    let text = String::from_utf8_lossy(&packet.data).replace('\0', ": ");
                    return Err(io::Error::other(text));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// After the plugin's function has changed.
    pub fn register_anew(&mut self) {
        let Some(function) = &self.site.function else {
            return;
        };
        for connection in self.connections.iter_mut().filter(|c| c.up()) {
            if let Err(e) = connection.register(&self.id, function)
                && let Some(text) = connection.lost(&e)
            {
                self.log.line(&text);
            }
        }
    }

    fn reap(&mut self, now: Instant) {
        while let Ok(Some((pid, status))) = waitpid(None, WaitOptions::NOHANG) {
            self.leaving.retain(|(leaving, _)| *leaving != pid);
            self.reaped(pid, status);
        }
        self.leaving.retain_mut(|(pid, until)| {
            if now >= *until {
                kill_tree(*pid);
                *until = now + GRACE;
            }
            true
        });
    }

    fn reaped(&mut self, pid: Pid, status: WaitStatus) {
        if let Some(php) = self.php.as_mut().filter(|php| php.pid == pid) {
            php.gone = Some(status);
        }
        if let Some(job) = self.current.as_mut().filter(|job| job.pid == Some(pid)) {
            job.process_ended(pid, status);
        }
    }

    /// Closing the pipe is how PHP is told to end.
    pub fn end_php(&mut self) {
        let Some(mut php) = self.php.take() else {
            return;
        };
        let log = &mut self.log;
        php.output
            .read(&mut |line| log.line(&format!("php: {line}")));
        if php.gone.is_none() {
            if php.ready.is_none() {
                // Still loading the site, it would not notice.
                kill_tree(php.pid);
            }
            self.leaving.push((php.pid, Instant::now() + GRACE));
        }
        self.presence.now.mode = None;
        self.presence.now.php = None;
        self.presence.write();
    }

    /// The job at hand is not finished in time: its server gives it to another worker.
    pub fn give_up(&mut self) {
        if let Some(job) = self.current.take() {
            if let Some(pid) = job.pid {
                kill_tree(pid);
            }
            let text = match job.from {
                From::Server { .. } => "its job server hands it on",
                From::Claim(_) => "it is tried again by another worker",
            };
            self.log.line(&format!(
                "gave up the job {} after {} s: {text}",
                job.record.handle, self.options.stop_timeout
            ));
        }
        if let Some(php) = &self.php {
            kill_tree(php.pid);
        }
    }

    /// Sleeps until something happens, or it is time for something.
    fn wait(&mut self, signals: &Signals) {
        let mut fds = vec![PollFd::new(signals, PollFlags::IN)];
        fds.extend(self.connections.iter().filter_map(Connection::poll_fd));
        if let Some(php) = &self.php {
            let pipe = php.pipe().filter(|_| php.gone.is_none());
            fds.extend(pipe.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
            if let Some(fd) = php.output.fd() {
                fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
            }
        }
        let now = Instant::now();
        let mut wait = self.wakes_at(now).saturating_duration_since(now);
        let free = self.current.is_none() && !self.paused && !self.asking();
        if let Some(due) = self
            .next_due
            .filter(|_| free && self.site.function.is_some())
        {
            let due = due.saturating_sub(clock::millis(SystemTime::now()));
            wait = wait.min(Duration::from_millis(due));
        }
        // Rounded up: a poll that ends just before its time is done again.
        let wait = wait + Duration::from_millis(1);
        let timeout = Timespec {
            tv_sec: wait.as_secs() as i64,
            tv_nsec: i64::from(wait.subsec_nanos()),
        };
        // An error (a signal) only means to look again.
        let _ = poll(&mut fds, Some(&timeout));
    }

    fn wakes_at(&self, now: Instant) -> Instant {
        let mut times: Vec<Instant> = self.leaving.iter().map(|(_, until)| *until).collect();
        match &self.current {
            Some(job) => times.extend(self.job_wakes_at(job)),
            None => {
                times.push(self.look_at);
                if !self.paused {
                    times.extend(self.connections.iter().filter_map(Connection::deadline));
                }
            }
        }
        times.extend(self.site_wakes_at());
        times.into_iter().min().unwrap_or(now + LOOK)
    }
}
