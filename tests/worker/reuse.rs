//! Jobs that follow each other in one process, where that was asked for.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wp_gears::worker::settings::CrewSettings;

use super::lab::{Plan, Site, Worker, children, signal, sleep, wait_for};

/// Jobs that say in which process they ran, and the how-manieth in it they were.
const JOBS: &str = r#"
function t_where( $name ) {
	static $count = 0;
	out( $name . ' ' . getmypid() . ' ' . ++$count );
}
add_action( 't_here', function ( $args ) { usleep( 1000 * $args[1] ); t_where( $args[0] ); } );
add_action( 't_alone', function ( $args ) { t_where( $args[0] ); } );
add_action( 't_dies', function ( $args ) { t_where( $args[0] ); posix_kill( getmypid(), SIGKILL ); } );
add_action( 't_exits', function ( $args ) { t_where( $args[0] ); exit( 3 ); } );
add_action( 't_fatal', function ( $args ) { t_where( $args[0] ); ini_set( 'memory_limit', '64M' ); str_repeat( 'x', 1 << 27 ); } );
add_action( 't_stays', function ( $args ) { t_where( $args[0] ); sleep( 30 ); } );
add_action( 't_option', function ( $args ) { t_where( $args[0] ); update_option( 't_option', $args[0] ); } );
add_action( 't_end', function ( $args ) {
	register_shutdown_function( function () use ( $args ) { out( "end of $args[0]", 'ends' ); } );
	t_where( $args[0] );
} );
"#;

fn site(name: &str) -> Site {
    Site::with(
        name,
        Plan {
            jobs: JOBS.into(),
            ..Plan::default()
        },
    )
}

fn here(names: impl IntoIterator<Item = usize>) -> Vec<(&'static str, Value)> {
    let job = |n: usize| ("t_here", json!([n.to_string(), 0]));
    names.into_iter().map(job).collect()
}

/// What ran: its name, its process, and the how-manieth in it.
fn ran(site: &Site) -> Vec<(String, String, usize)> {
    let parse = |line: String| {
        let words: Vec<_> = line.split(' ').map(String::from).collect();
        (
            words[0].clone(),
            words[1].clone(),
            words[2].parse().unwrap(),
        )
    };
    site.out().into_iter().map(parse).collect()
}

fn names(site: &Site) -> Vec<String> {
    ran(site).into_iter().map(|it| it.0).collect()
}

fn counts(site: &Site) -> Vec<usize> {
    ran(site).into_iter().map(|it| it.2).collect()
}

fn reuse_up_to(name: &str, start: impl Fn(&Site) -> Worker) {
    let site = site(name);
    site.add_many(&here(0..7));
    let worker = start(&site);
    site.wait_for_out(40, 7);
    assert_eq!(counts(&site), [1, 2, 3, 1, 2, 3, 1], "{}", site.log());
    let mut once = names(&site);
    once.dedup();
    assert_eq!(once.len(), 7);
    // None stays behind when there is nothing to do.
    let php = worker.php().unwrap();
    wait_for(10, "the process to end", || children(php).is_empty());
    assert_eq!(worker.php(), Some(php), "{}", site.log());
    worker.stop();
    assert!(site.kept().is_empty());
}

#[test]
fn as_many_jobs_as_allowed_share_a_process() {
    reuse_up_to("reuse", |site| site.worker(&["--reuse", "3"]));
}

#[test]
fn they_do_however_they_are_forked() {
    reuse_up_to("reuse-plainly", |site| {
        Worker::plainly(site, &["--reuse", "3"])
    });
}

#[test]
fn without_being_asked_none_do() {
    let site = site("reuse-none");
    site.add_many(&here(0..4));
    let worker = site.worker(&[]);
    site.wait_for_out(40, 4);
    assert_eq!(counts(&site), [1, 1, 1, 1]);
    worker.stop();
}

#[test]
fn only_hooks_that_are_trusted_do() {
    let site = site("reuse-rule");
    let rule = |rule| serde_json::from_value(rule).unwrap();
    let mut settings = CrewSettings {
        hook: vec![
            rule(json!({ "match": "t_alone", "reuse": 1 })),
            rule(json!({ "match": "t_end", "memory": 256 })),
        ],
        ..CrewSettings::default()
    };
    settings.options.reuse = Some(10);
    let mut jobs = here(0..2);
    jobs.push(("t_alone", json!(["alone"])));
    jobs.extend(here(2..4));
    jobs.push(("t_end", json!(["limited"])));
    jobs.extend(here(4..5));
    site.add_many(&jobs);
    let worker = Worker::crew(&site, &settings);
    site.wait_for_out(40, 7);
    assert_eq!(names(&site), ["0", "1", "alone", "2", "3", "limited", "4"]);
    assert_eq!(counts(&site), [1, 2, 1, 1, 2, 1, 1], "{}", site.log());
    worker.stop();
}

