//! The job that a worker is processing: its state, its record and its source.

use std::sync::Arc;

use serde::Deserialize;

use crate::worker::figures::Ending;
use crate::worker::gate::Permit;
use crate::worker::machine::JobState;
use crate::worker::message::Opened;
use crate::worker::options::{WorkerArgs, WorkerSettings};
use crate::worker::outcome::JobOutcome;
use crate::worker::rules::{RetryLimits, Rule, TimeLimit};
use crate::worker::servers::{AssignedJob, ConnectionId};
use crate::worker::store::{Claim, JobRecord, MAX_TRIES, REFUSED, Try, new_id};

pub struct Job {
    pub state: JobState,
    pub record: JobRecord,
    pub payload: Vec<u8>,
    pub source: JobSource,
    /// The end of its process's output.
    pub output: String,
    /// The rule for its hook, once that is known.
    pub rule: Option<Arc<Rule>>,
    /// What lets it run under that rule.
    pub permit: Option<Permit>,
    /// The log says that it waits.
    pub has_told: bool,
    /// So many jobs wait on disk that it has to wait in this worker.
    pub is_crowded_out: bool,
    /// No other host runs it.
    pub is_claimed: bool,
    /// When the attempt that ended began, and how long it took, in milliseconds.
    pub ran: Option<(u64, u64)>,
    /// What became of it.
    pub ending: Ending,
}

/// Who waits for the job's result.
pub enum JobSource {
    Server(ConnectionId),
    /// A job from disk that is retried.
    Retry(Claim),
}

/// The part of the payload that the worker reads; do_job() reads the rest.
#[derive(Deserialize)]
pub struct Peek {
    pub hook: Option<String>,
    blog_id: Option<serde_json::Value>,
    /// When it was submitted, which the must-use plugin adds if it does not seal.
    wp_gears_at: Option<serde_json::Value>,
}

impl Peek {
    pub fn submitted(&self) -> Option<u64> {
        self.wp_gears_at.as_ref()?.as_u64()
    }

    pub fn blog(&self) -> Option<u64> {
        self.blog_id.as_ref()?.as_u64()
    }
}

impl Job {
    /// `now` in milliseconds since 1970.
    pub fn from_server(assignment: AssignedJob, args: &WorkerArgs, now: u64) -> Job {
        let peek: Option<Peek> = serde_json::from_slice(&assignment.payload).ok();
        let record = JobRecord {
            id: new_id(now),
            name: args.name.clone(),
            site: args.site.to_string_lossy().into_owned(),
            server: assignment.server,
            function: assignment.function,
            unique: assignment.unique,
            handle: assignment.handle,
            blog: peek.as_ref().and_then(Peek::blog),
            submitted: peek.as_ref().and_then(Peek::submitted),
            hook: peek.and_then(|p| p.hook),
            size: assignment.payload.len(),
            whole: true,
            taken: now,
            arguments: None,
            refused: false,
            tries: Vec::new(),
        };
        Job::new(
            record,
            assignment.payload,
            JobSource::Server(assignment.from),
        )
    }

    pub fn from_claim(claim: Claim, record: JobRecord, payload: Vec<u8>) -> Job {
        Job::new(record, payload, JobSource::Retry(claim))
    }

    fn new(record: JobRecord, payload: Vec<u8>, source: JobSource) -> Job {
        Job {
            state: JobState::new(),
            record,
            payload,
            source,
            output: String::new(),
            rule: None,
            permit: None,
            has_told: false,
            is_crowded_out: false,
            is_claimed: false,
            ran: None,
            ending: Ending::Done,
        }
    }

    /// The job was sealed, and was opened.
    pub fn opened(&mut self, opened: Opened) {
        let record = &mut self.record;
        record.hook = Some(opened.hook);
        record.blog = opened.blog;
        record.submitted = Some(opened.at);
        record.arguments = opened.arguments.or(record.arguments.take());
    }

    /// The key of the rule because of which it may have to wait.
    pub fn limiting_key(&self) -> Option<&str> {
        let rule = self.rule.as_ref().filter(|rule| rule.limits());
        rule.map(|rule| rule.key.as_str())
    }

