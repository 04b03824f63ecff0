//! The decision: examples, a simulated crew, and what holds whatever is seen.

use proptest::prelude::*;

use super::*;

fn limits(min: u32, max: u32, budget: u32) -> Limits {
    Limits {
        workers: Workers { min, max },
        scale_after: Duration::from_secs(2),
        quiet: Duration::from_secs(60),
        budget,
    }
}

fn free(most: u32, free: u32) -> Option<Connections> {
    Some(Connections { most, free })
}

fn plenty() -> Room {
    Room {
        load: Some(0.1),
        memory_kb: Some(8 << 20),
        worker_kb: 64 << 10,
        connections: free(150, 100),
    }
}

/// A site with jobs, and the crew that runs them, in steps of a second.
struct Site {
    scaler: Scaler,
    waiting: f64,
    begun: u64,
    /// Jobs that one worker runs in a second.
    pace: f64,
    busy: u32,
}

impl Site {
    fn new(limits: Limits, jobs: u32, seconds: f64) -> Site {
        Site {
            scaler: Scaler::new(limits),
            waiting: f64::from(jobs),
            begun: 0,
            pace: 1.0 / seconds,
            busy: 0,
        }
    }

    fn work(&mut self) {
        let number = f64::from(self.scaler.now());
        let done = (number * self.pace).min(self.waiting);
        self.waiting -= done;
        self.begun += done.round() as u64;
        self.busy = if self.waiting > 0.0 { number as u32 } else { 0 };
    }

    fn other(&self) -> Option<Other> {
        let other = Other {
            running: self.busy.into(),
            waiting: self.waiting as u64,
            workers: self.scaler.now().into(),
        };
        (other.running + other.waiting > 0).then_some(other)
    }

    fn decide(&mut self, now: Instant, others: Vec<Other>) -> u32 {
        let seen = Seen {
            busy: self.busy,
            begun: self.begun,
            waiting: self.waiting as u64,
            others,
            room: plenty(),
        };
        self.scaler.wanted(now, &seen)
    }
}

/// Several sites on one host: how many workers each has after so many seconds.
fn together(sites: &mut [Site], seconds: u64) -> Vec<u32> {
    let start = Instant::now();
    for second in 0..seconds {
        let now = start + Duration::from_secs(second);
        sites.iter_mut().for_each(Site::work);
        for at in 0..sites.len() {
            let others = (0..sites.len()).filter(|other| *other != at);
            let others = others.filter_map(|other| sites[other].other()).collect();
            sites[at].decide(now, others);
        }
    }
    sites.iter().map(|site| site.scaler.now()).collect()
}

#[test]
fn a_burst_is_met_within_seconds_and_forgotten_within_minutes() {
    let start = Instant::now();
    let mut site = Site::new(limits(1, 8, 8), 2_000, 0.2);
    let (mut reached, mut back) = (None, None);
    for second in 0..240 {
        site.work();
        match site.decide(start + Duration::from_secs(second), Vec::new()) {
            8 => reached = reached.or(Some(second)),
            1 if reached.is_some() => back = back.or(Some(second)),
            _ => {}
        }
    }
    assert!(reached.is_some_and(|second| second <= 6), "{reached:?}");
    assert!(back.is_some_and(|second| second <= 150), "{back:?}");
}

#[test]
fn jobs_that_hardly_wait_need_no_more_workers() {
    let mut site = Site::new(limits(1, 8, 8), 0, 0.1);
    let start = Instant::now();
    for second in 0..300 {
        // Always some in the queue, but each only for a second.
        site.waiting += 9.0;
        site.work();
        site.waiting = site.waiting.max(1.0);
        assert_eq!(
            site.decide(start + Duration::from_secs(second), Vec::new()),
            1
        );
    }
}

#[test]
fn one_long_job_and_another_that_waits_need_a_second_worker() {
    let mut scaler = Scaler::new(limits(1, 8, 8));
    let start = Instant::now();
    let seen = Seen {
        busy: 1,
        begun: 1,
        waiting: 1,
        room: plenty(),
        ..Seen::default()
    };
    assert_eq!(scaler.wanted(start, &seen), 1);
    assert_eq!(scaler.wanted(start + Duration::from_secs(1), &seen), 1);
    assert_eq!(scaler.wanted(start + Duration::from_secs(2), &seen), 2);
    assert_eq!(
        scaler.why().unwrap().to_string(),
        "a job has waited 2.0 s".to_owned()
    );
}

#[test]
fn sites_that_are_all_busy_share_the_budget() {
    let busy = |max| Site::new(limits(1, max, 8), 1_000_000, 0.2);
    assert_eq!(together(&mut [busy(8), busy(8)], 60), [4, 4]);
    let three = together(&mut [busy(8), busy(8), busy(8)], 60);
    assert!(
        three.iter().all(|number| (2..=3).contains(number)),
        "{three:?}"
    );
    // One with a small maximum leaves the rest to the other, but for one.
    assert_eq!(together(&mut [busy(8), busy(2)], 60), [5, 2]);
    // More sites than the budget has jobs: each has its minimum.
    let mut many: Vec<Site> = (0..20).map(|_| busy(8)).collect();
    assert_eq!(together(&mut many, 60), [1; 20]);
}

