//! Jobs that wait on disk: for the time of a retry, or until a rule lets them run.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, fstat, fsync, renameat, unlinkat};

use crate::worker::plain;
use crate::worker::store::{
    JobRecord, JobStore, MAX_LISTED_BYTES, file_name, id_of, names, place_file, read, write,
};

/// The maximum number of jobs that wait on disk because of a rule. Beyond it, a worker
/// waits with the job.
pub const MAX_LIMITED: usize = 5000;

/// What stands before the key of the rule for a job that has not run yet.
const NEW: char = '+';

/// A job that waits, locked by this process.
pub struct Claim {
    lock: File,
    file: String,
}

impl Claim {
    pub fn due(&self) -> u64 {
        due(&self.file).unwrap_or(0)
    }

    /// The length of its file.
    pub fn size(&self) -> io::Result<u64> {
        Ok(self.lock.metadata()?.len())
    }
}

/// The name of a file: `DUE~ID.job`, or `DUE~ID~KEY.job` if a rule with this key limits
/// it, and `DUE~ID~+KEY.job` if it never ran. The time comes first, so that names sort
/// by it.
pub(super) struct Name<'a> {
    pub due: u64,
    pub id: &'a str,
    pub key: Option<&'a str>,
    pub is_new: bool,
}

impl Name<'_> {
    pub fn parse(name: &str) -> Option<Name<'_>> {
        let (due, rest) = name.trim_end_matches(".job").split_once('~')?;
        let (id, key) = match rest.split_once('~') {
            Some((id, key)) => (id, Some(key)),
            None => (rest, None),
        };
        Some(Name {
            due: due.parse().ok()?,
            id,
            key: key.map(|key| key.trim_start_matches(NEW)),
            is_new: key.is_some_and(|key| key.starts_with(NEW)),
        })
    }

    fn text(due: u64, record: &JobRecord, key: Option<&str>) -> String {
        let id = &record.id;
        let new = if record.tries.is_empty() { "+" } else { "" };
        match key {
            Some(key) => format!("{due:013}~{id}~{new}{key}.job"),
            None => plain_name(due, id),
        }
    }
}

fn plain_name(due: u64, id: &str) -> String {
    format!("{due:013}~{id}.job")
}

/// How many jobs wait for what.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    pub retries: usize,
    pub limited: usize,
}

/// When a job of the rule with this key may run, in milliseconds since 1970.
pub type Turn<'a> = &'a dyn Fn(&str) -> u64;

/// Asks once for each key.
struct Turns<'a> {
    ask: Turn<'a>,
    known: BTreeMap<String, u64>,
}

impl<'a> Turns<'a> {
    fn new(ask: Turn<'a>) -> Turns<'a> {
        let known = BTreeMap::new();
        Turns { ask, known }
    }

    fn of(&mut self, name: &Name) -> u64 {
        let Some(key) = name.key else {
            return name.due;
        };
        let turn = match self.known.get(key) {
            Some(turn) => *turn,
            None => *self.known.entry(key.to_owned()).or_insert((self.ask)(key)),
        };
        turn.max(name.due)
    }
}

impl JobStore {
    /// Stores a job until `due`, and until the rule with this key lets it run. It is on
    /// disk when this returns.
    pub fn postpone(
        &self,
        record: &JobRecord,
        payload: &[u8],
        due: u64,
        key: Option<&str>,
    ) -> io::Result<()> {
        write(
            &self.waiting,
            &Name::text(due, record, key),
            record,
            payload,
        )
    }

    /// The same for a job that comes from another host, as that one wrote it. No worker
    /// takes it while the file that this returns is open.
    pub(super) fn postpone_text(&self, text: &[u8], due: u64, id: &str) -> io::Result<File> {
        let name = plain_name(due, id);
        place_file(&self.waiting, &name, |file| {
            file.lock()?;
            file.write_all(text)
        })
    }

    /// The same for a job that is on disk already, and is due.
    pub fn put_back(&self, claim: &Claim, record: &JobRecord, key: &str) -> io::Result<()> {
        let due = Name::parse(&claim.file).map_or(0, |name| name.due);
        let name = Name::text(due, record, Some(key));
        if name != claim.file {
            renameat(
                &self.waiting,
                claim.file.as_str(),
                &self.waiting,
                name.as_str(),
            )?;
            fsync(&self.waiting)?;
        }
        Ok(())
    }

