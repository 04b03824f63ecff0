//! One thread that looks at the queues when somebody wants to know, for all who do. Its
//! answer comes over a channel, and a bell wakes up the loop that serves.

use std::cell::OnceCell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::event::{EventfdFlags, eventfd};

use crate::queue::probe::{QueueProbe, Snapshot};
use crate::report::dashboard::{self, History, View};
use crate::report::prometheus;

/// The state is looked at once in this time for requests, however many there are.
const FRESH: Duration = Duration::from_secs(1);
const RECENT: Duration = Duration::from_secs(20);
/// How often while somebody watches.
pub const EVERY: Duration = Duration::from_secs(2);

/// Finds out what to look at: sites come and go.
pub type Probe = dyn Fn() -> Result<QueueProbe> + Send;

/// What was seen last.
pub struct Seen {
    pub at: Instant,
    snapshot: Snapshot,
    pub view: View,
    /// What fewer ask for, once somebody has.
    status: OnceCell<String>,
    metrics: OnceCell<String>,
}

impl Seen {
    fn new(snapshot: Snapshot, history: &History) -> Seen {
        Seen {
            view: View::new(&snapshot, history),
            at: Instant::now(),
            snapshot,
            status: OnceCell::new(),
            metrics: OnceCell::new(),
        }
    }

    /// The same document as `status --json`.
    pub fn status(&self) -> &str {
        self.status
            .get_or_init(|| dashboard::status(&self.snapshot))
    }

    pub fn metrics(&self) -> &str {
        self.metrics
            .get_or_init(|| prometheus::text(&self.snapshot))
    }
}

pub struct Watcher {
    ask: SyncSender<()>,
    seen: Receiver<Seen>,
    bell: Arc<OwnedFd>,
    latest: Option<Seen>,
    /// It has been asked, and has not answered yet.
    looks: bool,
}

impl Watcher {
    /// # Errors
    /// If there is nothing to look at, such as a site that nobody knows.
    pub fn start(probe: Box<Probe>) -> Result<Watcher> {
        let mut last = probe()?;
        let (ask, asked) = mpsc::sync_channel::<()>(1);
        let (tell, seen) = mpsc::sync_channel(1);
        let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let ring = Arc::clone(&bell);
        let mut history = History::default();
        std::thread::Builder::new()
            .name("watcher".into())
            .spawn(move || {
                while asked.recv().is_ok() {
                    // What was known of the sites is better than nothing.
                    last = probe().unwrap_or(last);
                    let snapshot = last.snapshot();
                    history.add(&snapshot);
                    if tell.send(Seen::new(snapshot, &history)).is_err() {
                        break;
                    }
                    let _ = rustix::io::write(&ring, &1u64.to_ne_bytes());
                }
            })?;
        Ok(Watcher {
            ask,
            seen,
            bell,
            latest: None,
            looks: false,
        })
    }

    pub fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// What was seen since the last call. An error if the watcher is gone.
    pub fn news(&mut self) -> Result<bool, mpsc::TryRecvError> {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.bell, &mut count);
        match self.seen.try_recv() {
            Ok(seen) => {
                self.latest = Some(seen);
                self.looks = false;
                Ok(true)
            }
            Err(mpsc::TryRecvError::Empty) => Ok(false),
            Err(gone) => Err(gone),
        }
    }

    pub fn latest(&self) -> Option<&Seen> {
        self.latest.as_ref()
    }

    /// What was seen a moment ago; failing that, it looks, and rings the bell.
    pub fn fresh(&mut self, now: Instant) -> Option<&Seen> {
        let is_fresh = |seen: &Seen| now.saturating_duration_since(seen.at) < FRESH;
        if !self.latest.as_ref().is_some_and(is_fresh) {
            self.look();
            return None;
        }
        self.latest()
    }

    /// What was seen some moments ago is good enough for a page, which gets events. It
    /// looks anyway.
    pub fn recent(&mut self, now: Instant) -> Option<&Seen> {
        self.fresh(now);
        let is_recent = |seen: &&Seen| now.saturating_duration_since(seen.at) < RECENT;
        self.latest().filter(is_recent)
    }

    /// Nobody has asked for a while: with many sites, it is megabytes.
    pub fn forget(&mut self, now: Instant) {
        let is_old = |seen: &Seen| now.saturating_duration_since(seen.at) >= RECENT;
        if self.latest.as_ref().is_some_and(is_old) {
            self.latest = None;
        }
    }

    pub fn look(&mut self) {
        if !self.looks {
            self.looks = self.ask.try_send(()).is_ok();
        }
    }

    /// When those who watch get something new; `None` while it looks.
    pub fn due(&self) -> Option<Instant> {
        let due = self.latest.as_ref().map(|seen| seen.at + EVERY);
        due.filter(|_| !self.looks)
    }
}
