//! The life of a job as a state machine: a state and an event determine the next
//! state and the effects. Nothing here has side effects; the loop in `serve`
//! observes the events and performs the effects.
//!
//! ```text
//!              stale, unready
//!            ┌────────────────┐
//!            ▼                │
//!  taken ► Waiting ─ given ► Running ─ its process is gone ► Storing ─ stored ► Over
//!          ▲ │ │              │                               │  ▲ │            ▲ ▲
//! not      │ │ │              │                    not stored └──┘ │            │ │
//! put      │ │ └────────── the worker has to stop ─────────────────┴────────────┘ │
//! aside    │ └ has to wait ► Leaving ─ put aside ─────────────────────────────────┘
//!          └────────────────────┘
//! ```

use std::time::{Duration, Instant};

use rustix::process::Pid;

use crate::gearman::binary::kind;
use crate::worker::message::{Ended, RunnerMessage, unhex};
use crate::worker::outcome::{Conclusion, JobOutcome, judge};
use crate::worker::rules::TimeLimit;

/// How often a stale PHP is replaced for a job before the job runs anyway.
const MAX_RENEWALS: u32 = 3;

#[derive(Debug, PartialEq)]
pub enum JobState {
    /// Not given to PHP yet. `admitted`: the rule for its hook lets it run.
    Waiting { renewals: u32, admitted: bool },
    /// A rule does not let it run now. It is being put aside on disk; if that fails, it
    /// is looked at again at `retry_at`.
    Leaving { retry_at: Option<Instant> },
    /// Given to PHP.
    Running(Run),
    /// Finished. What has to be kept is being written; if that fails, it is retried at
    /// `retry_at`.
    Storing {
        outcome: JobOutcome,
        failures: u32,
        retry_at: Option<Instant>,
    },
    /// Nothing is left to do.
    Over,
}

#[derive(Debug, PartialEq)]
pub struct Run {
    renewals: u32,
    began: Instant,
    began_ms: u64,
    /// The process that runs it, once known.
    pid: Option<Pid>,
    /// That process is waiting for it, and has not said yet that it has it.
    is_pending: bool,
    /// The last message about it.
    message: Option<RunnerMessage>,
    ended: Option<Ended>,
    /// Why the worker killed it.
    killed: Option<String>,
}

#[derive(Debug)]
pub enum JobEvent {
    /// An iteration of the loop. `stop`: by when the worker has to stop, if so.
    Tick {
        now: Instant,
        stop: Option<Instant>,
    },
    /// The rule for its hook lets it run.
    Admitted,
    /// It has to wait.
    Limited,
    /// It waits on disk.
    PutAside,
    NotPutAside {
        retry_at: Instant,
    },
    /// Another worker host may run it.
    Lost,
    /// PHP was replaced before it got the job.
    PhpRenewed,
    /// PHP got the job. `at_ms`: the same time in milliseconds since 1970.
    Given {
        now: Instant,
        at_ms: u64,
        pid: Option<Pid>,
        /// A process that has run other jobs got it, and may be gone already.
        reuses: bool,
    },
    /// The runner sent a message about the job.
    Message(RunnerMessage),
    /// A child of the worker exited, possibly the one that runs the job.
    Exited(Ended),
    /// Both the process that should report the job's end and the job's own process
    /// are gone.
    Vanished,
    Stored,
    NotStored {
        retry_at: Instant,
    },
}

#[derive(Debug, PartialEq)]
pub enum JobEffect {
    /// Find out whether the rule for its hook lets it run, and take what it needs for
    /// that.
    Admit,
    /// Put the job aside on disk until it may run.
    PutAside,
    /// The job's source need not wait for it: it is on disk.
    Release,
    /// Give the job to PHP, or get PHP ready for it. A stale PHP is replaced first if
    /// `may_renew` is set.
    Give { may_renew: bool },
    /// Report progress to the job server, with a packet that has these fields after
    /// the handle.
    Forward { kind: u32, fields: Vec<Vec<u8>> },
    /// Kill the job's process and all its descendants; PHP, if it has not started one.
    Kill(Option<Pid>),
    /// Collect the output of the job's process, and release the process.
    Collect,
    /// Kill PHP, as there may be a job in its pipe that nobody has begun.
    KillPhp,
    /// Replace PHP, as these options changed since it booted.
    RenewPhp { changed: Vec<String> },
    /// The site cannot run jobs for now.
    SuspendPhp { why: String },
    /// Log the job's outcome, and record a failed attempt.
    Report {
        outcome: JobOutcome,
        began_ms: u64,
        took: Duration,
    },
    /// Write what has to be kept. `failures`: how often that failed before.
    Store { outcome: JobOutcome, failures: u32 },
    /// Report the outcome to the job's source.
    Answer(JobOutcome),
    /// Leave the unfinished job to another worker.
    GiveUp { pid: Option<Pid> },
}

