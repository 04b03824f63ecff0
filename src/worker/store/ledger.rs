//! Which of the jobs on disk the site's database has as well. What is on disk is lost
//! with a container or an autoscaled host; so each failed job, and each that waits for a
//! retry, is also a row of a table that all worker hosts see (`templates/store.php`).
//!
//! A retry is its host's, until it is late: then another host may take it. Failed jobs
//! are copied to all hosts, and are over for all when one deletes or repeats them.
//!
//! In the folder `table`, an empty file `VERSION~ID` says what the table has: `DUE~ID` a
//! retry, `failed~ID` a failed job, `~ID` perhaps one of them. A file there whose job is
//! not on disk any more is one that is over.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, fsync, openat, unlinkat};

use crate::base::clock::now_ms;
use crate::worker::message::{StoreAnswer, StoreClaim, StoreOrder, StoredJob, TakenJob, unhex};
use crate::worker::plain;
use crate::worker::store::folder_of_table::{
    LOOK, MADE, MARKS, Schedule, WHY, host, lock_file, schedule,
};
use crate::worker::store::waiting::{Claim, Name};
use crate::worker::store::{
    JobRecord, JobStore, MAX_KEPT, REFUSED, all_names, file_name, folder, header, id_of, names,
    write_file,
};

/// Larger jobs stay on disk alone: databases limit the length of a query.
const MAX_SHARED: usize = 4 << 20;
/// How much goes into one order, in bytes and jobs.
const BATCH: usize = 4 << 20;
const MOST: usize = 100;

const FAILED: &str = "failed";

pub struct Ledger {
    store: JobStore,
    marks: OwnedFd,
    host: String,
    grace: u64,
    /// What the database refused.
    unfit: BTreeSet<String>,
}

/// What has become of a job on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It is not on disk.
    Nothing,
    Waiting {
        due: u64,
    },
    Failed,
}

/// An order, the texts of its jobs, and what has to stay locked until the answer.
#[derive(Default)]
pub struct Batch {
    pub order: StoreOrder,
    pub bodies: Vec<u8>,
    /// There is more for another order.
    pub has_more: bool,
    /// The job goes on being marked until its file is gone.
    is_of_job: bool,
    _locks: Vec<File>,
}

impl Kept {
    fn version(self) -> String {
        match self {
            Kept::Nothing => String::new(),
            Kept::Waiting { due } => format!("{due:013}"),
            Kept::Failed => FAILED.to_string(),
        }
    }
}

