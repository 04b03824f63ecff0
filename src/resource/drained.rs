//! Waits until the queues hold no jobs that this run would strand.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::base::problem::Problem;
use crate::host::Host;
use crate::intent::queue::WaitingJobs;
use crate::resource::{Change, Resource, ResourceId, State, Verb};

/// How many jobs this run would strand now.
pub type Waiting = dyn Fn(&Host) -> Result<u64> + Send + Sync;

/// How long workers that run get if nobody says how long.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long no job may be queued until none is expected.
const QUIET: Duration = Duration::from_secs(1);

pub struct Drained {
    pub purpose: Purpose,
    pub waiting: Box<Waiting>,
    pub wish: WaitingJobs,
    /// Workers run these jobs now, so that waiting for them makes sense even if nobody
    /// asked for that.
    pub runs: bool,
    /// Pages submit jobs until shortly before, so that an empty queue has to stay empty.
    pub busy: bool,
}

/// What the queues are drained for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Purpose {
    /// With other options. An owner's own, or the shared one.
    RestartJobServer(Option<String>),
    /// It stops, or gets back its old options and with them another queue.
    StopJobServer(Option<String>),
    /// Of the site in this folder.
    ChangeServers(PathBuf),
    /// Of the site in this folder.
    StopWorkers(PathBuf),
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Purpose::RestartJobServer(owner) => {
                let server = job_server(owner.as_deref());
                write!(f, "restart {server} with other options")
            }
            Purpose::StopJobServer(owner) => write!(f, "stop {}", job_server(owner.as_deref())),
            Purpose::ChangeServers(dir) => {
                write!(f, "give {} another job server", dir.display())
            }
            Purpose::StopWorkers(dir) => write!(f, "stop the workers of {}", dir.display()),
        }
    }
}

impl Drained {
    /// How long to wait; `None` if no worker would run the jobs.
    fn limit(&self) -> Option<Duration> {
        let asked = self.wish.drain.map(Duration::from_secs);
        asked.or_else(|| self.runs.then_some(PATIENCE))
    }

    fn refusal(&self, waiting: u64) -> anyhow::Error {
        let them = if waiting == 1 { "it" } else { "them" };
        let why = format!("{}, and no worker would run {them}", jobs(waiting));
        Problem::new(self.purpose.to_string(), why)
            .help(
                "use --drain SECONDS to wait until the workers have finished, \
                 or --lose-queued-jobs to discard these jobs",
            )
            .into()
    }
}

impl Resource for Drained {
    fn id(&self) -> ResourceId {
        ResourceId::Drained(self.purpose.clone())
    }

    fn inspect(&self, host: &Host) -> Result<State> {
        if self.wish.lose_queued_jobs {
            return Ok(State::Same);
        }
        let waiting = (self.waiting)(host)?;
        let limit = self.limit();
        if waiting == 0 && !(self.busy && limit.is_some()) {
            return Ok(State::Same);
        }
        let Some(limit) = limit else {
            return Err(self.refusal(waiting));
        };
        let seconds = limit.as_secs();
        Ok(State::Differs(Change::new(Verb::Drain).detail(
            match waiting {
                0 => format!("continues while pages submit jobs; at most {seconds} s"),
                _ => format!("{}; for at most {seconds} s", jobs(waiting)),
            },
        )))
    }

    fn apply(&self, host: &Host, watch: &dyn Fn(&str)) -> Result<()> {
        let limit = self.limit().unwrap_or_default();
        let start = Instant::now();
        let mut empty_since: Option<Instant> = None;
        loop {
            let waiting = (self.waiting)(host)?;
            if waiting == 0 {
                let since = *empty_since.get_or_insert_with(Instant::now);
                if !self.busy || since.elapsed() > QUIET || start.elapsed() > limit {
                    return Ok(());
                }
            } else {
                empty_since = None;
                if start.elapsed() > limit {
                    return Err(self.refusal(waiting));
                }
                watch(&jobs(waiting));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn job_server(owner: Option<&str>) -> String {
    match owner {
        Some(owner) => format!("the job server of {owner}"),
        None => "the job server".into(),
    }
}

fn jobs(waiting: u64) -> String {
    match waiting {
        1 => "1 job is queued".into(),
        many => format!("{many} jobs are queued"),
    }
}