impl JobState {
    pub fn new() -> JobState {
        JobState::Waiting {
            renewals: 0,
            admitted: false,
        }
    }

    /// `limit`: how long the job may run.
    pub fn step(self, event: JobEvent, limit: Option<TimeLimit>) -> (JobState, Vec<JobEffect>) {
        match (self, event) {
            (
                JobState::Waiting { .. } | JobState::Leaving { .. },
                JobEvent::Tick { stop: Some(_), .. },
            ) => {
                // It has not started, so its job server gives it to another worker.
                (JobState::Over, vec![])
            }
            (JobState::Waiting { renewals, admitted }, JobEvent::Tick { .. }) => {
                wait(renewals, admitted)
            }
            (JobState::Waiting { renewals, .. }, JobEvent::Admitted) => wait(renewals, true),
            (JobState::Waiting { .. }, JobEvent::Limited) => (
                JobState::Leaving { retry_at: None },
                vec![JobEffect::PutAside],
            ),
            (JobState::Leaving { .. }, JobEvent::PutAside) => {
                (JobState::Over, vec![JobEffect::Release])
            }
            (JobState::Leaving { .. }, JobEvent::NotPutAside { retry_at }) => {
                let retry_at = Some(retry_at);
                (JobState::Leaving { retry_at }, vec![])
            }
            (JobState::Leaving { retry_at: Some(at) }, JobEvent::Tick { now, .. }) if now >= at => {
                wait(0, false)
            }
            (JobState::Waiting { renewals, admitted }, JobEvent::PhpRenewed) => {
                wait(renewals + 1, admitted)
            }
            (
                JobState::Waiting { renewals, .. },
                JobEvent::Given {
                    now,
                    at_ms,
                    pid,
                    reuses,
                },
            ) => {
                let run = Run {
                    renewals,
                    began: now,
                    began_ms: at_ms,
                    pid,
                    is_pending: reuses,
                    message: None,
                    ended: None,
                    killed: None,
                };
                (JobState::Running(run), vec![])
            }
            (JobState::Running(run), event) => run.step(event, limit),
            (
                JobState::Storing {
                    retry_at: Some(_), ..
                },
                JobEvent::Tick { stop: Some(_), .. },
            ) => (JobState::Over, vec![JobEffect::GiveUp { pid: None }]),
            (JobState::Waiting { .. }, JobEvent::Lost) => (JobState::Over, vec![]),
            (
                JobState::Storing {
                    outcome,
                    failures,
                    retry_at: Some(at),
                },
                JobEvent::Tick { now, .. },
            ) if now >= at => store(outcome, failures),
            (JobState::Storing { outcome, .. }, JobEvent::Stored) => {
                (JobState::Over, vec![JobEffect::Answer(outcome)])
            }
            (
                JobState::Storing {
                    outcome, failures, ..
                },
                JobEvent::NotStored { retry_at },
            ) => {
                let state = JobState::Storing {
                    outcome,
                    failures: failures + 1,
                    retry_at: Some(retry_at),
                };
                (state, vec![])
            }
            (state, _) => (state, vec![]),
        }
    }

    /// When the next tick is needed if no other event comes first.
    pub fn wakes_at(&self, limit: Option<TimeLimit>, stop: Option<Instant>) -> Option<Instant> {
        match self {
            JobState::Storing { retry_at, .. } | JobState::Leaving { retry_at } => *retry_at,
            JobState::Running(run) if run.killed.is_none() => {
                let late = limit.map(|limit| run.began + limit.after);
                late.into_iter().chain(stop).min()
            }
            _ => stop,
        }
    }

    /// Whether PHP has it, and its process has not been reported as ended.
    pub fn is_running(&self) -> bool {
        matches!(self, JobState::Running(Run { ended: None, .. }))
    }

    pub fn pid(&self) -> Option<Pid> {
        match self {
            JobState::Running(run) => run.pid,
            _ => None,
        }
    }
}

