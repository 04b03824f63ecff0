//! Lets a job run when the rule for its hook does, and puts it aside on disk otherwise.

use std::time::{Duration, Instant};

use crate::base::clock::now_ms;
use crate::gearman::binary::{kind, request};
use crate::worker::heartbeat::Activity;
use crate::worker::job::{Job, JobSource};
use crate::worker::machine::JobEvent;
use crate::worker::serve::Worker;
use crate::worker::store::MAX_LIMITED;
use crate::worker::unseal::{self, Unsealed};

/// How often an idle worker looks for jobs that others have put aside.
const PEEK: Duration = Duration::from_secs(2);

/// When to try again what could not be put aside.
const AGAIN: Duration = Duration::from_secs(1);

impl Worker<'_> {
    /// Looks for jobs that other workers have put aside.
    pub(super) fn peek(&mut self, now: Instant) {
        if self.gate.limits() && now >= self.peek_at {
            self.peek_at = now + PEEK;
            self.retries.look(&self.gate);
        }
    }

    /// Whether the job may run. `None` until its hook is known.
    pub(super) fn admit(&mut self, job: &mut Job, now: Instant) -> Option<JobEvent> {
        if self.gate.is_open() || job.permit.is_some() {
            return Some(JobEvent::Admitted);
        }
        if job.record.hook.is_none() {
            match unseal::open(&self.paths.run, &job.payload) {
                Unsealed::Opened(opened) => job.opened(opened),
                // PHP keeps the site's key when it has loaded the site.
                Unsealed::NoKey if !self.runtime.is_loaded() || self.runtime.is_gone() => {
                    if let Err(why) = self.runtime.load(now, &mut self.heartbeat) {
                        self.suspend(&why, true);
                    }
                    return None;
                }
                // PHP refuses it.
                Unsealed::NoKey | Unsealed::Unknown => {}
            }
        }
        let hook = job.record.hook.as_deref();
        job.rule = hook.and_then(|hook| self.gate.rule(hook));
        let Some(rule) = job.rule.clone() else {
            return Some(JobEvent::Admitted);
        };
        // Jobs that were put aside before come first.
        let is_new = matches!(job.source, JobSource::Server(_));
        let (is_full, is_behind) = match rule.limits() && is_new {
            true => self.retries.behind(&rule.key).unwrap_or((false, false)),
            false => (false, false),
        };
        job.is_crowded_out = is_full;
        if is_behind && !is_full {
            self.tell(job, "others before it wait");
            return Some(JobEvent::Limited);
        }
        match self.gate.take(&rule, now_ms()) {
            Ok(Ok(permit)) => {
                job.permit = Some(permit);
                Some(JobEvent::Admitted)
            }
            Ok(Err(wait)) if is_full => {
                let limit = wait.limit;
                let why = format!("{limit}; in this worker, as {MAX_LIMITED} jobs wait on disk");
                self.tell(job, &why);
                Some(JobEvent::Limited)
            }
            Ok(Err(wait)) => {
                self.tell(job, &wait.limit.to_string());
                Some(JobEvent::Limited)
            }
            Err(e) => {
                self.tell(job, &format!("cannot look for a free slot: {e}"));
                Some(JobEvent::Limited)
            }
        }
    }

    /// Logs once why a job waits.
    fn tell(&self, job: &mut Job, why: &str) {
        // One from disk was put aside before.
        if matches!(job.source, JobSource::Retry(_)) || std::mem::replace(&mut job.has_told, true) {
            return;
        }
        let (handle, hook) = (&job.record.handle, job.record.hook.as_deref());
        let rule = job.rule.as_ref().map(|rule| rule.of.pattern.as_str());
        self.log.line(&format!(
            "job hook={} handle={handle} waits for the hook rule {:?}: {why}",
            hook.unwrap_or("-"),
            rule.unwrap_or_default()
        ));
    }

    pub(super) fn put_aside(&mut self, job: &Job) -> JobEvent {
        let retry_at = Instant::now() + AGAIN;
        if job.is_crowded_out {
            return JobEvent::NotPutAside { retry_at };
        }
        match self.retries.put_aside(job) {
            Ok(()) => JobEvent::PutAside,
            Err(e) => {
                let folder = self.paths.failed.display();
                let why = format!("cannot put the job aside in {folder}: {e}");
                self.heartbeat.set_broken(&why);
                JobEvent::NotPutAside { retry_at }
            }
        }
    }

    /// The job is on disk, so that its job server need not keep it.
    pub(super) fn release(&mut self, job: &Job) {
        self.retries.look(&self.gate);
        let handle = &job.record.handle;
        if let JobSource::Server(id) = job.source {
            let answer = request(kind::WORK_COMPLETE, &[handle.as_bytes(), b"1"]);
            self.answer_server(id, answer, handle);
        }
        if !self.servers.is_asking() {
            self.heartbeat.set(Activity::Idle);
        }
    }
}
