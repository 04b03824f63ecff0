//! How a job went, judged by what its process said and how it ended.

use crate::worker::message::{Ended, RunnerMessage};

/// A job that ran.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Done,
    /// The job itself reports a failure: kept, not retried.
    Failed(String),
    /// Its process died: retried.
    Died(String),
}

/// Why a process for the job is gone.
#[derive(Debug, Clone, PartialEq)]
pub enum Conclusion {
    Ran(Outcome),
    /// It did not start, as these options changed after PHP had booted.
    Stale(Vec<String>),
    /// It did not start, and that is not the job's fault.
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

impl Outcome {
    /// `attempts` includes the present one.
    pub fn disposal(&self, attempts: usize, retries: u32) -> Disposal {
        match self {
            Outcome::Done => Disposal::Forget,
            Outcome::Died(_) if attempts <= retries as usize => Disposal::Retry,
            Outcome::Failed(_) | Outcome::Died(_) => Disposal::Keep,
        }
    }

    pub fn error(&self) -> Option<&str> {
        match self {
            Outcome::Done => None,
            Outcome::Failed(error) | Outcome::Died(error) => Some(error),
        }
    }
}

/// As in the line that a job has in the log.
impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Outcome::Done => f.write_str("done"),
            Outcome::Failed(why) => write!(f, "failed: {why}"),
            Outcome::Died(why) => write!(f, "died: {why}"),
        }
    }
}

/// `said` is the last message about the job, `killed` the reason why the
/// worker itself ended the process.
pub fn judge(said: Option<RunnerMessage>, ended: Ended, killed: Option<&str>) -> Conclusion {
    Conclusion::Ran(match said {
        Some(RunnerMessage::Stale(options)) => return Conclusion::Stale(options),
        Some(RunnerMessage::Unready(why)) => return Conclusion::Unready(why),
        Some(RunnerMessage::Done(_)) => Outcome::Done,
        Some(RunnerMessage::Failed(error)) => Outcome::Failed(error.to_string()),
        said => match (killed, said) {
            (Some(why), _) => Outcome::Died(why.to_string()),
            (None, Some(RunnerMessage::Fatal(error))) => {
                Outcome::Died(format!("fatal error: {error}"))
            }
            (None, _) => judge_by_status(ended),
        },
    })
}

/// The process ended without a word.
fn judge_by_status(ended: Ended) -> Outcome {
    match (ended.code, ended.signal) {
        (Some(0), _) => Outcome::Done, // The job called exit().
        // PHP's own status after an error that no code of it could report.
        (Some(255), _) => Outcome::Died("PHP ended with status 255".into()),
        (Some(n), _) => Outcome::Failed(format!("the job ended its process with exit({n})")),
        (None, Some(n)) => {
            Outcome::Died(format!("the process was killed by signal {n}{}", name(n)))
        }
        (None, None) => Outcome::Died("the process is gone".into()),
    }
}

fn name(signal: i32) -> &'static str {
    match signal {
        4 => " (illegal instruction)",
        6 => " (abort)",
        7 => " (bus error)",
        8 => " (arithmetic)",
        9 => " (KILL: by somebody, or because memory ran out)",
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
        use Outcome::*;
        let judge = |said, ended, killed| match judge(said, ended, killed) {
            Conclusion::Ran(outcome) => outcome,
            other => panic!("{other:?}"),
        };
        // A process that ends hard after its job said "done".
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
        // Killed too late: it had already said how it went.
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
    fn only_deaths_are_retried_and_only_so_often() {
        let died = Outcome::Died(String::new());
        assert_eq!(died.disposal(1, 2), Disposal::Retry);
        assert_eq!(died.disposal(2, 2), Disposal::Retry);
        assert_eq!(died.disposal(3, 2), Disposal::Keep);
        assert_eq!(
            Outcome::Failed(String::new()).disposal(1, 2),
            Disposal::Keep
        );
        assert_eq!(Outcome::Done.disposal(0, 2), Disposal::Forget);
    }
}
