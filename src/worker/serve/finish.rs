//! What becomes of a job that has ended: it is kept on disk if it has to be, its job server
//! gets the outcome, or another worker gets the job.

use std::time::{Duration, Instant};

use crate::base::clock::now_ms;
use crate::gearman::binary::{kind, request};
use crate::worker::backoff::pause;
use crate::worker::figures::{Attempt, Ending};
use crate::worker::heartbeat::Activity;
use crate::worker::job::{Job, JobSource};
use crate::worker::machine::JobEvent;
use crate::worker::outcome::JobOutcome;
use crate::worker::php::kill_tree;
use crate::worker::serve::Worker;
use crate::worker::servers::ConnectionId;
use crate::worker::store::Kept;
use crate::worker::tally::{Tally, UNCONFIRMED};

impl Worker<'_> {
    /// `None` until the site's table has it too.
    pub(super) fn store(
        &mut self,
        job: &mut Job,
        outcome: &JobOutcome,
        failures: u32,
    ) -> Option<JobEvent> {
        let limits = job.retry_limits(self.settings);
        let e = match self.retries.store(job, outcome, limits) {
            Ok(kept) => {
                job.ending = match kept {
                    Kept::Nothing => Ending::Done,
                    Kept::Waiting { .. } => Ending::Retried,
                    Kept::Failed => Ending::Failed,
                };
                return self.share(job, kept);
            }
            Err(e) => e,
        };
        let folder = self.paths.failed.display();
        let why = format!("cannot store the job in {folder}: {e}");
        if failures == 0 {
            self.log
                .line(&format!("{why}; holding it until that succeeds"));
        }
        self.heartbeat.set_broken(&why);
        let wait = pause(failures, Duration::from_secs(1), Duration::from_secs(30));
        Some(JobEvent::NotStored {
            retry_at: Instant::now() + wait,
        })
    }

    /// What has to be kept is on disk, so the job's source gets the outcome.
    pub(super) fn answer(&mut self, job: &Job, outcome: &JobOutcome) {
        self.runtime.begin_idle();
        if self.gate.limits() {
            // What it occupied is free, and another may wait for it.
            self.retries.look(&self.gate);
        }
        self.record(job);
        self.heartbeat.status.jobs += 1;
        self.heartbeat.status.failed += u64::from(*outcome != JobOutcome::Done);
        let handle = &job.record.handle;
        match &job.source {
            JobSource::Retry(claim) => self.retries.settle(claim, handle),
            JobSource::Server(id) => {
                let answer = match outcome {
                    JobOutcome::Failed(_) | JobOutcome::Refused(_) => {
                        request(kind::WORK_FAIL, &[handle.as_bytes()])
                    }
                    // A job that died is on our disk now.
                    JobOutcome::Done | JobOutcome::Died(_) => {
                        request(kind::WORK_COMPLETE, &[handle.as_bytes(), b"1"])
                    }
                };
                self.answer_server(*id, answer, handle);
            }
        }
        self.retries.look(&self.gate);
        // No status is written between jobs that follow each other.
        if !self.servers.is_asking() {
            self.heartbeat.set(Activity::Idle);
        }
    }

    /// Adds the attempt to the site's figures.
    fn record(&mut self, job: &Job) {
        let Some((began, ran)) = job.ran else { return };
        let tries = job.record.tries.len();
        let attempt = Attempt {
            at: began.saturating_add(ran),
            hook: job.record.hook.clone(),
            first: tries == 0 || tries == 1 && job.ending != Ending::Done,
            submitted: job.record.submitted,
            began,
            ran,
            ending: job.ending,
        };
        if let Err(e) = self.figures.record(&attempt) {
            self.log
                .line(&format!("cannot record how long the job took: {e}"));
        }
    }

    /// Asks for the next job in the same write, if possible.
    pub(super) fn answer_server(&mut self, id: ConnectionId, answer: Vec<u8>, handle: &str) {
        let goes_on = self.servers.is_current(id)
            && !self.retries.is_due(now_ms())
            && !self.servers.others_awake(id.server)
            && self.may_take();
        if goes_on {
            self.servers.ask_again(id.server, answer, Instant::now());
        } else if !self.servers.finish(id, &answer) {
            self.log.line(&format!(
                "the job server disconnected before job {handle} finished: it may run again"
            ));
            self.count_unconfirmed(1);
        }
    }

    /// Counts jobs that are over, while their server took this worker for dead, and gave
    /// them to others.
    pub(super) fn count_unconfirmed(&self, jobs: u64) {
        let tally = Tally::lock(&self.paths.run, UNCONFIRMED);
        // The log has them in any case.
        let _ = tally.and_then(|tally| tally.add(jobs));
    }

    /// Looks for outcomes that may not have arrived.
    pub(super) fn look_for_unconfirmed(&mut self) {
        let jobs = self.servers.take_unconfirmed();
        if jobs > 0 {
            self.log.line(
                "the connection broke before the job server confirmed the outcome of the last job: it may run again",
            );
            self.count_unconfirmed(jobs);
        }
    }

    /// The job did not finish in time, so it goes to another worker.
    pub(super) fn give_up(&mut self, job: &Job, pid: Option<rustix::process::Pid>) {
        if let Some(pid) = pid {
            kill_tree(pid);
        }
        let next = match job.source {
            JobSource::Server(_) => "its job server gives it to another worker",
            JobSource::Retry(_) => "another worker retries it",
        };
        let (handle, seconds) = (&job.record.handle, self.settings.stop_timeout);
        self.log.line(&format!(
            "gave up on job {handle} after {seconds} s: {next}"
        ));
        self.runtime.kill();
    }
}
