//! The present state of the queues, for `status`. Job servers tell anyone; the
//! files of the workers can be read only by root and their own user.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::base::{clock, parallel};
use crate::gearman::many;
use crate::gearman::server::Server;
use crate::gearman::text::{Admin, Connection, FunctionStatus};
use crate::worker::badge::Badge;
use crate::worker::bulletin::{Bulletin, FailedJob};
use crate::worker::crew_status::{self, CrewStatus};
use crate::worker::events::Events;
use crate::worker::figures::{self, SiteFigures};
use crate::worker::heartbeat::{self, Activity, WorkerStatus};
use crate::worker::tally;
use crate::worker::{Paths, function_of, is_name};

/// How long a job server may take for each answer.
const LIMIT: Duration = Duration::from_secs(3);

/// What to query.
#[derive(Debug, Clone)]
pub struct QueueProbe {
    pub servers: Vec<Server>,
    pub sites: Vec<(String, Option<PathBuf>)>,
    /// Skip the queues of all other sites.
    pub only: bool,
    /// The base folder of what workers store.
    pub state: PathBuf,
    /// Job servers that only the users of this owner's sites reach.
    pub isolated: Vec<(Server, String)>,
    pub reader: Reader,
}

/// Who looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reader {
    #[default]
    Anyone,
    /// The dashboard's user, to whom `setup` opens what workers publish.
    Dashboard,
}

impl Reader {
    /// Why the files of a site's workers are closed to it.
    fn why_closed(self) -> &'static str {
        match self {
            Reader::Anyone => "only root and the site's worker user may read them",
            Reader::Dashboard => {
                "'wp-gears setup' has to be run for this site, too, to let the dashboard read them"
            }
        }
    }
}

/// The state of all queues at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub at: SystemTime,
    pub servers: Vec<ServerStatus>,
    pub queues: Vec<QueueStatus>,
    pub sites: Vec<SiteStatus>,
}

#[derive(Debug, Clone)]
pub struct ServerStatus {
    pub server: String,
    /// How long its answer took.
    pub ms: u64,
    /// Its version, or the reason why it did not answer.
    pub answer: Result<String, String>,
    /// It is closed to the user who asks, so it may well be up.
    pub closed: bool,
}

impl ServerStatus {
    /// Why it does not answer, if it should.
    pub fn away(&self) -> Option<&str> {
        let why = self.answer.as_ref().err().filter(|_| !self.closed);
        why.map(String::as_str)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueStatus {
    pub server: String,
    /// The name at the job server. It contains the salt, so it must not be shown.
    pub function: String,
    pub site: Option<String>,
    pub waiting: u64,
    pub running: u64,
    pub workers: u64,
}

#[derive(Debug, Clone)]
pub struct SiteStatus {
    pub name: String,
    pub dir: Option<PathBuf>,
    pub paused: bool,
    /// Its workers wait for the end of its maintenance mode.
    pub maintenance: bool,
    /// Its crew, if that runs and can be asked.
    pub crew: Option<CrewStatus>,
    /// What its workers recorded, or the reason why that cannot be read.
    pub counts: Result<SiteCounts, String>,
}

impl SiteStatus {
    /// Its workers take no jobs on purpose.
    pub fn rests(&self) -> bool {
        self.paused || self.maintenance
    }

    /// None of its workers runs on this host, and one should.
    pub fn lacks_workers(&self) -> bool {
        !self.rests() && self.counts.as_ref().is_ok_and(|it| it.workers == 0)
    }
}

/// Counts from the files of a site's workers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SiteCounts {
    /// Running workers.
    pub workers: usize,
    /// Those that are running a job.
    pub busy: usize,
    /// Jobs that the running workers completed since they started.
    pub done: u64,
    /// Jobs that all workers completed, including those that exited.
    pub done_ever: u64,
    /// How long the oldest of the running jobs has been running.
    pub oldest_ms: Option<u64>,
    /// Failed jobs.
    pub failed: usize,
    /// Jobs that will be retried.
    pub waiting_for_retry: usize,
    /// Jobs that the rules of their hooks do not let run yet, by hook.
    pub waiting_for_limit: BTreeMap<String, usize>,
    /// Jobs that were refused since workers first ran, because they were not the site's own.
    pub refused_ever: u64,
    /// The latest failed jobs, the last one first.
    pub latest_failed: Vec<FailedJob>,
    /// Jobs that ended here while their job server took the worker for dead: it gave them to
    /// another.
    pub unconfirmed_ever: u64,
    /// A worker waits for a job.
    pub idle: bool,
    /// No job that waits was submitted before this, if that is known: the job that started
    /// last was submitted then, or the site's crew saw the queue empty. In milliseconds
    /// since 1970.
    pub waits_since: Option<u64>,
    /// How long its jobs wait and run; `None` if what workers recorded is damaged.
    pub figures: Option<SiteFigures>,
    /// What a worker saw of WordPress's scheduled events, if one has looked.
    pub events: Option<Events>,
}

impl Snapshot {
    pub fn all_up(&self) -> bool {
        let is_up = |seen: &ServerStatus| seen.away().is_none();
        self.servers.iter().all(is_up)
    }