/// A job that ends its process in the middle of others: only it is lost.
fn one_ends(name: &str, hook: &'static str, options: &[&str], why: &str) {
    let site = site(name);
    let mut jobs = here(0..2);
    jobs.push((hook, json!(["bad"])));
    jobs.extend(here(2..4));
    site.add_many(&jobs);
    let worker = site.worker(&[&["--reuse", "10", "--job-retries", "0"], options].concat());
    site.wait_for_out(40, 5);
    wait_for(20, "the failed job", || !site.kept().is_empty());
    assert_eq!(names(&site), ["0", "1", "bad", "2", "3"], "{}", site.log());
    assert_eq!(counts(&site), [1, 2, 3, 1, 2], "{}", site.log());
    let kept = site.kept();
    assert_eq!(kept.len(), 1);
    assert!(kept[0].0 == hook && kept[0].1.contains(why), "{kept:?}");
    worker.stop();
}

#[test]
fn a_killed_process_ends_only_its_job() {
    one_ends("reuse-kill", "t_dies", &[], "signal 9");
}

#[test]
fn exit_ends_only_its_job() {
    one_ends("reuse-exit", "t_exits", &[], "exit(3)");
}

#[test]
fn a_fatal_error_ends_only_its_job() {
    one_ends("reuse-fatal", "t_fatal", &[], "fatal error");
}

#[test]
fn the_time_limit_is_that_of_each_job() {
    one_ends(
        "reuse-time",
        "t_stays",
        &["--job-timeout", "1"],
        "longer than 1 s",
    );
    // Together they take longer.
    let site = site("reuse-times");
    let jobs = (0..5).map(|n| ("t_here", json!([n.to_string(), 500])));
    site.add_many(&jobs.collect::<Vec<_>>());
    let worker = site.worker(&["--reuse", "10", "--job-timeout", "2"]);
    site.wait_for_out(40, 5);
    assert_eq!(counts(&site), [1, 2, 3, 4, 5], "{}", site.log());
    worker.stop();
}

#[test]
fn a_job_sees_the_options_of_now_and_what_jobs_register_runs_at_the_end() {
    let site = site("reuse-fresh");
    let mut jobs = here(0..1);
    jobs.push(("t_end", json!(["a"])));
    jobs.push(("t_option", json!(["changes"])));
    jobs.extend(here(1..3));
    site.add_many(&jobs);
    site.php("update_option( 't_option', 'before' );");
    let worker = site.worker(&["--reuse", "10"]);
    site.wait_for_out(40, 5);
    assert_eq!(counts(&site), [1, 2, 3, 1, 2], "{}", site.log());
    assert!(site.log().contains("t_option changed"), "{}", site.log());
    worker.stop();
}

#[test]
fn shutdown_functions_run_when_the_process_ends() {
    let site = site("reuse-ends");
    site.add_many(&[("t_end", json!(["a"])), ("t_end", json!(["b"]))]);
    let worker = site.worker(&["--reuse", "10"]);
    wait_for(40, "both ends", || site.lines("ends").len() == 2);
    assert_eq!(site.lines("ends"), ["end of a", "end of b"]);
    worker.stop();
}

#[test]
fn no_job_runs_twice_or_is_lost_while_processes_are_killed() {
    let site = site("reuse-chaos");
    let all = 300;
    site.add_many(&here(0..all));
    let mut workers: Vec<_> = (0..2).map(|_| site.worker(&["--reuse", "7"])).collect();
    let mut kills = 0;
    let mut seen = BTreeMap::new();
    wait_for(120, "all jobs", || {
        for (at, worker) in workers.iter().enumerate() {
            let php = worker.php();
            // Now the job's process, now its parent.
            let child = php.and_then(|php| children(php).first().copied());
            let victim = if kills % 4 == 3 { php } else { child };
            if let Some(victim) = victim.filter(|_| kills < 40) {
                signal(victim, "KILL");
                kills += 1;
                seen.insert(victim, at);
            }
        }
        sleep(20);
        let names = names(&site);
        (0..all).all(|n| names.contains(&n.to_string()))
    });
    workers.drain(..).for_each(|worker| {
        worker.stop();
    });
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    names(&site)
        .into_iter()
        .for_each(|name| *counts.entry(name).or_default() += 1);
    let twice = counts.values().filter(|n| **n > 1).count();
    // A job whose process was killed after its line was written runs again.
    let died = site.log().matches(" died: ").count();
    assert!(
        twice <= died,
        "{twice} ran twice, {died} died, {kills} killed"
    );
    assert!(site.kept().is_empty(), "{:?}\n{}", site.kept(), site.log());
}
