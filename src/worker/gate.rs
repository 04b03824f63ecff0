//! Whether a job may run now, by the rule for its hook: at most some at a time, and some
//! in a minute, over all of the site's workers on this host.
//!
//! Each rule has a file in a folder of the run folder: its lock makes workers decide one
//! after the other, and its text is when the next job may start (rate). A slot
//! (concurrency) is another file, which a worker keeps locked while the job runs: when a
//! worker dies, the kernel unlocks it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;

use crate::worker::rules::{Rule, Rules};

/// When to look for a slot again, in milliseconds. Mostly, the worker that frees one
/// takes the next job itself.
const LOOK_AGAIN: u64 = 1000;

pub struct Gate {
    rules: Rules,
    dir: PathBuf,
}

/// Lets a job run; what it occupies is free again when this is dropped.
#[derive(Debug)]
pub struct Permit {
    _slot: Option<File>,
}

/// Why a job has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    Concurrency(u32),
    Rate(u32),
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Limit::Concurrency(n) => write!(f, "concurrency = {n}"),
            Limit::Rate(n) => write!(f, "rate = {n}"),
        }
    }
}

/// A job has to wait at least until `at`, in milliseconds since 1970.
#[derive(Debug, PartialEq, Eq)]
pub struct Wait {
    pub limit: Limit,
    pub at: u64,
}

impl Gate {
    pub fn new(rules: Rules, run: &Path) -> Gate {
        Gate {
            rules,
            dir: run.join("limits"),
        }
    }

    /// Whether there are no rules, so that nobody has to know a job's hook.
    pub fn is_open(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether jobs may have to wait.
    pub fn limits(&self) -> bool {
        self.rules.limit()
    }

    pub fn rule(&self, hook: &str) -> Option<Arc<Rule>> {
        self.rules.of(hook).cloned()
    }

    /// When a job of the rule with this key may start, in milliseconds since 1970. A rule
    /// that is no longer there limits nothing.
    pub fn turn(&self, key: &str, now: u64) -> u64 {
        let Some(rule) = self.rules.with_key(key).filter(|rule| rule.limits()) else {
            return now;
        };
        match self.decide(rule, now, false) {
            Ok(Ok(_)) => now,
            Ok(Err(wait)) => wait.at,
            Err(_) => now + LOOK_AGAIN,
        }
    }

    /// Takes what a job of this rule needs to run.
    ///
    /// # Errors
    /// The files cannot be used.
    pub fn take(&self, rule: &Rule, now: u64) -> io::Result<Result<Permit, Wait>> {
        self.decide(rule, now, true)
    }

    fn decide(&self, rule: &Rule, now: u64, takes: bool) -> io::Result<Result<Permit, Wait>> {
        if !rule.limits() {
            return Ok(Ok(Permit { _slot: None }));
        }
        let state = self.open(&rule.key)?;
        state.lock()?;
        if let Some(rate) = rule.of.rate {
            let at = next(&state)?.min(now + interval(rate));
            if at > now {
                let limit = Limit::Rate(rate);
                return Ok(Err(Wait { limit, at }));
            }
        }
        let slot = match rule.of.concurrency {
            None => None,
            Some(most) => match self.slot(&rule.key, most, takes)? {
                Slot::Free(slot) => slot,
                Slot::NoneFree => {
                    let limit = Limit::Concurrency(most);
                    let at = now + LOOK_AGAIN;
                    return Ok(Err(Wait { limit, at }));
                }
            },
        };
        if let Some(rate) = rule.of.rate.filter(|_| takes) {
            let text = format!("{}\n", now + interval(rate));
            state.write_all_at(text.as_bytes(), 0)?;
            state.set_len(text.len() as u64)?;
        }
        Ok(Ok(Permit { _slot: slot }))
    }

    /// A slot of the rule. Only who has locked the rule's file may look: a lock that is
    /// tried is one for others, for a moment.
    fn slot(&self, key: &str, most: u32, takes: bool) -> io::Result<Slot> {
        let (mut held, mut free) = (0, None);
        let prefix = format!("{key}-");
        for entry in fs::read_dir(&self.dir)? {
            let name = entry?.file_name();
            let Some(name) = name.to_str().filter(|name| name.starts_with(&prefix)) else {
                continue;
            };
            let file = self.open(name)?;
            // Also one beyond the number that there may be: its job began when more could.
            match file.try_lock() {
                Ok(()) => free = Some(file),
                Err(_) => held += 1,
            }
        }
        Ok(match (held < most, free) {
            (false, _) => Slot::NoneFree,
            (true, Some(file)) => Slot::Free(Some(file)),
            (true, None) if takes => {
                // There are `held` files, and all are locked.
                let file = self.open(&format!("{prefix}{held}"))?;
                file.try_lock()?;
                Slot::Free(Some(file))
            }
            (true, None) => Slot::Free(None),
        })
    }

    fn open(&self, name: &str) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32);
        let path = self.dir.join(name);
        match options.open(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let made = fs::DirBuilder::new().mode(0o700).create(&self.dir);
                match made {
                    Err(e) if e.kind() != ErrorKind::AlreadyExists => Err(e),
                    _ => options.open(&path),
                }
            }
            opened => opened,
        }
    }
}