    /// How long it may run, if there is a limit.
    pub fn time_limit(&self, settings: &WorkerSettings) -> Option<TimeLimit<'_>> {
        time_limit(self.rule.as_deref(), settings)
    }

    /// How many jobs its process may run, this one included. A limit of memory is one of the
    /// process, so that it gets one of its own.
    pub fn reuse(&self, settings: &WorkerSettings) -> u32 {
        reuse(self.rule.as_deref(), settings)
    }

    /// How often it is retried.
    pub fn retry_limits(&self, settings: &WorkerSettings) -> RetryLimits {
        retry_limits(self.rule.as_deref(), settings)
    }

    /// Adds a failed attempt to the record. Times in milliseconds.
    pub fn record_attempt(&mut self, outcome: &JobOutcome, began: u64, took: u64) {
        if matches!(outcome, JobOutcome::Refused(_)) {
            self.record.refused = true;
            self.record.id += REFUSED;
        }
        self.ran = Some((began, took));
        if let Some(error) = outcome.error() {
            self.record.tries.push(Try {
                at: began,
                ms: took,
                error: error.to_string(),
                output: std::mem::take(&mut self.output),
            });
            // Administrators may retry it as often as they like.
            let excess = self.record.tries.len().saturating_sub(MAX_TRIES);
            self.record.tries.drain(..excess);
        }
    }

    /// The job's line in the log, which never contains its arguments.
    pub fn log_line(&self, outcome: &JobOutcome, ms: u64) -> String {
        let record = &self.record;
        let hook = record.hook.as_deref().unwrap_or("-");
        let blog = record
            .blog
            .map_or(String::new(), |blog| format!(" blog={blog}"));
        let attempt = match record.tries.len() + usize::from(*outcome == JobOutcome::Done) {
            0 | 1 => String::new(),
            n => format!(" try={n}"),
        };
        let handle = &record.handle;
        format!("job hook={hook}{blog} handle={handle} ms={ms}{attempt} {outcome}")
    }
}

fn time_limit<'a>(rule: Option<&'a Rule>, settings: &WorkerSettings) -> Option<TimeLimit<'a>> {
    let of_rule = rule.and_then(|rule| {
        Some(TimeLimit {
            after: rule.of.timeout?.into(),
            rule: Some(&rule.of.pattern),
        })
    });
    of_rule.or_else(|| {
        let after = settings.job_timeout?.into();
        Some(TimeLimit { after, rule: None })
    })
}

fn reuse(rule: Option<&Rule>, settings: &WorkerSettings) -> u32 {
    match rule.map(|rule| &rule.of) {
        Some(rule) if rule.memory.is_some() => 1,
        rule => rule.and_then(|it| it.reuse).unwrap_or(settings.reuse),
    }
}

fn retry_limits(rule: Option<&Rule>, settings: &WorkerSettings) -> RetryLimits {
    match rule.and_then(|rule| rule.of.retries) {
        Some(n) => RetryLimits { died: n, failed: n },
        None => RetryLimits {
            died: settings.job_retries,
            failed: settings.failed_retries,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::options::Seconds;
    use crate::worker::options::WorkerOptions;
    use crate::worker::rules::HookRule;

    #[test]
    fn a_rule_overrides_what_it_sets() {
        let mut settings = WorkerOptions::default().settings();
        settings.job_timeout = Some(Seconds(9));
        let plain = Rule::new(HookRule::matching("a"));
        let own = Rule::new(HookRule {
            timeout: Some(Seconds(5)),
            retries: Some(7),
            ..HookRule::matching("b")
        });
        let seconds = |rule| time_limit(rule, &settings).unwrap().after.as_secs();
        assert_eq!(
            [seconds(None), seconds(Some(&plain)), seconds(Some(&own))],
            [9, 9, 5]
        );
        let site = RetryLimits { died: 3, failed: 0 };
        assert_eq!(retry_limits(None, &settings), site);
        assert_eq!(retry_limits(Some(&plain), &settings), site);
        let own = retry_limits(Some(&own), &settings);
        assert_eq!(own, RetryLimits { died: 7, failed: 7 });
        settings.reuse = 4;
        let limited = Rule::new(HookRule {
            memory: Some(64),
            reuse: Some(9),
            ..HookRule::matching("c")
        });
        let trusted = Rule::new(HookRule {
            reuse: Some(9),
            ..HookRule::matching("d")
        });
        let reuse = |rule| reuse(rule, &settings);
        assert_eq!([reuse(None), reuse(Some(&plain))], [4, 4]);
        assert_eq!([reuse(Some(&limited)), reuse(Some(&trusted))], [1, 9]);
    }
}
