//! Jobs on disk rather than at a job server: those that wait for a retry, and failed
//! ones that are kept for an administrator. Each is a file with a line of JSON,
//! followed by the unmodified payload.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FlockOperation, Mode, OFlags, flock, openat, renameat, statat, unlinkat,
};
use serde::{Deserialize, Serialize};

use crate::worker::plain;

mod counts;
mod folder_of_table;
mod ledger;
mod waiting;

pub use counts::{count, limited, refused, what_is_kept};
pub use folder_of_table::{MARKS, Schedule, has_table, why_not_shared};
pub use ledger::{Batch, Kept, Ledger};
pub use waiting::{Claim, MAX_LIMITED};
use waiting::{Name, due, is_named};

/// The maximum number of failed jobs of a site, and of their bytes. Beyond these, the
/// oldest are dropped.
pub const MAX_KEPT: usize = 1000;
pub const MAX_BYTES: u64 = 512 << 20;
/// Of a job with a larger payload, only the record is kept.
const MAX_PAYLOAD: usize = 128 << 20;
/// Of jobs that were refused, fewer and less: anyone who reaches the job server can
/// submit some, and they must not displace the site's own.
const MAX_REFUSED: usize = 100;
const MAX_REFUSED_PAYLOAD: usize = 64 << 10;
/// The maximum number of jobs that wait for a retry. Beyond it, a job that died is kept
/// as failed at once.
pub const MAX_WAITING: usize = 1000;

/// How the ids of refused jobs end.
pub const REFUSED: &str = "-refused";

/// The maximum length of the line of JSON, in bytes.
const MAX_HEADER: u64 = 1 << 20;
/// The maximum number of attempts in a record: more than the retries that a rule may ask
/// for.
pub const MAX_TRIES: usize = 101;

/// The folders belong to the worker user, who can put anything into them: with more
/// files than this, they are not read.
const MAX_FILES: usize = 10_000;
/// The maximum number of jobs in a list, and of the bytes that are read for it.
const MAX_LISTED: usize = 2 * MAX_KEPT + MAX_WAITING;
const MAX_LISTED_BYTES: u64 = 16 << 20;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobRecord {
    pub id: String,
    pub name: String,
    pub site: String,
    pub server: String,
    pub function: String,
    pub unique: String,
    pub handle: String,
    pub hook: Option<String>,
    pub blog: Option<u64>,
    pub size: usize,
    /// False if the payload was too large to keep.
    pub whole: bool,
    /// Milliseconds since 1970, like all times here.
    pub taken: u64,
    /// When a sealed job was submitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submitted: Option<u64>,
    /// What a sealed job's process said of its arguments, as JSON; the payload is kept
    /// sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<String>,
    /// It was not run, as it is not the site's own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refused: bool,
    /// Failed attempts.
    pub tries: Vec<Try>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Try {
    pub at: u64,
    pub ms: u64,
    pub error: String,
    /// The end of PHP's output.
    pub output: String,
}

impl JobRecord {
    /// The error of the last attempt.
    pub fn last_error(&self) -> &str {
        self.tries.last().map_or("", |attempt| &attempt.error)
    }

    /// When the last attempt began.
    pub fn last_at(&self) -> u64 {
        self.tries.last().map_or(self.taken, |attempt| attempt.at)
    }
}

pub struct JobStore {
    failed: OwnedFd,
    waiting: OwnedFd,
}

fn folder(at: impl rustix::fd::AsFd, path: impl rustix::path::Arg) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    Ok(openat(at, path, flags, Mode::empty())?)
}

