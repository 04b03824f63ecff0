//! How long sites take to answer. One that takes far longer than all others would keep
//! them waiting, so it is not waited for as long as one that is alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What any site may take, and how many times as long as the slowest other site.
const LEAST: Duration = Duration::from_secs(8);
const TIMES: u32 = 3;

#[derive(Default)]
pub(super) struct Pace {
    /// The longest time of each site that answered.
    answered: Mutex<BTreeMap<PathBuf, Duration>>,
}

impl Pace {
    /// A site answered after this time.
    pub fn note(&self, site: &Path, took: Duration) {
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        let longest = answered.entry(site.to_owned()).or_default();
        *longest = took.max(*longest);
    }

    /// How long a site may take at this moment; at most `most`.
    pub fn limit(&self, site: &Path, most: Duration) -> Duration {
        let answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        let others = answered.iter().filter(|(other, _)| *other != site);
        let longest = others.map(|(_, took)| *took).max();
        longest.map_or(most, |longest| most.min(LEAST.max(longest * TIMES)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_decide_how_long_a_site_may_take() {
        let pace = Pace::default();
        let (most, [a, b]) = (Duration::from_secs(30), ["/a", "/b"].map(Path::new));
        assert_eq!(pace.limit(a, most), most);
        pace.note(a, Duration::from_secs(1));
        assert_eq!(pace.limit(a, most), most); // its own
        assert_eq!(pace.limit(b, most), LEAST);
        pace.note(a, Duration::from_secs(4));
        pace.note(a, Duration::from_secs(2));
        assert_eq!(pace.limit(b, most), Duration::from_secs(12));
        assert_eq!(pace.limit(b, LEAST / 2), LEAST / 2);
        pace.note(a, Duration::from_secs(20));
        assert_eq!(pace.limit(b, most), most);
    }
}
