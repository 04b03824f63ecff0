//! The figures as they are stored: in a file whose first line is the number of the last
//! log that they contain.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::worker::figures::times::{DAY, Gathered, HOUR, Ladder, MINUTE, Slots, Timed};
use crate::worker::figures::{
    Attempt, Ending, Figures, HookFigures, LONGEST_HOOK, MAX_HOOKS, OTHER, SiteFigures,
};
use crate::worker::plain;

/// In the run folder.
const FILE: &str = "figures";

/// More than the figures of all hooks can take, in bytes.
const MAX_SIZE: u64 = 16 << 20;

/// How many digits the first line has.
const DIGITS: usize = 20;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Hook {
    submitted: u64,
    done: u64,
    failed: u64,
    retried: u64,
    unstamped: u64,
    wait: Ladder,
    run: Ladder,
    minute: Slots,
    hour: Slots,
    day: Slots,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stored {
    #[serde(skip)]
    pub generation: u64,
    last_submitted: Option<u64>,
    hooks: BTreeMap<String, Hook>,
}

fn path(run: &Path) -> PathBuf {
    run.join(FILE)
}

/// The number of the last log that is in the figures.
pub fn generation(run: &Path) -> u64 {
    let read = || {
        let mut line = [0; DIGITS];
        plain::open(&path(run)).ok()?.read_exact(&mut line).ok()?;
        str::from_utf8(&line).ok()?.parse().ok()
    };
    read().unwrap_or(0)
}

impl Stored {
    /// None are no figures. An error if the file is not one of ours.
    pub fn read(run: &Path) -> io::Result<Stored> {
        let file = match plain::open(&path(run)) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Stored::default()),
            Err(e) => return Err(e),
        };
        let mut text = String::new();
        file.take(MAX_SIZE).read_to_string(&mut text)?;
        let damaged = || io::Error::other(format!("{} is damaged", path(run).display()));
        let (generation, rest) = text.split_once('\n').ok_or_else(damaged)?;
        let generation = generation.parse().map_err(|_| damaged())?;
        let stored: Stored = serde_json::from_str(rest).map_err(|_| damaged())?;
        if stored.hooks.len() > MAX_HOOKS + 1 {
            return Err(damaged());
        }
        Ok(Stored {
            generation,
            ..stored
        })
    }

    /// Replaces the file as a whole.
    pub fn write(&self, run: &Path) -> io::Result<()> {
        let mut text = format!("{:0DIGITS$}\n", self.generation).into_bytes();
        serde_json::to_writer(&mut text, self)?;
        plain::put(run, FILE, 0o640, &text)
    }

    pub fn add(&mut self, attempts: &[Attempt], now: u64) {
        self.last_submitted = self.last_submitted.max(last(attempts));
        for (hook, attempts) in by_hook(attempts) {
            self.hook(hook).add(&attempts, now);
        }
    }

    fn hook(&mut self, name: &str) -> &mut Hook {
        let own = self.hooks.keys().filter(|it| *it != OTHER).count();
        let name = room(name, self.hooks.contains_key(name), own);
        self.hooks.entry(name.to_owned()).or_default()
    }

    /// What is known with attempts that are not in here yet.
    pub fn figures(&self, more: &[Attempt], now: u64) -> SiteFigures {
        let mut new: BTreeMap<&str, Vec<&Attempt>> = BTreeMap::new();
        let mut own = self.hooks.keys().filter(|it| *it != OTHER).count();
        for (hook, attempts) in by_hook(more) {
            let is_known = self.hooks.contains_key(hook);
            let name = room(hook, is_known, own);
            own += usize::from(!is_known && name != OTHER);
            new.entry(name).or_default().extend(attempts);
        }
        let none = Hook::default();
        for name in self.hooks.keys() {
            new.entry(name).or_default();
        }
        let mut all = Summary::default();
        let hooks = new.into_iter().map(|(name, attempts)| {
            let known = self.hooks.get(name).unwrap_or(&none);
            let hook = Summary::of(known, &attempts, now);
            all.merge(&hook);
            HookFigures {
                hook: name.to_owned(),
                figures: hook.figures(),
            }
        });
        let hooks = hooks.collect();
        SiteFigures {
            all: all.figures(),
            hooks,
            last_submitted: self.last_submitted.max(last(more)),
        }
    }
}

