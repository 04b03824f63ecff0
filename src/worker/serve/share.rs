//! What is on disk goes into the site's database too, so that other hosts see it: tells
//! PHP, which has the connection, and does what it answers. One order at a time.

use std::fs::File;
use std::time::{Duration, Instant};

use crate::base::clock::now_ms;
use crate::worker::Paths;
use crate::worker::events;
use crate::worker::heartbeat::Activity;
use crate::worker::job::{Job, JobSource};
use crate::worker::log::SiteLog;
use crate::worker::machine::JobEvent;
use crate::worker::memory::SiteMemory;
use crate::worker::message::{FirstEvent, StoreAnswer};
use crate::worker::options::WorkerArgs;
use crate::worker::serve::Worker;
use crate::worker::store::{Batch, Kept, Ledger, Schedule};

/// How long an answer may take, with the start of PHP.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often PHP is started for that alone, if nothing is known to be due: a thousand idle
/// sites must not notice.
const SELDOM: u64 = 6 * 3_600_000;
/// How soon to try again after a failure, and the longest pause.
const SOON: u64 = 5_000;
const AGAIN: u64 = 15 * 60_000;
/// How long a job without a time limit is this host's.
const UNLIMITED: Duration = Duration::from_secs(24 * 3600);

pub(super) struct Shared {
    ledger: Option<Ledger>,
    call: Option<Call>,
    calls: u64,
    /// When to think of looking.
    at: u64,
    failures: u32,
    /// How late a retry has to be for another host to take it, and how often a loaded PHP
    /// looks for such, in milliseconds.
    grace: u64,
}

enum Purpose {
    /// What became of the job is being stored.
    Result,
    /// May the job run here? `asked`: as an administrator of this host wants.
    Claim { due: u64, asked: bool },
    /// The lock makes this worker the only one of the host that looks.
    Look { _lock: File },
}

struct Call {
    number: u64,
    purpose: Purpose,
    batch: Batch,
    until: Instant,
    is_sent: bool,
}

impl Shared {
    pub fn new(args: &WorkerArgs, paths: &Paths, log: &SiteLog) -> Shared {
        let grace = args.retry_grace * 1000;
        let ledger = match Ledger::open(&paths.failed, grace) {
            Ok(ledger) => Some(ledger),
            Err(e) => {
                log.line(&format!("retries stay on this host alone: {e}"));
                None
            }
        };
        if let Some(ledger) = &ledger
            && ledger.schedule().is_none()
        {
            let now = now_ms();
            // A new host looks at once. The thousand sites of an old one have time.
            let wait = match SiteMemory::read(&paths.run) {
                Some(_) => some_of(SELDOM),
                None => 0,
            };
            let next = now + wait;
            ledger.set_schedule(Schedule { last: 0, next });
        }
        Shared {
            ledger,
            call: None,
            calls: 0,
            at: 0,
            failures: 0,
            grace,
        }
    }

    pub fn wakes_at(&self, is_busy: bool) -> Option<Instant> {
        match &self.call {
            Some(call) => Some(call.until),
            None if is_busy || self.ledger.is_none() => None,
            None => Some(Instant::now() + Duration::from_millis(self.at.saturating_sub(now_ms()))),
        }
    }

    fn begin(&mut self, purpose: Purpose, mut batch: Batch) {
        self.calls += 1;
        batch.order.call = self.calls;
        self.call = Some(Call {
            number: self.calls,
            purpose,
            batch,
            until: Instant::now() + PATIENCE,
            is_sent: false,
        });
    }

    /// When to look again after a failure.
    fn put_off(&mut self) {
        let wait = (SOON << self.failures.min(8)).min(AGAIN);
        self.failures += 1;
        self.plan(now_ms() + wait);
    }

    /// What has to be told, or was asked, may not come to its end.
    fn look_soon(&mut self) {
        let schedule = self.ledger.as_ref().and_then(Ledger::schedule);
        if let (Some(ledger), Some(was)) = (&self.ledger, schedule) {
            let next = now_ms() + self.grace;
            if was.next > next || was.next <= now_ms() {
                ledger.set_schedule(Schedule { next, ..was });
            }
        }
        self.at = 0;
    }

    /// An administrator has retried or deleted jobs in the table (`templates/admin`).
    pub fn look_now(&mut self) {
        if let Some(ledger) = &self.ledger {
            ledger.look_now();
        }
        self.at = 0;
    }

