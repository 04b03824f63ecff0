//! A worker's status: a file in the site's run folder that the worker keeps locked
//! as long as it lives, and how others read it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::OFlags;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use crate::base::clock;
use crate::worker::plain;

/// The maximum number of files in the folder, which belongs to the worker user: with
/// more, none is read.
const MAX_FILES: usize = 10_000;

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
}

impl WorkerStatus {
    /// That of a worker that starts now.
    fn new(pid: i32) -> WorkerStatus {
        let started = clock::millis(SystemTime::now());
        WorkerStatus {
            pid,
            activity: Activity::Idle,
            since: started,
            started,
            jobs: 0,
            failed: 0,
            mode: None,
            php: None,
            why: None,
        }
    }
}

pub struct Heartbeat {
    file: File,
    path: PathBuf,
    pub status: WorkerStatus,
}

impl Heartbeat {
    pub fn start(run: &Path) -> io::Result<Heartbeat> {
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        let path = run.join(format!("worker-{pid}"));
        // Under another name until it is locked and complete. A worker that
        // starts at the same time would take it for one of a dead worker.
        let new = run.join(format!("new-{pid}"));
        // An earlier process with the same id may have left one.
        let _ = fs::remove_file(&new);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)?;
        file.try_lock()?;
        let status = WorkerStatus::new(pid);
        let heartbeat = Heartbeat { file, path, status };
        heartbeat.write();
        fs::rename(&new, &heartbeat.path)?;
        Ok(heartbeat)
    }

    /// One that nobody sees, for a process that serves no jobs.
    pub fn unseen() -> io::Result<Heartbeat> {
        let file = File::from(rustix::fs::memfd_create(
            "heartbeat",
            rustix::fs::MemfdFlags::CLOEXEC,
        )?);
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        Ok(Heartbeat {
            file,
            path: PathBuf::new(),
            status: WorkerStatus::new(pid),
        })
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

    /// Starts another job.
    pub fn begin_job(&mut self) {
        self.status.activity = Activity::Busy;
        self.status.why = None;
        self.status.since = clock::millis(SystemTime::now());
        self.write();
    }

    /// Sets the mode when PHP has loaded the site, and `None` when PHP is gone.
    pub fn set_mode(&mut self, mode: Option<&str>) {
        self.status.mode = mode.map(String::from);
        if mode.is_none() {
            self.status.php = None;
        }
        self.write();
    }

    fn write(&self) {
        if let Ok(mut text) = serde_json::to_vec(&self.status) {
            text.push(b'\n');
            // Only others need the file, so a failure does not matter here.
            let _ = self.file.write_all_at(&text, 0);
            let _ = self.file.set_len(text.len() as u64);
        }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        if self.path.as_os_str().is_empty() {
            return; // unseen
        }
        // If this fails, only the site's total is too low.
        if let Some(run) = self.path.parent() {
            let _ = retire(run, self.status.jobs, &self.path);
        }
        let _ = fs::remove_file(&self.path);
    }
}

/// A file in the run folder with the number of jobs that workers finished before
/// they exited.
const RETIRED: &str = "retired";

/// The number of jobs finished by workers that have exited.
pub fn retired(run: &Path) -> io::Result<u64> {
    match plain::open(&run.join(RETIRED)) {
        Ok(file) => number(&file),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(e) if e.kind() == io::ErrorKind::InvalidInput => {
            Err(io::Error::other(format!("{RETIRED} is {e}")))
        }
        Err(e) => Err(e),
    }
}

fn number(file: &File) -> io::Result<u64> {
    let mut text = [0; 32];
    let length = file.read_at(&mut text, 0)?;
    let text = String::from_utf8_lossy(&text[..length]);
    Ok(text.trim().parse().unwrap_or(0))
}

