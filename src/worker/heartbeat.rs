//! A worker's status, in a file in the site's run folder, and how others read it.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::SystemTime;

use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::base::clock;
use crate::worker::crew_status::CrewStatus;
use crate::worker::message::Connections;
use crate::worker::status_file::{self, Status, StatusFile, own_pid};
use crate::worker::tally::{self, RETIRED, Tally};

/// Longer reasons are cut off, in characters. The log has all of it.
const LONGEST_REASON: usize = 400;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activity {
    /// Waiting for a job, or for a job server.
    Idle,
    Busy,
    Paused,
    /// Waiting for the end of the site's maintenance mode.
    Maintenance,
    /// Currently unable to run jobs.
    Broken,
}

/// The content of the file. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStatus {
    pub pid: i32,
    pub activity: Activity,
    /// When this activity, or the current job, began.
    pub since: u64,
    /// When the current job, or else the last one, was submitted, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submitted: Option<u64>,
    pub started: u64,
    /// Jobs that it has finished, including failed ones.
    pub jobs: u64,
    pub failed: u64,
    /// `fork` or `spawn`; `None` while no PHP runs.
    pub mode: Option<String>,
    /// The process id of PHP.
    pub php: Option<i32>,
    /// Why it is unable to run jobs.
    #[serde(default)]
    pub why: Option<String>,
    /// The process id of the crew that started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crew: Option<i32>,
    /// Identifies the settings of its crew that it runs with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<String>,
    /// It is a crew whose members have left, as there were no jobs: the number of workers
    /// that there are as soon as one comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stands_for: Option<u32>,
    /// What its PHP saw last of the database, and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<(u64, Connections)>,
}

impl Status for WorkerStatus {
    const PREFIX: &str = "worker-";

    fn pid(&self) -> i32 {
        self.pid
    }
}

/// The number of workers, with those that an idle crew stands for.
pub fn count(all: &[WorkerStatus]) -> usize {
    all.iter()
        .map(|one| one.stands_for.unwrap_or(1) as usize)
        .sum()
}

impl WorkerStatus {
    /// That of a worker that starts now.
    fn new(pid: i32) -> WorkerStatus {
        let started = clock::millis(SystemTime::now());
        WorkerStatus {
            pid,
            activity: Activity::Idle,
            since: started,
            submitted: None,
            started,
            jobs: 0,
            failed: 0,
            mode: None,
            php: None,
            why: None,
            crew: None,
            settings: None,
            stands_for: None,
            database: None,
        }
    }
}

pub struct Heartbeat {
    file: StatusFile,
    pub status: WorkerStatus,
}

impl Heartbeat {
    pub fn start(run: &Path) -> io::Result<Heartbeat> {
        Heartbeat::with(run, WorkerStatus::new(own_pid()))
    }

    /// That of a member of this crew, with these settings.
    pub fn of_member(run: &Path, crew: i32, settings: Option<String>) -> io::Result<Heartbeat> {
        let status = WorkerStatus::new(own_pid());
        Heartbeat::with(
            run,
            WorkerStatus {
                crew: Some(crew),
                settings,
                ..status
            },
        )
    }

    /// That of a crew that stands for so many workers.
    pub fn of_crew(run: &Path, workers: u32) -> io::Result<Heartbeat> {
        let stands_for = Some(workers);
        let status = WorkerStatus::new(own_pid());
        Heartbeat::with(
            run,
            WorkerStatus {
                stands_for,
                ..status
            },
        )
    }

    fn with(run: &Path, status: WorkerStatus) -> io::Result<Heartbeat> {
        let file = StatusFile::start(run, &status)?;
        Ok(Heartbeat { file, status })
    }

    /// One that nobody sees, for a process that serves no jobs.
    pub fn unseen() -> io::Result<Heartbeat> {
        Ok(Heartbeat {
            file: StatusFile::unseen()?,
            status: WorkerStatus::new(own_pid()),
        })
    }

    /// It stands for another number of workers.
    pub fn stand_for(&mut self, workers: u32) {
        if self.status.stands_for != Some(workers) {
            self.status.stands_for = Some(workers);
            self.write();
        }
    }

    pub fn set(&mut self, activity: Activity) {
        if self.status.activity != activity {
            self.status.activity = activity;
            self.status.why = None;
            self.status.since = clock::millis(SystemTime::now());
            self.write();
        }
    }

    /// It is unable to run jobs, for this reason.
    pub fn set_broken(&mut self, why: &str) {
        self.status.why = Some(why.chars().take(LONGEST_REASON).collect());
        if self.status.activity != Activity::Broken {
            self.status.activity = Activity::Broken;
            self.status.since = clock::millis(SystemTime::now());
        }
        self.write();
    }

    /// Starts another job, which was submitted then.
    pub fn begin_job(&mut self, submitted: Option<u64>) {
        self.status.submitted = submitted;
        self.status.activity = Activity::Busy;
        self.status.why = None;
        self.status.since = clock::millis(SystemTime::now());
        self.write();
    }