    /// Whether the numbers of a site's queue may be those of a job server that nobody asked.
    pub fn has_closed(&self) -> bool {
        self.servers.iter().any(|seen| seen.closed)
    }

    pub fn site(&self, name: &str) -> Option<&SiteStatus> {
        self.sites.iter().find(|site| site.name == name)
    }
}

impl QueueProbe {
    /// Asks all job servers in parallel, so that one that is down does not delay
    /// the others.
    pub fn snapshot(&self) -> Snapshot {
        let now = SystemTime::now();
        let asked = many::each(&self.servers, |server| Ok(ask(server)));
        let answers = self.servers.iter().zip(asked).map(|(server, answer)| {
            let answer = answer.unwrap_or_else(|why| (0, Err(why)));
            (server.to_string(), answer)
        });
        let answers: Vec<_> = answers.collect();
        let names = Names::new(&self.state, &self.sites, &answers);
        let mut snapshot = Snapshot {
            at: now,
            servers: Vec::new(),
            queues: Vec::new(),
            sites: parallel::map(&self.sites, parallel::cores(), |(name, dir)| {
                site(&self.state, name, dir.clone(), now, self.reader)
            }),
        };
        for (server, (ms, answer)) in answers {
            let answer = answer.map(|report| {
                for queue in &report.queues {
                    let site = names.of(&queue.function);
                    let named = |name: &String| self.sites.iter().any(|(known, _)| known == name);
                    if self.only && !site.as_ref().is_some_and(named) {
                        continue;
                    }
                    snapshot.queues.push(QueueStatus {
                        server: server.clone(),
                        function: queue.function.clone(),
                        site,
                        waiting: queue.waiting(),
                        running: queue.running,
                        workers: queue.workers,
                    });
                }
                report.version
            });
            let owner = self.owner_of(&server).filter(|_| answer.is_err());
            snapshot.servers.push(ServerStatus {
                closed: owner.is_some(),
                answer: match owner {
                    Some(owner) => Err(format!("only the users of {owner}'s sites may ask it")),
                    None => answer,
                },
                server,
                ms,
            });
        }
        snapshot
    }

    /// The owner whose sites alone have this job server.
    fn owner_of(&self, server: &str) -> Option<&str> {
        let mut isolated = self.isolated.iter();
        let found = isolated.find(|(it, _)| it.to_string() == server)?;
        Some(found.1.as_str())
    }
}

/// What one job server answered.
struct Report {
    version: String,
    queues: Vec<FunctionStatus>,
    workers: Vec<Connection>,
}

/// Asks one job server. Also returns how many milliseconds that took.
fn ask(server: &Server) -> (u64, Result<Report, String>) {
    let began = Instant::now();
    let report = Admin::connect(server, LIMIT).and_then(|mut admin| {
        Ok(Report {
            version: admin.version()?,
            queues: admin.status()?,
            workers: admin.workers()?,
        })
    });
    let report = report.map_err(|error| why(&error));
    (began.elapsed().as_millis() as u64, report)
}

fn why(error: &std::io::Error) -> String {
    use std::io::ErrorKind::{TimedOut, UnexpectedEof, WouldBlock};
    match error.kind() {
        TimedOut | WouldBlock => format!("no answer within {} s", LIMIT.as_secs()),
        UnexpectedEof => "it closed the connection: is it a job server?".into(),
        _ => error.to_string(),
    }
}

/// The site of each function, from the workers' own files if they can be read,
/// otherwise from the IDs under which our workers register at the job server. Both can
/// claim what they like, so of two sites that claim a function neither gets it.
struct Names(HashMap<String, Option<String>>);

type Answer = (String, (u64, Result<Report, String>));

impl Names {
    fn new(state: &Path, sites: &[(String, Option<PathBuf>)], answers: &[Answer]) -> Names {
        let mut names = HashMap::new();
        let reports = answers
            .iter()
            .filter_map(|(_, (_, report))| report.as_ref().ok());
        for worker in reports.flat_map(|report| &report.workers) {
            let Some(name) = name_in(&worker.id) else {
                continue;
            };
            for function in &worker.functions {
                names.insert(function.clone(), Some(name.clone()));
            }
        }
        let mut own = HashMap::new();
        for (name, _) in sites {
            if let Some(function) = function_of(&Paths::new(state, name).run) {
                let one = own.entry(function).or_insert_with(|| Some(name.clone()));
                *one = one.take().filter(|known| known == name);
            }
        }
        names.extend(own);
        Names(names)
    }

