//! Runs the state machine of jobs with its own clock, and without processes.

use super::*;

const LIMIT: Option<TimeLimit> = Some(TimeLimit {
    after: Duration::from_secs(10),
    rule: None,
});

/// A job with its own clock.
struct Life {
    state: JobState,
    start: Instant,
}

impl Life {
    fn new() -> Life {
        Life {
            state: JobState::new(),
            start: Instant::now(),
        }
    }

    fn at(&self, seconds: u64) -> Instant {
        self.start + Duration::from_secs(seconds)
    }

    fn on(&mut self, event: JobEvent) -> Vec<JobEffect> {
        let state = std::mem::replace(&mut self.state, JobState::Over);
        let (state, effects) = state.step(event, LIMIT);
        self.state = state;
        effects
    }

    fn tick(&mut self, seconds: u64) -> Vec<JobEffect> {
        let now = self.at(seconds);
        self.on(JobEvent::Tick { now, stop: None })
    }

    /// The worker has to stop by second 100.
    fn tick_with_stop(&mut self, seconds: u64) -> Vec<JobEffect> {
        let (now, stop) = (self.at(seconds), Some(self.at(100)));
        self.on(JobEvent::Tick { now, stop })
    }

    fn running(pid: Option<i32>) -> Life {
        let mut life = Life::new();
        assert_eq!(life.tick(0), [JobEffect::Admit]);
        let give = JobEffect::Give { may_renew: true };
        assert_eq!(life.on(JobEvent::Admitted), [give]);
        let (now, pid) = (life.start, pid.and_then(Pid::from_raw));
        let event = JobEvent::Given {
            now,
            at_ms: 7,
            pid,
            reuses: false,
        };
        assert_eq!(life.on(event), []);
        life
    }

    fn say(&mut self, text: &str) -> Vec<JobEffect> {
        self.on(JobEvent::Message(serde_json::from_str(text).unwrap()))
    }
}

fn exited(pid: i32, code: i32) -> JobEvent {
    JobEvent::Exited(Ended {
        pid,
        code: Some(code),
        signal: None,
    })
}

fn over(outcome: JobOutcome, seconds: u64) -> [JobEffect; 3] {
    [
        JobEffect::Collect,
        JobEffect::Report {
            outcome: outcome.clone(),
            began_ms: 7,
            took: Duration::from_secs(seconds),
        },
        JobEffect::Store {
            outcome,
            failures: 0,
        },
    ]
}