    /// Lets a failed job wait for a retry that is due now. Of all on this host who retry or
    /// delete it, one succeeds; for the others it is not found.
    pub fn retry(&self, id: &str, now: u64) -> io::Result<()> {
        let name = plain_name(now, id);
        renameat(&self.failed, file_name(id)?, &self.waiting, name)?;
        Ok(fsync(&self.waiting)?)
    }

    /// How many jobs wait.
    pub fn waiting(&self, now: u64) -> io::Result<Waiting> {
        let mut waiting = Waiting::default();
        for name in names(&self.waiting)? {
            let is_limited = |name: Name| name.key.is_some() && name.due <= now;
            match Name::parse(&name).is_some_and(is_limited) {
                true => waiting.limited += 1,
                false => waiting.retries += 1,
            }
        }
        Ok(waiting)
    }

    /// The jobs that wait because of rules, by hook.
    pub(super) fn limited(&self, now: u64) -> io::Result<BTreeMap<String, usize>> {
        let (mut hooks, mut bytes) = (BTreeMap::new(), 0);
        for name in names(&self.waiting)? {
            let Some(parsed) = Name::parse(&name) else {
                continue;
            };
            if parsed.key.is_none() || parsed.due > now || bytes >= MAX_LISTED_BYTES {
                continue;
            }
            // A worker may take it meanwhile.
            if let Ok(record) = self.record(&self.waiting, &name, &mut bytes) {
                let hook = record.hook.unwrap_or_default();
                *hooks.entry(hook.chars().take(200).collect()).or_default() += 1;
            }
        }
        Ok(hooks)
    }

    /// How many jobs wait because of rules, and whether one does because of this rule.
    pub fn behind(&self, key: &str, now: u64) -> io::Result<(usize, bool)> {
        let (mut count, mut is_behind) = (0, false);
        for name in names(&self.waiting)? {
            if let Some(name) = Name::parse(&name).filter(|name| name.due <= now) {
                count += usize::from(name.key.is_some());
                is_behind |= name.key == Some(key);
            }
        }
        Ok((count, is_behind))
    }

    /// When the first waiting job may run, even if another worker has it.
    pub fn next_turn(&self, turn: Turn) -> io::Result<Option<u64>> {
        let mut turns = Turns::new(turn);
        let mut next: Option<u64> = None;
        for name in names(&self.waiting)? {
            let Some(name) = Name::parse(&name) else {
                continue;
            };
            if next.is_some_and(|next| next <= name.due) {
                break;
            }
            let at = turns.of(&name);
            next = Some(next.map_or(at, |next| next.min(at)));
        }
        Ok(next)
    }

    /// Takes a job that is due and may run, if there is one that no other worker has.
    pub fn claim(&self, now: u64, turn: Turn) -> io::Result<Option<(Claim, JobRecord, Vec<u8>)>> {
        let mut turns = Turns::new(turn);
        for name in names(&self.waiting)? {
            let Some(parsed) = Name::parse(&name).filter(|parsed| parsed.due <= now) else {
                break;
            };
            if turns.of(&parsed) > now {
                continue;
            }
            let Ok(file) = plain::open_in(&self.waiting, &name) else {
                continue;
            };
            // Another worker may have finished it since the folder was read, or given it
            // another name.
            if file.try_lock().is_err() || !is_named(&self.waiting, &file, &name)? {
                continue;
            }
            match read(&file) {
                Ok((record, payload)) => {
                    let claim = Claim {
                        lock: file,
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

    /// Removes a job that waits. False if a worker is running it.
    pub fn forget_waiting(&self, id: &str) -> io::Result<bool> {
        let missing = io::ErrorKind::NotFound;
        let names = names(&self.waiting)?;
        let name = names.iter().find(|name| id_of(name) == id).ok_or(missing)?;
        let file = plain::open_in(&self.waiting, name)?;
        if file.try_lock().is_err() {
            return Ok(false);
        }
        unlinkat(&self.waiting, name.as_str(), AtFlags::empty())?;
        Ok(true)
    }
}

/// Whether the folder still has this file under this name.
pub(super) fn is_named(dir: &OwnedFd, file: &File, name: &str) -> io::Result<bool> {
    let (open, now) = (fstat(file)?, plain::open_in(dir, name));
    Ok(match now {
        Ok(now) => fstat(now)?.st_ino == open.st_ino && open.st_nlink > 0,
        Err(_) => false,
    })
}

/// When the job in this file is due.
pub(super) fn due(name: &str) -> Option<u64> {
    Name::parse(name).map(|name| name.due)
}
