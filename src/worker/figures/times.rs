//! Distributions of times: exact ones in fixed steps since ever, and fine ones for the
//! last minute, hour and day.

use std::collections::BTreeMap;

use histogram::{Config, Histogram, Quantile, SparseHistogram};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The upper ends of the steps of a `Ladder`, in milliseconds. A further step has no end.
/// Prometheus' series depend on them, so they never change.
pub const LADDER: [u64; 14] = [
    10, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000, 900_000, 3_600_000,
];

/// How many times there were in each step, not cumulative.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ladder {
    pub steps: [u64; LADDER.len() + 1],
    pub sum_ms: u64,
}

impl Ladder {
    fn add(&mut self, ms: u64) {
        let step = LADDER.partition_point(|end| *end < ms);
        self.steps[step] = self.steps[step].saturating_add(1);
        self.sum_ms = self.sum_ms.saturating_add(ms);
    }

    pub fn merge(&mut self, other: &Ladder) {
        for (own, more) in self.steps.iter_mut().zip(other.steps) {
            *own = own.saturating_add(more);
        }
        self.sum_ms = self.sum_ms.saturating_add(other.sum_ms);
    }

    pub fn count(&self) -> u64 {
        self.steps.iter().fold(0, |sum, n| sum.saturating_add(*n))
    }
}

/// A period that ends now, in slots, so that old times drop out.
#[derive(Clone, Copy)]
pub struct Period {
    slot_ms: u64,
}

/// A period's slots, with the current one, which has not ended.
const SLOTS: u64 = 13;

pub const MINUTE: Period = Period { slot_ms: 5_000 };
pub const HOUR: Period = Period { slot_ms: 300_000 };
pub const DAY: Period = Period { slot_ms: 7_200_000 };

impl Period {
    fn slot(self, at: u64) -> u64 {
        at / self.slot_ms
    }

    fn covers(self, slot: u64, now: u64) -> bool {
        let current = self.slot(now);
        slot <= current && current - slot < SLOTS
    }
}

/// A summary of times, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Spread {
    pub jobs: u64,
    pub p50: u64,
    pub p95: u64,
    pub p99: u64,
    pub max: u64,
}

/// The attempts that ended in a period.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Window {
    pub jobs: u64,
    /// From submission to start.
    pub wait_ms: Option<Spread>,
    pub run_ms: Option<Spread>,
}

/// Buckets as wide as 1/32 of their times, up to 24 days.
const CONFIG: Config = match Config::new(5, 31) {
    Ok(config) => config,
    // Found when this is compiled.
    Err(_) => panic!("the crate does not accept these"),
};

const LARGEST: u64 = (1 << 31) - 1;

/// The distribution of some times.
#[derive(Debug, Clone, PartialEq)]
struct Times {
    buckets: SparseHistogram,
    max: u64,
}

impl Default for Times {
    fn default() -> Times {
        Times {
            buckets: SparseHistogram::with_config(&CONFIG),
            max: 0,
        }
    }
}

/// As two lists, with what a file of a site's user says checked.
impl Serialize for Times {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        (self.buckets.index(), self.buckets.count(), self.max).serialize(to)
    }
}

impl<'de> Deserialize<'de> for Times {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Times, D::Error> {
        let (index, count, max) = <(Vec<u32>, Vec<u64>, u64)>::deserialize(from)?;
        let buckets =
            SparseHistogram::from_parts(CONFIG, index, count).map_err(serde::de::Error::custom)?;
        Ok(Times { buckets, max })
    }
}

impl Times {
    fn add_all(&mut self, all: impl Iterator<Item = u64>) {
        let mut sum = Sum::default();
        sum.add_times(self);
        all.for_each(|ms| sum.add(ms));
        if let Some(dense) = &sum.buckets {
            self.buckets = SparseHistogram::from(dense);
        }
        self.max = sum.max;
    }
}

/// Adds up times. What is in many slots is added to one histogram: to merge those of the
/// slots takes ten times as long.
#[derive(Default)]
struct Sum {
    buckets: Option<Histogram>,
    max: u64,
}

impl Sum {
    fn buckets(&mut self) -> &mut Histogram {
        self.buckets
            .get_or_insert_with(|| Histogram::with_config(&CONFIG))
    }

    fn add(&mut self, ms: u64) {
        // What is beyond the last bucket counts there.
        let _ = self.buckets().increment(ms.min(LARGEST));
        self.max = self.max.max(ms);
    }

    fn add_times(&mut self, times: &Times) {
        let (index, count) = (times.buckets.index(), times.buckets.count());
        if !index.is_empty() {
            let buckets = self.buckets().as_mut_slice();
            for (at, count) in index.iter().zip(count) {
                if let Some(bucket) = buckets.get_mut(*at as usize) {
                    *bucket = bucket.saturating_add(*count);
                }
            }
        }
        self.max = self.max.max(times.max);
    }

    fn add_sum(&mut self, other: &Sum) {
        if let Some(more) = &other.buckets {
            let own = self.buckets().as_mut_slice().iter_mut();
            for (bucket, count) in own.zip(more.as_slice()) {
                *bucket = bucket.saturating_add(*count);
            }
        }
        self.max = self.max.max(other.max);
    }

