//! That no job waits where the run would leave it behind.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::base::problem::Problem;
use crate::host::Host;
use crate::intent::queue::WaitingJobs;
use crate::resource::journal::Undo;
use crate::resource::{Change, Resource, State};

/// How many jobs the run would leave behind now.
pub type Waiting = dyn Fn(&Host) -> Result<u64> + Send + Sync;

pub struct Drained {
    /// "restart the job server with other options".
    pub what: String,
    pub waiting: Box<Waiting>,
    pub wish: WaitingJobs,
}

impl Drained {
    fn refusal(&self, waiting: u64) -> anyhow::Error {
        let why = format!("{} there, and nobody would run them", jobs(waiting));
        Problem::new(self.what.clone(), why)
            .help(
                "let the workers finish them: --drain SECONDS waits for that; \
                 --lose-queued-jobs gives them up",
            )
            .into()
    }
}

impl Resource for Drained {
    fn name(&self) -> String {
        format!("waiting jobs, to {}", self.what)
    }

    fn inspect(&self, host: &Host) -> Result<State> {
        if self.wish.lose_queued_jobs {
            return Ok(State::Same);
        }
        match ((self.waiting)(host)?, self.wish.drain) {
            (0, _) => Ok(State::Same),
            (waiting, None) => Err(self.refusal(waiting)),
            (waiting, Some(seconds)) => Ok(State::Differs(
                Change::new("drain").detail(format!("{}; {seconds} s at most", jobs(waiting))),
            )),
        }
    }

    fn undo(&self, _host: &Host) -> Result<Option<Undo>> {
        Ok(None)
    }

    fn apply(&self, host: &Host, watch: &dyn Fn(&str)) -> Result<()> {
        let limit = Duration::from_secs(self.wish.drain.unwrap_or(0));
        let begun = Instant::now();
        loop {
            let waiting = (self.waiting)(host)?;
            if waiting == 0 {
                return Ok(());
            }
            if begun.elapsed() > limit {
                return Err(self.refusal(waiting));
            }
            watch(&jobs(waiting));
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

fn jobs(waiting: u64) -> String {
    match waiting {
        1 => "1 job waits".into(),
        many => format!("{many} jobs wait"),
    }
}
