//! The jobs on disk, as a worker uses them: what happens to a job that ran, and when
//! a retry is due.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::base::clock;
use crate::base::problem::Problem;
use crate::worker::Paths;
use crate::worker::backoff::pause;
use crate::worker::gate::Gate;
use crate::worker::job::{Job, JobSource};
use crate::worker::log::SiteLog;
use crate::worker::options::WorkerArgs;
use crate::worker::outcome::{Disposal, JobOutcome};
use crate::worker::rules::RetryLimits;
use crate::worker::store::{
    Claim, JobRecord, JobStore, Kept, MAX_LIMITED, MAX_WAITING, what_is_kept,
};

/// In seconds.
const LONGEST_PAUSE: u64 = 3600;

pub struct Retries<'a> {
    store: JobStore,
    folder: PathBuf,
    log: &'a SiteLog,
    /// Seconds before the first retry; five times as long for each further one.
    pause: u64,
    /// When the next one is due and may run, in milliseconds since 1970.
    next_due: Option<u64>,
    /// The last job was a retry, so the queue comes next.
    was_last: bool,
}

impl<'a> Retries<'a> {
    pub fn new(args: &WorkerArgs, paths: &Paths, log: &'a SiteLog) -> Result<Retries<'a>, Problem> {
        let store = JobStore::open(&paths.failed).map_err(|e| {
            Problem::new(format!("open {}", paths.failed.display()), e)
                .help("run 'wp-gears setup', which creates this folder for the worker user")
        })?;
        store.sweep(clock::millis(SystemTime::now()));
        Ok(Retries {
            store,
            folder: paths.failed.clone(),
            log,
            pause: args.retry_pause,
            next_due: None,
            was_last: false,
        })
    }

    /// Checks when the next job on disk may run.
    pub fn look(&mut self, gate: &Gate) {
        let now = clock::now_ms();
        let next = self.store.next_turn(&|key| gate.turn(key, now));
        self.next_due = next.unwrap_or(None);
    }

    /// Looks for jobs again after this time.
    pub fn look_after(&mut self, at: u64) {
        self.next_due = self.next_due.map(|due| due.max(at));
    }

    pub fn next_due(&self) -> Option<u64> {
        self.next_due
    }

    pub fn is_due(&self, now: u64) -> bool {
        self.next_due.is_some_and(|due| due <= now)
    }

    /// Whether it is a retry's turn. Retries and the queue alternate.
    pub fn is_turn(&mut self, now: u64) -> bool {
        self.is_due(now) && !std::mem::take(&mut self.was_last)
    }

    /// A job came from the queue.
    pub fn queue_was_served(&mut self) {
        self.was_last = false;
    }

    /// Takes a job that is due and may run.
    pub fn claim(&mut self, gate: &Gate, now: u64) -> Option<(Claim, JobRecord, Vec<u8>)> {
        let claimed = self.store.claim(now, &|key| gate.turn(key, now));
        self.look(gate);
        match claimed {
            Ok(Some(claimed)) => {
                self.was_last = true;
                return Some(claimed);
            }
            // Another worker has it, and its file exists until that one is done.
            Ok(None) => self.next_due = self.next_due.map(|due| due.max(now + 1000)),
            Err(e) => {
                self.next_due = Some(now + 10_000);
                self.log.line(&format!("cannot retry a job: {e}"));
            }
        }
        None
    }

    /// Stores a job that ran, if it has to be kept. It is on disk when this returns.
    pub fn store(&self, job: &Job, outcome: &JobOutcome, limits: RetryLimits) -> io::Result<Kept> {
        let (record, payload) = (&job.record, &job.payload);
        let now = clock::now_ms();
        match outcome.disposal(record.tries.len(), limits) {
            Disposal::Forget => Ok(Kept::Nothing),
            Disposal::Retry if self.store.waiting(now)?.retries < MAX_WAITING => {
                self.postpone(record, payload, job.limiting_key())
            }
            Disposal::Retry | Disposal::Keep => {
                self.keep(record, payload)?;
                Ok(Kept::Failed)
            }
        }
    }

    /// Whether no more jobs may wait on disk because of rules, and whether one does because
    /// of this rule.
    pub fn behind(&self, key: &str) -> io::Result<(bool, bool)> {
        let (count, is_behind) = self.store.behind(key, clock::now_ms())?;
        Ok((count >= MAX_LIMITED, is_behind))
    }

    /// Stores a job until a rule lets it run. It is on disk when this returns.
    pub fn put_aside(&self, job: &Job) -> io::Result<()> {
        let key = job.limiting_key();
        match (&job.source, key) {
            (JobSource::Retry(claim), Some(key)) => self.store.put_back(claim, &job.record, key),
            (JobSource::Retry(_), None) => Ok(()),
            (JobSource::Server(_), key) => {
                let due = job.record.taken;
                self.store.postpone(&job.record, &job.payload, due, key)
            }
        }
    }

    fn keep(&self, job: &JobRecord, payload: &[u8]) -> io::Result<()> {
        let dropped = self.store.keep(job, payload)?;
        let (id, folder) = (&job.id, self.folder.display());
        self.log.line(&format!("kept as {id} in {folder}"));
        for id in dropped {
            self.log
                .line(&format!("dropped failed job {id}: {}", what_is_kept()));
        }
        Ok(())
    }

    fn postpone(&self, job: &JobRecord, payload: &[u8], key: Option<&str>) -> io::Result<Kept> {
        let exponent = job.tries.len().saturating_sub(1) as u32;
        let seconds = self.pause.saturating_mul(5u64.saturating_pow(exponent));
        let wait = pause(
            0,
            Duration::from_secs(seconds),
            Duration::from_secs(LONGEST_PAUSE),
        );
        let due = clock::millis(SystemTime::now() + wait);
        self.store.postpone(job, payload, due, key)?;
        self.log
            .line(&format!("will be retried at {}", clock::utc(due)));
        Ok(Kept::Waiting { due })
    }

    /// The retried job has finished, and what had to be kept is stored.
    pub fn settle(&self, claim: &Claim, handle: &str) {
        if let Err(e) = self.store.settle(claim) {
            self.log.line(&format!(
                "cannot remove job {handle} from the jobs that wait for a retry: {e}"
            ));
        }
    }
}
