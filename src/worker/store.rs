//! Jobs on disk rather than at a job server: those that wait for a retry, and failed
//! ones that are kept for an administrator. Each is a file with a line of JSON,
//! followed by the unmodified payload.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, fstat, openat, renameat, statat, unlinkat};
use serde::{Deserialize, Serialize};

/// The maximum number of failed jobs of a site, and of their bytes. Beyond these, the
/// oldest are dropped.
pub const MAX_KEPT: usize = 1000;
pub const MAX_BYTES: u64 = 512 << 20;
/// Of a job with a larger payload, only the record is kept.
const MAX_PAYLOAD: usize = 128 << 20;
/// The maximum number of jobs that wait for a retry. Beyond it, a job that died is kept
/// as failed at once.
pub const MAX_WAITING: usize = 1000;

/// The maximum length of the line of JSON, in bytes.
const MAX_HEADER: u64 = 1 << 20;

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

pub struct JobStore {
    failed: OwnedFd,
    waiting: OwnedFd,
}

/// A job that waits for a retry, locked by this process.
pub struct Claim {
    _lock: File,
    file: String,
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
        let payload = if payload.len() > MAX_PAYLOAD {
            record.whole = false;
            &[]
        } else {
            payload
        };
        let dropped = self.make_room(payload.len() as u64)?;
        write(
            &self.failed,
            &format!("{}.job", record.id),
            &record,
            payload,
        )?;
        Ok(dropped)
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
        let mut text = String::new();
        open_plain(&self.failed, "dropped")
            .and_then(|file| file.take(32).read_to_string(&mut text))
            .ok()
            .and_then(|_| text.trim().parse().ok())
            .unwrap_or(0)
    }

    /// Stores a job until its retry is due. It is on disk when this returns.
    pub fn postpone(&self, record: &JobRecord, payload: &[u8], due: u64) -> io::Result<()> {
        // The time comes first, so that names sort by it.
        write(
            &self.waiting,
            &format!("{due:013}~{}.job", record.id),
            record,
            payload,
        )
    }

    pub fn kept(&self) -> io::Result<usize> {
        Ok(names(&self.failed)?.len())
    }

    pub fn waiting(&self) -> io::Result<usize> {
        Ok(names(&self.waiting)?.len())
    }

    /// When the first waiting job is due, even if another worker has it.
    pub fn next_due(&self) -> io::Result<Option<u64>> {
        Ok(names(&self.waiting)?.first().and_then(|name| due(name)))
    }

    /// Takes a job that is due, if there is one that no other worker has.
    pub fn claim(&self, now: u64) -> io::Result<Option<(Claim, JobRecord, Vec<u8>)>> {
        for name in names(&self.waiting)? {
            if due(&name).is_none_or(|at| at > now) {
                break;
            }
            let Ok(file) = open_plain(&self.waiting, &name) else {
                continue;
            };
            // Another worker may have finished it since the folder was read.
            if file.try_lock().is_err() || fstat(&file)?.st_nlink == 0 {
                continue;
            }
            match read(&file) {
                Ok((record, payload)) => {
                    let claim = Claim {
                        _lock: file,
                        file: name,
                    };
                    return Ok(Some((claim, record, payload)));
                }
                Err(_) => {
                    // Damaged, or not ours: move it to where an administrator finds it.
                    renameat(
                        &self.waiting,
                        name.as_str(),
                        &self.failed,
                        format!("{name}.damaged"),
                    )?;
                }
            }
        }
        Ok(None)
    }

    /// Removes a claimed job that needs no more retries, or was postponed again.
    pub fn settle(&self, claim: &Claim) -> io::Result<()> {
        Ok(unlinkat(
            &self.waiting,
            claim.file.as_str(),
            AtFlags::empty(),
        )?)
    }

    /// Failed jobs, oldest first, then waiting ones with the time when they are due.
    pub fn list(&self) -> io::Result<Vec<(JobRecord, Option<u64>)>> {
        let mut found = Vec::new();
        for (dir, waits) in [(&self.failed, false), (&self.waiting, true)] {
            for name in names(dir)? {
                if let Ok(record) =
                    open_plain(dir, &name).and_then(|f| header(&mut BufReader::new(f)))
                {
                    found.push((record, if waits { due(&name) } else { None }));
                }
            }
        }
        Ok(found)
    }

    pub fn read(&self, id: &str) -> io::Result<(JobRecord, Vec<u8>)> {
        read(&open_plain(&self.failed, &file_name(id)?)?)
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

fn due(name: &str) -> Option<u64> {
    name.split_once('~')?.0.parse().ok()
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
        if let Ok(name) = entry?.file_name().to_str() {
            names.push(name.to_string());
        }
    }
    Ok(names)
}