impl Ledger {
    /// `grace`: how late a retry has to be for another host to take it, in milliseconds.
    pub fn open(failed: &Path, grace: u64) -> io::Result<Ledger> {
        let store = JobStore::open(failed)?;
        match rustix::fs::mkdirat(&store.failed, MARKS, Mode::from(0o700)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
        let marks = folder(&store.failed, MARKS)?;
        let host = host(&marks)?;
        Ok(Ledger {
            store,
            marks,
            host,
            grace,
            unfit: BTreeSet::new(),
        })
    }

    /// When the site's table has to be looked at, if its workers know.
    pub fn schedule_of(failed: &Path) -> Option<Schedule> {
        let failed = folder(CWD, failed).ok()?;
        schedule(&folder(&failed, MARKS).ok()?)
    }

    pub fn schedule(&self) -> Option<Schedule> {
        schedule(&self.marks)
    }

    pub fn set_schedule(&self, to: Schedule) {
        let text = format!("{} {}", to.last, to.next);
        let _ = write_file(&self.marks, LOOK, |file| file.write_all(text.as_bytes()));
    }

    /// Has the table looked at now.
    pub fn look_now(&self) {
        if let Some(was) = self.schedule() {
            let next = now_ms();
            self.set_schedule(Schedule { next, ..was });
        }
    }

    /// Does that if an administrator has deleted jobs that it still has.
    pub fn look_if_behind(&self) -> io::Result<()> {
        let marks = self.marks()?;
        // A job goes from one folder to the other when it is retried.
        let (first, second) = (self.on_disk()?, self.on_disk()?);
        let is_gone = |id: &String| !first.contains_key(id) && !second.contains_key(id);
        if marks.keys().any(is_gone) {
            self.look_now();
        }
        Ok(())
    }

    /// Held by the worker that looks for all of this host.
    pub fn lock(&self) -> Option<File> {
        let file = lock_file(&self.marks).ok()?;
        file.try_lock().ok().map(|()| file)
    }

    /// What the database last refused, for an administrator.
    pub fn refused(&self, why: &str) {
        let _ = match why {
            "" => unlinkat(&self.marks, WHY, AtFlags::empty()).map_err(io::Error::from),
            why => write_file(&self.marks, WHY, |file| file.write_all(why.as_bytes())),
        };
    }

    fn order(&self, now: u64) -> StoreOrder {
        StoreOrder {
            host: self.host.clone(),
            now,
            grace: self.grace,
            ..StoreOrder::default()
        }
    }

    /// Whether the table may have this job, so that others may take it.
    pub fn has(&self, id: &str) -> bool {
        self.marks().is_ok_and(|marks| marks.contains_key(id))
    }

    /// Asks for the right to run a job that is due until then; `None` if only this host
    /// knows the job.
    pub fn claim(&self, id: &str, claim: &Claim, now: u64, until: u64) -> Option<Batch> {
        let marks = self.marks().ok()?;
        let is_asked = has_failed(marks.get(id)?);
        let size = claim.size().ok().filter(|_| is_asked);
        let claim = StoreClaim {
            id: id.to_string(),
            until: until + self.grace,
            asked: size.unwrap_or(0),
        };
        Some(Batch {
            order: StoreOrder {
                claim: Some(claim),
                ..self.order(now)
            },
            ..Batch::default()
        })
    }

    /// What the table has to be told about a job that ran; `None` if nothing.
    pub fn of_job(
        &self,
        record: &JobRecord,
        payload: &[u8],
        kept: Kept,
        now: u64,
    ) -> io::Result<Option<Batch>> {
        let mut batch = Batch {
            order: self.order(now),
            is_of_job: true,
            ..Batch::default()
        };
        if kept == Kept::Nothing {
            batch.order.gone.push(record.id.clone());
            return Ok(self.has(&record.id).then_some(batch));
        }
        let mut text = serde_json::to_vec(record)?;
        text.push(b'\n');
        text.extend_from_slice(payload);
        if record.refused || text.len() > MAX_SHARED {
            return Ok(None);
        }
        if !self.has(&record.id) {
            self.mark("", &record.id)?;
        }
        self.add(&mut batch, &record.id, kept, false, &text);
        Ok(Some(batch))
    }

    fn add(&self, batch: &mut Batch, id: &str, kept: Kept, asked: bool, text: &[u8]) {
        let due = match kept {
            Kept::Waiting { due } => due,
            Kept::Nothing | Kept::Failed => 0,
        };
        batch.bodies.extend_from_slice(text);
        batch.order.put.push(StoredJob {
            id: id.to_string(),
            state: u8::from(kept == Kept::Failed),
            due,
            until: due + self.grace,
            size: text.len(),
            asked,
        });
    }

    /// Everything that the table does not have yet, and whose end it does not know; and
    /// the question what others have left.
    pub fn round(&self, now: u64) -> io::Result<Batch> {
        let marks = self.marks()?;
        let first = self.on_disk()?;
        // A retry gets another name when it has failed again, and a list of the folder that
        // is read meanwhile may have neither.
        let second = self.on_disk()?;
        let mut batch = Batch {
            order: self.order(now),
            ..Batch::default()
        };
        for id in marks.keys() {
            match first.contains_key(id) || second.contains_key(id) {
                true => batch.order.have.push(id.clone()),
                false => batch.order.gone.push(id.clone()),
            }
        }
        for (id, (kept, name)) in &second {
            let has = |versions: &Vec<String>| versions.contains(&kept.version());
            if marks.get(id).is_some_and(has) || self.unfit.contains(id) {
                continue;
            }
            if batch.order.put.len() >= MOST || batch.bodies.len() >= BATCH {
                batch.has_more = true;
                break;
            }
            let dir = match kept {
                Kept::Failed => &self.store.failed,
                Kept::Nothing | Kept::Waiting { .. } => &self.store.waiting,
            };
            let Ok(file) = plain::open_in(dir, name) else {
                continue;
            };
            // Whoever runs it tells of it.
            if *kept != Kept::Failed && file.try_lock().is_err() {
                continue;
            }
            let mut text = Vec::new();
            if file.metadata()?.len() > MAX_SHARED as u64 {
                continue;
            }
            (&file).take(MAX_SHARED as u64 + 1).read_to_end(&mut text)?;
            if header(&mut BufReader::new(text.as_slice()), &mut 0).is_err() {
                continue;
            }
            if !marks.contains_key(id) {
                self.mark("", id)?;
            }
            let asked = *kept != Kept::Failed && marks.get(id).is_some_and(|it| has_failed(it));
            self.add(&mut batch, id, *kept, asked, &text);
            batch._locks.push(file);
        }
        batch.order.look = true;
        batch.order.room = BATCH;
        Ok(batch)
    }

    /// Does what the answer to an order says. Returns how many retries are this host's now,
    /// and how many jobs are gone from here.
    pub fn settle(&mut self, batch: Batch, answer: &StoreAnswer) -> io::Result<(usize, usize)> {
        let told: BTreeSet<&String> = answer.put.iter().collect();
        for job in &batch.order.put {
            let kept = match job.state {
                0 => Kept::Waiting { due: job.due },
                _ => Kept::Failed,
            };
            if told.contains(&job.id) {
                self.mark_only(&kept.version(), &job.id)?;
            } else if !answer.error.is_empty() && !answer.lost.contains(&job.id) {
                self.unfit.insert(job.id.clone());
            }
        }
        let has_table = !answer.put.is_empty() || !answer.take.is_empty();
        if has_table && plain::open_in(&self.marks, MADE).is_err() {
            write_file(&self.marks, MADE, |_| Ok(()))?;
        }
        let is_of_job = batch.is_of_job;
        drop(batch);
        if !is_of_job {
            for id in &answer.gone {
                self.unmark(id)?;
            }
        }
        for id in &answer.absent {
            self.unmark(id)?;
        }
        let (mut taken, mut dropped) = (0, 0);
        for id in &answer.lost {
            dropped += usize::from(self.drop_local(id)?);
        }
        for job in &answer.take {
            // What is no job is none of ours.
            taken += usize::from(self.take(job).unwrap_or(false));
        }
        Ok((taken, dropped))
    }

    fn take(&self, job: &TakenJob) -> io::Result<bool> {
        let damaged = || io::Error::from(io::ErrorKind::InvalidData);
        let body = unhex(&job.body).ok_or_else(damaged)?;
        let record = header(&mut body.as_slice(), &mut 0)?;
        let name = file_name(&job.id)?;
        if record.id != job.id || record.refused || job.id.ends_with(REFUSED) {
            return Err(damaged());
        }
        // As it is there, byte for byte: its size tells whether it is still the same.
        if job.state == 0 {
            // It is marked before a worker can take it: one that has no mark runs unasked.
            let _held = self.store.postpone_text(&body, job.due, &job.id)?;
            let kept = Kept::Waiting { due: job.due };
            self.mark_only(&kept.version(), &job.id)?;
            return Ok(true);
        }
        let kept = names(&self.store.failed)?;
        let is_oldest = kept
            .first()
            .is_none_or(|oldest| job.id.as_str() < id_of(oldest));
        // The oldest are dropped, everywhere: it is marked, and not there.
        if kept.len() < MAX_KEPT || !is_oldest {
            self.store.make_room(body.len() as u64)?;
            write_file(&self.store.failed, &name, |file| file.write_all(&body))?;
        }
        self.mark_only(FAILED, &job.id)?;
        Ok(false)
    }

    /// It is another host's, or over. Unless it runs here. Returns whether a failed job was
    /// here.
    pub fn drop_local(&self, id: &str) -> io::Result<bool> {
        let waiting = names(&self.store.waiting)?;
        let own: Vec<_> = waiting.iter().filter(|name| id_of(name) == id).collect();
        let open = |name: &&String| plain::open_in(&self.store.waiting, name).ok();
        let files: Vec<File> = own.iter().filter_map(open).collect();
        if files.iter().any(|file| file.try_lock().is_err()) {
            return Ok(false);
        }
        self.unmark(id)?;
        for name in own {
            let _ = unlinkat(&self.store.waiting, name.as_str(), AtFlags::empty());
        }
        let failed = unlinkat(&self.store.failed, file_name(id)?, AtFlags::empty());
        Ok(failed.is_ok())
    }

    /// The jobs on disk that the table is to have, by id, with their files.
    fn on_disk(&self) -> io::Result<BTreeMap<String, (Kept, String)>> {
        let mut found = BTreeMap::new();
        for name in names(&self.store.waiting)? {
            if let Some(parsed) = Name::parse(&name)
                && !parsed.is_new
                && file_name(parsed.id).is_ok()
            {
                let kept = Kept::Waiting { due: parsed.due };
                found.insert(parsed.id.to_string(), (kept, name.clone()));
            }
        }
        // Afterwards, as a retry that has failed for good is there before it is not here.
        for name in names(&self.store.failed)? {
            let id = id_of(&name);
            if !id.ends_with(REFUSED) && file_name(id).is_ok() {
                found.insert(id.to_string(), (Kept::Failed, name.clone()));
            }
        }
        Ok(found)
    }

    /// What the table has, by id.
    fn marks(&self) -> io::Result<BTreeMap<String, Vec<String>>> {
        let mut marks: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for name in all_names(&self.marks)? {
            if let Some((version, id)) = name.split_once('~') {
                marks
                    .entry(id.to_string())
                    .or_default()
                    .push(version.to_string());
            }
        }
        Ok(marks)
    }

    fn mark(&self, version: &str, id: &str) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let name = format!("{version}~{id}");
        openat(&self.marks, name.as_str(), flags, Mode::from(0o600))?;
        Ok(fsync(&self.marks)?)
    }

    fn mark_only(&self, version: &str, id: &str) -> io::Result<()> {
        self.mark(version, id)?;
        self.unmark_but(Some(version), id)
    }

    /// What is another host's is unmarked before its file goes: what is marked and has none
    /// is over.
    pub fn unmark(&self, id: &str) -> io::Result<()> {
        self.unmark_but(None, id)
    }

    fn unmark_but(&self, but: Option<&str>, id: &str) -> io::Result<()> {
        for name in all_names(&self.marks)? {
            if let Some((version, of)) = name.split_once('~')
                && of == id
                && Some(version) != but
            {
                let _ = unlinkat(&self.marks, name.as_str(), AtFlags::empty());
            }
        }
        Ok(())
    }
}

/// Whether the table has the job as a failed one, for all that these versions say.
fn has_failed(versions: &[String]) -> bool {
    let is_known = |version: &String| version.is_empty() || version == FAILED;
    versions.iter().all(is_known)
}
