//! The life of a job as a state machine: a state and an event determine the next
//! state and the effects. Nothing here has side effects; the loop in `serve`
//! observes the events and performs the effects.
//!
//! ```text
//!              stale, unready
//!            ┌────────────────┐
//!            ▼                │
//!  taken ► Waiting ─ given ► Running ─ its process is gone ► Storing ─ stored ► Over
//!            │                │                               │  ▲ │              ▲
//!            │                │                    not stored └──┘ │              │
//!            └─────────── the worker has to stop ──────────────────┴──────────────┘
//! ```

use std::time::{Duration, Instant};

use rustix::process::Pid;

use crate::gearman::binary::kind;
use crate::worker::message::{Ended, RunnerMessage, unhex};
use crate::worker::outcome::{Conclusion, JobOutcome, judge};

/// How often a stale PHP is replaced for a job before the job runs anyway.
const MAX_RENEWALS: u32 = 3;

#[derive(Debug, PartialEq)]
pub enum JobState {
    /// Not given to PHP yet.
    Waiting { renewals: u32 },
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
    /// PHP was replaced before it got the job.
    PhpRenewed,
    /// PHP got the job. `at_ms`: the same time in milliseconds since 1970.
    Given {
        now: Instant,
        at_ms: u64,
        pid: Option<Pid>,
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
    /// Give the job to PHP, or get PHP ready for it. A stale PHP is replaced first if
    /// `may_renew` is set.
    Give { may_renew: bool },
    /// Report progress to the job server, with a packet that has these fields after
    /// the handle.
    Forward { kind: u32, fields: Vec<Vec<u8>> },
    /// Kill the job's process and all its descendants.
    Kill(Pid),
    /// Collect the output of the job's process, and release the process.
    Collect,
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
        JobState::Waiting { renewals: 0 }
    }