fn open_plain(dir: &OwnedFd, name: &str) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(dir, name, flags, Mode::empty())?;
    if rustix::fs::FileType::from_raw_mode(fstat(&file)?.st_mode)
        == rustix::fs::FileType::RegularFile
    {
        Ok(file.into())
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ))
    }
}

fn header(from: &mut impl BufRead) -> io::Result<JobRecord> {
    let mut line = Vec::new();
    from.by_ref()
        .take(MAX_HEADER)
        .read_until(b'\n', &mut line)?;
    Ok(serde_json::from_slice(&line)?)
}

fn read(file: &File) -> io::Result<(JobRecord, Vec<u8>)> {
    let mut from = BufReader::new(file);
    let record = header(&mut from)?;
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
    done
}

/// The number of failed jobs of a site, of those waiting for a retry, and of those
/// dropped.
pub fn count(failed: &Path) -> (usize, usize, u64) {
    let Ok(store) = JobStore::open_existing(failed) else {
        return (0, 0, 0);
    };
    let waiting = store.waiting().unwrap_or(0);
    (store.kept().unwrap_or(0), waiting, store.dropped())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, size: usize) -> JobRecord {
        JobRecord {
            id: id.into(),
            name: "site".into(),
            site: "/srv/site".into(),
            server: "127.0.0.1:4730".into(),
            function: "f".into(),
            unique: String::new(),
            handle: "H:1".into(),
            hook: None,
            blog: None,
            size,
            whole: true,
            taken: 1,
            tries: Vec::new(),
        }
    }

    #[test]
    fn a_failed_job_is_kept_shown_and_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let store = JobStore::open(dir.path()).unwrap();
        let payload = b"\0\xff\nbinary";
        store.keep(&record("1-a", payload.len()), payload).unwrap();
        assert_eq!(store.list().unwrap().len(), 1);
        let (read, bytes) = store.read("1-a").unwrap();
        assert_eq!(
            (read.id.as_str(), bytes.as_slice()),
            ("1-a", payload.as_slice())
        );
        assert!(store.read("../1-a").is_err());
        store.forget("1-a").unwrap();
        assert!(store.list().unwrap().is_empty());
    }

    #[test]
    fn the_oldest_jobs_are_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let store = JobStore::open(dir.path()).unwrap();
        for n in 0..MAX_KEPT {
            let name = dir.path().join(format!("{n:013}-x.job"));
            std::fs::write(name, "{}").unwrap();
        }
        let dropped = store.keep(&record("9999999999999-x", 0), b"").unwrap();
        assert_eq!(dropped, ["0000000000000-x"]);
        assert_eq!(store.dropped(), 1);
    }

    #[test]
    fn one_worker_takes_a_due_job() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (
            JobStore::open(dir.path()).unwrap(),
            JobStore::open(dir.path()).unwrap(),
        );
        one.postpone(&record("b", 1), b"x", 2000).unwrap();
        one.postpone(&record("a", 1), b"y", 9000).unwrap();
        assert_eq!(one.next_due().unwrap(), Some(2000));
        assert!(one.claim(1999).unwrap().is_none());
        let (claim, job, payload) = one.claim(2000).unwrap().unwrap();
        assert_eq!(
            (job.id.as_str(), payload.as_slice()),
            ("b", b"x".as_slice())
        );
        assert!(two.claim(2000).unwrap().is_none());
        // A worker that dies releases its lock.
        drop(claim);
        let (claim, ..) = two.claim(2000).unwrap().unwrap();
        two.settle(&claim).unwrap();
        assert!(one.claim(2000).unwrap().is_none());
        assert_eq!(one.waiting().unwrap(), 1);
    }
}