impl JobStore {
    /// For the site's workers: creates the folder of waiting jobs if needed.
    pub fn open(failed: &Path) -> io::Result<JobStore> {
        let dir = folder(CWD, failed)?;
        match rustix::fs::mkdirat(&dir, "waiting", Mode::from(0o700)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
        JobStore::open_existing(failed)
    }

    /// For root and others that are not workers: creates nothing and follows no links.
    pub fn open_existing(failed: &Path) -> io::Result<JobStore> {
        let failed = folder(CWD, failed)?;
        let waiting = folder(&failed, "waiting")?;
        Ok(JobStore { failed, waiting })
    }

    /// Keeps a failed job. Returns the IDs of jobs that were dropped to make room.
    pub fn keep(&self, record: &JobRecord, payload: &[u8]) -> io::Result<Vec<String>> {
        let mut record = record.clone();
        let most = match record.refused {
            true => MAX_REFUSED_PAYLOAD,
            false => MAX_PAYLOAD,
        };
        let payload = if payload.len() > most {
            record.whole = false;
            &[]
        } else {
            payload
        };
        if record.refused {
            record.hook = record.hook.map(|hook| hook.chars().take(200).collect());
            return self.keep_refused(&record, payload);
        }
        let dropped = self.make_room(payload.len() as u64)?;
        write(
            &self.failed,
            &format!("{}.job", record.id),
            &record,
            payload,
        )?;
        Ok(dropped)
    }

    fn keep_refused(&self, record: &JobRecord, payload: &[u8]) -> io::Result<Vec<String>> {
        // Several workers count.
        flock(&self.failed, FlockOperation::LockExclusive)?;
        let kept = self.keep_one_more_refused(record, payload);
        flock(&self.failed, FlockOperation::Unlock)?;
        kept
    }

    fn keep_one_more_refused(&self, record: &JobRecord, payload: &[u8]) -> io::Result<Vec<String>> {
        let ending = format!("{REFUSED}.job");
        let kept: Vec<_> = names(&self.failed)?
            .into_iter()
            .filter(|name| name.ends_with(&ending))
            .collect();
        let excess = (kept.len() + 1).saturating_sub(MAX_REFUSED);
        for name in &kept[..excess] {
            unlinkat(&self.failed, name.as_str(), AtFlags::empty())?;
        }
        let count = self.refused() + 1;
        write_file(&self.failed, "refused", |file| write!(file, "{count}"))?;
        write(&self.failed, &format!("{}.job", record.id), record, payload)?;
        Ok(Vec::new())
    }

    fn make_room(&self, bytes: u64) -> io::Result<Vec<String>> {
        let mut kept: Vec<(String, u64)> = Vec::new();
        for name in names(&self.failed)? {
            if let Ok(stat) = statat(&self.failed, name.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
                kept.push((name, stat.st_size as u64));
            }
        }
        let mut total: u64 = kept.iter().map(|(_, size)| size).sum();
        let mut left = kept.len();
        let mut dropped = Vec::new();
        for (name, size) in kept {
            if left < MAX_KEPT && total + bytes <= MAX_BYTES {
                break;
            }
            unlinkat(&self.failed, name.as_str(), AtFlags::empty())?;
            dropped.push(name.trim_end_matches(".job").to_string());
            total -= size;
            left -= 1;
        }
        if !dropped.is_empty() {
            let count = self.dropped() + dropped.len() as u64;
            write_file(&self.failed, "dropped", |file| write!(file, "{count}"))?;
        }
        Ok(dropped)
    }

    /// The total number of jobs that were dropped to make room.
    pub fn dropped(&self) -> u64 {
        self.number("dropped")
    }

    /// The total number of jobs that were refused.
    pub fn refused(&self) -> u64 {
        self.number("refused")
    }

    fn number(&self, name: &str) -> u64 {
        let mut text = String::new();
        plain::open_in(&self.failed, name)
            .and_then(|file| file.take(32).read_to_string(&mut text))
            .ok()
            .and_then(|_| text.trim().parse().ok())
            .unwrap_or(0)
    }

    pub fn kept(&self) -> io::Result<usize> {
        Ok(names(&self.failed)?.len())
    }

    /// Shows failed jobs, oldest first, then waiting ones with the time when they are
    /// due. Returns how many files are too many, or no jobs.
    pub fn list(&self, see: &mut dyn FnMut(JobRecord, Option<u64>)) -> io::Result<usize> {
        let (mut files, mut bytes, mut unread) = (0, 0, 0);
        for dir in [&self.failed, &self.waiting] {
            for name in names(dir)? {
                if Name::parse(&name).is_some_and(|name| name.is_new) {
                    continue; // It has not failed.
                }
                if files >= MAX_LISTED || bytes >= MAX_LISTED_BYTES {
                    unread += 1;
                    continue;
                }
                files += 1;
                match self.record(dir, &name, &mut bytes) {
                    Ok(record) => see(record, due(&name)),
                    Err(_) => unread += 1,
                }
            }
        }
        Ok(unread)
    }

    /// The latest failed jobs, the last one first.
    pub fn latest(&self, most: usize) -> io::Result<Vec<JobRecord>> {
        let names = names(&self.failed)?;
        let (mut latest, mut bytes) = (Vec::new(), 0);
        for name in names.iter().rev().take(most) {
            if bytes < MAX_LISTED_BYTES {
                latest.extend(self.record(&self.failed, name, &mut bytes));
            }
        }
        Ok(latest)
    }

    /// The job with this ID, and when it is due if it waits.
    pub fn find(&self, id: &str) -> io::Result<Option<(JobRecord, Option<u64>)>> {
        let Ok(failed) = file_name(id) else {
            return Ok(None);
        };
        let bytes = &mut 0;
        match self.record(&self.failed, &failed, bytes) {
            Ok(record) => return Ok(Some((record, None))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        let waiting = names(&self.waiting)?.into_iter();
        let Some(name) = waiting.into_iter().find(|name| id_of(name) == id) else {
            return Ok(None);
        };
        Ok(Some((
            self.record(&self.waiting, &name, bytes)?,
            due(&name),
        )))
    }

    /// Its ID is that of the file, whatever the record says.
    fn record(&self, dir: &OwnedFd, name: &str, bytes: &mut u64) -> io::Result<JobRecord> {
        let id = id_of(name);
        file_name(id)?;
        let mut from = BufReader::new(plain::open_in(dir, name)?);
        let record = header(&mut from, bytes)?;
        let id = id.to_owned();
        Ok(JobRecord { id, ..record })
    }

    /// The record of a failed job.
    pub fn failed(&self, id: &str) -> io::Result<JobRecord> {
        self.record(&self.failed, &file_name(id)?, &mut 0)
    }

    pub fn read(&self, id: &str) -> io::Result<(JobRecord, Vec<u8>)> {
        read(&plain::open_in(&self.failed, &file_name(id)?)?)
    }

    /// Reads a failed job, and holds it until the file is closed; `None` if somebody else
    /// does.
    pub fn hold(&self, id: &str) -> io::Result<Option<(File, JobRecord, Vec<u8>)>> {
        let name = file_name(id)?;
        let file = plain::open_in(&self.failed, &name)?;
        if file.try_lock().is_err() {
            return Ok(None);
        }
        if !is_named(&self.failed, &file, &name)? {
            return Err(io::ErrorKind::NotFound.into());
        }
        let (record, payload) = read(&file)?;
        Ok(Some((file, record, payload)))
    }

    pub fn forget(&self, id: &str) -> io::Result<()> {
        Ok(unlinkat(&self.failed, file_name(id)?, AtFlags::empty())?)
    }

    /// Removes files that were left incomplete by a crash.
    pub fn sweep(&self, now: u64) {
        for dir in [&self.failed, &self.waiting] {
            for name in all_names(dir).unwrap_or_default() {
                let old = |stat: rustix::fs::Stat| (stat.st_mtime as u64 + 3600) * 1000 < now;
                if name.starts_with(".new-")
                    && statat(dir, name.as_str(), AtFlags::SYMLINK_NOFOLLOW).is_ok_and(old)
                {
                    let _ = unlinkat(dir, name.as_str(), AtFlags::empty());
                }
            }
        }
    }
}

/// A new ID. IDs sort by time.
pub fn new_id(now: u64) -> String {
    let mut random = [0; 4];
    // Without random bytes, the process ID distinguishes workers.
    if getrandom::fill(&mut random).is_err() {
        random = std::process::id().to_be_bytes();
    }
    format!("{now:013}-{:08x}", u32::from_be_bytes(random))
}

fn file_name(id: &str) -> io::Result<String> {
    if !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        Ok(format!("{id}.job"))
    } else {
        Err(io::Error::new(io::ErrorKind::NotFound, "no such job"))
    }
}

fn id_of(name: &str) -> &str {
    match Name::parse(name) {
        Some(waiting) => waiting.id,
        None => name.trim_end_matches(".job"),
    }
}

fn names(dir: &OwnedFd) -> io::Result<Vec<String>> {
    let mut names = all_names(dir)?;
    names.retain(|name| name.ends_with(".job"));
    names.sort();
    Ok(names)
}

fn all_names(dir: &OwnedFd) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir)? {
        if names.len() == MAX_FILES {
            let why = format!("it has more than {MAX_FILES} files: remove those that are no jobs");
            return Err(io::Error::other(why));
        }
        if let Ok(name) = entry?.file_name().to_str() {
            names.push(name.to_string());
        }
    }
    Ok(names)
}