/// Adds a worker's jobs to the total and removes its file. Does nothing if another
/// process did so first.
fn retire(run: &Path, jobs: u64, path: &Path) -> io::Result<()> {
    let total = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32)
        .open(run.join(RETIRED))?;
    total.lock()?;
    if fs::symlink_metadata(path).is_err() {
        return Ok(()); // another process was first
    }
    let text = format!("{}\n", number(&total)?.saturating_add(jobs));
    total.write_all_at(text.as_bytes(), 0)?;
    total.set_len(text.len() as u64)?;
    fs::remove_file(path)
}

/// The running workers of a site. The folder belongs to the worker user, so a file
/// is trusted only if the process that it names also belongs to that user.
pub fn read(run: &Path) -> io::Result<Vec<WorkerStatus>> {
    let owner = fs::symlink_metadata(run)?.uid();
    let mut found = Vec::new();
    for (at, entry) in fs::read_dir(run)?.enumerate() {
        let name = entry?.file_name();
        if at == MAX_FILES {
            let why = format!("it has more than {MAX_FILES} files: remove those of no worker");
            return Err(io::Error::other(why));
        }
        let pid = name.to_str().and_then(|n| n.strip_prefix("worker-"));
        let Some(pid) = pid.and_then(|p| p.parse::<i32>().ok()).filter(|p| *p > 1) else {
            continue;
        };
        found.extend(read_one(&run.join(&name), pid, owner));
    }
    found.sort_by_key(|status: &WorkerStatus| status.pid);
    Ok(found)
}

fn read_one(path: &Path, pid: i32, owner: u32) -> Option<WorkerStatus> {
    let file = plain::open(path).ok()?;
    if !is_locked(&file) {
        return None; // not from a worker, or the worker died
    }
    if fs::metadata(format!("/proc/{pid}")).ok()?.uid() != owner {
        return None;
    }
    let mut text = String::new();
    file.take(4096).read_to_string(&mut text).ok()?;
    let status: WorkerStatus = serde_json::from_str(&text).ok()?;
    (status.pid == pid).then_some(status)
}

/// Whether a worker has locked the file.
fn is_locked(file: &File) -> bool {
    file.try_lock_shared().is_err()
}

/// Whether the process is a worker of ours. Checked before signaling it, as the
/// signal that wakes a worker would kill another program.
pub fn is_worker(pid: i32) -> bool {
    let Ok(words) = fs::read(format!("/proc/{pid}/cmdline")) else {
        return false;
    };
    let mut words = words.split(|b| *b == 0);
    let program = words.next().unwrap_or_default();
    program.ends_with(b"wp-gears") && words.next() == Some(b"worker")
}

/// Makes a worker look at the markers and files that it looks at now and then. The
/// signal reaches only the process that was inspected, which belongs to the worker user
/// (`read` checks).
pub fn wake(seen: &WorkerStatus) {
    let process = Pid::from_raw(seen.pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    if let Some(process) = process.filter(|_| is_worker(seen.pid)) {
        // Without the signal it looks before its next job, or within a minute.
        let _ = pidfd_send_signal(process, Signal::USR1);
    }
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
        if name.starts_with("worker-") {
            if let Some(file) = File::open(&path).ok().filter(|file| !is_locked(file)) {
                let mut text = String::new();
                let read = file.take(4096).read_to_string(&mut text);
                let status = read.ok().and_then(|_| serde_json::from_str(&text).ok());
                let jobs = status.map_or(0, |status: WorkerStatus| status.jobs);
                let _ = retire(run, jobs, &path);
            }
        } else if (name.starts_with("probe-") || name.starts_with("new-")) && old {
            let _ = fs::remove_file(path);
        }
    }
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
                heartbeat.is_ok_and(|heartbeat| heartbeat.path.exists())
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
        let text = fs::read(&heartbeat.path).unwrap();
        drop(heartbeat);
        fs::write(dir.path().join("worker-4194000"), &text).unwrap();
        sweep(dir.path());
        sweep(dir.path());
        assert_eq!(retired(dir.path()).unwrap(), 10);
    }
}
