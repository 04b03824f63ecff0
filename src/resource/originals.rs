//! The originals of files that setup replaces. Their bytes are in root's state
//! folder, each under its SHA-256.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::base::checksum::sha256;
use crate::base::paths::{BASE, STATE};
use crate::host::Host;
use crate::host::files::{Attributes, FileData, Node};

/// Sites that are set up at the same time share the folders, and originals with equal
/// bytes. Whoever finds something there must find it on the disk.
static FOLDERS: Mutex<()> = Mutex::new(());
static ORIGINALS: [Mutex<()>; 64] = [const { Mutex::new(()) }; 64];

fn alone(lock: &Mutex<()>) -> MutexGuard<'_, ()> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file as it was. Its bytes are stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    pub sha: String,
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
}

impl Backup {
    /// Stores the file's bytes.
    pub fn of(host: &Host, file: &FileData) -> Result<Backup> {
        Ok(Backup {
            sha: store(host, &file.bytes)?,
            uid: file.meta.uid,
            gid: file.meta.gid,
            mode: file.meta.mode,
        })
    }

    pub fn attributes(&self) -> Attributes {
        Attributes {
            uid: self.uid,
            gid: self.gid,
            mode: self.mode,
        }
    }
}

/// Stores bytes for root only, outside every web root. Returns their hash.
pub fn store(host: &Host, bytes: &[u8]) -> Result<String> {
    make_folders(host)?;
    let sha = sha256(bytes);
    let path = place(&sha);
    let first = usize::from_str_radix(&sha[..2], 16).unwrap_or(0);
    let _alone = alone(&ORIGINALS[first % ORIGINALS.len()]);
    if matches!(host.look(&path)?, Node::Absent) {
        host.write(&path, bytes, Some(Attributes::root(0o600)), None)?;
    }
    Ok(sha)
}

/// The bytes with this hash; `None` if they were never stored.
pub fn load(host: &Host, sha: &str) -> Result<Option<Vec<u8>>> {
    let Some(file) = host.read_large(&place(sha))? else {
        return Ok(None);
    };
    anyhow::ensure!(
        sha256(&file.bytes) == sha,
        "the original in {} is damaged",
        place(sha).display()
    );
    Ok(Some(file.bytes))
}

fn place(sha: &str) -> PathBuf {
    Path::new(STATE).join("originals").join(sha)
}

/// Creates the state folder, for root only.
pub fn make_folders(host: &Host) -> Result<()> {
    let _alone = alone(&FOLDERS);
    for dir in ["/var", "/var/lib", BASE] {
        if !host.exists(Path::new(dir)) {
            host.make_dir(Path::new(dir), Attributes::root(0o755))?;
        }
    }
    for dir in [PathBuf::from(STATE), Path::new(STATE).join("originals")] {
        if !host.exists(&dir) {
            host.make_dir(&dir, Attributes::root(0o700))?;
        }
    }
    Ok(())
}