#[test]
fn a_late_site_gets_its_share_from_one_that_has_everything() {
    let busy = || Site::new(limits(1, 8, 8), 1_000_000, 0.2);
    let mut sites = [busy(), Site::new(limits(1, 8, 8), 0, 0.2)];
    assert_eq!(together(&mut sites, 30), [8, 1]);
    sites[1].waiting = 1_000_000.0;
    assert_eq!(together(&mut sites, 30), [4, 4]);
}

#[test]
fn a_host_without_room_keeps_the_number_and_says_why() {
    let start = Instant::now();
    let tight = |change: &dyn Fn(&mut Room, &mut Vec<Other>)| {
        let (mut room, mut others) = (plenty(), Vec::new());
        change(&mut room, &mut others);
        let mut scaler = Scaler::new(limits(2, 8, 8));
        let seen = Seen {
            busy: 2,
            begun: 2,
            waiting: 50,
            others,
            room,
        };
        scaler.wanted(start, &seen);
        let number = scaler.wanted(start + Duration::from_secs(3), &seen);
        (number, scaler.held_by())
    };
    assert_eq!(tight(&|_, _| {}), (4, None));
    assert_eq!(
        tight(&|room, _| room.load = Some(4.5)),
        (2, Some(HeldBy::Load))
    );
    assert_eq!(
        tight(&|room, _| room.memory_kb = Some(100 << 10)),
        (2, Some(HeldBy::Memory))
    );
    assert_eq!(
        tight(&|room, _| room.memory_kb = Some(130 << 10)),
        (3, Some(HeldBy::Memory))
    );
    assert_eq!(
        tight(&|room, _| room.connections = free(150, 30)),
        (2, Some(HeldBy::Connections))
    );
    assert_eq!(
        tight(&|room, _| room.connections = free(150, 31)),
        (3, Some(HeldBy::Connections))
    );
    // Where there are few, three stay free.
    assert_eq!(
        tight(&|room, _| room.connections = free(10, 3)),
        (2, Some(HeldBy::Connections))
    );
    assert_eq!(tight(&|room, _| room.connections = free(10, 5)), (4, None));
    let others = Other {
        running: 6,
        waiting: 0,
        workers: 6,
    };
    assert_eq!(tight(&|_, all| all.push(others)), (2, Some(HeldBy::Budget)));
    assert_eq!(
        tight(&|room, _| *room = Room {
            worker_kb: 1,
            ..Room::default()
        }),
        (4, None)
    );
}

#[test]
fn jobs_that_others_take_do_not_count_as_waiting() {
    let mut scaler = Scaler::new(limits(1, 8, 8));
    let start = Instant::now();
    for second in 0..60 {
        // Another host takes all but the latest five.
        let seen = Seen {
            busy: 1,
            begun: 1,
            waiting: if second % 2 == 0 { 5 } else { 0 },
            room: plenty(),
            ..Seen::default()
        };
        assert_eq!(scaler.wanted(start + Duration::from_secs(second), &seen), 1);
    }
}

#[test]
fn a_share_leaves_others_what_they_want_or_as_much() {
    for (budget, others, mine) in [
        (8, vec![], 8),
        (8, vec![1, 1], 6),
        (8, vec![100], 4),
        (8, vec![100, 2], 3),
        (8, vec![100, 100], 3),
        (2, vec![9; 50], 1),
        (8, vec![u64::MAX, u64::MAX], 3),
    ] {
        assert_eq!(fair_share(budget, others.clone()), mine, "{others:?}");
    }
}

fn seen() -> impl Strategy<Value = Seen> {
    let other = (0..20u64, 0..3000u64, 0..20u64).prop_map(|(running, waiting, workers)| Other {
        running,
        waiting,
        workers,
    });
    let room = (0..10u32, 0..1u64 << 22, 0..200u32).prop_map(|(load, memory, connections)| Room {
        load: Some(load as f32),
        memory_kb: Some(memory),
        worker_kb: 64 << 10,
        connections: free(151, connections),
    });
    let others = proptest::collection::vec(other, 0..5);
    (0..20u32, 0..5000u64, 0..3000u64, others, room).prop_map(
        |(busy, begun, waiting, others, room)| Seen {
            busy,
            begun,
            waiting,
            others,
            room,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whatever_is_seen_the_number_keeps_its_bounds(
        min in 1..5u32,
        more in 0..12u32,
        budget in 1..30u32,
        steps in proptest::collection::vec((seen(), 0..30u64), 1..60),
    ) {
        let max = min + more;
        let mut scaler = Scaler::new(limits(min, max, budget));
        let mut now = Instant::now();
        prop_assert_eq!(scaler.now(), min);
        for (seen, seconds) in steps {
            now += Duration::from_secs(seconds);
            let before = scaler.now();
            let wanted = scaler.wanted(now, &seen);
            prop_assert!((min..=max).contains(&wanted));
            prop_assert!(wanted <= 2 * before, "{} to {}", before, wanted);
            prop_assert_eq!(scaler.why().is_some(), wanted != before);
            // Busy ones go only for others.
            let others_wait = seen.others.iter().any(|other| other.waiting > 0);
            prop_assert!(others_wait || wanted >= before.min(seen.busy));
            if wanted > before {
                prop_assert!(seen.waiting > 0 && seen.busy >= before);
                let running: u64 = seen.others.iter().map(|other| other.running).sum();
                prop_assert!(u64::from(wanted) + running <= u64::from(budget));
            }
        }
    }
}
