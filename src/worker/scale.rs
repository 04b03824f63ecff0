//! How many workers a crew with a range should have: a pure decision from what was seen.
//!
//! It starts with the minimum. Once a job has waited too long and all workers are busy,
//! it doubles the number, as far as the host has room and the budget that all sites share
//! allows. After a quiet time it falls to what that time needed. While other sites' jobs
//! wait, it gives up what exceeds its fair share.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::worker::message::Connections;
use crate::worker::workers::Workers;

/// No worker is added while more processes than this, for each core, want to run.
const BUSIEST: f32 = 4.0;

/// Memory that stays free, for pages and the database, in kilobytes.
const SPARE_KB: u64 = 64 << 10;

/// The part of the database's connections that stays free for pages, and the least.
const SPARE_PART: u32 = 5;
const SPARE_CONNECTIONS: u32 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub workers: Workers,
    /// How long a job has to wait before there are more.
    pub scale_after: Duration,
    /// How long fewer have to be enough before there are fewer.
    pub quiet: Duration,
    /// How many jobs should run on this host at a time, over all sites.
    pub budget: u32,
}

/// What was seen at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    /// Members that run a job.
    pub busy: u32,
    /// Jobs that the crew has ever begun.
    pub begun: u64,
    /// Jobs of the site that no worker runs yet.
    pub waiting: u64,
    /// The other sites that have jobs.
    pub others: Vec<Other>,
    pub room: Room,
}

/// Another site's jobs, as the job servers count them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Other {
    pub running: u64,
    pub waiting: u64,
    pub workers: u64,
}

impl Other {
    /// How many jobs it could soon run at a time: all of them, but at most one more than
    /// it has workers, as a crew that wants to grow does so step by step, and others never.
    fn wants(&self) -> u64 {
        (self.running + self.waiting).min(self.workers.saturating_add(1))
    }
}

/// What the host has left. `None` where that is unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Room {
    /// Processes that want to run, for each core.
    pub load: Option<f32>,
    pub memory_kb: Option<u64>,
    /// What one worker takes.
    pub worker_kb: u64,
    pub connections: Option<Connections>,
}

impl Room {
    /// How many workers more the database has connections for: each job holds one.
    fn connections_left(&self) -> u32 {
        self.connections.map_or(u32::MAX, |it| {
            let spare = (it.most / SPARE_PART).max(SPARE_CONNECTIONS);
            it.free.saturating_sub(spare)
        })
    }
}

/// What keeps a crew from growing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldBy {
    Budget,
    Load,
    Memory,
    Connections,
}

impl fmt::Display for HeldBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HeldBy::Budget => "the host's budget for all sites is used up",
            HeldBy::Load => "the host's processors are busy",
            HeldBy::Memory => "the host has too little free memory",
            HeldBy::Connections => "the database has too few free connections",
        })
    }
}

/// Why the number has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// A job has waited this long.
    Waited(Duration),
    /// Fewer were enough for this long.
    Quiet(Duration),
    /// Other sites' jobs wait.
    Others,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Waited(time) => write!(f, "a job has waited {:.1} s", time.as_secs_f32()),
            Why::Quiet(time) => write!(f, "fewer were enough for {} s", time.as_secs()),
            Why::Others => f.write_str("jobs of other sites wait"),
        }
    }
}

#[derive(Debug)]
pub struct Scaler {
    limits: Limits,
    wanted: u32,
    flow: Flow,
    /// Since when fewer than `wanted` would have been enough, and how many.
    quiet: Option<(Instant, u32)>,
    /// Why it changed when it was asked last.
    why: Option<Why>,
    held_by: Option<HeldBy>,
}

impl Scaler {
    pub fn new(limits: Limits) -> Scaler {
        Scaler {
            limits,
            wanted: limits.workers.min,
            flow: Flow::default(),
            quiet: None,
            why: None,
            held_by: None,
        }
    }

    /// Goes on within other limits.
    pub fn adopt(&mut self, limits: Limits) {
        let Workers { min, max } = limits.workers;
        self.limits = limits;
        self.wanted = self.wanted.clamp(min, max);
        self.held_by = None;
    }

    /// Goes on with as many as there are.
    pub fn go_on_with(&mut self, members: u32) {
        let Workers { min, max } = self.limits.workers;
        self.wanted = members.clamp(min, max);
    }

    /// Starts anew with the minimum: all members have left, as there was nothing to do.
    pub fn reset(&mut self) {
        *self = Scaler::new(self.limits);
    }

    /// The number that it wanted when it was asked last.
    pub fn now(&self) -> u32 {
        self.wanted
    }

    pub fn why(&self) -> Option<Why> {
        self.why
    }

    pub fn held_by(&self) -> Option<HeldBy> {
        self.held_by
    }

