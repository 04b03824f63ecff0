//! Consecutive jobs: all run, none runs twice, none notices another.

use std::collections::HashSet;
use std::time::Instant;

use serde_json::{Value, json};

use super::lab::{Plan, Site, processor_ms, sleep, wait_for};

fn numbered(count: usize) -> Vec<(&'static str, Value)> {
    (0..count)
        .map(|n| ("t_line", json!([n.to_string()])))
        .collect()
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|n| n.to_string()).collect()
}

#[test]
fn a_burst_with_three_workers_runs_each_job_once() {
    let site = Site::new("burst");
    let worker = site.worker(&["--workers", "3"]);
    site.add_many(&numbered(300));
    site.wait_for_out(60, 300);
    site.assert_once(numbers(300));
    worker.stop();
    assert!(site.log().contains("fork"));
    // An idle worker needs no PHP, as its function is remembered.
    let worker = site.worker(&[]);
    wait_for(5, "a worker", || {
        site.gearmand
            .queue(&site.function)
            .is_some_and(|q| q.workers == 1)
    });
    assert_eq!(worker.php(), None);
    // When idle, it exits at once.
    assert!(worker.stop().as_millis() < 1000);
}

#[test]
fn spawn_runs_each_job_once() {
    let site = Site::new("spawn");
    let worker = site.worker(&["--worker-mode", "spawn"]);
    site.add_many(&numbered(30));
    site.add("t_throw", json!([]));
    site.wait_for_out(60, 30);
    site.assert_once(numbers(30));
    wait_for(10, "the failed job", || site.kept().len() == 1);
    worker.stop();
}

#[test]
fn jobs_add_jobs() {
    let site = Site::new("chain");
    let _worker = site.worker(&["--workers", "2"]);
    site.add("t_chain", json!([100]));
    site.wait_for_out(60, 101);
    site.assert_once((0..=100).map(|n| format!("chain {n}")).collect());
}

#[test]
fn a_job_does_not_see_another() {
    let jobs = r#"
function say_state() {
	global $wpdb;
	out( implode( ' ', array(
		defined( 'LEFT_BEHIND' ) ? 'constant' : '-',
		isset( $GLOBALS['left_behind'] ) ? 'global' : '-',
		get_locale(),
		setlocale( LC_NUMERIC, 0 ),
		'' . $wpdb->get_var( 'SELECT @@in_transaction' ),
		wp_cache_get( 'left', 'behind' ) ? 'cache' : '-',
		get_option( 'blogname' ),
		'' . get_current_user_id(),
		ini_get( 'memory_limit' ) === '77M' ? 'ini' : '-',
	) ) );
}
add_action( 't_state', 'say_state' );
add_action( 't_mess', function ( $args ) {
	global $wpdb;
	define( 'LEFT_BEHIND', 1 );
	$GLOBALS['left_behind'] = 1;
	ini_set( 'memory_limit', '77M' );
	switch_to_locale( 'de_DE' );
	setlocale( LC_NUMERIC, 'C.UTF-8' );
	wp_cache_set( 'left', 1, 'behind' );
	wp_set_current_user( 1 );
	$wpdb->query( 'START TRANSACTION' );
	$wpdb->query( "UPDATE $wpdb->options SET option_value = 'half done' WHERE option_name = 'blogname'" );
	if ( $args[0] ) { exit( 0 ); }
} );
add_action( 't_random', function () { out( mt_rand() . ' ' . lcg_value() . ' ' . rand(), 'random' ); } );
add_action( 't_shutdown', function () {
	add_action( 'shutdown', function () { out( 'action', 'shutdown' ); } );
	register_shutdown_function( function () { register_shutdown_function( function () { out( 'nested', 'shutdown' ); } ); } );
	$GLOBALS['destroyed'] = new class() { public function __destruct() { out( 'destroyed', 'shutdown' ); } };
} );
"#;
    let site = Site::with(
        "isolation",
        Plan {
            jobs: jobs.into(),
            ..Plan::default()
        },
    );
    let _worker = site.worker(&[]);
    for mess in [json!([0]), json!([1])] {
        site.add_many(&[
            ("t_state", json!([])),
            ("t_mess", mess),
            ("t_state", json!([])),
        ]);
    }
    let states = site.wait_for_out(20, 4);
    let clean = states[0].clone();
    assert!(
        states.iter().all(|state| *state == clean),
        "{states:#?}\n{}",
        site.log()
    );
    assert!(
        clean.starts_with("- - en_US ") && clean.ends_with(" 0 - test 0 -"),
        "{clean}"
    );

    site.add_many(&vec![("t_random", json!([])); 60]);
    wait_for(20, "random numbers", || site.lines("random").len() == 60);
    for column in 0..3 {
        let lines = site.lines("random");
        let different: HashSet<_> = lines
            .iter()
            .map(|line| line.split(' ').nth(column))
            .collect();
        assert!(different.len() > 55, "column {column}: {}", different.len());
    }

    site.add_many(&[("t_shutdown", json!([])), ("t_line", json!(["end"]))]);
    site.wait_for_out(10, 5);
    assert_eq!(site.lines("shutdown"), ["action", "nested", "destroyed"]);
    assert!(site.kept().is_empty(), "{:?}", site.kept());
}

