//! The figures as they are stored: in a file whose first line is the number of the last
//! log that they contain.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::worker::figures::times::{DAY, HOUR, Ladder, MINUTE, Slots, Timed};
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
        let mut by_hook: BTreeMap<&str, Vec<&Attempt>> = BTreeMap::new();
        for attempt in attempts {
            let hook = attempt.hook.as_deref().unwrap_or(OTHER);
            by_hook.entry(hook).or_default().push(attempt);
            self.last_submitted = self.last_submitted.max(attempt.submitted);
        }
        for (hook, attempts) in by_hook {
            self.hook(hook).add(&attempts, now);
        }
    }

    fn hook(&mut self, name: &str) -> &mut Hook {
        let is_known = self.hooks.contains_key(name);
        let own = self.hooks.keys().filter(|it| *it != OTHER).count();
        let name = match is_known || own < MAX_HOOKS && name.len() <= LONGEST_HOOK {
            true => name,
            false => OTHER,
        };
        self.hooks.entry(name.to_owned()).or_default()
    }

    pub fn figures(&self, now: u64) -> SiteFigures {
        let mut all = Hook::default();
        self.hooks.values().for_each(|hook| all.merge(hook));
        let hooks = self.hooks.iter().map(|(hook, figures)| HookFigures {
            hook: hook.clone(),
            figures: figures.figures(now),
        });
        SiteFigures {
            all: all.figures(now),
            hooks: hooks.collect(),
            last_submitted: self.last_submitted,
        }
    }
}

impl Hook {
    fn add(&mut self, attempts: &[&Attempt], now: u64) {
        for attempt in attempts {
            self.submitted += u64::from(attempt.first);
            self.unstamped += u64::from(attempt.first && attempt.submitted.is_none());
            match attempt.ending {
                Ending::Done => self.done += 1,
                Ending::Failed => self.failed += 1,
                Ending::Retried => self.retried += 1,
            }
        }
        self.wait
            .add_all(attempts.iter().filter_map(|it| it.wait()));
        self.run.add_all(attempts.iter().map(|it| it.ran));
        let timed = attempts.iter().map(|it| (it.at, it.wait(), it.ran));
        let timed: Vec<Timed> = timed.collect();
        self.minute.add(MINUTE, &timed, now);
        self.hour.add(HOUR, &timed, now);
        self.day.add(DAY, &timed, now);
    }

    fn merge(&mut self, other: &Hook) {
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
        self.minute.merge(&other.minute);
        self.hour.merge(&other.hour);
        self.day.merge(&other.day);
    }

    fn figures(&self, now: u64) -> Figures {
        Figures {
            submitted: self.submitted,
            done: self.done,
            failed: self.failed,
            retried: self.retried,
            unstamped: self.unstamped,
            minute: self.minute.window(MINUTE, now),
            hour: self.hour.window(HOUR, now),
            day: self.day.window(DAY, now),
            wait_ever: self.wait.clone(),
            run_ever: self.run.clone(),
        }
    }
}
