//! Rules for the jobs of some hooks: at most some at a time, in a minute, for so long,
//! with so much memory, and retried.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wp_gears::base::options::Seconds;
use wp_gears::worker::options::Mode;
use wp_gears::worker::settings::CrewSettings;
use wp_gears::worker::workers::Workers;

use super::lab::{Plan, Site, Worker, children, signal, sleep, wait_for};

/// Jobs that note when they began and ended.
const SPANS: &str = r#"
function t_span( $args ) {
	$began = microtime( true );
	usleep( $args[1] * 1000 );
	out( $args[0] . ' ' . $began . ' ' . microtime( true ), 'spans' );
	out( $args[0] );
}
add_action( 't_import', 't_span' );
add_action( 't_other', 't_span' );
add_action( 't_never', function () { out( microtime( true ), 'begun' ); sleep( 30 ); } );
add_action( 't_again', function ( $args ) {
	out( microtime( true ), 'tries' );
	if ( count( file( WP_CONTENT_DIR . '/uploads/tries' ) ) < $args[0] ) throw new RuntimeException( 'not yet' );
	out( 'at last' );
} );
add_action( 't_memory', function ( $args ) {
	if ( $args[0] ) ini_set( 'memory_limit', '-1' );
	$all = array();
	while ( count( $all ) < 120 ) $all[] = str_repeat( 'x', 1 << 20 );
	out( 'had ' . count( $all ) );
} );
"#;

fn site(name: &str, plain: bool) -> Site {
    let jobs = SPANS.into();
    Site::with(
        name,
        Plan {
            jobs,
            plain,
            ..Plan::default()
        },
    )
}

/// What a crew of so many workers runs with.
fn settings(count: u32, rule: Value) -> CrewSettings {
    CrewSettings {
        workers: Workers::fixed(count),
        hook: vec![serde_json::from_value(rule).unwrap()],
        ..CrewSettings::default()
    }
}

fn worker(site: &Site, count: u32, rule: Value) -> Worker {
    Worker::crew(site, &settings(count, rule))
}

fn spans(hook: &'static str, count: usize, millis: u64) -> Vec<(&'static str, Value)> {
    let one = |n| (hook, json!([format!("{hook}-{n}"), millis]));
    (0..count).map(one).collect()
}

fn names(jobs: &[(&str, Value)]) -> Vec<String> {
    let name = |job: &(&str, Value)| job.1[0].as_str().unwrap().to_owned();
    jobs.iter().map(name).collect()
}

/// When the jobs of a hook began and ended, by their beginning.
fn times(site: &Site, hook: &str) -> Vec<(f64, f64)> {
    let mut times = Vec::new();
    for line in site.lines("spans") {
        let words: Vec<&str> = line.split(' ').collect();
        if words[0].starts_with(hook) {
            times.push((words[1].parse().unwrap(), words[2].parse().unwrap()));
        }
    }
    times.sort_by(|a, b| f64::total_cmp(&a.0, &b.0));
    times
}

/// The most that ran at a time.
fn at_once(times: &[(f64, f64)]) -> usize {
    let at = |now: f64| {
        times
            .iter()
            .filter(|(from, to)| *from <= now && now < *to)
            .count()
    };
    times.iter().map(|(from, _)| at(*from)).max().unwrap_or(0)
}

fn waiting(site: &Site) -> BTreeMap<String, u64> {
    let said = site.wp_gears(&[
        "status",
        "--json",
        "--servers",
        &site.gearmand.server.to_string(),
    ]);
    let status: Value = serde_json::from_slice(&said.stdout).unwrap();
    let sites = status["sites"].as_array().unwrap();
    let of_site = sites.iter().find(|it| it["site"] == site.name.as_str());
    let hooks = of_site.unwrap()["waiting_for_limit"].as_array();
    let count = |it: &Value| {
        (
            it["hook"].as_str().unwrap().into(),
            it["jobs"].as_u64().unwrap(),
        )
    };
    hooks.into_iter().flatten().map(count).collect()
}