    fn spread(&self) -> Option<Spread> {
        const WANTED: [f64; 3] = [0.5, 0.95, 0.99];
        let result = self.buckets.as_ref()?.quantiles(&WANTED).ok()??;
        let jobs = u64::try_from(result.total_count()).unwrap_or(u64::MAX);
        let at = |quantile: f64| {
            let bucket = result.get(&Quantile::new(quantile).ok()?)?;
            Some(bucket.start().midpoint(bucket.end()).min(self.max))
        };
        let [p50, p95, p99] = WANTED.map(at);
        Some(Spread {
            jobs,
            p50: p50?,
            p95: p95?,
            p99: p99?,
            max: self.max,
        })
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Slot {
    jobs: u64,
    wait: Times,
    run: Times,
}

/// The last slots of a period, by number.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Slots(BTreeMap<u64, Slot>);

/// A moment, a wait and a run.
pub type Timed = (u64, Option<u64>, u64);

impl Slots {
    pub fn add(&mut self, period: Period, attempts: &[Timed], now: u64) {
        let mut by_slot: BTreeMap<u64, Vec<&Timed>> = BTreeMap::new();
        for attempt in attempts {
            let slot = period.slot(attempt.0);
            if period.covers(slot, now) {
                by_slot.entry(slot).or_default().push(attempt);
            }
        }
        for (number, attempts) in by_slot {
            let slot = self.0.entry(number).or_default();
            slot.jobs = slot.jobs.saturating_add(attempts.len() as u64);
            slot.wait.add_all(attempts.iter().filter_map(|it| it.1));
            slot.run.add_all(attempts.iter().map(|it| it.2));
        }
        self.0.retain(|slot, _| period.covers(*slot, now));
    }
}

/// The attempts that ended in a period, added up for a reader.
#[derive(Default)]
pub struct Gathered {
    jobs: u64,
    wait: Sum,
    run: Sum,
}

impl Gathered {
    pub fn add_slots(&mut self, slots: &Slots, period: Period, now: u64) {
        let all = slots.0.iter();
        for (_, slot) in all.filter(|(slot, _)| period.covers(**slot, now)) {
            self.jobs = self.jobs.saturating_add(slot.jobs);
            self.wait.add_times(&slot.wait);
            self.run.add_times(&slot.run);
        }
    }

    pub fn add(&mut self, attempt: Timed, period: Period, now: u64) {
        let (at, wait, run) = attempt;
        if period.covers(period.slot(at), now) {
            self.jobs = self.jobs.saturating_add(1);
            self.run.add(run);
            wait.into_iter().for_each(|ms| self.wait.add(ms));
        }
    }

    pub fn merge(&mut self, other: &Gathered) {
        self.jobs = self.jobs.saturating_add(other.jobs);
        self.wait.add_sum(&other.wait);
        self.run.add_sum(&other.run);
    }

    pub fn window(&self) -> Window {
        Window {
            jobs: self.jobs,
            wait_ms: self.wait.spread(),
            run_ms: self.run.spread(),
        }
    }
}

impl Ladder {
    pub fn add_all(&mut self, times: impl Iterator<Item = u64>) {
        times.for_each(|ms| self.add(ms));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(got: u64, truth: u64) {
        let off = got.abs_diff(truth) as f64 / truth.max(1) as f64;
        assert!(off <= 0.05, "{got} instead of {truth}");
    }

    /// Half of them as a slot has them.
    fn spread(all: &[u64]) -> Option<Spread> {
        let (stored, new) = all.split_at(all.len() / 2);
        let mut times = Times::default();
        times.add_all(stored.iter().copied());
        let mut sum = Sum::default();
        new.iter().for_each(|ms| sum.add(*ms));
        sum.add_times(&times);
        sum.spread()
    }

    #[test]
    fn summaries_are_within_five_percent() {
        let mut random: u64 = 7;
        for range in [10, 1000, 60_000, 3_600_000, 2_000_000_000] {
            let mut truth: Vec<u64> = (0..1000)
                .map(|_| {
                    random = random.wrapping_mul(6364136223846793005).wrapping_add(1);
                    // Most are short.
                    (range as f64 * ((random >> 33) as f64 / (1u64 << 31) as f64).powi(3)) as u64
                })
                .collect();
            let spread = spread(&truth).unwrap();
            truth.sort_unstable();
            assert_eq!((spread.jobs, spread.max), (1000, truth[999]));
            within(spread.p50, truth[499]);
            within(spread.p95, truth[949]);
            within(spread.p99, truth[989]);
        }
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[0]).unwrap().p99, 0);
        assert_eq!(spread(&[u64::MAX]).unwrap().max, u64::MAX);
    }

    #[test]
    fn old_times_drop_out() {
        let mut slots = Slots::default();
        let start = 1_800_000_000_000;
        slots.add(MINUTE, &[(start, Some(5), 9)], start);
        let jobs = |slots: &Slots, now| {
            let mut sum = Gathered::default();
            sum.add_slots(slots, MINUTE, now);
            sum.window().jobs
        };
        assert_eq!(jobs(&slots, start + 59_000), 1);
        assert_eq!(jobs(&slots, start + 66_000), 0);
        // The clock went back.
        assert_eq!(jobs(&slots, start - 66_000), 0);
        slots.add(MINUTE, &[], start + 66_000);
        assert_eq!(slots, Slots::default());
    }

    #[test]
    fn a_step_ends_with_its_end() {
        let mut ladder = Ladder::default();
        ladder.add_all([10, 11, 3_600_000, 3_600_001].into_iter());
        assert_eq!(ladder.steps[0], 1);
        assert_eq!(ladder.steps[1], 1);
        assert_eq!(ladder.steps[13..], [1, 1]);
        assert_eq!((ladder.count(), ladder.sum_ms), (4, 7_200_022));
    }
}