    /// The current job was submitted then.
    pub fn set_submitted(&mut self, at: u64) {
        if self.status.submitted != Some(at) {
            self.status.submitted = Some(at);
            self.write();
        }
    }

    /// Sets the mode when PHP has loaded the site, and `None` when PHP is gone.
    pub fn set_mode(&mut self, mode: Option<&str>) {
        self.status.mode = mode.map(String::from);
        if mode.is_none() {
            self.status.php = None;
        }
        self.write();
    }

    /// The database has this left.
    pub fn set_database(&mut self, connections: Connections) {
        self.status.database = Some((clock::millis(SystemTime::now()), connections));
        self.write();
    }

    fn write(&self) {
        self.file.write(&self.status);
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        let path = &self.file.path;
        if path.as_os_str().is_empty() {
            return; // unseen
        }
        // If this fails, only the site's total is too low.
        if let Some(run) = path.parent() {
            let _ = retire(run, self.status.jobs, path);
        }
        let _ = fs::remove_file(path);
    }
}

/// The number of jobs finished by workers that have exited.
pub fn retired(run: &Path) -> io::Result<u64> {
    tally::read(run, RETIRED)
}

/// Adds a worker's jobs to the total and removes its file. Does nothing if another
/// process did so first.
fn retire(run: &Path, jobs: u64, path: &Path) -> io::Result<()> {
    let total = Tally::lock(run, RETIRED)?;
    if fs::symlink_metadata(path).is_err() {
        return Ok(()); // another process was first
    }
    total.add(jobs)?;
    fs::remove_file(path)
}

/// The running workers of a site, and its crew if that stands for workers.
pub fn read(run: &Path) -> io::Result<Vec<WorkerStatus>> {
    status_file::read(run)
}

/// Makes a worker look at the markers and files that it looks at now and then. Without
/// the signal it looks before its next job, or within a minute.
pub fn wake(seen: &WorkerStatus) {
    status_file::signal(seen.pid, Signal::USR1);
}

/// Removes files that killed workers left behind.
pub fn sweep(run: &Path) {
    let Ok(entries) = fs::read_dir(run) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let old = entry
            .metadata()
            .and_then(|m| m.modified())
            .is_ok_and(|at| at.elapsed().is_ok_and(|age| age.as_secs() > 3600));
        let path = entry.path();
        if name.starts_with(WorkerStatus::PREFIX) {
            if let Some(file) = unlocked(&path) {
                let status = status_file::content(file);
                let jobs = status.map_or(0, |status: WorkerStatus| status.jobs);
                let _ = retire(run, jobs, &path);
            }
        } else if (name.starts_with("probe-") || name.starts_with("new-")) && old
            || name.starts_with(CrewStatus::PREFIX) && unlocked(&path).is_some()
        {
            let _ = fs::remove_file(path);
        }
    }
}

fn unlocked(path: &Path) -> Option<File> {
    let file = File::open(path).ok()?;
    (!status_file::is_locked(&file)).then_some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_visible_while_it_runs() {
        let dir = tempfile::tempdir().unwrap();
        let mut heartbeat = Heartbeat::start(dir.path()).unwrap();
        heartbeat.set(Activity::Busy);
        heartbeat.set(Activity::Idle);
        heartbeat.status.jobs = 7;
        heartbeat.write();
        let read = |dir| super::read(dir).unwrap();
        assert_eq!(read(dir.path()), [heartbeat.status.clone()]);
        // This file is not locked, so its worker died.
        fs::write(dir.path().join("worker-4194000"), "{}").unwrap();
        assert_eq!(read(dir.path()).len(), 1);
        sweep(dir.path());
        assert!(!dir.path().join("worker-4194000").exists());
        assert_eq!(retired(dir.path()).unwrap(), 0);
        drop(heartbeat);
        assert!(read(dir.path()).is_empty());
        assert_eq!(retired(dir.path()).unwrap(), 7);
    }

    #[test]
    fn no_worker_that_starts_sweeps_another_that_does() {
        let dir = tempfile::tempdir().unwrap();
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    sweep(dir.path());
                }
            });
            let seen = (0..500).all(|_| {
                let heartbeat = Heartbeat::start(dir.path());
                heartbeat.is_ok_and(|heartbeat| heartbeat.file.path.exists())
            });
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(seen, "a worker that starts was taken for a dead one");
        });
    }

    #[test]
    fn the_jobs_of_a_killed_worker_are_counted_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut heartbeat = Heartbeat::start(dir.path()).unwrap();
        heartbeat.status.jobs = 5;
        heartbeat.write();
        let text = fs::read(&heartbeat.file.path).unwrap();
        drop(heartbeat);
        fs::write(dir.path().join("worker-4194000"), &text).unwrap();
        sweep(dir.path());
        sweep(dir.path());
        assert_eq!(retired(dir.path()).unwrap(), 10);
    }
}
