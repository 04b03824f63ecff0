//! How many jobs of a site are on disk, and how many can be.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use crate::base::clock;
use crate::worker::store::{JobStore, MAX_BYTES, MAX_KEPT};

/// How many failed jobs are kept, for people.
pub fn what_is_kept() -> String {
    let megabytes = MAX_BYTES >> 20;
    format!("only the latest {MAX_KEPT} failed jobs of a site are kept, up to {megabytes} MiB")
}

/// The number of a site's jobs that were refused, kept or not.
pub fn refused(failed: &Path) -> u64 {
    JobStore::open_existing(failed).map_or(0, |store| store.refused())
}

/// How many jobs of a site are on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub failed: usize,
    /// Waiting for a retry.
    pub retries: usize,
    /// Waiting until a rule lets them run.
    pub limited: usize,
    /// Failed jobs that were dropped to make room.
    pub dropped: u64,
}

pub fn count(failed: &Path) -> io::Result<Counts> {
    let store = match JobStore::open_existing(failed) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Counts::default()),
        store => store?,
    };
    let waiting = store.waiting(clock::now_ms())?;
    Ok(Counts {
        failed: store.kept()?,
        retries: waiting.retries,
        limited: waiting.limited,
        dropped: store.dropped(),
    })
}

/// How many of a site's jobs wait until a rule lets them run, by hook.
pub fn limited(failed: &Path, counts: Counts) -> io::Result<BTreeMap<String, usize>> {
    if counts.limited == 0 {
        return Ok(BTreeMap::new());
    }
    JobStore::open_existing(failed)?.limited(clock::now_ms())
}