    /// `limit`: how long a job may run.
    pub fn step(self, event: JobEvent, limit: Option<Duration>) -> (JobState, Vec<JobEffect>) {
        match (self, event) {
            (JobState::Waiting { .. }, JobEvent::Tick { stop: Some(_), .. }) => {
                // It has not started, so its job server gives it to another worker.
                (JobState::Over, vec![])
            }
            (JobState::Waiting { renewals }, JobEvent::Tick { .. }) => wait(renewals),
            (JobState::Waiting { renewals }, JobEvent::PhpRenewed) => wait(renewals + 1),
            (JobState::Waiting { renewals }, JobEvent::Given { now, at_ms, pid }) => {
                let run = Run {
                    renewals,
                    began: now,
                    began_ms: at_ms,
                    pid,
                    message: None,
                    ended: None,
                    killed: None,
                };
                (JobState::Running(run), vec![])
            }
            (JobState::Running(run), event) => run.step(event, limit),
            (JobState::Storing { .. }, JobEvent::Tick { stop: Some(_), .. }) => {
                (JobState::Over, vec![JobEffect::GiveUp { pid: None }])
            }
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
    pub fn wakes_at(&self, limit: Option<Duration>, stop: Option<Instant>) -> Option<Instant> {
        match self {
            JobState::Storing { retry_at, .. } => *retry_at,
            JobState::Running(run) if run.killed.is_none() => {
                let late = limit.map(|limit| run.began + limit);
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

fn wait(renewals: u32) -> (JobState, Vec<JobEffect>) {
    let may_renew = renewals < MAX_RENEWALS;
    (
        JobState::Waiting { renewals },
        vec![JobEffect::Give { may_renew }],
    )
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
    fn step(mut self, event: JobEvent, limit: Option<Duration>) -> (JobState, Vec<JobEffect>) {
        let mut effects = Vec::new();
        match event {
            JobEvent::Tick { now, .. } if self.ended.is_some() => return self.conclude(now),
            JobEvent::Tick { now, stop } => {
                if let (Some(limit), None, Some(pid)) = (limit, &self.killed, self.pid)
                    && now >= self.began + limit
                {
                    self.killed = Some(format!("it ran longer than {} s", limit.as_secs()));
                    effects.push(JobEffect::Kill(pid));
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
                return None;
            }
            RunnerMessage::Ended(ended) => {
                self.ended = Some(ended);
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
                wait(self.renewals)
            }
            Conclusion::Unready(why) => {
                effects.push(JobEffect::SuspendPhp { why });
                let renewals = self.renewals;
                (JobState::Waiting { renewals }, vec![])
            }
        };
        effects.extend(more);
        (state, effects)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Option<Duration> = Some(Duration::from_secs(10));

    /// A job with its own clock.
    struct Life {
        state: JobState,
        start: Instant,
    }

    impl Life {
        fn new() -> Life {
            Life {
                state: JobState::new(),
                start: Instant::now(),
            }
        }

        fn at(&self, seconds: u64) -> Instant {
            self.start + Duration::from_secs(seconds)
        }

        fn on(&mut self, event: JobEvent) -> Vec<JobEffect> {
            let state = std::mem::replace(&mut self.state, JobState::Over);
            let (state, effects) = state.step(event, LIMIT);
            self.state = state;
            effects
        }

        fn tick(&mut self, seconds: u64) -> Vec<JobEffect> {
            let now = self.at(seconds);
            self.on(JobEvent::Tick { now, stop: None })
        }

        /// The worker has to stop by second 100.
        fn tick_with_stop(&mut self, seconds: u64) -> Vec<JobEffect> {
            let (now, stop) = (self.at(seconds), Some(self.at(100)));
            self.on(JobEvent::Tick { now, stop })
        }

        fn running(pid: Option<i32>) -> Life {
            let mut life = Life::new();
            assert_eq!(life.tick(0), [JobEffect::Give { may_renew: true }]);
            let (now, pid) = (life.start, pid.and_then(Pid::from_raw));
            let event = JobEvent::Given { now, at_ms: 7, pid };
            assert_eq!(life.on(event), []);
            life
        }

        fn say(&mut self, text: &str) -> Vec<JobEffect> {
            self.on(JobEvent::Message(serde_json::from_str(text).unwrap()))
        }
    }

    fn exited(pid: i32, code: i32) -> JobEvent {
        JobEvent::Exited(Ended {
            pid,
            code: Some(code),
            signal: None,
        })
    }

    fn over(outcome: JobOutcome, seconds: u64) -> [JobEffect; 3] {
        [
            JobEffect::Collect,
            JobEffect::Report {
                outcome: outcome.clone(),
                began_ms: 7,
                took: Duration::from_secs(seconds),
            },
            JobEffect::Store {
                outcome,
                failures: 0,
            },
        ]
    }

    #[test]
    fn a_forked_job_is_done_when_its_process_is_gone() {
        let mut life = Life::running(None);
        assert_eq!(life.say(r#"{"started":5}"#), []);
        assert_eq!(life.say(r#"{"done":true}"#), []);
        assert_eq!(life.tick(1), []);
        assert_eq!(life.say(r#"{"ended":{"pid":5,"code":0}}"#), []);
        assert_eq!(life.tick(2), over(JobOutcome::Done, 2));
        assert_eq!(
            life.on(JobEvent::Stored),
            [JobEffect::Answer(JobOutcome::Done)]
        );
        assert_eq!(life.state, JobState::Over);
    }

    #[test]
    fn messages_count_even_after_the_process_has_ended() {
        let mut life = Life::running(Some(5));
        assert_eq!(life.on(exited(6, 1)), [], "another process");
        assert!(life.state.is_running());
        assert_eq!(life.on(exited(5, 0)), []);
        assert_eq!(life.say(r#"{"failed":{"message":"m"}}"#), []);
        assert_eq!(life.tick(1), over(JobOutcome::Failed("m".into()), 1));
    }

    #[test]
    fn a_job_that_runs_too_long_is_killed_once_and_has_died() {
        let mut life = Life::running(None);
        assert_eq!(life.tick(11), [], "its process is not known yet");
        life.say(r#"{"started":5}"#);
        let kill = JobEffect::Kill(Pid::from_raw(5).unwrap());
        assert_eq!(life.tick(12), [kill]);
        assert_eq!(life.tick(13), []);
        life.on(exited(5, 255));
        let died = JobOutcome::Died("it ran longer than 10 s".into());
        assert_eq!(life.tick(14), over(died, 14));
    }

    #[test]
    fn a_job_without_any_process_left_has_died() {
        let mut life = Life::running(None);
        life.on(JobEvent::Vanished);
        let died = JobOutcome::Died("the process disappeared".into());
        assert_eq!(life.tick(1), over(died, 1));
    }

    #[test]
    fn progress_is_forwarded_only_while_it_runs() {
        let mut life = Life::running(Some(5));
        assert_eq!(
            life.say(r#"{"data":"00ff"}"#),
            [JobEffect::Forward {
                kind: kind::WORK_DATA,
                fields: vec![vec![0, 255]],
            }]
        );
        assert_eq!(life.say(r#"{"data":"not hex"}"#), []);
        assert_eq!(Life::new().say(r#"{"status":[1,2]}"#), []);
    }

    #[test]
    fn a_stale_php_is_renewed_a_limited_number_of_times() {
        let mut life = Life::new();
        for _ in 0..MAX_RENEWALS - 1 {
            let again = life.on(JobEvent::PhpRenewed);
            assert_eq!(again, [JobEffect::Give { may_renew: true }]);
        }
        let again = life.on(JobEvent::PhpRenewed);
        assert_eq!(again, [JobEffect::Give { may_renew: false }]);
        assert_eq!(life.tick(1), again);
    }

    #[test]
    fn a_job_that_did_not_start_waits_again() {
        let mut life = Life::running(None);
        life.say(r#"{"stale":["blogname"]}"#);
        life.say(r#"{"ended":{"pid":5}}"#);
        let changed = vec!["blogname".to_string()];
        assert_eq!(
            life.tick(1),
            [
                JobEffect::Collect,
                JobEffect::RenewPhp { changed },
                JobEffect::Give { may_renew: true },
            ]
        );
        let now = life.start;
        let pid = None;
        life.on(JobEvent::Given { now, at_ms: 7, pid });
        life.say(r#"{"unready":"no database"}"#);
        life.say(r#"{"ended":{"pid":5}}"#);
        let why = "no database".to_string();
        assert_eq!(
            life.tick(2),
            [JobEffect::Collect, JobEffect::SuspendPhp { why }]
        );
        assert_eq!(life.state, JobState::Waiting { renewals: 0 });
    }

    #[test]
    fn what_could_not_be_stored_is_stored_later() {
        let mut life = Life::running(Some(5));
        life.on(exited(5, 3));
        let [.., JobEffect::Store { outcome, .. }] = &life.tick(1)[..] else {
            panic!("not stored");
        };
        let outcome = outcome.clone();
        let retry_at = life.at(5);
        assert_eq!(life.on(JobEvent::NotStored { retry_at }), []);
        assert_eq!(life.state.wakes_at(LIMIT, None), Some(retry_at));
        assert_eq!(life.tick(4), []);
        let again = JobEffect::Store {
            outcome: outcome.clone(),
            failures: 1,
        };
        assert_eq!(life.tick(5), [again]);
        assert_eq!(life.on(JobEvent::Stored), [JobEffect::Answer(outcome)]);
    }

    #[test]
    fn a_worker_that_stops_leaves_what_it_cannot_finish() {
        // Not started: left to another worker.
        let mut life = Life::new();
        assert_eq!(life.tick_with_stop(1), []);
        assert_eq!(life.state, JobState::Over);
        // Running: finished in time, or killed.
        let mut life = Life::running(Some(5));
        assert_eq!(life.tick_with_stop(1), []);
        assert!(life.state.is_running());
        let pid = Pid::from_raw(5);
        let kill = JobEffect::Kill(pid.unwrap());
        assert_eq!(life.tick_with_stop(100), [kill, JobEffect::GiveUp { pid }]);
        assert_eq!(life.state, JobState::Over);
        // Finished, but not stored: its process is gone, and another process may have its
        // ID by now.
        let mut life = Life::running(Some(5));
        life.on(exited(5, 3));
        life.tick(1);
        let retry_at = life.at(200);
        life.on(JobEvent::NotStored { retry_at });
        assert_eq!(life.tick_with_stop(2), [JobEffect::GiveUp { pid: None }]);
    }
}
