//! The job that a worker is processing: its state, its record and its source.

use serde::Deserialize;

use crate::worker::machine::JobState;
use crate::worker::message::Opened;
use crate::worker::options::WorkerArgs;
use crate::worker::outcome::JobOutcome;
use crate::worker::servers::{AssignedJob, ConnectionId};
use crate::worker::store::{Claim, JobRecord, REFUSED, Try, new_id};

pub struct Job {
    pub state: JobState,
    pub record: JobRecord,
    pub payload: Vec<u8>,
    pub source: JobSource,
    /// The end of its process's output.
    pub output: String,
}

/// Who waits for the job's result.
pub enum JobSource {
    Server(ConnectionId),
    /// A job from disk that is retried.
    Retry(Claim),
}

/// The part of the payload that the worker reads; do_job() reads the rest.
#[derive(Deserialize)]
struct Peek {
    hook: Option<String>,
    blog_id: Option<serde_json::Value>,
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
            blog: peek.as_ref().and_then(|p| p.blog_id.as_ref()?.as_u64()),
            hook: peek.and_then(|p| p.hook),
            size: assignment.payload.len(),
            whole: true,
            taken: now,
            submitted: None,
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
        }
    }

    /// The job was sealed, and its process has opened it.
    pub fn opened(&mut self, opened: Opened) {
        let record = &mut self.record;
        record.hook = Some(opened.hook);
        record.blog = opened.blog;
        record.submitted = Some(opened.at);
        record.arguments = opened.arguments;
    }

    /// Adds a failed attempt to the record. Times in milliseconds.
    pub fn record_attempt(&mut self, outcome: &JobOutcome, began: u64, took: u64) {
        if matches!(outcome, JobOutcome::Refused(_)) {
            self.record.refused = true;
            self.record.id += REFUSED;
        }
        if let Some(error) = outcome.error() {
            self.record.tries.push(Try {
                at: began,
                ms: took,
                error: error.to_string(),
                output: std::mem::take(&mut self.output),
            });
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
