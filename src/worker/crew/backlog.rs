//! When a crew saw its site's queue empty last. Job servers do not tell how long a job has
//! waited; but no job that waits is older than the last moment at which none did.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::base::clock::now_ms;
use crate::worker::function_of;
use crate::worker::heartbeat::{self, Activity};
use crate::worker::options::WorkerArgs;
use crate::worker::scale_watch::Watch;

/// How often it asks while no worker of the site waits for a job. An idle worker is told of
/// the next job at once.
const EVERY: Duration = Duration::from_secs(3);

pub struct Backlog {
    watch: Watch,
    due: Instant,
}

impl Backlog {
    pub fn new(args: &WorkerArgs) -> Backlog {
        Backlog {
            watch: Watch::new(&args.servers, args.shared, &args.proc),
            due: Instant::now(),
        }
    }

    /// Goes on with other job servers.
    pub fn adopt(&mut self, args: &WorkerArgs) {
        *self = Backlog::new(args);
    }

    pub fn due(&self) -> Instant {
        self.due
    }

    /// Looks, if that is due. Returns the time if no job waits.
    pub fn look(&mut self, run: &Path, now: Instant) -> Option<u64> {
        if now < self.due {
            return None;
        }
        self.due = now + EVERY;
        let workers = heartbeat::read(run).ok()?;
        if workers.iter().any(|seen| seen.activity == Activity::Idle) {
            self.watch.rest();
            return None;
        }
        let at = now_ms();
        let waiting = self.watch.waiting(&function_of(run)?, now)?;
        (waiting == 0).then_some(at)
    }
}