fn at_most_some_run_at_a_time(name: &str, plain: bool, mode: Mode, most: usize) {
    let site = site(name, plain);
    let mut jobs = spans("t_import", 8, 300);
    jobs.extend(spans("t_other", 8, 300));
    site.add_many(&jobs);
    let rule = json!({ "match": "t_imp*", "concurrency": most });
    let mut settings = settings(4, rule);
    settings.options.worker_mode = Some(mode);
    let worker = Worker::crew(&site, &settings);
    wait_for(40, "jobs that wait", || {
        !site.out().is_empty() && site.log().contains(" waits for ")
    });
    if most == 1 {
        assert!(
            waiting(&site).contains_key("t_import"),
            "{:?}",
            waiting(&site)
        );
        assert!(site.failed().is_empty(), "{:?}", site.failed());
    }
    site.wait_for_out(60, 16);
    site.assert_once(names(&jobs));
    let imports = times(&site, "t_import");
    assert_eq!(at_once(&imports), most, "{imports:?}\n{}", site.log());
    let others = times(&site, "t_other");
    assert!(at_once(&others) > 1, "{others:?}");
    wait_for(5, "the folder to be empty", || waiting(&site).is_empty());
    // Each that waited is told once, and the first never.
    let log = site.log();
    assert!(log.matches(" waits for ").count() < 8, "{log}");
    assert!(log.contains(&format!("concurrency = {most}")), "{log}");
    // The worker that ends one takes the next at once. (A spawned one boots PHP first.)
    if most == 1 && mode == Mode::Fork {
        let pauses = imports.windows(2).map(|two| two[1].0 - two[0].1);
        let mut pauses: Vec<f64> = pauses.collect();
        pauses.sort_by(f64::total_cmp);
        assert!(pauses[3] < 0.4, "{pauses:?}\n{log}");
    }
    worker.stop();
}

#[test]
fn one_at_a_time_of_sealed_jobs() {
    at_most_some_run_at_a_time("rule-sealed", false, Mode::Fork, 1);
}

#[test]
fn two_at_a_time_of_plain_jobs() {
    at_most_some_run_at_a_time("rule-plain", true, Mode::Fork, 2);
}

#[test]
fn one_at_a_time_of_spawned_jobs() {
    at_most_some_run_at_a_time("rule-spawn", false, Mode::Spawn, 1);
}

#[test]
fn a_rate_is_kept_and_used_up() {
    let site = site("rule-rate", false);
    let mut jobs = spans("t_import", 9, 1);
    jobs.extend(spans("t_other", 30, 1));
    site.add_many(&jobs);
    let rule = json!({ "match": "t_import", "rate": 120 });
    let worker = worker(&site, 3, rule);
    site.wait_for_out(60, 39);
    site.assert_once(names(&jobs));
    let (imports, others) = (times(&site, "t_import"), times(&site, "t_other"));
    assert!(others[10].0 < imports[8].0, "{}", site.log());
    // Their turns are half a second apart. Where the host is busy, some begin late.
    for few in imports.windows(5) {
        assert!(few[4].0 - few[0].0 > 1.0, "{imports:?}");
    }
    let took = imports[8].0 - imports[0].0;
    assert!(
        (3.0..15.0).contains(&took),
        "{took} s for 8 pauses of 0.5 s"
    );
    worker.stop();
}

#[test]
fn jobs_that_wait_survive_kills_and_a_dead_worker_frees_its_slot() {
    let site = site("rule-kill", false);
    let jobs = spans("t_import", 6, 600);
    let rule = json!({ "match": "t_import", "concurrency": 1 });
    let first = worker(&site, 2, rule.clone());
    site.add_many(&jobs);
    wait_for(20, "a job and others that wait", || {
        waiting(&site).values().sum::<u64>() >= 4
    });
    wait_for(10, "the job server to have given all away", || {
        site.waits() <= 2
    });
    // The worker that holds the slot, with its job.
    let has_job = |pid: &i32| children(*pid).iter().any(|php| !children(*php).is_empty());
    let members = children(first.pid());
    if let Some(holder) = members.iter().find(|pid| has_job(pid)) {
        signal(*holder, "KILL");
    }
    sleep(200);
    // All of them, and the parent.
    let all: Vec<i32> = children(first.pid())
        .into_iter()
        .chain([first.pid()])
        .collect();
    all.into_iter().for_each(|pid| signal(pid, "KILL"));
    drop(first);
    let second = worker(&site, 2, rule);
    wait_for(40, "all jobs", || {
        let out = site.out();
        names(&jobs).iter().all(|name| out.contains(name))
    });
    let times = times(&site, "t_import");
    assert!(
        times.len() <= 8,
        "more ran twice than were killed: {times:?}"
    );
    assert_eq!(at_once(&times), 1, "{times:?}\n{}", site.log());
    wait_for(5, "the folder to be empty", || waiting(&site).is_empty());
    second.stop();
}

