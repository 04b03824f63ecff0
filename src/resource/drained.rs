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

pub struct Drained {
    pub purpose: Purpose,
    pub waiting: Box<Waiting>,
    pub wish: WaitingJobs,
}

/// What the queues are drained for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Purpose {
    RestartJobServer,
    /// It stops, or gets back its old options and with them another queue.
    StopJobServer,
    /// Of the site in this folder.
    StopWorkers(PathBuf),
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Purpose::RestartJobServer => f.write_str("restart the job server with other options"),
            Purpose::StopJobServer => f.write_str("stop the job server"),
            Purpose::StopWorkers(dir) => write!(f, "stop the workers of {}", dir.display()),
        }
    }
}

impl Drained {
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
        match ((self.waiting)(host)?, self.wish.drain) {
            (0, _) => Ok(State::Same),
            (waiting, None) => Err(self.refusal(waiting)),
            (waiting, Some(seconds)) => Ok(State::Differs(
                Change::new(Verb::Drain)
                    .detail(format!("{}; for at most {seconds} s", jobs(waiting))),
            )),
        }
    }

    fn apply(&self, host: &Host, watch: &dyn Fn(&str)) -> Result<()> {
        let limit = Duration::from_secs(self.wish.drain.unwrap_or(0));
        let start = Instant::now();
        loop {
            let waiting = (self.waiting)(host)?;
            if waiting == 0 {
                return Ok(());
            }
            if start.elapsed() > limit {
                return Err(self.refusal(waiting));
            }
            watch(&jobs(waiting));
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

fn jobs(waiting: u64) -> String {
    match waiting {
        1 => "1 job is queued".into(),
        many => format!("{many} jobs are queued"),
    }
}
