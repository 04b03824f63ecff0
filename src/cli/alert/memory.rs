//! What was told, in a file in root's state folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::base::paths::STATE;
use crate::base::problem::Problem;
use crate::cli::alert::deliver::{Event, Moment, Way};
use crate::cli::alert::found::{Found, Kind};
use crate::host::Host;
use crate::host::files::Attributes;

/// How long to wait for a check that is running, such as the timer's.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Content {
    /// Problems that began, by a name of their own.
    open: BTreeMap<String, Open>,
    /// How many jobs of each site have failed, and when there were more.
    failed: BTreeMap<String, Growth>,
    /// When doctor ran last, and what it found.
    doctor: Option<(u64, Vec<Found>)>,
}

/// A problem that began. Times are milliseconds since 1970.
#[derive(Clone, Serialize, Deserialize)]
pub struct Open {
    found: Found,
    since: u64,
    /// In how many checks it was seen.
    seen: u32,
    ended: bool,
    /// The ways in which its beginning, and its end, was told.
    began_by: BTreeSet<Way>,
    ended_by: BTreeSet<Way>,
}

#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub struct Growth {
    pub count: u64,
    pub at: u64,
}

impl Open {
    /// What to tell in this way now.
    pub fn due(&self, way: Way) -> Option<Event> {
        let moment = match self.ended {
            false if self.seen < self.found.kind.patience() => return None,
            false if self.began_by.contains(&way) => return None,
            false => Moment::Begin,
            // Who was not told of its beginning need not know of its end.
            true if self.began_by.contains(&way) && !self.ended_by.contains(&way) => Moment::End,
            true => return None,
        };
        Some(Event {
            moment,
            kind: self.found.kind.name().into(),
            subject: self.found.subject.clone(),
            text: self.found.text.clone(),
            since: self.since,
        })
    }

    /// Everybody knows that it ended.
    pub fn is_over(&self) -> bool {
        self.ended && self.began_by.is_subset(&self.ended_by)
    }
}

pub struct Memory {
    content: Content,
    _lock: File,
}

fn path() -> PathBuf {
    Path::new(STATE).join("alerts.json")
}