fn by_hook(attempts: &[Attempt]) -> BTreeMap<&str, Vec<&Attempt>> {
    let mut by_hook: BTreeMap<&str, Vec<&Attempt>> = BTreeMap::new();
    for attempt in attempts {
        let hook = attempt.hook.as_deref().unwrap_or(OTHER);
        by_hook.entry(hook).or_default().push(attempt);
    }
    by_hook
}

/// When the job was submitted that was submitted last of these.
fn last(attempts: &[Attempt]) -> Option<u64> {
    attempts.iter().filter_map(|it| it.submitted).max()
}

/// Where attempts of a hook count, if so many have figures of their own.
fn room(name: &str, is_known: bool, own: usize) -> &str {
    match is_known || own < MAX_HOOKS && name.len() <= LONGEST_HOOK {
        true => name,
        false => OTHER,
    }
}

/// What a reader is told of a hook, or of all.
#[derive(Default)]
struct Summary {
    /// Its counters and what was since ever.
    ever: Hook,
    minute: Gathered,
    hour: Gathered,
    day: Gathered,
}

impl Summary {
    fn of(known: &Hook, more: &[&Attempt], now: u64) -> Summary {
        let mut sum = Summary::default();
        sum.ever.add_counts(known);
        sum.ever.count(more);
        for (gathered, slots, period) in [
            (&mut sum.minute, &known.minute, MINUTE),
            (&mut sum.hour, &known.hour, HOUR),
            (&mut sum.day, &known.day, DAY),
        ] {
            gathered.add_slots(slots, period, now);
            for attempt in more {
                gathered.add(attempt.timed(), period, now);
            }
        }
        sum
    }

    fn merge(&mut self, other: &Summary) {
        self.ever.add_counts(&other.ever);
        self.minute.merge(&other.minute);
        self.hour.merge(&other.hour);
        self.day.merge(&other.day);
    }

    fn figures(self) -> Figures {
        Figures {
            submitted: self.ever.submitted,
            done: self.ever.done,
            failed: self.ever.failed,
            retried: self.ever.retried,
            unstamped: self.ever.unstamped,
            minute: self.minute.window(),
            hour: self.hour.window(),
            day: self.day.window(),
            wait_ever: self.ever.wait,
            run_ever: self.ever.run,
        }
    }
}

impl Attempt {
    fn timed(&self) -> Timed {
        (self.at, self.wait(), self.ran)
    }
}

impl Hook {
    fn add(&mut self, attempts: &[&Attempt], now: u64) {
        self.count(attempts);
        let timed: Vec<Timed> = attempts.iter().map(|it| it.timed()).collect();
        self.minute.add(MINUTE, &timed, now);
        self.hour.add(HOUR, &timed, now);
        self.day.add(DAY, &timed, now);
    }

    /// Everything but the slots.
    fn count(&mut self, attempts: &[&Attempt]) {
        let add = |number: &mut u64, is_so| *number = number.saturating_add(u64::from(is_so));
        for attempt in attempts {
            add(&mut self.submitted, attempt.first);
            add(
                &mut self.unstamped,
                attempt.first && attempt.submitted.is_none(),
            );
            add(&mut self.done, attempt.ending == Ending::Done);
            add(&mut self.failed, attempt.ending == Ending::Failed);
            add(&mut self.retried, attempt.ending == Ending::Retried);
        }
        self.wait
            .add_all(attempts.iter().filter_map(|it| it.wait()));
        self.run.add_all(attempts.iter().map(|it| it.ran));
    }

    fn add_counts(&mut self, other: &Hook) {
        for (own, more) in [
            (&mut self.submitted, other.submitted),
            (&mut self.done, other.done),
            (&mut self.failed, other.failed),
            (&mut self.retried, other.retried),
            (&mut self.unstamped, other.unstamped),
        ] {
            *own = own.saturating_add(more);
        }
        self.wait.merge(&other.wait);
        self.run.merge(&other.run);
    }
}
