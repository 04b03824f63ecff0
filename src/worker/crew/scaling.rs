//! Fits the number of a crew's members to the load, if it has a range of them.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::base::budget;
use crate::worker::function_of;
use crate::worker::log::SiteLog;
use crate::worker::options::WorkerArgs;
use crate::worker::scale::{HeldBy, Limits, Scaler};
use crate::worker::scale_watch::{Own, Watch};

/// How often it looks while there are members. Crews of one host look at different times,
/// so that not all of them take the same free part of the budget.
const EVERY: Duration = Duration::from_millis(900);
const SPREAD: u32 = 200;

/// Connections to job servers are closed after looking so often without a decision.
const PATIENCE: u32 = 60;

pub struct Scaling {
    scaler: Scaler,
    limits: Limits,
    watch: Watch,
    look_at: Instant,
    /// How often it looked since there was something to decide.
    idle_looks: u32,
    held_by: Option<HeldBy>,
    /// What the log said last of that.
    said: Option<HeldBy>,
}

impl Scaling {
    pub fn new(args: &WorkerArgs) -> Scaling {
        let limits = limits(args);
        Scaling {
            scaler: Scaler::new(limits),
            limits,
            watch: Watch::new(&args.servers, args.shared, &args.proc),
            look_at: Instant::now(),
            idle_looks: 0,
            held_by: None,
            said: None,
        }
    }

    /// Goes on with as many as there are, if they are within the range.
    pub fn go_on_with(&mut self, members: usize) {
        self.scaler
            .go_on_with(u32::try_from(members).unwrap_or(u32::MAX));
    }

    /// Goes on with other settings.
    pub fn adopt(&mut self, args: &WorkerArgs) {
        self.watch = Watch::new(&args.servers, args.shared, &args.proc);
        self.limits = limits(args);
        self.scaler.adopt(self.limits);
    }

    pub fn wanted(&self) -> u32 {
        self.scaler.now()
    }

    /// What keeps it from growing, although jobs wait.
    pub fn held_by(&self) -> Option<HeldBy> {
        self.held_by
    }

    /// The members have left.
    pub fn rest(&mut self) {
        self.scaler.reset();
        self.watch.rest();
        (self.held_by, self.said) = (None, None);
    }

    /// When it looks again, while there are members.
    pub fn due(&self) -> Option<Instant> {
        (!self.limits.workers.is_fixed()).then_some(self.look_at)
    }

    /// Looks, if that is due, and decides.
    pub fn look(&mut self, run: &Path, now: Instant, log: &SiteLog) {
        if self.due().is_none_or(|due| now < due) {
            return;
        }
        self.look_at = now + EVERY + Duration::from_millis((std::process::id() % SPREAD).into());
        let Ok(own) = Own::read(run) else { return };
        let before = self.scaler.now();
        if before == self.limits.workers.min && own.busy < before {
            // One of them takes the next job.
            self.held_by = None;
            self.idle_looks += 1;
            if self.idle_looks == PATIENCE {
                self.watch.rest();
            }
            return;
        }
        self.idle_looks = 0;
        let Some(function) = function_of(run) else {
            return;
        };
        let Some(seen) = self.watch.look(&function, &own, now) else {
            return;
        };
        let wanted = self.scaler.wanted(now, &seen);
        self.held_by = self.scaler.held_by();
        if let Some(why) = self.scaler.why() {
            log.line(&format!("{wanted} workers instead of {before}: {why}"));
            self.said = None;
            // More may be needed, as soon as the new ones are busy.
            self.look_at = now + EVERY / 2;
        } else if let Some(what) = self.held_by
            && self.said != Some(what)
        {
            log.line(&format!("no more than {wanted} workers: {what}"));
            self.said = Some(what);
        }
    }
}

fn limits(args: &WorkerArgs) -> Limits {
    let of_machine = || {
        let text = std::fs::read_to_string(args.proc.join("meminfo"));
        let memory = text
            .ok()
            .and_then(|text| budget::meminfo(&text, "MemTotal"));
        budget::of_machine(budget::cores(), memory.unwrap_or(1 << 20))
    };
    Limits {
        workers: args.workers,
        scale_after: args.options.clone().settings().scale_after.into(),
        quiet: Duration::from_secs(args.scale_quiet),
        budget: args.worker_budget.unwrap_or_else(of_machine),
    }
}