    /// One has perhaps retried or deleted jobs on disk.
    pub fn look_at_disk(&mut self) {
        if let Some(ledger) = &self.ledger {
            // If the folder cannot be read, it looks when it would have.
            let _ = ledger.look_if_behind();
        }
        self.at = 0;
    }

    /// PHP has loaded the site, and can look.
    pub fn php_is_ready(&mut self) {
        self.at = 0;
    }

    fn plan(&mut self, next: u64) {
        if let Some(ledger) = &self.ledger {
            let last = now_ms();
            ledger.set_schedule(Schedule { last, next });
        }
        self.at = 0;
    }
}

/// A random part of this time, so that not all sites do it at once.
fn some_of(time: u64) -> u64 {
    let mut random = [0; 8];
    let _ = getrandom::fill(&mut random);
    u64::from_be_bytes(random) % time.max(1)
}

impl Worker<'_> {
    pub(super) fn shares(&self) -> bool {
        self.shared.call.is_some()
    }

    /// The job's result is on disk. `None` while the table gets it.
    pub(super) fn share(&mut self, job: &Job, kept: Kept) -> Option<JobEvent> {
        if kept == Kept::Nothing && matches!(job.source, JobSource::Server(_)) {
            return Some(JobEvent::Stored);
        }
        let batch = self.shared.ledger.as_ref().and_then(|ledger| {
            let batch = ledger.of_job(&job.record, &job.payload, kept, now_ms());
            batch.unwrap_or_default()
        });
        let Some(batch) = batch.filter(|_| self.shared.call.is_none()) else {
            return Some(JobEvent::Stored);
        };
        self.shared.look_soon();
        self.shared.begin(Purpose::Result, batch);
        None
    }

    /// Whether the job may be given to PHP: not while another order is being answered, and
    /// not if another host may have taken it.
    pub(super) fn may_run(&mut self, job: &Job) -> bool {
        if self.shares() {
            return false;
        }
        let JobSource::Retry(claim) = &job.source else {
            return true;
        };
        let Some(ledger) = self.shared.ledger.as_ref().filter(|_| !job.is_claimed) else {
            return true;
        };
        let now = now_ms();
        let limit = job.time_limit(self.settings);
        let limit = limit.map_or(UNLIMITED, |limit| limit.after);
        let until = now + limit.as_millis() as u64;
        let Some(batch) = ledger.claim(&job.record.id, claim, now, until) else {
            return true;
        };
        let asked = batch.order.claim.as_ref().is_some_and(|it| it.asked > 0);
        let due = claim.due();
        self.shared.begin(Purpose::Claim { due, asked }, batch);
        false
    }

    /// Looks for what other hosts have left, if it is time.
    pub(super) fn look_for_others(&mut self, now: Instant) {
        let ms = now_ms();
        if self.shares() || ms < self.shared.at || self.servers.is_asking() {
            return;
        }
        // Unless something earlier is known.
        self.shared.at = ms + 1000;
        let Some(ledger) = &self.shared.ledger else {
            return;
        };
        let Some(Schedule { last, next }) = ledger.schedule() else {
            return;
        };
        let is_loaded = self.runtime.is_loaded() && !self.runtime.is_gone();
        if next > ms && !(is_loaded && last + self.shared.grace <= ms) {
            self.shared.at = match is_loaded {
                true => next.min(last + self.shared.grace),
                false => next.min(ms + self.shared.grace),
            };
            return;
        }
        let (Some(lock), true) = (ledger.lock(), now >= self.runtime.site.retry_at) else {
            return;
        };
        let round = ledger.round(ms);
        // In case that this process is killed meanwhile.
        self.shared.look_soon();
        match round {
            Ok(batch) => self.shared.begin(Purpose::Look { _lock: lock }, batch),
            Err(e) => {
                self.log.line(&format!("cannot read the jobs on disk: {e}"));
                self.shared.put_off();
            }
        }
    }

    /// Gives PHP the order that waits, and starts PHP for it.
    pub(super) fn go_on_sharing(&mut self, now: Instant) {
        let Some(call) = &mut self.shared.call else {
            return;
        };
        let is_gone = self.runtime.is_gone() || self.runtime.pid().is_none();
        if now >= call.until || call.is_sent && is_gone {
            if call.is_sent && !is_gone {
                self.log
                    .line("the site's database took too long: restarting PHP");
                self.runtime.end(&mut self.heartbeat);
            }
            let number = call.number;
            self.hear_of_table(
                StoreAnswer {
                    call: number,
                    away: true,
                    ..StoreAnswer::default()
                },
                now,
            );
            return;
        }
        if call.is_sent {
            return;
        }
        match self.runtime.order(&call.batch.order, &call.batch.bodies) {
            Ok(true) => call.is_sent = true,
            Ok(false) => {
                if let Err(why) = self.runtime.load(now, &mut self.heartbeat) {
                    self.suspend(&why, self.job.is_some());
                }
            }
            Err(_) => call.until = now,
        }
    }

    /// The answer to an order, or that there is none.
    pub(super) fn hear_of_table(&mut self, mut answer: StoreAnswer, now: Instant) {
        let Some(call) = self.shared.call.take_if(|call| call.number == answer.call) else {
            return;
        };
        let Some(ledger) = &mut self.shared.ledger else {
            return;
        };
        if !answer.away {
            ledger.refused(&answer.error);
        }
        let mut has_more = call.batch.has_more;
        match ledger.settle(call.batch, &answer) {
            Ok((taken, dropped)) => {
                // What was dropped may be nobody's, and can be taken now.
                has_more |= dropped > 0;
                if taken > 0 {
                    self.log.line(&format!(
                        "took {taken} retries over from the site's database"
                    ));
                }
            }
            Err(e) => self
                .log
                .line(&format!("cannot note what the site's database has: {e}")),
        }
        let failed = answer.away || !answer.error.is_empty();
        let look_again = self.note_events(answer.events.take());
        match call.purpose {
            Purpose::Result => {
                if failed {
                    self.shared.put_off();
                }
                self.advance(JobEvent::Stored, now);
            }
            Purpose::Claim { due, asked } => self.hear_of_claim(&answer, due, asked, now),
            Purpose::Look { .. } if failed => self.shared.put_off(),
            Purpose::Look { .. } => {
                let ms = now_ms();
                self.shared.failures = 0;
                let seldom = ms + SELDOM / 2 + some_of(SELDOM / 2);
                let next = match answer.next {
                    _ if has_more => ms,
                    Some(next) if next <= ms => ms,
                    Some(next) => next.max(ms + self.shared.grace).min(seldom),
                    None => seldom,
                };
                let next = look_again.map_or(next, |at| next.min(at));
                self.shared.plan(next);
            }
        }
        self.retries.look(&self.gate);
    }

    /// Publishes what PHP saw of WP-Cron. Returns when to look again for that alone.
    fn note_events(&self, first: Option<FirstEvent>) -> Option<u64> {
        match events::note(&self.paths.run, first?, now_ms()) {
            Ok(next) => next,
            Err(e) => {
                self.log
                    .line(&format!("cannot note which events are overdue: {e}"));
                None
            }
        }
    }

    fn hear_of_claim(&mut self, answer: &StoreAnswer, due: u64, asked: bool, now: Instant) {
        let Some(job) = &mut self.job else { return };
        // Without the database, it is this host's until it is late. But a failed job is
        // everybody's.
        let is_own = match answer.away {
            true => !asked && now_ms() < due + self.shared.grace,
            false => answer.claimed || !answer.error.is_empty(),
        };
        if is_own {
            job.is_claimed = true;
            return;
        }
        let (id, handle) = (job.record.id.clone(), job.record.handle.clone());
        let JobSource::Retry(claim) = &job.source else {
            return;
        };
        if !answer.away {
            if let Some(ledger) = &self.shared.ledger {
                let _ = ledger.unmark(&id);
            }
            self.retries.settle(claim, &handle);
        }
        self.advance(JobEvent::Lost, now);
        if let Some(ledger) = self.shared.ledger.as_ref().filter(|_| !answer.away) {
            self.log.line(&format!(
                "job handle={handle} is another host's by now, or over"
            ));
            let _ = ledger.drop_local(&id);
            if asked {
                // It may be nobody's, and wait for a host to take it.
                self.shared.look_now();
            }
        }
        if answer.away {
            self.retries.look_after(now_ms() + 10_000);
        }
        self.heartbeat.set(Activity::Idle);
    }
}