fn wait(renewals: u32, admitted: bool) -> (JobState, Vec<JobEffect>) {
    let may_renew = renewals < MAX_RENEWALS;
    let effect = match admitted {
        true => JobEffect::Give { may_renew },
        false => JobEffect::Admit,
    };
    (JobState::Waiting { renewals, admitted }, vec![effect])
}

fn store(outcome: JobOutcome, failures: u32) -> (JobState, Vec<JobEffect>) {
    let effect = JobEffect::Store {
        outcome: outcome.clone(),
        failures,
    };
    let state = JobState::Storing {
        outcome,
        failures,
        retry_at: None,
    };
    (state, vec![effect])
}

impl Run {
    fn step(mut self, event: JobEvent, limit: Option<TimeLimit>) -> (JobState, Vec<JobEffect>) {
        let mut effects = Vec::new();
        match event {
            JobEvent::Tick { now, .. } if self.ended.is_some() => return self.conclude(now),
            JobEvent::Tick { now, stop } => {
                if let (Some(limit), None) = (limit, &self.killed)
                    && now >= self.began + limit.after
                {
                    self.killed = Some(format!("it ran longer than {limit}"));
                    effects.push(JobEffect::Kill(self.pid));
                }
                if stop.is_some_and(|until| now >= until) {
                    effects.push(JobEffect::GiveUp { pid: self.pid });
                    return (JobState::Over, effects);
                }
            }
            JobEvent::Message(message) => effects.extend(self.hear(message)),
            JobEvent::Exited(ended) if self.runs_in(ended.pid) => {
                self.ended.get_or_insert(ended);
            }
            JobEvent::Vanished => {
                self.ended.get_or_insert(Ended {
                    pid: 0,
                    code: None,
                    signal: None,
                });
            }
            _ => {}
        }
        (JobState::Running(self), effects)
    }

    fn runs_in(&self, pid: i32) -> bool {
        self.pid
            .is_some_and(|own| own.as_raw_nonzero().get() == pid)
    }

    fn hear(&mut self, message: RunnerMessage) -> Option<JobEffect> {
        let (kind, fields) = match message {
            RunnerMessage::Status(done, of) => (
                kind::WORK_STATUS,
                vec![done.to_string().into_bytes(), of.to_string().into_bytes()],
            ),
            RunnerMessage::Data(text) => (kind::WORK_DATA, vec![unhex(&text)?]),
            RunnerMessage::Warning(text) => (kind::WORK_WARNING, vec![unhex(&text)?]),
            RunnerMessage::Started(pid) => {
                self.pid = Pid::from_raw(pid);
                self.is_pending = false;
                return None;
            }
            RunnerMessage::Ended(ended) => {
                self.ended = Some(ended);
                return None;
            }
            RunnerMessage::Kept(pid) => {
                self.ended = Some(Ended {
                    pid,
                    code: Some(0),
                    signal: None,
                });
                return None;
            }
            RunnerMessage::Exits(_) => {
                self.message
                    .take_if(|it| matches!(it, RunnerMessage::Fatal(_)));
                return None;
            }
            message => {
                self.message = Some(message);
                return None;
            }
        };
        Some(JobEffect::Forward { kind, fields })
    }

    /// The process is gone.
    fn conclude(self, now: Instant) -> (JobState, Vec<JobEffect>) {
        let Some(ended) = self.ended else {
            return (JobState::Running(self), vec![]);
        };
        let mut effects = vec![JobEffect::Collect];
        if self.is_pending {
            effects.push(JobEffect::KillPhp);
            let waiting = JobState::Waiting {
                renewals: self.renewals,
                admitted: false,
            };
            return (waiting, effects);
        }
        let (state, more) = match judge(self.message, ended, self.killed.as_deref()) {
            Conclusion::Ran(outcome) => {
                effects.push(JobEffect::Report {
                    outcome: outcome.clone(),
                    began_ms: self.began_ms,
                    took: now.saturating_duration_since(self.began),
                });
                store(outcome, 0)
            }
            Conclusion::Stale(changed) => {
                effects.push(JobEffect::RenewPhp { changed });
                // What was unknown may be known to the next PHP.
                wait(self.renewals, false)
            }
            Conclusion::Unready(why) => {
                effects.push(JobEffect::SuspendPhp { why });
                let waiting = JobState::Waiting {
                    renewals: self.renewals,
                    admitted: false,
                };
                (waiting, vec![])
            }
        };
        effects.extend(more);
        (state, effects)
    }
}

#[cfg(test)]
mod tests;
