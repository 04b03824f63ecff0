//! What workers let others see of them, in the site's run folder: a file a
//! worker, locked while it lives.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, OFlags, flock};
use serde::{Deserialize, Serialize};

use crate::base::clock;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activity {
    /// Waits for a job, or for a job server.
    Idle,
    Busy,
    Paused,
    /// Cannot run jobs for now; the log says why.
    Broken,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    pub pid: i32,
    pub activity: Activity,
    /// Milliseconds since 1970.
    pub since: u64,
    pub started: u64,
    pub jobs: u64,
    pub failed: u64,
    /// fork, spawn, or nothing while no PHP runs.
    pub mode: Option<String>,
    pub php: Option<i32>,
}

pub struct Presence {
    file: File,
    path: PathBuf,
    pub now: Seen,
}

impl Presence {
    pub fn take(run: &Path) -> io::Result<Presence> {
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        let path = run.join(format!("worker-{pid}"));
        // What an earlier process of this id left.
        let _ = fs::remove_file(&path);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let started = clock::millis(SystemTime::now());
        let now = Seen {
            pid,
            activity: Activity::Idle,
            since: started,
            started,
            jobs: 0,
            failed: 0,
            mode: None,
            php: None,
        };
        let presence = Presence { file, path, now };
        presence.write();
        Ok(presence)
    }

    pub fn set(&mut self, activity: Activity) {
        if self.now.activity != activity {
            self.now.activity = activity;
            self.now.since = clock::millis(SystemTime::now());
            self.write();
        }
    }

    /// Busy from now on, with another job than before.
    pub fn begin_job(&mut self) {
        self.now.activity = Activity::Busy;
        self.now.since = clock::millis(SystemTime::now());
        self.write();
    }

    pub fn write(&self) {
        if let Ok(mut text) = serde_json::to_vec(&self.now) {
            text.push(b'\n');
            // Only for others to look at: that it failed changes nothing here.
            let _ = self.file.write_all_at(&text, 0);
            let _ = self.file.set_len(text.len() as u64);
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        // What it did is counted on; that this failed changes nothing else.
        if let Some(run) = self.path.parent() {
            let _ = retire(run, self.now.jobs, &self.path);
        }
        let _ = fs::remove_file(&self.path);
    }
}

/// The jobs of workers that are gone, a number in the run folder.
const RETIRED: &str = "retired";

/// How many jobs the workers did that are gone.
pub fn retired(run: &Path) -> io::Result<u64> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32)
        .open(run.join(RETIRED));
    match file {
        Ok(file) => number(&file),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(e) => Err(e),
    }
}

fn number(file: &File) -> io::Result<u64> {
    let mut text = [0; 32];
    let length = file.read_at(&mut text, 0)?;
    let text = String::from_utf8_lossy(&text[..length]);
    Ok(text.trim().parse().unwrap_or(0))
}

/// Adds a worker's jobs and takes its file away, once whoever does it.
fn retire(run: &Path, jobs: u64, path: &Path) -> io::Result<()> {
    let total = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32)
        .open(run.join(RETIRED))?;
    flock(&total, FlockOperation::LockExclusive)?;
    if fs::symlink_metadata(path).is_err() {
        return Ok(()); // Another was first.
    }
    let text = format!("{}\n", number(&total)?.saturating_add(jobs));
    total.write_all_at(text.as_bytes(), 0)?;
    total.set_len(text.len() as u64)?;
    fs::remove_file(path)
}

/// The site's workers that live. The folder is the worker user's, so what it
/// says is believed only as far as that user goes: each process is its own.
pub fn look(run: &Path) -> io::Result<Vec<Seen>> {
    let owner = fs::symlink_metadata(run)?.uid();
    let mut found = Vec::new();
    for entry in fs::read_dir(run)? {
        let name = entry?.file_name();
        let pid = name.to_str().and_then(|n| n.strip_prefix("worker-"));
        let Some(pid) = pid.and_then(|p| p.parse::<i32>().ok()).filter(|p| *p > 1) else {
            continue;
        };
        if let Some(seen) = look_at(&run.join(&name), pid, owner) {
            found.push(seen);
        }
    }
    found.sort_by_key(|seen| seen.pid);
    Ok(found)
}

fn look_at(path: &Path, pid: i32, owner: u32) -> Option<Seen> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32)
        .open(path)
        .ok()?;
    let meta = file.metadata().ok()?;
    if !meta.is_file() || flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        return None; // Not a worker's, or it died.
    }
    if fs::metadata(format!("/proc/{pid}")).ok()?.uid() != owner {
        return None;
    }
    let mut text = String::new();
    file.take(4096).read_to_string(&mut text).ok()?;
    let seen: Seen = serde_json::from_str(&text).ok()?;
    (seen.pid == pid).then_some(seen)
}

/// Whether this is one of our workers, whatever a file says: others may not
/// survive the signal that tells a worker to look around.
pub fn is_worker(pid: i32) -> bool {
    let Ok(words) = fs::read(format!("/proc/{pid}/cmdline")) else {
        return false;
    };
    let mut words = words.split(|b| *b == 0);
    let program = words.next().unwrap_or_default();
    program.ends_with(b"wp-gears") && words.next() == Some(b"worker")
}

/// Takes away what workers left that were killed.
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
            let dead = File::open(&path)
                .ok()
                .filter(|file| flock(file, FlockOperation::NonBlockingLockShared).is_ok());
            if let Some(file) = dead {
                let mut text = String::new();
                let read = file.take(4096).read_to_string(&mut text);
                let seen = read.ok().and_then(|_| serde_json::from_str(&text).ok());
                let jobs = seen.map_or(0, |seen: Seen| seen.jobs);
                let _ = retire(run, jobs, &path);
            }
        } else if name.starts_with("probe-") && old {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seen_while_it_lives() {
        let dir = tempfile::tempdir().unwrap();
        let mut presence = Presence::take(dir.path()).unwrap();
        presence.set(Activity::Busy);
        presence.set(Activity::Idle);
        presence.now.jobs = 7;
        presence.write();
        let seen = look(dir.path()).unwrap();
        assert_eq!(seen, [presence.now.clone()]);
        // A file that nobody holds is of a worker that died.
        fs::write(dir.path().join("worker-4194000"), "{}").unwrap();
        assert_eq!(look(dir.path()).unwrap().len(), 1);
        sweep(dir.path());
        assert!(!dir.path().join("worker-4194000").exists());
        assert_eq!(retired(dir.path()).unwrap(), 0);
        drop(presence);
        assert!(look(dir.path()).unwrap().is_empty());
        assert_eq!(retired(dir.path()).unwrap(), 7);
    }

    #[test]
    fn the_jobs_of_a_killed_worker_are_counted_on_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut presence = Presence::take(dir.path()).unwrap();
        presence.now.jobs = 5;
        presence.write();
        let text = fs::read(&presence.path).unwrap();
        drop(presence);
        fs::write(dir.path().join("worker-4194000"), &text).unwrap();
        sweep(dir.path());
        sweep(dir.path());
        assert_eq!(retired(dir.path()).unwrap(), 10);
    }
}