/// Adds the number of bytes that it read, also if they are no record.
fn header(from: &mut impl BufRead, bytes: &mut u64) -> io::Result<JobRecord> {
    let mut line = Vec::new();
    let read = from
        .by_ref()
        .take(MAX_HEADER)
        .read_until(b'\n', &mut line)?;
    *bytes += read as u64;
    let record: JobRecord = serde_json::from_slice(&line)?;
    match record.tries.len() <= MAX_TRIES {
        true => Ok(record),
        false => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn read(file: &File) -> io::Result<(JobRecord, Vec<u8>)> {
    let mut from = BufReader::new(file);
    let record = header(&mut from, &mut 0)?;
    let mut payload = Vec::new();
    from.take(MAX_PAYLOAD as u64 + 1)
        .read_to_end(&mut payload)?;
    if record.whole && payload.len() != record.size {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("only {} of {} bytes are there", payload.len(), record.size),
        ));
    }
    Ok((record, payload))
}

fn write(dir: &OwnedFd, name: &str, record: &JobRecord, payload: &[u8]) -> io::Result<()> {
    let mut line = serde_json::to_vec(record)?;
    line.push(b'\n');
    write_file(dir, name, |file| {
        file.write_all(&line)?;
        file.write_all(payload)
    })
}

/// Writes a file atomically. It is on disk when this returns.
fn write_file(
    dir: &OwnedFd,
    name: &str,
    fill: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    place_file(dir, name, fill).map(drop)
}

/// The same, with the file that was written.
fn place_file(
    dir: &OwnedFd,
    name: &str,
    fill: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<File> {
    let temporary = format!(".new-{}-{name}", std::process::id());
    let flags =
        OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file: File = openat(dir, temporary.as_str(), flags, Mode::from(0o600))?.into();
    let done = fill(&mut file)
        .and_then(|()| file.sync_all())
        .and_then(|()| Ok(renameat(dir, temporary.as_str(), dir, name)?))
        .and_then(|()| Ok(rustix::fs::fsync(dir)?));
    if done.is_err() {
        let _ = unlinkat(dir, temporary.as_str(), AtFlags::empty());
    }
    done.map(|()| file)
}

#[cfg(test)]
mod tests;