enum Slot {
    NoneFree,
    /// `None` is one whose file is not there yet, for who only asks.
    Free(Option<File>),
}

/// The time between two starts, in milliseconds.
fn interval(rate: u32) -> u64 {
    60_000_u64.div_ceil(u64::from(rate.max(1)))
}

/// When the next job may start.
fn next(mut state: &File) -> io::Result<u64> {
    let mut text = String::new();
    state.by_ref().take(32).read_to_string(&mut text)?;
    Ok(text.trim().parse().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::rules::HookRule;

    fn gate(dir: &Path, concurrency: Option<u32>, rate: Option<u32>) -> (Gate, Arc<Rule>) {
        let rule = HookRule {
            pattern: "a".into(),
            concurrency,
            rate,
            ..HookRule::default()
        };
        let gate = Gate::new(Rules::new(&[rule]), dir);
        let rule = gate.rule("a").unwrap();
        (gate, rule)
    }

    #[test]
    fn slots_are_free_again_when_their_holder_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let (gate, rule) = gate(dir.path(), Some(2), None);
        let one = gate.take(&rule, 7).unwrap().unwrap();
        assert_eq!(gate.turn(&rule.key, 7), 7);
        let two = gate.take(&rule, 7).unwrap().unwrap();
        let wait = gate.take(&rule, 7).unwrap().unwrap_err();
        let limit = Limit::Concurrency(2);
        assert_eq!(wait, Wait { limit, at: 1007 });
        assert_eq!(gate.turn(&rule.key, 7), 1007);
        assert_eq!(gate.turn("another rule", 7), 7);
        drop(one);
        assert_eq!(gate.turn(&rule.key, 7), 7);
        let three = gate.take(&rule, 7).unwrap().unwrap();
        assert!(gate.take(&rule, 7).unwrap().is_err());
        // Fewer are allowed from now on, also for those that run already.
        let (fewer, rule) = super::tests::gate(dir.path(), Some(1), None);
        drop(two);
        assert!(fewer.take(&rule, 7).unwrap().is_err());
        drop(three);
        assert!(fewer.take(&rule, 7).unwrap().is_ok());
    }

    #[test]
    fn starts_are_evenly_spaced() {
        let dir = tempfile::tempdir().unwrap();
        let (gate, rule) = gate(dir.path(), None, Some(60));
        let mut starts = Vec::new();
        for now in (50_000..56_000).step_by(10) {
            let (turn, taken) = (gate.turn(&rule.key, now), gate.take(&rule, now).unwrap());
            assert_eq!(turn == now, taken.is_ok());
            starts.extend(taken.ok().map(|_| now));
        }
        assert_eq!(starts, [50_000, 51_000, 52_000, 53_000, 54_000, 55_000]);
        // The clock was set back.
        assert_eq!(gate.turn(&rule.key, 10_000), 11_000);
    }

    #[test]
    fn no_two_of_many_get_the_same_slot() {
        let dir = tempfile::tempdir().unwrap();
        let running = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let (gate, rule) = gate(dir.path(), Some(3), None);
                    for _ in 0..200 {
                        gate.turn(&rule.key, 1);
                        if let Ok(permit) = gate.take(&rule, 1).unwrap() {
                            let before = running.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                            assert!(before < 3, "{before} before");
                            running.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                            drop(permit);
                        }
                    }
                });
            }
        });
    }
}
