//! A file in a site's run folder in which a process tells what it does. The process keeps
//! it locked as long as it lives. The folder belongs to the worker user, so a file is
//! believed only if the process that it names also belongs to that user.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::base::signal::signal_if;
use crate::worker::plain;

/// The maximum number of files in the folder: with more, none is read.
const MAX_FILES: usize = 10_000;

/// The maximum size of a file, in bytes.
const MAX_SIZE: u64 = 4096;

pub struct StatusFile {
    file: File,
    /// Empty for one that nobody sees.
    pub path: PathBuf,
}

impl StatusFile {
    pub fn start<T: Status + Serialize>(run: &Path, status: &T) -> io::Result<StatusFile> {
        let (pid, prefix) = (own_pid(), T::PREFIX);
        let path = run.join(format!("{prefix}{pid}"));
        // Under another name until it is locked and complete. A process that starts at
        // the same time would take it for one of a dead process.
        let new = run.join(format!("new-{prefix}{pid}"));
        // An earlier process with the same id may have left one.
        let _ = fs::remove_file(&new);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            // For the dashboard, whose group has the folder; else nobody reaches it.
            .mode(0o640)
            .open(&new)?;
        file.try_lock()?;
        let this = StatusFile { file, path };
        this.write(status);
        fs::rename(&new, &this.path)?;
        Ok(this)
    }

    /// One that nobody sees.
    pub fn unseen() -> io::Result<StatusFile> {
        let file = rustix::fs::memfd_create("status", rustix::fs::MemfdFlags::CLOEXEC)?;
        Ok(StatusFile {
            file: file.into(),
            path: PathBuf::new(),
        })
    }

    pub fn write(&self, status: &impl Serialize) {
        if let Ok(mut text) = serde_json::to_vec(status) {
            text.push(b'\n');
            // Only others need the file, so a failure does not matter here.
            let _ = self.file.write_all_at(&text, 0);
            let _ = self.file.set_len(text.len() as u64);
        }
    }
}

pub fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

/// What a process tells.
pub trait Status: DeserializeOwned {
    /// What the names of its files begin with.
    const PREFIX: &str;
    fn pid(&self) -> i32;
}

/// What running processes tell, in the order of their ids.
pub fn read<T: Status>(run: &Path) -> io::Result<Vec<T>> {
    let owner = fs::symlink_metadata(run)?.uid();
    let mut found = Vec::new();
    for (at, entry) in fs::read_dir(run)?.enumerate() {
        let name = entry?.file_name();
        if at == MAX_FILES {
            let why = format!("it has more than {MAX_FILES} files: remove those of no worker");
            return Err(io::Error::other(why));
        }
        let pid = name.to_str().and_then(|n| n.strip_prefix(T::PREFIX));
        let Some(pid) = pid.and_then(|p| p.parse::<i32>().ok()).filter(|p| *p > 1) else {
            continue;
        };
        let status = read_one(&run.join(&name), pid, owner);
        found.extend(status.filter(|status: &T| status.pid() == pid));
    }
    found.sort_by_key(Status::pid);
    Ok(found)
}

fn read_one<T: DeserializeOwned>(path: &Path, pid: i32, owner: u32) -> Option<T> {
    let file = plain::open(path).ok()?;
    if !is_locked(&file) {
        return None; // not from a process of ours, or it died
    }
    if fs::metadata(format!("/proc/{pid}")).ok()?.uid() != owner {
        return None;
    }
    content(file)
}

pub fn content<T: DeserializeOwned>(file: File) -> Option<T> {
    let mut text = String::new();
    file.take(MAX_SIZE).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// Whether a process has locked the file.
pub fn is_locked(file: &File) -> bool {
    file.try_lock_shared().is_err()
}

/// Whether the process is a worker or a crew of ours. Checked before signaling it, as the
/// signal that wakes a worker would kill another program.
pub fn is_ours(pid: i32) -> bool {
    let Ok(words) = fs::read(format!("/proc/{pid}/cmdline")) else {
        return false;
    };
    let mut words = words.split(|b| *b == 0);
    let program = words.next().unwrap_or_default();
    program.ends_with(b"wp-gears") && words.next() == Some(b"worker")
}

/// Signals only the process that was inspected, which belongs to the worker user (`read`
/// checks).
pub fn signal(pid: i32, signal: Signal) {
    let Some(number) = Pid::from_raw(pid) else {
        return;
    };
    let _ = signal_if(number, signal, || is_ours(pid));
}