impl Memory {
    /// No other check runs until this is dropped.
    pub fn lock(host: &Host) -> Result<Memory> {
        let path = path();
        let lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.with_extension("lock"))
            .with_context(|| format!("lock {}", path.display()))?;
        let begun = Instant::now();
        while lock.try_lock().is_err() {
            if begun.elapsed() > PATIENCE {
                return Err(
                    Problem::new("look for problems", "another check is running")
                        .help("wait for it to end, then run again")
                        .into(),
                );
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        // Damage means that alerts are told again, which is better than none.
        let content = host
            .read(&path)?
            .and_then(|file| serde_json::from_slice(&file.bytes).ok());
        Ok(Memory {
            content: content.unwrap_or_default(),
            _lock: lock,
        })
    }

    pub fn save(&self, host: &Host) -> Result<()> {
        let text = serde_json::to_vec_pretty(&self.content)?;
        // Nobody else writes it, as it is locked.
        let seen = host.read(&path())?.map(|file| file.meta);
        let attributes = Some(Attributes::root(0o600));
        host.write(&path(), &text, attributes, seen.as_ref())
    }

    pub fn open(&self) -> &BTreeMap<String, Open> {
        &self.content.open
    }

    /// Compares what there is now with what there was.
    pub fn note(&mut self, found: Vec<Found>, now: u64) {
        let mut present: BTreeMap<String, Found> =
            found.into_iter().map(|it| (it.key(), it)).collect();
        for (key, open) in &mut self.content.open {
            match present.remove(key) {
                // It went on before everybody knew that it had ended.
                Some(found) if !open.ended || open.ended_by.is_empty() => {
                    open.found = found;
                    open.ended = false;
                    open.seen = open.seen.saturating_add(1);
                }
                Some(found) => *open = Open::new(found, now),
                None => open.ended = true,
            }
        }
        for (key, found) in present {
            self.content.open.insert(key, Open::new(found, now));
        }
    }

    pub fn told(&mut self, key: &str, way: Way) {
        if let Some(open) = self.content.open.get_mut(key) {
            match open.ended {
                true => open.ended_by.insert(way),
                false => open.began_by.insert(way),
            };
        }
    }

    pub fn close(&mut self, is_over: impl Fn(&Open) -> bool) {
        self.content.open.retain(|_, open| !is_over(open));
    }

    /// Notes how many jobs have failed. Returns when there were more than before.
    pub fn failed(&mut self, site: &str, count: u64, now: u64) -> Option<u64> {
        let first = Growth { count, at: 0 };
        let known = self.content.failed.entry(site.to_owned()).or_insert(first);
        if count > known.count {
            known.at = now;
        }
        known.count = count;
        (known.at > 0).then_some(known.at)
    }

    /// What doctor found, if that is younger than this.
    pub fn doctor(&self, since: u64) -> Option<Vec<Found>> {
        let (at, found) = self.content.doctor.as_ref()?;
        (*at > since).then(|| found.clone())
    }

    pub fn set_doctor(&mut self, at: u64, found: Vec<Found>) {
        self.content.doctor = Some((at, found));
    }
}

impl Open {
    fn new(found: Found, now: u64) -> Open {
        Open {
            found,
            since: now,
            seen: 1,
            ended: false,
            began_by: BTreeSet::new(),
            ended_by: BTreeSet::new(),
        }
    }
}

impl Kind {
    /// In how many checks in a row it is seen before it is told: a restart is no problem.
    fn patience(self) -> u32 {
        match self {
            Kind::Workers | Kind::Server => 2,
            Kind::Waiting | Kind::Failed | Kind::Events | Kind::Doctor => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Memory {
        Memory {
            content: Content::default(),
            _lock: File::open("/dev/null").unwrap(),
        }
    }

    fn found(kind: Kind) -> Found {
        Found::new(kind, "shop", "a text".into())
    }

    fn due(memory: &Memory, way: Way) -> Vec<Moment> {
        let open = memory.open().values();
        open.filter_map(|open| Some(open.due(way)?.moment))
            .collect()
    }

    #[test]
    fn each_way_is_told_once_of_the_beginning_and_once_of_the_end() {
        let mut memory = memory();
        let key = found(Kind::Waiting).key();
        memory.note(vec![found(Kind::Waiting)], 1);
        assert_eq!(due(&memory, Way::Command), [Moment::Begin]);
        memory.told(&key, Way::Command);
        memory.note(vec![found(Kind::Waiting)], 2);
        assert_eq!(due(&memory, Way::Command), []);
        // This one failed.
        assert_eq!(due(&memory, Way::Webhook), [Moment::Begin]);
        memory.note(Vec::new(), 3);
        assert_eq!(due(&memory, Way::Command), [Moment::End]);
        // It was never told of the beginning.
        assert_eq!(due(&memory, Way::Webhook), []);
        memory.close(Open::is_over);
        assert_eq!(memory.open().len(), 1);
        memory.told(&key, Way::Command);
        memory.close(Open::is_over);
        assert!(memory.open().is_empty());
    }

    #[test]
    fn a_restart_is_no_problem() {
        let mut memory = memory();
        memory.note(vec![found(Kind::Workers)], 1);
        assert_eq!(due(&memory, Way::Mail), []);
        memory.note(Vec::new(), 2);
        assert_eq!(due(&memory, Way::Mail), []);
        memory.close(Open::is_over);
        memory.note(vec![found(Kind::Workers)], 3);
        memory.note(vec![found(Kind::Workers)], 4);
        assert_eq!(due(&memory, Way::Mail), [Moment::Begin]);
    }

    #[test]
    fn failed_jobs_of_the_past_are_not_growth() {
        let mut memory = memory();
        assert_eq!(memory.failed("shop", 7, 1), None);
        assert_eq!(memory.failed("shop", 7, 2), None);
        assert_eq!(memory.failed("shop", 8, 3), Some(3));
        assert_eq!(memory.failed("shop", 8, 4), Some(3));
    }
}