    fn of(&self, function: &str) -> Option<String> {
        self.0.get(function).cloned().flatten()
    }
}

/// The site in a worker's ID, if it is one of ours.
fn name_in(id: &str) -> Option<String> {
    let badge = Badge::read(id)?;
    is_name(&badge.name).then_some(badge.name)
}

fn site(
    state: &Path,
    name: &str,
    dir: Option<PathBuf>,
    now: SystemTime,
    reader: Reader,
) -> SiteStatus {
    let paths = Paths::new(state, name);
    let mut maintenance = false;
    let read = || -> io::Result<_> {
        let workers = heartbeat::read(&paths.run)?;
        let before = heartbeat::retired(&paths.run)?;
        let jobs = Bulletin::known(&paths.run, &paths.failed)?;
        Ok((workers, before, jobs))
    };
    let crews = crew_status::read(&paths.run).unwrap_or_default();
    let crew = crews.into_iter().next();
    let counts = match read() {
        Ok((workers, before, jobs)) => {
            maintenance = workers
                .iter()
                .any(|seen| seen.activity == Activity::Maintenance);
            let busy = || {
                workers
                    .iter()
                    .filter(|seen| seen.activity == Activity::Busy)
            };
            let sum = |numbers: &mut dyn Iterator<Item = u64>| {
                numbers.fold(0u64, |sum, number| sum.saturating_add(number))
            };
            let figures = figures::read(&paths.run, clock::millis(now)).ok();
            let done = sum(&mut workers.iter().map(|seen| seen.jobs));
            Ok(SiteCounts {
                workers: heartbeat::count(&workers),
                busy: busy().count(),
                done,
                done_ever: done.saturating_add(before),
                oldest_ms: busy()
                    .map(|seen| clock::millis(now).saturating_sub(seen.since))
                    .max(),
                failed: jobs.failed,
                waiting_for_retry: jobs.retries,
                waiting_for_limit: jobs.limited,
                refused_ever: jobs.refused,
                latest_failed: jobs.latest,
                unconfirmed_ever: tally::read(&paths.run, tally::UNCONFIRMED).unwrap_or(0),
                idle: workers.iter().any(|seen| seen.activity == Activity::Idle),
                waits_since: waits_since(&workers, crew.as_ref(), figures.as_ref()),
                figures,
                events: Events::read(&paths.run),
            })
        }
        Err(error) => Err(match error.kind() {
            io::ErrorKind::PermissionDenied => reader.why_closed().into(),
            io::ErrorKind::NotFound => "no worker for it has ever run on this host".into(),
            _ => error.to_string(),
        }),
    };
    SiteStatus {
        name: name.to_owned(),
        dir,
        paused: paths.paused.exists(),
        maintenance,
        crew,
        counts,
    }
}

/// The latest moment before which none of the jobs was submitted that wait.
fn waits_since(
    workers: &[WorkerStatus],
    crew: Option<&CrewStatus>,
    figures: Option<&SiteFigures>,
) -> Option<u64> {
    let begun = workers.iter().filter_map(|seen| seen.submitted);
    let ended = figures.and_then(|figures| figures.last_submitted);
    let empty = crew.and_then(|crew| crew.empty_at);
    begun.chain(ended).chain(empty).max()
}

impl Snapshot {
    /// How long the oldest waiting job has waited, at most; `None` if that is unknown. Job
    /// servers hand out jobs of the same priority in the order of their submission.
    pub fn oldest_waiting_ms(&self, site: &SiteStatus) -> Option<u64> {
        let own = self.queues.iter();
        let own = own.filter(|queue| queue.site.as_ref() == Some(&site.name));
        let waiting: Vec<&QueueStatus> = own.filter(|queue| queue.waiting > 0).collect();
        if waiting.is_empty() {
            return (self.all_up() && !self.has_closed()).then_some(0);
        }
        let counts = site.counts.as_ref().ok()?;
        if counts.idle && waiting.iter().all(|queue| queue.workers > 0) {
            return Some(0); // it is on its way
        }
        let since = counts.waits_since?;
        Some(clock::millis(self.at).saturating_sub(since))
    }
}

#[cfg(test)]
mod tests;
