//! What a site's folder `table` says besides the marks of its ledger: who this host is for
//! the others, when the table is to be looked at, and why it took nothing.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::host::this_name;
use crate::worker::plain;
use crate::worker::store::{folder, write_file};

/// Says which jobs the table has, and is of no use without them.
pub const MARKS: &str = "table";
pub(super) const LOOK: &str = "look";
pub(super) const WHY: &str = "why";
pub(super) const MADE: &str = "made";
const HOST: &str = "host";
const LOCK: &str = "lock";

/// When the table was looked at, and when that has to be done next, in milliseconds
/// since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    pub last: u64,
    pub next: u64,
}

/// Why the site's database does not take jobs, if it refused some. The worker user's word.
pub fn why_not_shared(failed: &Path) -> Option<String> {
    let failed = folder(CWD, failed).ok()?;
    let table = folder(&failed, MARKS).ok()?;
    let mut text = String::new();
    plain::open_in(&table, WHY)
        .ok()?
        .take(500)
        .read_to_string(&mut text)
        .ok()?;
    Some(text)
}

/// Whether this host's workers have seen the table. The worker user's word.
pub fn has_table(failed: &Path) -> bool {
    let table = folder(CWD, failed).and_then(|failed| folder(&failed, MARKS));
    table.is_ok_and(|table| plain::open_in(&table, MADE).is_ok())
}

pub(super) fn schedule(marks: &OwnedFd) -> Option<Schedule> {
    let mut text = String::new();
    plain::open_in(marks, LOOK)
        .ok()?
        .take(64)
        .read_to_string(&mut text)
        .ok()?;
    let (last, next) = text.trim().split_once(' ')?;
    Some(Schedule {
        last: last.parse().ok()?,
        next: next.parse().ok()?,
    })
}

pub(super) fn lock_file(marks: &OwnedFd) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(marks, LOCK, flags, Mode::from(0o600))?.into())
}

/// Who this host is for the others: its name, and what is random, as names repeat.
pub(super) fn host(marks: &OwnedFd) -> io::Result<String> {
    let read = || {
        let mut text = String::new();
        let file = plain::open_in(marks, HOST).ok()?;
        file.take(64).read_to_string(&mut text).ok()?;
        (text.len() == 16).then_some(text)
    };
    let known = match read() {
        Some(known) => known,
        None => {
            let lock = lock_file(marks)?;
            // Several workers may begin at once.
            lock.lock()?;
            match read() {
                Some(known) => known,
                None => {
                    let mut random = [0; 8];
                    getrandom::fill(&mut random).map_err(|e| io::Error::other(e.to_string()))?;
                    let text = format!("{:016x}", u64::from_be_bytes(random));
                    write_file(marks, HOST, |file| file.write_all(text.as_bytes()))?;
                    text
                }
            }
        }
    };
    let name: String = this_name()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "-._".contains(*c))
        .take(64)
        .collect();
    Ok(format!("{name}:{known}"))
}
