//! How a job went, judged by what its process said and how it ended.

use crate::worker::message::{Ended, Message};

#[derive(Debug, PartialEq)]
pub enum Verdict {
    Done,
    /// The job itself says that it failed: kept, not tried again.
    Failed(String),
    /// Its process died under it: tried again.
    Died(String),
    /// The site was configured anew: to be given to a new PHP.
    Stale(Vec<String>),
    /// It did not begin, and that is not its fault.
    Unready(String),
}

/// `said` is the last of the messages that tell how the job went; `killed`
/// why the worker itself ended the process.
pub fn judge(said: Option<Message>, ended: Ended, killed: Option<&str>) -> Verdict {
    match said {
        Some(Message::Done(_)) => return Verdict::Done,
        Some(Message::Failed(report)) => return Verdict::Failed(report.to_string()),
        Some(Message::Stale(options)) => return Verdict::Stale(options),
        Some(Message::Unready(why)) | Some(Message::Broken(why)) => return Verdict::Unready(why),
        _ => {}
    }
    if let Some(why) = killed {
        return Verdict::Died(why.to_string());
    }
    if let Some(Message::Fatal(report)) = said {
        return Verdict::Died(format!("fatal error: {report}"));
    }
    match ended {
        Ended { code: Some(0), .. } => Verdict::Done, // exit() in the job: it said all it wanted
        // PHP's own status after an error that no code of it could report.
        Ended {
            code: Some(255), ..
        } => Verdict::Died("PHP ended with status 255".into()),
        Ended { code: Some(n), .. } => {
            Verdict::Failed(format!("the job ended its process with exit({n})"))
        }
        Ended {
            signal: Some(n), ..
        } => Verdict::Died(format!("the process was killed by signal {n}{}", name(n))),
        _ => Verdict::Died("the process is gone".into()),
    }
}

fn name(signal: i32) -> &'static str {
    match signal {
        4 => " (illegal instruction)",
        6 => " (abort)",
        7 => " (bus error)",
        8 => " (arithmetic)",
        9 => " (KILL: by a person, or for want of memory)",
        11 => " (segmentation fault)",
        15 => " (TERM)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::Report;
    use super::*;

    fn ended(code: Option<i32>, signal: Option<i32>) -> Ended {
        Ended {
            pid: 1,
            code,
            signal,
        }
    }

    fn report() -> Report {
        Report {
            message: "m".into(),
            file: "f".into(),
            line: 3,
        }
    }

    #[test]
    fn judges() {
        use Verdict::*;
        // A process that ends hard after its job said "done".
        assert_eq!(
            judge(Some(Message::Done(true)), ended(None, Some(9)), None),
            Done
        );
        assert_eq!(judge(None, ended(Some(0), None), None), Done);
        assert!(matches!(judge(None, ended(Some(1), None), None), Failed(_)));
        assert!(matches!(judge(None, ended(Some(255), None), None), Died(_)));
        assert!(matches!(judge(None, ended(None, Some(11)), None), Died(_)));
        assert!(matches!(judge(None, ended(None, None), None), Died(_)));
        assert_eq!(
            judge(Some(Message::Fatal(report())), ended(Some(255), None), None),
            Died("fatal error: m in f:3".into())
        );
        assert_eq!(
            judge(None, ended(None, Some(9)), Some("too long")),
            Died("too long".into())
        );
        // Too late to be killed for: it had said how it went.
        assert_eq!(
            judge(
                Some(Message::Done(true)),
                ended(None, Some(9)),
                Some("too long")
            ),
            Done
        );
    }
}