#[test]
fn payloads_of_all_kinds() {
    let jobs = "add_action( 't_size', function ( $args ) { out( strlen( $args[0] ) . ' ' . md5( $args[0] ) ); } );
        add_action( 't_job', function ( $args, $job = null ) {
            $job->sendStatus( 1, 2 ); $job->sendData( \"a\\0b\" ); $job->sendWarning( 'w' );
            out( get_class( $job ) . ' ' . ( $job instanceof GearmanJob ) . ' ' . $job->functionName() . ' ' . strlen( $job->handle() ) . ' ' . $job->workloadSize() ); }, 10, 2 );";
    let site = Site::with(
        "payloads",
        Plan {
            jobs: jobs.into(),
            ..Plan::default()
        },
    );
    let mut worker = site.worker(&[]);
    for payload in [
        &b""[..],
        b"\0\xff\xfe binary",
        b"not JSON",
        b"[]",
        b"{\"hook\":7}",
        b"{\"hook\":\"\"}",
    ] {
        site.gearmand.submit(&site.function, payload);
    }
    let large = "x".repeat(10 << 20);
    let payload = json!({ "hook": "t_size", "args": [large], "blog_id": null }).to_string();
    site.gearmand.submit(&site.function, payload.as_bytes());
    site.gearmand.submit(
        &site.function,
        b"{\"hook\":\"t_size\",\"args\":[\"no blog\"]}",
    );
    site.gearmand.submit(
        &site.function,
        b"{\"hook\":\"t_job\",\"args\":[],\"blog_id\":null}",
    );
    let out = site.wait_for_out(30, 3);
    assert!(out[0].starts_with("10485760 "), "{out:?}");
    assert!(out[1].starts_with("7 "), "{out:?}");
    assert!(
        out[2].starts_with(&format!("WP_Gears_Job 1 {} ", site.function)),
        "{out:?}"
    );
    assert!(out[2].ends_with(" 41"), "{out:?}");
    let kept = site.kept();
    assert_eq!(kept.len(), 6, "{kept:?}");
    assert!(
        kept.iter()
            .all(|(_, error)| error.contains("not a job of wp_async_task_add()"))
    );
    // Byte for byte, with the command line.
    let ids: Vec<_> = site
        .failed()
        .iter()
        .map(|f| f["job"]["id"].as_str().unwrap().to_string())
        .collect();
    let shown = site.wp_gears(&["failed", "show", &ids[1]]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("binary"));
    assert!(worker.is_running());
}

#[test]
fn poison_does_not_stop_the_others() {
    let jobs = r#"
add_action( 't_error', function () { no_such_function(); } );
add_action( 't_exit', function ( $args ) { exit( $args[0] ); } );
add_action( 't_die', function () { wp_die( 'I <b>give</b> up' ); } );
add_action( 't_memory', function () { ini_set( 'memory_limit', '64M' ); $x = str_repeat( 'x', 100 << 20 ); } );
add_action( 't_fatal', function () { eval( 'class A extends B {} function out() {}' ); } );
add_action( 't_loop', function () { while ( true ); } );
add_action( 't_kill', function ( $args ) { posix_kill( getmypid(), $args[0] ); } );
add_action( 't_mended', function () { if ( ! file_exists( WP_CONTENT_DIR . '/uploads/mended' ) ) { throw new Exception( 'not yet' ); } out( 'mended' ); } );
"#;
    let site = Site::with(
        "poison",
        Plan {
            jobs: jobs.into(),
            ..Plan::default()
        },
    );
    let worker = site.worker(&["--workers", "2", "--job-retries", "1", "--job-timeout", "1"]);
    let mut all = numbered(500);
    for (at, poison) in [
        ("t_throw", json!([])),
        ("t_error", json!([])),
        ("t_fatal", json!([])),
        ("t_exit", json!([1])),
        ("t_die", json!([])),
        ("t_memory", json!([])),
        ("t_loop", json!([])),
        ("t_kill", json!([11])),
        ("t_kill", json!([9])),
        ("t_mended", json!([])),
    ]
    .into_iter()
    .enumerate()
    {
        all.insert(at * 50, poison);
    }
    site.add_many(&all);
    site.wait_for_out(120, 500);
    site.assert_once(numbers(500));
    wait_for(30, "the poison to be kept", || site.kept().len() == 10);
    let kept = site.kept();
    for (hook, error) in [
        ("t_throw", "RuntimeException: a bad job"),
        ("t_error", "Call to undefined function no_such_function()"),
        ("t_fatal", "fatal error: "),
        ("t_exit", "exit(1)"),
        ("t_die", "wp_die: I give up"),
        ("t_memory", "Allowed memory size"),
        ("t_loop", "longer than 1 s"),
        ("t_kill", "signal 11"),
        ("t_kill", "signal 9"),
        ("t_mended", "not yet"),
    ] {
        assert!(
            kept.iter().any(|(h, e)| h == hook && e.contains(error)),
            "{hook}: {kept:#?}"
        );
    }
    // A failure reported by the job is not retried, a death is.
    for failed in site.failed() {
        let tries = failed["job"]["tries"].as_array().unwrap().len();
        let hook = failed["job"]["hook"].as_str().unwrap();
        let died = ["t_memory", "t_loop", "t_kill", "t_fatal"].contains(&hook);
        assert_eq!(tries, if died { 2 } else { 1 }, "{hook}");
    }
    site.write("wp-content/uploads/mended", "");
    let id = site
        .failed()
        .iter()
        .find(|f| f["job"]["hook"] == "t_mended")
        .unwrap()["job"]["id"]
        .clone();
    site.wp_gears(&["failed", "retry", id.as_str().unwrap()]);
    site.wait_for_out(20, 101);
    sleep(200);
    assert_eq!(
        site.out().iter().filter(|line| *line == "mended").count(),
        1
    );
    assert_eq!(site.kept().len(), 9);
    site.wp_gears(&["failed", "forget", "--all"]);
    assert!(site.failed().is_empty());
    worker.stop();
}

#[test]
fn warm_jobs_begin_soon() {
    let site = Site::new("latency");
    let _worker = site.worker(&[]);
    site.add("t_line", json!(["first"]));
    site.wait_for_out(20, 1);
    let mut times: Vec<_> = (0..20)
        .map(|n| {
            let payload = json!({ "hook": "t_line", "args": [n.to_string()], "blog_id": null });
            let start = Instant::now();
            site.gearmand
                .submit(&site.function, payload.to_string().as_bytes());
            site.wait_for_out(10, n + 2);
            start.elapsed().as_millis()
        })
        .collect();
    times.sort();
    // Much more than it takes, as the machine may be busy.
    assert!(times[10] < 200, "{times:?}");
}

#[test]
fn another_try_of_a_job_holds_up_nobody() {
    let jobs = "add_action( 't_twice', function ( $args ) { out( 't', 'tries' );
        if ( count( file( WP_CONTENT_DIR . '/uploads/tries' ) ) < 2 ) { posix_kill( getmypid(), 9 ); }
        while ( ! file_exists( WP_CONTENT_DIR . '/uploads/go' ) ) { usleep( 10000 ); clearstatcache(); } out( 'twice' ); } );";
    let site = Site::with(
        "retry",
        Plan {
            jobs: jobs.into(),
            ..Plan::default()
        },
    );
    let workers = [site.worker(&[]), site.worker(&[])];
    site.add("t_twice", json!([]));
    wait_for(20, "the second try", || site.lines("tries").len() == 2);
    // One worker retries it; the other is idle, and takes new jobs.
    let before: u64 = workers.iter().map(|w| processor_ms(w.pid())).sum();
    sleep(1000);
    let used = workers.iter().map(|w| processor_ms(w.pid())).sum::<u64>() - before;
    assert!(used <= 30, "{used} ms");
    site.add_many(&numbered(3));
    site.wait_for_out(20, 3);
    site.write("wp-content/uploads/go", "");
    assert_eq!(site.wait_for_out(20, 4)[3], "twice", "{}", site.log());
    // The next job is not delayed.
    site.add("t_line", json!(["next"]));
    site.wait_for_out(5, 5);
    assert!(site.failed().is_empty());
}
