//! One job, from the moment it is taken until it is done, kept or postponed.

use std::io;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, WaitStatus};
use serde::Deserialize;

use crate::base::clock;
use crate::gearman::binary::{Packet, kind, request};
use crate::worker::connection::pause;
use crate::worker::message::{Ended, JobHeader, Message, unhex};
use crate::worker::php::{Php, kill_tree};
use crate::worker::presence::Activity;
use crate::worker::serve::Worker;
use crate::worker::store::{self, Claim, Record, Try};
use crate::worker::verdict::{Verdict, judge};

/// Times that a job may find its PHP stale before it runs anyway.
const MOST_RENEWALS: u32 = 3;

const LONGEST_RETRY: u64 = 3600;

pub(super) enum From {
    Server { index: usize, generation: u64 },
    Claim(Box<Claim>),
}

pub(super) struct Current {
    pub record: Record,
    pub from: From,
    /// A claimed job's is with its claim.
    payload: Vec<u8>,
    /// When PHP got it.
    begun: Option<Instant>,
    begun_at: u64,
    pub pid: Option<Pid>,
    said: Option<Message>,
    ended: Option<Ended>,
    killed: Option<String>,
    renewals: u32,
    /// It is over, but could not be kept: tried again then.
    unkept: Option<(Verdict, Instant, u32)>,
}

impl Current {
    fn payload(&self) -> &[u8] {
        match &self.from {
            From::Claim(claim) => &claim.payload,
            From::Server { .. } => &self.payload,
        }
    }

    pub fn process_ended(&mut self, pid: Pid, status: WaitStatus) {
        self.ended.get_or_insert(Ended {
            pid: pid.as_raw_nonzero().get(),
            code: status.exit_status(),
            signal: status.terminating_signal(),
        });
    }

    /// Back to where PHP has not got it.
    fn again(&mut self) {
        self.begun = None;
        self.pid = None;
        self.said = None;
        self.ended = None;
        self.killed = None;
    }
}

/// What the worker wants to know of a payload; the plugin's do_job reads the rest.
#[derive(Deserialize)]
struct Peek {
    hook: Option<String>,
    blog_id: Option<serde_json::Value>,
}

