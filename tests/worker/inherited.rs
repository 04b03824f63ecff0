//! What a job's process inherits from the one that booted the site.

use std::collections::HashSet;
use std::fs;

use serde_json::json;

use super::lab::{Plan, Site, Worker, lab, sleep, wait_for};

fn site(name: &str, jobs: &str) -> Site {
    let site = Site::with(
        name,
        Plan {
            jobs: jobs.into(),
            ..Plan::default()
        },
    );
    site.php("");
    site
}

#[test]
fn files_that_jobs_would_share_mean_spawn() {
    for (name, keeps, why) in [
        (
            "file-both",
            "$GLOBALS['kept'] = fopen( WP_CONTENT_DIR . '/uploads/store.db', 'c+' );",
            Some("a plugin keeps store.db open"),
        ),
        (
            "file-pipe",
            "$GLOBALS['kept'] = popen( 'cat >/dev/null', 'w' );",
            Some("a plugin keeps 1 pipe(s) open"),
        ),
        (
            "file-log",
            "$GLOBALS['kept'] = array( fopen( WP_CONTENT_DIR . '/uploads/log', 'a' ), fopen( __FILE__, 'r' ) );",
            None,
        ),
    ] {
        let site = site(name, keeps);
        let worker = site.worker(&[]);
        site.add_many(&[("t_line", json!(["1"])), ("t_line", json!(["2"]))]);
        site.wait_for_out(20, 2);
        match why {
            Some(why) => site.wait_for_log(5, why),
            None => site.wait_for_log(5, ", fork)"),
        }
        worker.stop();
    }
}

#[test]
fn times_of_the_boot_are_recent_for_a_job() {
    let jobs = r#"
class T_Base { private $created; public function __construct() { $this->created = microtime( true ); } public function created() { return $this->created; } }
class T_Runner extends T_Base { public static $began; protected $second; public $year = 1700000000; public $next;
	public function __construct() { parent::__construct(); self::$began = microtime( true ); $this->second = time(); $this->next = time() + 3600; }
	public function run() { out( json_encode( array_map( function ( $t ) { return (int) round( microtime( true ) - $t ); },
		array( $this->created(), self::$began, $this->second, $GLOBALS['t_began'], $GLOBALS['timestart'], $_SERVER['REQUEST_TIME_FLOAT'], $_SERVER['REQUEST_TIME'] ) ) ) );
		out( json_encode( array( $this->year, (int) round( ( $this->next - time() ) / 100 ) ) ) ); } }
$GLOBALS['t_began'] = microtime( true );
call_user_func( function () { $runner = new T_Runner(); add_action( 't_times', function () use ( $runner ) { $runner->run(); } ); } );
"#;
    let site = site("times", jobs);
    for (mode, count) in [("fork", 0), ("spawn", 3)] {
        let worker = site.worker(&["--worker-mode", mode]);
        site.add("t_line", json!(["warm"]));
        site.wait_for_out(20, count + 1);
        // PHP waits for a job, booted in advance.
        sleep(6000);
        site.add("t_times", json!([]));
        let out = site.wait_for_out(20, count + 3);
        let ages: Vec<u32> = serde_json::from_str(&out[count + 1]).unwrap();
        assert!(
            ages.len() == 7 && ages.iter().all(|age| *age < 5),
            "{ages:?}"
        );
        assert_eq!(out[count + 2], "[1700000000,36]");
        worker.stop();
    }
}

#[test]
fn a_database_class_with_its_own_way_to_connect_is_connected() {
    let site = site(
        "own-db",
        "add_action( 't_db', function () { global $wpdb; out( get_class( $wpdb ) . $wpdb->get_var( 'SELECT 7' ) . $wpdb->last_error ); } );",
    );
    let own = "<?php class T_DB extends wpdb { public function db_connect( $allow_bail = true ) { return parent::db_connect( $allow_bail ); } }
        $wpdb = new T_DB( DB_USER, DB_PASSWORD, DB_NAME, DB_HOST );";
    site.write("wp-content/db.php", own);
    for (mode, count) in [("fork", 1), ("spawn", 2)] {
        let worker = site.worker(&["--worker-mode", mode]);
        site.add("t_db", json!([]));
        site.wait_for_out(20, count);
        worker.stop();
    }
    let out = fs::read_to_string(site.dir.join("wp-content/uploads/out")).unwrap();
    assert_eq!(out, "T_DB7\nT_DB7\n", "{}", site.log());
}

/// Each job has its own connection and its own end, however PHP gets ready for it.
#[test]
fn jobs_find_the_same_however_they_are_forked() {
    let jobs = r#"
class T_Left { public static $kept; private $file; public function __construct( $file ) { $this->file = $file; } public function __destruct() { out( 'destructed', $this->file ); } }
add_action( 'shutdown', function () { if ( did_action( 't_find' ) ) out( 'shutdown', 'ends' ); } );
add_action( 't_find', function ( $args ) { global $wpdb;
	out( $wpdb->get_var( 'SELECT CONNECTION_ID()' ), 'connections' );
	out( json_encode( array( $wpdb->get_var( 'SELECT @@in_transaction' ), $wpdb->num_queries < 200, getenv( 'GLIBC_TUNABLES' ), getenv( 'USE_ZEND_ALLOC_HUGE_PAGES' ), get_option( 't_option' ) ) ), 'found' );
	if ( 'kept' === $args[0] ) { T_Left::$kept = new T_Left( 'kept' ); } else { new T_Left( 'dropped' ); }
	$wpdb->query( 'START TRANSACTION' ); } );
"#;
    for plainly in [false, true] {
        let name = ["same-ahead", "same-plainly"][usize::from(plainly)];
        let site = site(name, jobs);
        let worker = match plainly {
            true => Worker::plainly(&site, &[]),
            false => site.worker(&[]),
        };
        site.php("update_option( 't_option', 'old' );");
        let jobs: Vec<_> = (0..20)
            .map(|n| {
                (
                    "t_find",
                    json!([if n % 2 == 0 { "kept" } else { "dropped" }]),
                )
            })
            .collect();
        site.add_many(&jobs);
        let both = || (site.lines("kept").len(), site.lines("dropped").len());
        wait_for(30, "the jobs", || both() == (10, 10));
        site.php("update_option( 't_option', 'new' );");
        site.add("t_find", json!(["kept"]));
        wait_for(30, "the last", || site.lines("kept").len() == 11);
        let connections: HashSet<_> = site.lines("connections").into_iter().collect();
        assert_eq!(connections.len(), 21, "{name}");
        let found = site.lines("found");
        assert!(
            found[..20]
                .iter()
                .all(|line| line == r#"["0",true,false,false,"old"]"#),
            "{found:?}"
        );
        assert_eq!(found[20], r#"["0",true,false,false,"new"]"#);
        assert_eq!(site.lines("dropped").len(), 10);
        assert_eq!(site.lines("ends").len(), 21);
        // The database notes the connections that were cut, those of other tests too.
        let log = fs::read_to_string(lab().dir.join("db.log")).unwrap();
        let is_cut = |id: &&String| log.contains(&format!("Aborted connection {id} to db"));
        let cut: Vec<_> = connections.iter().filter(is_cut).collect();
        assert!(cut.is_empty(), "{name}: {cut:?}");
        worker.stop();
    }
}