#[test]
fn a_forked_job_is_done_when_its_process_is_gone() {
    let mut life = Life::running(None);
    assert_eq!(life.say(r#"{"started":5}"#), []);
    assert_eq!(life.say(r#"{"done":true}"#), []);
    assert_eq!(life.tick(1), []);
    assert_eq!(life.say(r#"{"ended":{"pid":5,"code":0}}"#), []);
    assert_eq!(life.tick(2), over(JobOutcome::Done, 2));
    assert_eq!(
        life.on(JobEvent::Stored),
        [JobEffect::Answer(JobOutcome::Done)]
    );
    assert_eq!(life.state, JobState::Over);
}

#[test]
fn messages_count_even_after_the_process_has_ended() {
    let mut life = Life::running(Some(5));
    assert_eq!(life.on(exited(6, 1)), [], "another process");
    assert!(life.state.is_running());
    assert_eq!(life.on(exited(5, 0)), []);
    assert_eq!(life.say(r#"{"failed":{"message":"m"}}"#), []);
    assert_eq!(life.tick(1), over(JobOutcome::Failed("m".into()), 1));
}

#[test]
fn a_job_that_runs_too_long_is_killed_once_and_has_died() {
    let mut life = Life::running(None);
    let kill = JobEffect::Kill(None);
    assert_eq!(life.tick(11), [kill], "PHP hangs before it starts one");
    let mut life = Life::running(None);
    life.say(r#"{"started":5}"#);
    let kill = JobEffect::Kill(Pid::from_raw(5));
    assert_eq!(life.tick(12), [kill]);
    assert_eq!(life.tick(13), []);
    life.on(exited(5, 255));
    let died = JobOutcome::Died("it ran longer than 10 s".into());
    assert_eq!(life.tick(14), over(died, 14));
}

#[test]
fn a_job_without_any_process_left_has_died() {
    let mut life = Life::running(None);
    life.on(JobEvent::Vanished);
    let died = JobOutcome::Died("the process disappeared".into());
    assert_eq!(life.tick(1), over(died, 1));
}

#[test]
fn progress_is_forwarded_only_while_it_runs() {
    let mut life = Life::running(Some(5));
    assert_eq!(
        life.say(r#"{"data":"00ff"}"#),
        [JobEffect::Forward {
            kind: kind::WORK_DATA,
            fields: vec![vec![0, 255]],
        }]
    );
    assert_eq!(life.say(r#"{"data":"not hex"}"#), []);
    assert_eq!(Life::new().say(r#"{"status":[1,2]}"#), []);
}

#[test]
fn a_stale_php_is_renewed_a_limited_number_of_times() {
    let mut life = Life::new();
    life.on(JobEvent::Admitted);
    for _ in 0..MAX_RENEWALS - 1 {
        let again = life.on(JobEvent::PhpRenewed);
        assert_eq!(again, [JobEffect::Give { may_renew: true }]);
    }
    let again = life.on(JobEvent::PhpRenewed);
    assert_eq!(again, [JobEffect::Give { may_renew: false }]);
    assert_eq!(life.tick(1), again);
}

#[test]
fn a_job_that_did_not_start_waits_again() {
    let mut life = Life::running(None);
    life.say(r#"{"stale":["blogname"]}"#);
    life.say(r#"{"ended":{"pid":5}}"#);
    let changed = vec!["blogname".to_string()];
    assert_eq!(
        life.tick(1),
        [
            JobEffect::Collect,
            JobEffect::RenewPhp { changed },
            JobEffect::Admit,
        ]
    );
    life.on(JobEvent::Admitted);
    let now = life.start;
    let pid = None;
    life.on(JobEvent::Given {
        now,
        at_ms: 7,
        pid,
        reuses: false,
    });
    life.say(r#"{"unready":"no database"}"#);
    life.say(r#"{"ended":{"pid":5}}"#);
    let why = "no database".to_string();
    assert_eq!(
        life.tick(2),
        [JobEffect::Collect, JobEffect::SuspendPhp { why }]
    );
    let waiting = JobState::Waiting {
        renewals: 0,
        admitted: false,
    };
    assert_eq!(life.state, waiting);
}

#[test]
fn a_job_that_a_rule_does_not_let_run_is_put_aside_and_released() {
    let mut life = Life::new();
    assert_eq!(life.tick(0), [JobEffect::Admit]);
    assert_eq!(
        life.tick(1),
        [JobEffect::Admit],
        "its hook was not known yet"
    );
    assert_eq!(life.on(JobEvent::Limited), [JobEffect::PutAside]);
    assert_eq!(life.tick(2), []);
    // The disk is full: it is held, and looked at again.
    let retry_at = life.at(5);
    assert_eq!(life.on(JobEvent::NotPutAside { retry_at }), []);
    assert_eq!(life.state.wakes_at(LIMIT, None), Some(retry_at));
    assert_eq!(life.tick(4), []);
    assert_eq!(life.tick(5), [JobEffect::Admit]);
    assert_eq!(life.on(JobEvent::Limited), [JobEffect::PutAside]);
    assert_eq!(life.on(JobEvent::PutAside), [JobEffect::Release]);
    assert_eq!(life.state, JobState::Over);
}

#[test]
fn a_foretold_end_counts_unless_the_job_exits() {
    let outcome = |messages: &[&str]| {
        let mut life = Life::running(Some(5));
        for message in messages {
            life.say(message);
        }
        life.on(exited(5, 0));
        match life.tick(1).pop() {
            Some(JobEffect::Store { outcome, .. }) => outcome,
            other => panic!("{other:?}"),
        }
    };
    let (fatal, exits) = (r#"{"fatal":{"message":"m"}}"#, r#"{"exits":true}"#);
    let failed = r#"{"failed":{"message":"m"}}"#;
    let died = JobOutcome::Died("fatal error: m".into());
    assert_eq!(outcome(&[fatal]), died);
    assert_eq!(outcome(&[fatal, exits]), JobOutcome::Done);
    assert_eq!(outcome(&[fatal, r#"{"done":true}"#]), JobOutcome::Done);
    let why = JobOutcome::Failed("m".into());
    assert_eq!(outcome(&[fatal, failed, exits]), why);
}

#[test]
fn a_worker_that_stops_puts_nothing_aside() {
    let mut life = Life::new();
    life.on(JobEvent::Limited);
    assert_eq!(life.tick_with_stop(1), []);
    assert_eq!(life.state, JobState::Over);
}

#[test]
fn a_job_that_runs_longer_than_its_rule_allows_is_told_so() {
    let limit = TimeLimit {
        after: Duration::from_secs(2),
        rule: Some("import_*"),
    };
    let mut life = Life::running(Some(5));
    assert_eq!(life.state.wakes_at(Some(limit), None), Some(life.at(2)));
    let (now, stop) = (life.at(2), None);
    let state = std::mem::replace(&mut life.state, JobState::Over);
    let (state, effects) = state.step(JobEvent::Tick { now, stop }, Some(limit));
    assert_eq!(effects, [JobEffect::Kill(Pid::from_raw(5))]);
    life.state = state;
    life.on(exited(5, 255));
    let why = "it ran longer than 2 s (timeout of the hook rule \"import_*\")";
    assert_eq!(life.tick(3), over(JobOutcome::Died(why.into()), 3));
}

#[test]
fn what_could_not_be_stored_is_stored_later() {
    let mut life = Life::running(Some(5));
    life.on(exited(5, 3));
    let [.., JobEffect::Store { outcome, .. }] = &life.tick(1)[..] else {
        panic!("not stored");
    };
    let outcome = outcome.clone();
    let retry_at = life.at(5);
    assert_eq!(life.on(JobEvent::NotStored { retry_at }), []);
    assert_eq!(life.state.wakes_at(LIMIT, None), Some(retry_at));
    assert_eq!(life.tick(4), []);
    let again = JobEffect::Store {
        outcome: outcome.clone(),
        failures: 1,
    };
    assert_eq!(life.tick(5), [again]);
    assert_eq!(life.on(JobEvent::Stored), [JobEffect::Answer(outcome)]);
}

#[test]
fn a_worker_that_stops_leaves_what_it_cannot_finish() {
    // Not started: left to another worker.
    let mut life = Life::new();
    assert_eq!(life.tick_with_stop(1), []);
    assert_eq!(life.state, JobState::Over);
    // Running: finished in time, or killed.
    let mut life = Life::running(Some(5));
    assert_eq!(life.tick_with_stop(1), []);
    assert!(life.state.is_running());
    let pid = Pid::from_raw(5);
    let kill = JobEffect::Kill(pid);
    assert_eq!(life.tick_with_stop(100), [kill, JobEffect::GiveUp { pid }]);
    assert_eq!(life.state, JobState::Over);
    // Finished, but not stored: its process is gone, and another process may have its
    // ID by now.
    let mut life = Life::running(Some(5));
    life.on(exited(5, 3));
    life.tick(1);
    let retry_at = life.at(200);
    life.on(JobEvent::NotStored { retry_at });
    assert_eq!(life.tick_with_stop(2), [JobEffect::GiveUp { pid: None }]);
}

#[test]
fn a_job_whose_process_was_gone_already_waits_again() {
    let given = |life: &mut Life| {
        life.on(JobEvent::Admitted);
        let (now, pid) = (life.start, Pid::from_raw(5));
        life.on(JobEvent::Given {
            now,
            at_ms: 7,
            pid,
            reuses: true,
        });
    };
    let mut life = Life::new();
    given(&mut life);
    life.say(r#"{"ended":{"pid":5,"signal":9}}"#);
    assert_eq!(life.tick(1), [JobEffect::Collect, JobEffect::KillPhp]);
    assert_eq!(life.tick(1), [JobEffect::Admit]);
    // One that has begun it counts.
    given(&mut life);
    life.say(r#"{"started":5}"#);
    life.say(r#"{"ended":{"pid":5,"signal":9}}"#);
    let [_, JobEffect::Report { outcome, .. }, _] = &life.tick(2)[..] else {
        panic!("{:?}", life.state);
    };
    assert!(matches!(outcome, JobOutcome::Died(_)));
    // So does one that is kept for another job.
    let mut life = Life::new();
    given(&mut life);
    life.say(r#"{"started":5}"#);
    life.say(r#"{"done":true}"#);
    life.say(r#"{"kept":5}"#);
    assert_eq!(life.tick(3), over(JobOutcome::Done, 3));
}
