//! How long a site's jobs wait and run: what its workers have recorded in its run folder,
//! and how others read it. All numbers are the worker user's word.
//!
//! Workers append each attempt to a log that they share (`journal`). Whoever makes it long
//! adds it to the figures (`stored`), so that a worker keeps nothing in memory, and nothing
//! is lost or counted twice when one ends, in whatever way.

pub(super) mod journal;
mod stored;
mod times;

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::worker::figures::stored::Stored;
pub use crate::worker::figures::times::{LADDER, Ladder, Spread, Window};

/// What the names of its files begin with.
pub const FILES: &str = "figures";

/// The number of hooks that have figures of their own.
pub const MAX_HOOKS: usize = 32;

/// Where the jobs of all further hooks are counted, and those whose hook nobody knows.
pub const OTHER: &str = "other";

/// Longer names are counted there as well, in bytes.
const LONGEST_HOOK: usize = 128;

/// What became of an attempt to run a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    Done,
    /// It is kept as failed.
    Failed,
    /// It waits for a retry.
    Retried,
}

/// One attempt to run a job. Times are milliseconds, those of the day since 1970.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it ended.
    pub at: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook: Option<String>,
    /// The first one. Only this one has waited: a retry is late on purpose.
    pub first: bool,
    /// When the job was submitted, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submitted: Option<u64>,
    pub began: u64,
    pub ran: u64,
    pub ending: Ending,
}

impl Attempt {
    /// From the submission to the start. Clocks of two hosts may differ.
    fn wait(&self) -> Option<u64> {
        let submitted = self.submitted.filter(|_| self.first)?;
        Some(self.began.saturating_sub(submitted))
    }
}

/// What the workers of a site on this host have recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SiteFigures {
    /// Of all hooks together.
    #[serde(flatten)]
    pub all: Figures,
    pub hooks: Vec<HookFigures>,
    /// When the job was submitted that was submitted last of all that have ended.
    #[serde(skip)]
    pub last_submitted: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct HookFigures {
    pub hook: String,
    #[serde(flatten)]
    pub figures: Figures,
}

/// Counters since the first job, and times of the last minute, hour and day.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// Jobs that workers of this host got from job servers and ran.
    pub submitted: u64,
    pub done: u64,
    /// Jobs that were kept as failed.
    pub failed: u64,
    /// Attempts after which a job waited for a retry.
    pub retried: u64,
    /// Jobs whose submission time nobody knows, so that they count in no wait.
    pub unstamped: u64,
    pub minute: Window,
    pub hour: Window,
    pub day: Window,
    /// All waits and runs since the first job.
    #[serde(skip)]
    pub wait_ever: Ladder,
    #[serde(skip)]
    pub run_ever: Ladder,
}

/// What the site's workers have recorded, as of `now`.
pub fn read(run: &Path, now: u64) -> io::Result<SiteFigures> {
    // In this order: attempts that are added to the figures in between are in both, and
    // the figures say so.
    let log = journal::Log::read(run)?;
    let stored = Stored::read(run)?;
    let new = log.filter(|log| log.generation > stored.generation);
    let new = new.map_or(Vec::new(), |log| log.attempts);
    Ok(stored.figures(&new, now))
}