impl Worker<'_> {
    /// A job from a server.
    pub fn take(&mut self, index: usize, packet: &Packet) -> io::Result<()> {
        let [handle, function, unique, payload] = packet.fields(4)?[..] else {
            return Ok(());
        };
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let peek: Option<Peek> = serde_json::from_slice(payload).ok();
        let now = clock::millis(SystemTime::now());
        let connection = &self.connections[index];
        let record = Record {
            id: store::new_id(now),
            name: self.args.name.clone(),
            site: self.args.site.to_string_lossy().into_owned(),
            server: connection.server.to_string(),
            function: text(function),
            unique: text(unique),
            handle: text(handle),
            blog: peek.as_ref().and_then(|p| p.blog_id.as_ref()?.as_u64()),
            hook: peek.and_then(|p| p.hook),
            size: payload.len(),
            whole: true,
            taken: now,
            tries: Vec::new(),
        };
        let from = From::Server {
            index,
            generation: connection.generation,
        };
        self.was_postponed = false;
        self.begin(record, from, payload.to_vec());
        Ok(())
    }

    /// A job that waited for another try, if one is due. True where it was taken.
    pub fn take_due(&mut self) -> bool {
        let now = clock::millis(SystemTime::now());
        // Those and the queue take turns.
        if self.next_due.is_none_or(|due| due > now) || std::mem::take(&mut self.was_postponed) {
            return false;
        }
        if !self.may_take() {
            return false;
        }
        let claimed = self.store.claim(now);
        self.find_due();
        match claimed {
            Ok(Some(claim)) => {
                self.was_postponed = true;
                self.begin(
                    claim.record.clone(),
                    From::Claim(Box::new(claim)),
                    Vec::new(),
                );
                true
            }
            Ok(None) => {
                // Another worker is at it, and its file stays until it is done.
                self.next_due = self.next_due.map(|due| due.max(now + 1000));
                false
            }
            Err(e) => {
                self.next_due = Some(now + 10_000);
                self.log
                    .line(&format!("take a job that waits for another try: {e}"));
                false
            }
        }
    }

    fn begin(&mut self, record: Record, from: From, payload: Vec<u8>) {
        self.current = Some(Current {
            record,
            from,
            payload,
            begun: None,
            begun_at: 0,
            pid: None,
            said: None,
            ended: None,
            killed: None,
            renewals: 0,
            unkept: None,
        });
        self.presence.set(Activity::Busy);
        self.work(Instant::now());
    }

    /// One step with a job at hand. False where the worker is to end.
    pub fn work(&mut self, now: Instant) -> bool {
        self.notice_lost_parent();
        let Some(job) = &mut self.current else {
            return true;
        };
        if let Some((_, again, _)) = &job.unkept {
            if self.stopping.is_some() {
                self.give_up();
                return false;
            }
            if now >= *again {
                self.keep_again();
            }
            return true;
        }
        if let Some(ended) = job.ended {
            let said = job.said.take();
            let verdict = judge(said, ended, job.killed.as_deref());
            self.over(verdict, now);
            return true;
        }
        if let Some(begun) = job.begun {
            let limit = self.options.job_limit();
            if !limit.is_zero()
                && now >= begun + limit
                && job.killed.is_none()
                && let Some(pid) = job.pid
            {
                job.killed = Some(format!("it ran longer than {} s", limit.as_secs()));
                kill_tree(pid);
            }
            if self.stopping.is_some_and(|until| now >= until) {
                self.give_up();
                return false;
            }
            return true;
        }
        if self.stopping.is_some() {
            // It has not begun; who gives it to another worker is the server.
            self.current = None;
            self.end_php();
            return false;
        }
        self.give(now);
        true
    }

    /// Hands the job to PHP as soon as there is one fit for it.
    fn give(&mut self, now: Instant) {
        if self.php.as_ref().is_some_and(|php| php.gone.is_some()) {
            self.end_php();
        }
        let renewals = self.current.as_ref().map_or(0, |job| job.renewals);
        if renewals < MOST_RENEWALS
            && let Some(why) = self.stale(now)
        {
            self.log.line(&format!("PHP is renewed: {why}"));
            self.end_php();
            if let Some(job) = &mut self.current {
                job.renewals += 1;
            }
        }
        let Some(php) = &mut self.php else {
            self.boot(now);
            return;
        };
        if php.ready.is_none() {
            self.check_boot_time(now);
            return;
        }
        let Some(job) = &mut self.current else { return };
        php.output.begin_job();
        let header = JobHeader {
            handle: &job.record.handle,
            function: &job.record.function,
            unique: &job.record.unique,
            size: job.payload().len(),
        };
        if let Err(e) = php.give(&header, job.payload()) {
            self.boot_failed(&format!("give a job to the runner: {e}"));
            return;
        }
        php.jobs += 1;
        job.begun = Some(now);
        job.begun_at = clock::millis(SystemTime::now());
        let forks = php.ready.as_ref().is_some_and(|booted| booted.fork);
        if !forks {
            job.pid = Some(php.pid);
        }
        self.presence.begin_job();
    }

    /// What PHP says while it has a job.
    pub fn hear_of_job(&mut self, message: Message) {
        let Some(job) = self.current.as_mut().filter(|job| job.begun.is_some()) else {
            return;
        };
        let packet = match message {
            Message::Started(pid) => {
                job.pid = Pid::from_raw(pid);
                return;
            }
            Message::Ended(ended) => {
                job.ended = Some(ended);
                return;
            }
            Message::Status(done, of) => Some((
                kind::WORK_STATUS,
                vec![done.to_string().into_bytes(), of.to_string().into_bytes()],
            )),
            Message::Data(text) => unhex(&text).map(|data| (kind::WORK_DATA, vec![data])),
            Message::Warning(text) => unhex(&text).map(|data| (kind::WORK_WARNING, vec![data])),
            said => {
                job.said = Some(said);
                return;
            }
        };
        if let (Some((kind, data)), From::Server { index, generation }) = (packet, &job.from) {
            let mut fields = vec![job.record.handle.as_bytes()];
            fields.extend(data.iter().map(Vec::as_slice));
            let (index, generation, bytes) = (*index, *generation, request(kind, &fields));
            self.tell(index, generation, &bytes);
        }
    }

    /// True where it was said, as far as one can know.
    fn tell(&mut self, index: usize, generation: u64, bytes: &[u8]) -> bool {
        let connection = &mut self.connections[index];
        if !connection.up() || connection.generation != generation {
            return false;
        }
        match connection.send(bytes) {
            Ok(()) => true,
            Err(e) => {
                if let Some(text) = connection.lost(&e) {
                    self.log.line(&text);
                }
                false
            }
        }
    }

    /// The PHP parent is gone. Its child works on, and is ours to wait for; but
    /// if it never got so far as to name one, there is none.
    fn notice_lost_parent(&mut self) {
        let gone = self.php.as_ref().is_some_and(|php| php.gone.is_some());
        let Some(job) = self
            .current
            .as_mut()
            .filter(|job| gone && job.begun.is_some())
        else {
            return;
        };
        let alive = job
            .pid
            .is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok());
        if job.ended.is_none() && !alive {
            job.ended = Some(Ended {
                pid: 0,
                code: None,
                signal: None,
            });
        }
    }

    /// The job's process is gone; this is how it went.
    fn over(&mut self, verdict: Verdict, now: Instant) {
        // A PHP for one job, and a parent that died, are over with it.
        let lives = |php: &Php| php.gone.is_none() && php.ready.as_ref().is_some_and(|b| b.fork);
        let said = self.last_words();
        if !self.php.as_ref().is_some_and(lives) {
            self.end_php();
        }
        match &verdict {
            Verdict::Stale(options) => {
                self.site.options_changed(options, &mut self.log);
                self.log
                    .line(&format!("PHP is renewed: {} changed", options.join(", ")));
                self.end_php();
                if let Some(job) = &mut self.current {
                    job.again();
                }
                return self.give(now);
            }
            Verdict::Unready(why) => {
                self.boot_failed(why);
                if let Some(job) = &mut self.current {
                    job.again();
                }
                return;
            }
            _ => {}
        }
        let Some(job) = &mut self.current else { return };
        let ms = job
            .begun
            .map_or(0, |begun| begun.elapsed().as_millis() as u64);
        if let Verdict::Failed(error) | Verdict::Died(error) = &verdict {
            job.record.tries.push(Try {
                at: job.begun_at,
                ms,
                error: error.clone(),
                output: said,
            });
        }
        self.report(&verdict, ms);
        self.settle(verdict, 0);
    }

    fn last_words(&mut self) -> String {
        let Some(php) = &mut self.php else {
            return String::new();
        };
        let log = &mut self.log;
        php.output
            .read(&mut |line| log.line(&format!("php: {line}")));
        php.output.tail()
    }

    /// The line a job; never its arguments.
    fn report(&mut self, verdict: &Verdict, ms: u64) {
        let Some(job) = &self.current else { return };
        let record = &job.record;
        let result = match verdict {
            Verdict::Done => "done".to_string(),
            Verdict::Failed(why) => format!("failed: {why}"),
            Verdict::Died(why) => format!("died: {why}"),
            Verdict::Stale(_) | Verdict::Unready(_) => return,
        };
        let hook = record.hook.as_deref().unwrap_or("-");
        let blog = record
            .blog
            .map_or(String::new(), |blog| format!(" blog={blog}"));
        let attempt = match record.tries.len() + usize::from(*verdict == Verdict::Done) {
            0 | 1 => String::new(),
            n => format!(" try={n}"),
        };
        let line = format!(
            "job hook={hook}{blog} handle={} ms={ms}{attempt} {result}",
            record.handle
        );
        self.log.line(&line);
    }

    /// First on disk what has to be kept, then the answer to the server.
    fn settle(&mut self, verdict: Verdict, failures: u32) {
        if let Err(e) = self.store_away(&verdict) {
            let wait = pause(failures, Duration::from_secs(1), Duration::from_secs(30));
            if failures == 0 {
                self.log.line(&format!(
                    "keep the job in {}: {e}; held until it can be kept",
                    self.paths.failed.display()
                ));
            }
            if let Some(job) = &mut self.current {
                job.unkept = Some((verdict, Instant::now() + wait, failures + 1));
            }
            return self.presence.set(Activity::Broken);
        }
        let Some(job) = self.current.take() else {
            return;
        };
        self.idle_since = Instant::now();
        self.stay_warm();
        self.presence.now.jobs += 1;
        self.presence.now.failed += u64::from(verdict != Verdict::Done);
        match &job.from {
            From::Claim(claim) => {
                if let Err(e) = self.store.settle(claim) {
                    self.log.line(&format!(
                        "take the job {} off the waiting: {e}",
                        job.record.handle
                    ));
                }
            }
            From::Server { index, generation } => {
                let answer = match verdict {
                    Verdict::Failed(_) => request(kind::WORK_FAIL, &[job.record.handle.as_bytes()]),
                    _ => request(kind::WORK_COMPLETE, &[job.record.handle.as_bytes(), b"1"]),
                };
                self.answer(*index, *generation, answer, &job.record.handle);
            }
        }
        self.find_due();
        // While jobs come in a row nobody needs to see the moments between them.
        if !self.asking() {
            self.presence.set(Activity::Idle);
        }
    }

    /// "Done" and the question for the next job in one write: in two, each
    /// would wait for the other's acknowledgement.
    fn answer(&mut self, index: usize, generation: u64, answer: Vec<u8>, handle: &str) {
        let due = self
            .next_due
            .is_some_and(|due| due <= clock::millis(SystemTime::now()));
        let connection = &self.connections[index];
        let same = connection.up() && connection.generation == generation;
        if same && !due && !self.others_wait(index) && self.may_take() {
            return self.ask_at(index, Some(answer), Instant::now());
        }
        if self.tell(index, generation, &answer) {
            let connection = &mut self.connections[index];
            connection.state = crate::worker::connection::State::Awake;
        } else {
            self.log.line(&format!(
                "the job server left before the job {handle} was over: it may run again"
            ));
        }
    }

    fn store_away(&mut self, verdict: &Verdict) -> io::Result<()> {
        let Some(job) = &self.current else {
            return Ok(());
        };
        let record = &job.record;
        let keep = match verdict {
            Verdict::Failed(_) => true,
            Verdict::Died(_) => {
                record.tries.len() > self.options.job_retries as usize
                    || self.store.waiting()? >= store::MOST_WAITING
            }
            _ => return Ok(()),
        };
        if keep {
            let dropped = self.store.keep(record, job.payload())?;
            self.log.line(&format!(
                "kept as {} in {}",
                record.id,
                self.paths.failed.display()
            ));
            for id in dropped {
                self.log.line(&format!(
                    "dropped the failed job {id}: no more than {} are kept",
                    store::MOST_KEPT
                ));
            }
            return Ok(());
        }
        let exponent = record.tries.len().saturating_sub(1) as u32;
        let seconds = self
            .args
            .retry_pause
            .saturating_mul(5u64.saturating_pow(exponent));
        let wait = pause(
            0,
            Duration::from_secs(seconds),
            Duration::from_secs(LONGEST_RETRY),
        );
        let due = clock::millis(SystemTime::now() + wait);
        self.store.postpone(record, job.payload(), due)?;
        self.log
            .line(&format!("tried again at {}", clock::utc(due)));
        Ok(())
    }

    fn keep_again(&mut self) {
        let unkept = self.current.as_mut().and_then(|job| job.unkept.take());
        if let Some((verdict, _, failures)) = unkept {
            self.settle(verdict, failures);
        }
    }

    pub fn find_due(&mut self) {
        self.next_due = self.store.next_due().unwrap_or(None);
    }

    pub fn job_wakes_at(&self, job: &Current) -> Option<Instant> {
        if let Some((_, again, _)) = &job.unkept {
            return Some(*again);
        }
        let limit = self.options.job_limit();
        let late = job
            .begun
            .filter(|_| !limit.is_zero() && job.killed.is_none())
            .map(|begun| begun + limit);
        late.into_iter().chain(self.stopping).min()
    }
}
