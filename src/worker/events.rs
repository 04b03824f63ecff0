//! How long the events that WordPress has scheduled are overdue. WP-Cron runs them when
//! somebody visits a page, or a cron job calls it, and nobody notices when neither happens.
//! A worker looks when it looks at the site's table anyway, and publishes what it saw.

use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::worker::message::FirstEvent;
use crate::worker::plain;

pub const FILE: &str = "events.json";

/// A larger file is not read, in bytes.
const MAX_SIZE: u64 = 4 << 10;
/// Longer names are cut off, in characters.
const LONGEST_HOOK: usize = 100;
/// Events wait for the next visitor, or the next minute of a cron job. Times are in
/// milliseconds.
const USUAL: u64 = 60_000;
/// If events were overdue, how soon a site without jobs is looked at again.
const SOON: u64 = 15 * 60_000;

/// What a worker saw. Times are milliseconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    /// When it looked.
    pub at: u64,
    /// When the first event was due, or will be.
    due: Option<u64>,
    pub hook: String,
    /// Since when each look has seen that events were overdue.
    since: Option<u64>,
}

impl Events {
    fn seen(first: FirstEvent, before: Option<Events>, now: u64) -> Events {
        let mut seen = Events {
            at: now,
            due: first.due,
            hook: shortened(&first.hook),
            since: None,
        };
        if seen.overdue_ms() > USUAL {
            let before = before.and_then(|it| it.since).filter(|since| *since <= now);
            seen.since = before.or(Some(now));
        }
        seen
    }

    /// How long the first event was overdue when a worker looked.
    pub fn overdue_ms(&self) -> u64 {
        self.due.map_or(0, |due| self.at.saturating_sub(due))
    }

    /// The same, if an earlier look saw overdue events as well: a visitor who comes after a
    /// quiet night makes WP-Cron run them, and a worker look.
    pub fn lasting_ms(&self) -> u64 {
        match self.since {
            Some(since) if since < self.at => self.overdue_ms(),
            _ => 0,
        }
    }

    /// When to look again although nothing else asks for it: the longer they have been
    /// overdue, the later.
    fn look_again(&self) -> Option<u64> {
        let lasts = self.at.saturating_sub(self.since?);
        Some(self.at.saturating_add(lasts.max(SOON)))
    }

    /// What was published last, if anything was. Like all that the run folder says, that is
    /// the worker user's word.
    pub fn read(run: &Path) -> Option<Events> {
        let mut text = String::new();
        let file = plain::open(&run.join(FILE)).ok()?;
        file.take(MAX_SIZE).read_to_string(&mut text).ok()?;
        let read: Events = serde_json::from_str(&text).ok()?;
        Some(Events {
            hook: shortened(&read.hook),
            ..read
        })
    }
}

fn shortened(hook: &str) -> String {
    hook.chars().take(LONGEST_HOOK).collect()
}

/// Publishes what PHP saw. Returns when to look again, if that matters.
pub(super) fn note(run: &Path, first: FirstEvent, now: u64) -> io::Result<Option<u64>> {
    let seen = Events::seen(first, Events::read(run), now);
    plain::put(run, FILE, 0o640, &serde_json::to_vec(&seen)?)?;
    Ok(seen.look_again())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000;

    #[test]
    fn one_look_is_no_alarm_and_the_next_ones_come_ever_later() {
        let dir = tempfile::tempdir().unwrap();
        let due = 1_800_000_000_000;
        let look = |due, now| {
            let hook = "é".repeat(200);
            let next = note(dir.path(), FirstEvent { due, hook }, now).unwrap();
            let seen = Events::read(dir.path()).unwrap();
            (
                seen.overdue_ms(),
                seen.lasting_ms(),
                next.map(|it| it - now),
            )
        };
        assert_eq!(look(None, due), (0, 0, None));
        assert_eq!(look(Some(due), due - 1), (0, 0, None));
        assert_eq!(look(Some(due), due + MINUTE), (MINUTE, 0, None));
        let night = due + 360 * MINUTE;
        let overdue = 360 * MINUTE;
        assert_eq!(look(Some(due), night), (overdue, 0, Some(SOON)));
        // Another one, as some have run.
        let (other, now) = (due + MINUTE, night + MINUTE);
        assert_eq!(look(Some(other), now), (overdue, overdue, Some(SOON)));
        let (overdue, lasting, next) = look(Some(due), night + 40 * MINUTE);
        assert_eq!((overdue, next), (lasting, Some(40 * MINUTE)));
        assert_eq!(look(Some(night), night + 41 * MINUTE).1, 41 * MINUTE);
        assert_eq!(look(Some(night + 42 * MINUTE), night + 41 * MINUTE).2, None);
        // The clock went back.
        assert_eq!(
            look(Some(due), due + 2 * MINUTE),
            (2 * MINUTE, 0, Some(SOON))
        );
        assert_eq!(look(Some(due - MINUTE), due + MINUTE).1, 0);
        assert_eq!(Events::read(dir.path()).unwrap().hook.chars().count(), 100);
        // What somebody else wrote there.
        let file = dir.path().join(FILE);
        let (most, hook) = (u64::MAX, "x".repeat(2000));
        let text = format!(r#"{{"at":{most},"due":0,"hook":"{hook}","since":0}}"#);
        std::fs::write(&file, text).unwrap();
        let read = Events::read(dir.path()).unwrap();
        assert_eq!((read.hook.len(), read.lasting_ms()), (100, most));
        assert_eq!(read.look_again(), Some(most));
        std::fs::write(file, "[").unwrap();
        assert_eq!(Events::read(dir.path()), None);
    }
}
