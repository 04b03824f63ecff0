//! What a site's crew tells about itself, in a file in the site's run folder.

use std::io;
use std::path::Path;

use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::worker::scale::HeldBy;
use crate::worker::status_file::{self, Status, StatusFile};
use crate::worker::workers::Workers;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrewStatus {
    pub pid: i32,
    /// Identifies the text of the settings file that it has adopted; `None` if its
    /// settings are those of its command line.
    pub settings: Option<String>,
    /// The number of workers that it wants to run.
    pub wanted: u32,
    /// Its members have left, as there were no jobs.
    pub asleep: bool,
    /// How many there may be.
    pub range: Workers,
    /// What keeps it from growing, although jobs wait.
    #[serde(default)]
    pub held_by: Option<HeldBy>,
    /// How often in a row one of its members has ended soon after its start.
    #[serde(default)]
    pub failures: u32,
    /// When it saw the queue empty last, while none of its workers waited for a job.
    #[serde(default)]
    pub empty_at: Option<u64>,
}

impl Status for CrewStatus {
    const PREFIX: &str = "crew-";

    fn pid(&self) -> i32 {
        self.pid
    }
}

/// The file, while the crew runs.
pub(super) struct CrewReport {
    file: StatusFile,
    status: CrewStatus,
}

impl CrewReport {
    pub fn start(run: &Path, settings: Option<String>, range: Workers) -> io::Result<CrewReport> {
        let status = CrewStatus {
            pid: status_file::own_pid(),
            settings,
            wanted: range.min,
            asleep: false,
            range,
            held_by: None,
            failures: 0,
            empty_at: None,
        };
        let file = StatusFile::start(run, &status)?;
        Ok(CrewReport { file, status })
    }

    pub fn set(&mut self, change: impl FnOnce(&mut CrewStatus)) {
        let before = self.status.clone();
        change(&mut self.status);
        if self.status != before {
            self.file.write(&self.status);
        }
    }
}

impl Drop for CrewReport {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file.path);
    }
}

/// This many ends of a member right after its start are no accident.
const IN_A_ROW: u32 = 3;

/// How often in a row a member of these crews ended right after its start, if that is no
/// accident.
pub fn keeps_ending(crews: &[CrewStatus]) -> Option<u32> {
    let failures = crews.iter().map(|crew| crew.failures).max()?;
    (failures >= IN_A_ROW).then_some(failures)
}

/// The running crews of a site: one, or none.
pub fn read(run: &Path) -> io::Result<Vec<CrewStatus>> {
    status_file::read(run)
}

/// Makes the site's crew look at its settings now.
pub fn wake(run: &Path) {
    for crew in read(run).unwrap_or_default() {
        status_file::signal(crew.pid, Signal::USR1);
    }
}