#[test]
fn a_hook_has_its_own_timeout_and_retries() {
    let site = site("rule-timeout", false);
    let rule = json!({ "match": "t_never", "timeout": 1, "retries": 1 });
    let mut settings = settings(1, rule);
    settings.options.job_timeout = Some(Seconds(100));
    let worker = Worker::crew(&site, &settings);
    site.add("t_never", json!([]));
    site.add("t_other", json!(["long", 1500]));
    wait_for(40, "the failed job", || !site.kept().is_empty());
    let why = "it ran longer than 1 s (timeout of the hook rule \"t_never\")";
    assert_eq!(site.kept(), [("t_never".into(), why.into())]);
    assert_eq!(site.lines("begun").len(), 2);
    site.wait_for_out(20, 1);
    worker.stop();
}

#[test]
fn jobs_that_throw_are_retried_where_that_was_asked_for() {
    let site = site("rule-retries", false);
    let rule = json!({ "match": "t_again", "retries": 3 });
    let worker = worker(&site, 2, rule);
    site.add("t_throw", json!([]));
    site.add("t_again", json!([3]));
    site.wait_for_out(40, 1);
    assert_eq!(site.kept().len(), 1, "{:?}", site.kept());
    assert_eq!(site.kept()[0].0, "t_throw");
    // Pauses of one second and of five, less some at random.
    let tries: Vec<f64> = site
        .lines("tries")
        .iter()
        .map(|at| at.parse().unwrap())
        .collect();
    let (one, two) = (tries[1] - tries[0], tries[2] - tries[1]);
    assert!(
        (0.5..2.5).contains(&one) && (2.9..7.0).contains(&two),
        "{one} {two}"
    );
    let log = site.log();
    assert!(log.contains("try=3 done"), "{log}");
    worker.stop();
}

#[test]
fn a_job_that_keeps_throwing_is_kept_after_its_retries() {
    let site = site("rule-thrown", false);
    let worker = site.worker(&["--failed-retries", "1"]);
    site.add("t_throw", json!([]));
    wait_for(40, "the failed job", || !site.kept().is_empty());
    assert_eq!(
        site.log().matches("failed: RuntimeException").count(),
        2,
        "{}",
        site.log()
    );
    let failed = site.failed();
    assert_eq!(failed[0]["job"]["tries"].as_array().unwrap().len(), 2);
    worker.stop();
}

#[test]
fn a_job_over_its_memory_is_told_the_limit() {
    let site = site("rule-memory", false);
    let rule = json!({ "match": "t_memory", "memory": 64, "retries": 0 });
    let worker = worker(&site, 1, rule);
    for raises in [false, true] {
        site.add("t_memory", json!([raises]));
    }
    wait_for(40, "the failed jobs", || site.kept().len() == 2);
    for (_, error) in site.kept() {
        assert!(
            error.contains("(memory = 64 of the hook rule \"t_memory\")"),
            "{error}"
        );
    }
    assert!(site.out().is_empty());
    // Without the rule it has what it asks for.
    worker.stop();
    let worker = site.worker(&[]);
    site.add("t_memory", json!([true]));
    site.wait_for_out(20, 1);
    worker.stop();
}

#[test]
fn a_crew_adopts_changed_rules_between_jobs() {
    let site = site("rule-adopted", false);
    let rule = |most: u32| json!({ "match": "t_import", "concurrency": most });
    let worker = worker(&site, 3, rule(1));
    let jobs = spans("t_import", 9, 500);
    site.add_many(&jobs);
    wait_for(40, "jobs that wait", || {
        waiting(&site).values().sum::<u64>() >= 4
    });
    // Both of these ran under the first rule.
    site.wait_for_out(20, 2);
    site.settings(&settings(3, rule(3)));
    site.wait_for_out(60, 9);
    site.assert_once(names(&jobs));
    let times = times(&site, "t_import");
    assert_eq!(at_once(&times[..2]), 1, "{times:?}");
    assert!(at_once(&times) > 1, "{times:?}\n{}", site.log());
    wait_for(5, "the folder to be empty", || waiting(&site).is_empty());
    worker.stop();
}