    /// How many members there should be. Those over the number end after their job.
    pub fn wanted(&mut self, now: Instant, seen: &Seen) -> u32 {
        (self.why, self.held_by) = (None, None);
        let before = self.wanted;
        let waited = self.flow.oldest(now, seen, self.limits.scale_after / 8);
        let share = self.share(seen);
        if before > share && seen.others.iter().any(|other| other.waiting > 0) {
            self.change(share, Why::Others);
            return self.wanted;
        }
        let is_late = waited.is_some_and(|waited| waited >= self.limits.scale_after);
        if let Some(waited) = waited.filter(|_| is_late && seen.busy >= before) {
            self.quiet = None;
            self.grow(seen, share, waited);
        } else {
            self.rest(now, seen);
        }
        self.wanted
    }

    fn change(&mut self, number: u32, why: Why) {
        self.quiet = None;
        if number != self.wanted {
            self.wanted = number;
            self.why = Some(why);
        }
    }

    /// The part of the budget that it may use while others use theirs: at least its
    /// minimum, and what others leave.
    fn share(&self, seen: &Seen) -> u32 {
        let Workers { min, max } = self.limits.workers;
        let wants = seen.others.iter().map(Other::wants).collect();
        let share = fair_share(u64::from(self.limits.budget), wants);
        u32::try_from(share).unwrap_or(u32::MAX).clamp(min, max)
    }

    fn grow(&mut self, seen: &Seen, share: u32, waited: Duration) {
        let before = self.wanted;
        let waiting = u32::try_from(seen.waiting).unwrap_or(u32::MAX);
        let step = before.min(waiting);
        let target = (before + step).min(self.limits.workers.max);
        if target == before {
            return;
        }
        let running: u64 = seen.others.iter().map(|other| other.running).sum();
        let left = u64::from(self.limits.budget).saturating_sub(running);
        let left = u32::try_from(left).unwrap_or(u32::MAX);
        let room = &seen.room;
        let memory = room.memory_kb.map_or(u32::MAX, |free| {
            let number = free.saturating_sub(SPARE_KB) / room.worker_kb.max(1);
            u32::try_from(number).unwrap_or(u32::MAX)
        });
        let is_loaded = room.load.is_some_and(|load| load >= BUSIEST);
        let mut to = target;
        for (what, most) in [
            (HeldBy::Budget, share.min(left)),
            (HeldBy::Load, if is_loaded { before } else { u32::MAX }),
            (HeldBy::Memory, before.saturating_add(memory)),
            (
                HeldBy::Connections,
                before.saturating_add(room.connections_left()),
            ),
        ] {
            if most < to {
                to = most;
                self.held_by = Some(what);
            }
        }
        self.change(to.max(before), Why::Waited(waited));
    }

    /// Falls to what a quiet time needed at its busiest moment.
    fn rest(&mut self, now: Instant, seen: &Seen) {
        let waiting = u32::try_from(seen.waiting).unwrap_or(u32::MAX);
        let needed = seen.busy.saturating_add(waiting);
        if needed >= self.wanted {
            self.quiet = None;
            return;
        }
        let (since, most) = self.quiet.unwrap_or((now, 0));
        let most = most.max(needed);
        self.quiet = Some((since, most));
        let time = now.saturating_duration_since(since);
        if time >= self.limits.quiet {
            self.quiet = None;
            self.change(most.max(self.limits.workers.min), Why::Quiet(time));
        }
    }
}

/// The part of a budget for one that wants everything, so that all others have either what
/// they want or as much as it has.
fn fair_share(budget: u64, mut others: Vec<u64>) -> u64 {
    others.sort_unstable();
    let (mut left, mut sharing) = (budget, others.len() as u64 + 1);
    for wants in others {
        if wants.saturating_mul(sharing) > left {
            break;
        }
        left -= wants;
        sharing -= 1;
    }
    // Rounded up: who takes the rest is decided by who is first to find it free.
    left.div_ceil(sharing)
}

/// How many jobs had come by which time. A job server does not say how long a job has
/// waited; but of those that had come by then, some still wait if fewer have begun since.
#[derive(Debug, Default)]
struct Flow {
    /// When it was seen that so many had come, for as long as some of them wait.
    come: VecDeque<(Instant, u64)>,
    /// Jobs that others took: a crew of the site on another host, or an administrator.
    elsewhere: u64,
    /// All that had come when it was looked last.
    last: u64,
    begun: u64,
}

impl Flow {
    /// How long the job that has waited longest has been waiting, at least.
    fn oldest(&mut self, now: Instant, seen: &Seen, spacing: Duration) -> Option<Duration> {
        self.begun = self.begun.max(seen.begun);
        let come = self.begun + self.elsewhere + seen.waiting;
        self.elsewhere += self.last.saturating_sub(come);
        let gone = self.begun + self.elsewhere;
        self.last = gone + seen.waiting;
        while self.come.front().is_some_and(|(_, come)| *come <= gone) {
            self.come.pop_front();
        }
        let is_new = |(at, come): &(Instant, u64)| {
            *come < self.last && now.saturating_duration_since(*at) >= spacing
        };
        if seen.waiting > 0 && self.come.back().is_none_or(is_new) {
            self.come.push_back((now, self.last));
        }
        let (since, _) = self.come.front()?;
        Some(now.saturating_duration_since(*since))
    }
}

#[cfg(test)]
mod tests;
