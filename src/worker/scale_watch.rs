//! What a crew with a range looks at to decide on its number: its members' files, the job
//! servers' queues and the host. It looks only while there is something to decide.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::base::budget;
use crate::gearman::server::Server;
use crate::gearman::text::{Admin, FunctionStatus};
use crate::host::this_name;
use crate::worker::heartbeat::{self, Activity, WorkerStatus};
use crate::worker::message::Connections;
use crate::worker::scale::{Other, Room, Seen};

/// How long a job server may take to answer.
const LIMIT: Duration = Duration::from_secs(1);

/// How long one that did not answer is not asked again.
const PAUSE: Duration = Duration::from_secs(10);

/// What a worker takes as long as none has shown it, and the least, in kilobytes.
const WORKER_KB: u64 = 64 << 10;
const LEAST_WORKER_KB: u64 = 32 << 10;

/// What a crew sees of its own members.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Own {
    pub busy: u32,
    /// Jobs that the site's workers have ever begun here.
    pub begun: u64,
    /// What the database had left when it was asked last.
    connections: Option<Connections>,
    /// Their PHP processes.
    php: Vec<i32>,
}

impl Own {
    pub fn read(run: &Path) -> io::Result<Own> {
        let all = heartbeat::read(run)?;
        let retired = heartbeat::retired(run)?;
        let is_busy = |one: &&WorkerStatus| one.activity == Activity::Busy;
        let busy = all.iter().filter(is_busy).count();
        let ended = all.iter().map(|one| one.jobs);
        let ended = ended.fold(retired, u64::saturating_add);
        Ok(Own {
            busy: u32::try_from(busy).unwrap_or(u32::MAX),
            begun: ended.saturating_add(busy as u64),
            connections: all
                .iter()
                .filter_map(|one| one.database)
                .max_by_key(|(at, _)| *at)
                .map(|(_, connections)| connections),
            php: all.iter().filter_map(|one| one.php).collect(),
        })
    }
}

struct Asked {
    server: Server,
    admin: Option<Admin>,
    /// It did not answer.
    not_before: Option<Instant>,
}

pub struct Watch {
    servers: Vec<Asked>,
    /// How the workers of this host call themselves.
    prefix: String,
    /// Workers of other hosts may use the same job servers.
    shared: bool,
    /// Where the kernel tells about the host: `/proc`.
    proc: PathBuf,
}

impl Watch {
    pub fn new(servers: &[Server], shared: bool, proc: &Path) -> Watch {
        let asked = |server: &Server| Asked {
            server: server.clone(),
            admin: None,
            not_before: None,
        };
        Watch {
            servers: servers.iter().map(asked).collect(),
            shared,
            prefix: format!("{}/", this_name()),
            proc: proc.to_owned(),
        }
    }

    /// Closes the connections, as there is nothing to decide for now.
    pub fn rest(&mut self) {
        self.servers.iter_mut().for_each(|it| it.admin = None);
    }

    /// Everything that the decision needs. `None` if no job server answers.
    pub fn look(&mut self, function: &str, own: &Own, now: Instant) -> Option<Seen> {
        let (prefix, shared) = (&self.prefix, self.shared);
        let due = self.servers.iter_mut();
        let due = due.filter(|it| it.not_before.is_none_or(|at| now >= at));
        let answers: Vec<Vec<FunctionStatus>> =
            due.filter_map(|it| it.ask(prefix, shared, now)).collect();
        if answers.is_empty() {
            return None;
        }
        let mut seen = Seen {
            busy: own.busy,
            begun: own.begun,
            room: self.room(own),
            ..Seen::default()
        };
        let mut others: BTreeMap<String, Other> = BTreeMap::new();
        for queue in answers.into_iter().flatten() {
            if queue.function == function {
                seen.waiting = seen.waiting.saturating_add(queue.waiting());
            } else if queue.jobs > 0 && queue.workers > 0 {
                let other = others.entry(queue.function.clone()).or_default();
                other.running = other.running.saturating_add(queue.running);
                other.waiting = other.waiting.saturating_add(queue.waiting());
                // They are connected to all of their servers.
                other.workers = other.workers.max(queue.workers);
            }
        }
        seen.others = others.into_values().collect();
        Some(seen)
    }

    /// How many jobs of this function wait. `None` unless all job servers answer.
    pub fn waiting(&mut self, function: &str, now: Instant) -> Option<u64> {
        let mut waiting: u64 = 0;
        for asked in &mut self.servers {
            if asked.not_before.is_some_and(|at| now < at) {
                return None;
            }
            let queues = asked.queues(now)?;
            let own = queues.iter().filter(|queue| queue.function == function);
            waiting = own.fold(waiting, |sum, queue| sum.saturating_add(queue.waiting()));
        }
        Some(waiting)
    }

    fn room(&self, own: &Own) -> Room {
        let read = |name: &str| fs::read_to_string(self.proc.join(name)).ok();
        let load = read("loadavg").and_then(|text| text.split(' ').next()?.parse::<f32>().ok());
        let memory = read("meminfo");
        let taken = own.php.iter().filter_map(|pid| private_kb(*pid)).max();
        Room {
            load: load.map(|load| load / budget::cores() as f32),
            memory_kb: memory.and_then(|text| budget::meminfo(&text, "MemAvailable")),
            // PHP itself, and as much again for the job.
            worker_kb: taken.map_or(WORKER_KB, |kb| (2 * kb).max(LEAST_WORKER_KB)),
            connections: own.connections,
        }
    }
}

impl Asked {
    /// The queues of this host's workers on this server.
    fn ask(&mut self, prefix: &str, shared: bool, now: Instant) -> Option<Vec<FunctionStatus>> {
        let answer = self.try_ask(prefix, shared);
        self.or_pause(answer, now)
    }

    /// All queues on this server.
    fn queues(&mut self, now: Instant) -> Option<Vec<FunctionStatus>> {
        let answer = self.admin().and_then(Admin::status);
        self.or_pause(answer, now)
    }

    fn or_pause<T>(&mut self, answer: io::Result<T>, now: Instant) -> Option<T> {
        if answer.is_err() {
            self.admin = None;
            self.not_before = Some(now + PAUSE);
        }
        answer.ok()
    }

    fn admin(&mut self) -> io::Result<&mut Admin> {
        match &mut self.admin {
            Some(admin) => Ok(admin),
            none => Ok(none.insert(Admin::connect(&self.server, LIMIT)?)),
        }
    }

    fn try_ask(&mut self, prefix: &str, shared: bool) -> io::Result<Vec<FunctionStatus>> {
        let is_shared = shared || !self.server.is_local();
        let admin = self.admin()?;
        let mut queues = admin.status()?;
        if is_shared {
            // Other hosts have budgets of their own.
            let all = admin.workers()?;
            let ours = all.iter().filter(|worker| worker.id.starts_with(prefix));
            let ours: HashSet<&str> = ours
                .flat_map(|worker| &worker.functions)
                .map(String::as_str)
                .collect();
            queues.retain(|queue| ours.contains(queue.function.as_str()));
        }
        Ok(queues)
    }
}

/// The memory that a process shares with no other, in kilobytes.
fn private_kb(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let mut pages = text.split(' ').skip(1).map(str::parse::<u64>);
    let (resident, shared) = (pages.next()?.ok()?, pages.next()?.ok()?);
    Some(resident.saturating_sub(shared) * (rustix::param::page_size() as u64 >> 10))
}
