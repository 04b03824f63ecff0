//! The outcome of a job, judged by its messages and by how its process ended.

use crate::worker::message::{Ended, RunnerMessage};
use crate::worker::rules::RetryLimits;

/// The outcome of a job that ran.
#[derive(Debug, Clone, PartialEq)]
pub enum JobOutcome {
    Done,
    /// The job itself reported a failure: retried if that was asked for.
    Failed(String),
    /// Its process died: retried.
    Died(String),
    /// It was not run, because it is not the site's own: kept, not retried.
    Refused(String),
}

/// What the end of a job's process means.
#[derive(Debug, Clone, PartialEq)]
pub enum Conclusion {
    Ran(JobOutcome),
    /// The job did not start, because these options changed since PHP booted.
    Stale(Vec<String>),
    /// The job did not start, for a reason that is not its fault.
    Unready(String),
}

/// What to do with a job that ran.
#[derive(Debug, PartialEq, Eq)]
pub enum Disposal {
    Forget,
    /// Keep it where an administrator finds it.
    Keep,
    Retry,
}

impl JobOutcome {
    /// What to do with the job. `attempts` includes the current one.
    pub fn disposal(&self, attempts: usize, retries: RetryLimits) -> Disposal {
        let most = match self {
            JobOutcome::Done => return Disposal::Forget,
            JobOutcome::Refused(_) => return Disposal::Keep,
            JobOutcome::Died(_) => retries.died,
            JobOutcome::Failed(_) => retries.failed,
        };
        match attempts <= most as usize {
            true => Disposal::Retry,
            false => Disposal::Keep,
        }
    }

    pub fn error(&self) -> Option<&str> {
        match self {
            JobOutcome::Done => None,
            JobOutcome::Failed(error) | JobOutcome::Died(error) | JobOutcome::Refused(error) => {
                Some(error)
            }
        }
    }
}

/// As shown in the job's line in the log.
impl std::fmt::Display for JobOutcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            JobOutcome::Done => f.write_str("done"),
            JobOutcome::Failed(why) => write!(f, "failed: {why}"),
            JobOutcome::Died(why) => write!(f, "died: {why}"),
            JobOutcome::Refused(why) => write!(f, "refused: {why}"),
        }
    }
}

/// `message` is the last one about the job, `killed` the reason why the worker
/// itself killed the process.
pub fn judge(message: Option<RunnerMessage>, ended: Ended, killed: Option<&str>) -> Conclusion {
    Conclusion::Ran(match message {
        Some(RunnerMessage::Stale(options)) => return Conclusion::Stale(options),
        Some(RunnerMessage::Unready(why)) => return Conclusion::Unready(why),
        Some(RunnerMessage::Refused(why)) => JobOutcome::Refused(why),
        Some(RunnerMessage::Done(_)) => JobOutcome::Done,
        Some(RunnerMessage::Failed(error)) => JobOutcome::Failed(error.to_string()),
        message => match (killed, message) {
            (Some(why), _) => JobOutcome::Died(why.to_string()),
            (None, Some(RunnerMessage::Fatal(error))) => {
                JobOutcome::Died(format!("fatal error: {error}"))
            }
            (None, _) => judge_by_status(ended),
        },
    })
}

/// Judges a process that ended without a message.
fn judge_by_status(ended: Ended) -> JobOutcome {
    match (ended.code, ended.signal) {
        (Some(0), _) => JobOutcome::Done, // the job called exit()
        // PHP's status after an error that could not be reported.
        (Some(255), _) => JobOutcome::Died("PHP exited with status 255".into()),
        (Some(n), _) => JobOutcome::Failed(format!("the job called exit({n})")),
        (None, Some(n)) => {
            JobOutcome::Died(format!("the process was killed by signal {n}{}", name(n)))
        }
        (None, None) => JobOutcome::Died("the process disappeared".into()),
    }
}

fn name(signal: i32) -> &'static str {
    match signal {
        4 => " (illegal instruction)",
        6 => " (abort)",
        7 => " (bus error)",
        8 => " (arithmetic error)",
        9 => " (KILL, for example because memory ran out)",
        11 => " (segmentation fault)",
        15 => " (TERM)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::PhpError;
    use super::*;

    fn ended(code: Option<i32>, signal: Option<i32>) -> Ended {
        Ended {
            pid: 1,
            code,
            signal,
        }
    }

    fn error() -> PhpError {
        PhpError {
            message: "m".into(),
            file: "f".into(),
            line: 3,
        }
    }

    #[test]
    fn judges() {
        use JobOutcome::*;
        let judge = |said, ended, killed| match judge(said, ended, killed) {
            Conclusion::Ran(outcome) => outcome,
            other => panic!("{other:?}"),
        };
        // Processes kill themselves after "done".
        assert_eq!(
            judge(Some(RunnerMessage::Done(true)), ended(None, Some(9)), None),
            Done
        );
        assert_eq!(judge(None, ended(Some(0), None), None), Done);
        assert!(matches!(judge(None, ended(Some(1), None), None), Failed(_)));
        assert!(matches!(judge(None, ended(Some(255), None), None), Died(_)));
        assert!(matches!(judge(None, ended(None, Some(11)), None), Died(_)));
        assert!(matches!(judge(None, ended(None, None), None), Died(_)));
        assert_eq!(
            judge(
                Some(RunnerMessage::Fatal(error())),
                ended(Some(255), None),
                None
            ),
            Died("fatal error: m in f:3".into())
        );
        assert_eq!(
            judge(None, ended(None, Some(9)), Some("too long")),
            Died("too long".into())
        );
        // Killed after it had reported its outcome.
        assert_eq!(
            judge(
                Some(RunnerMessage::Done(true)),
                ended(None, Some(9)),
                Some("too long")
            ),
            Done
        );
    }

    #[test]
    fn jobs_are_retried_up_to_the_limit_of_their_kind() {
        let limits = |died, failed| RetryLimits { died, failed };
        let died = JobOutcome::Died(String::new());
        assert_eq!(died.disposal(1, limits(2, 0)), Disposal::Retry);
        assert_eq!(died.disposal(2, limits(2, 0)), Disposal::Retry);
        assert_eq!(died.disposal(3, limits(2, 9)), Disposal::Keep);
        let failed = JobOutcome::Failed(String::new());
        assert_eq!(failed.disposal(1, limits(2, 0)), Disposal::Keep);
        assert_eq!(failed.disposal(1, limits(0, 1)), Disposal::Retry);
        assert_eq!(failed.disposal(2, limits(9, 1)), Disposal::Keep);
        assert_eq!(JobOutcome::Done.disposal(0, limits(2, 2)), Disposal::Forget);
        let refused = JobOutcome::Refused(String::new());
        assert_eq!(refused.disposal(1, limits(2, 2)), Disposal::Keep);
    }
}
