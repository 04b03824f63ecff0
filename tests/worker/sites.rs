//! Sites that change, networks, drop-ins, and queries of a site.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown};
use std::time::{Duration, SystemTime};

use serde_json::json;
use wp_gears::base::problem::Problem;
use wp_gears::host::Host;
use wp_gears::site::ask::{Probe, Target};
use wp_gears::site::plugins::WP_MINIONS;

use super::lab::{Plan, Site, lab, sleep, wait_for};

#[test]
fn what_changes_is_seen_by_the_next_job() {
    let jobs = "$GLOBALS['at_boot'] = get_option( 'of_a_plugin' );
        add_action( 't_option', function () { out( get_option( 'blogname' ) . ' ' . $GLOBALS['at_boot'] . ' ' . get_option( 'not_autoloaded' ) . ' ' . ( defined( 'NEW_ONE' ) ? NEW_ONE : '-' ) ); } );";
    let site = Site::with(
        "fresh",
        Plan {
            jobs: jobs.into(),
            ..Plan::default()
        },
    );
    let _worker = site.worker(&[]);
    let mut count = 0;
    let mut job = |expected: &str| {
        site.add("t_option", json!([]));
        count += 1;
        let out = site.wait_for_out(20, count);
        assert_eq!(out[count - 1], expected, "{}", site.log());
    };
    job("test   -");
    site.php("update_option( 'blogname', 'anew' );");
    job("anew   -");
    site.php("add_option( 'not_autoloaded', 'far', '', 'no' ); ");
    job("anew  far -");
    site.php("update_option( 'not_autoloaded', 'near' );");
    job("anew  near -");
    // A plugin read this at boot.
    site.php("update_option( 'of_a_plugin', 'set' );");
    job("anew set near -");

    let config = fs::read_to_string(site.dir.join("wp-config.php")).unwrap();
    sleep(1000);
    site.write(
        "wp-config.php",
        &config.replace("<?php", "<?php define( 'NEW_ONE', 'yes' );"),
    );
    sleep(1000);
    job("anew set near yes");
    site.write("wp-content/mu-plugins/jobs.php", "<?php add_action( 't_option', function () { out( 'first' ); }, 1 ); function out( $line ) { file_put_contents( WP_CONTENT_DIR . '/uploads/out', \"v2 $line\\n\", FILE_APPEND ); }");
    sleep(1000);
    site.add("t_option", json!([]));
    let out = site.wait_for_out(20, count + 2);
    assert_eq!(out[count..], ["v2 first", "v2 anew set near yes"]);
}

#[test]
fn an_option_that_changes_all_the_time_is_left_alone() {
    let jobs = "add_action( 't_counter', function () { update_option( 'counter', 1 + (int) get_option( 'counter' ) ); out( get_option( 'counter' ) ); } );";
    let site = Site::with(
        "counter",
        Plan {
            jobs: jobs.into(),
            ..Plan::default()
        },
    );
    let _worker = site.worker(&[]);
    site.add_many(&vec![("t_counter", json!([])); 20]);
    let out = site.wait_for_out(40, 20);
    assert_eq!(out[19], "20", "{out:?}");
    assert!(
        site.log().matches("loaded the site").count() <= 5,
        "{}",
        site.log()
    );
    assert!(
        site.log()
            .contains("the option counter changes all the time")
    );
}

#[test]
fn old_and_grown_php_is_renewed() {
    let site = Site::new("renewed");
    // The first load of a new site writes options, which would restart PHP.
    site.php("");
    let worker = site.worker(&["--max-jobs", "3"]);
    for n in 0..7 {
        site.add("t_line", json!([n.to_string()]));
    }
    site.wait_for_out(20, 7);
    worker.stop();
    assert_eq!(
        site.log().matches("ran 3 jobs").count(),
        2,
        "{}",
        site.log()
    );
    let worker = site.worker(&["--max-memory", "16", "--idle-timeout", "3"]);
    for n in [7, 8] {
        site.add("t_line", json!([n.to_string()]));
        site.wait_for_out(20, n + 1);
        sleep(600);
    }
    assert!(worker.php().is_some());
    wait_for(10, "PHP to exit", || worker.php().is_none());
    worker.stop();
    assert!(site.log().contains("MB of memory"), "{}", site.log());
}

#[test]
fn a_networks_job_runs_in_its_blog() {
    // Each job switches to another blog, which the next must not notice.
    let jobs = "add_action( 't_blog', function ( $args ) { out( get_current_blog_id() . ' ' . home_url() . ' ' . $_SERVER['HTTP_HOST'] . ' ' . get_option( 'blogname' ) . ' ' . $args[0] ); switch_to_blog( 2 ); } );";
    let site = Site::with(
        "network",
        Plan {
            network: true,
            jobs: jobs.into(),
            ..Plan::default()
        },
    );
    site.php("wpmu_create_blog( 'two.site.test', '/', 'second', 1 ); wpmu_create_blog( 'site.test', '/three/', 'third', 1 );");
    for (mode, first) in [("fork", 0), ("spawn", 4)] {
        let worker = site.worker(&["--worker-mode", mode]);
        site.php(
            "foreach ( array( 2, 1, 3, 2 ) as $n => $blog ) { switch_to_blog( $blog ); wp_async_task_add( 't_blog', array( \"job $n\" ) ); restore_current_blog(); }",
        );
        let out = site.wait_for_out(30, first + 4);
        assert_eq!(
            out[first..],
            [
                "2 http://two.site.test two.site.test second job 0",
                "1 http://site.test site.test test job 1",
                "3 http://site.test/three site.test third job 2",
                "2 http://two.site.test two.site.test second job 3",
            ],
            "{}",
            site.log()
        );
        assert!(site.log().contains("blog=2"));
        worker.stop();
    }
}

/// A persistent object cache in a folder, which keeps a socket open.
const CACHE: &str = r#"<?php
class WP_Object_Cache {
	public $global_groups = array();
	public $no_mc_groups = array();
	public $cache = array();
	private $peer;
	public $flushed = 0;
	// Any server that accepts connections will do.
	public function __construct() { $this->peer = stream_socket_client( 'tcp://' . $GLOBALS['gearman_servers'][0] ); }
	public function close() { $this->peer = null; }
	private function file( $key, $group ) { return WP_CONTENT_DIR . '/uploads/cache-' . md5( "$group:$key" ); }
	private function local( $group ) { return in_array( $group, $this->no_mc_groups, true ); }
	public function get( $key, $group ) {
		if ( ! $this->peer ) { throw new Exception( 'the cache is closed' ); }
		$group = $group ?: 'default';
		if ( isset( $this->cache[ "$group:$key" ] ) ) return $this->cache[ "$group:$key" ];
		if ( $this->local( $group ) || ! is_file( $this->file( $key, $group ) ) ) return false;
		return unserialize( file_get_contents( $this->file( $key, $group ) ) );
	}
	public function set( $key, $value, $group ) {
		$group = $group ?: 'default';
		$this->cache[ "$group:$key" ] = $value;
		if ( ! $this->local( $group ) ) file_put_contents( $this->file( $key, $group ), serialize( $value ), LOCK_EX );
		return true;
	}
	public function delete( $key, $group ) { $group = $group ?: 'default'; unset( $this->cache[ "$group:$key" ] ); @unlink( $this->file( $key, $group ) ); return true; }
}
function wp_cache_init() { $GLOBALS['wp_object_cache'] = new WP_Object_Cache(); }
function wp_cache_close() { if ( CLOSES ) $GLOBALS['wp_object_cache']->close(); return true; }
function wp_cache_get( $key, $group = '', $force = false, &$found = null ) { $value = $GLOBALS['wp_object_cache']->get( $key, $group ); $found = false !== $value; return $value; }
function wp_cache_set( $key, $value, $group = '', $expire = 0 ) { return $GLOBALS['wp_object_cache']->set( $key, $value, $group ); }
function wp_cache_add( $key, $value, $group = '', $expire = 0 ) { return false === wp_cache_get( $key, $group ) && wp_cache_set( $key, $value, $group ); }
function wp_cache_replace( $key, $value, $group = '', $expire = 0 ) { return wp_cache_set( $key, $value, $group ); }
function wp_cache_delete( $key, $group = '' ) { return $GLOBALS['wp_object_cache']->delete( $key, $group ); }
function wp_cache_incr( $key, $by = 1, $group = '' ) { return wp_cache_set( $key, (int) wp_cache_get( $key, $group ) + $by, $group ); }
function wp_cache_decr( $key, $by = 1, $group = '' ) { return wp_cache_incr( $key, -$by, $group ); }
function wp_cache_flush() { array_map( 'unlink', glob( WP_CONTENT_DIR . '/uploads/cache-*' ) ); return true; }
function wp_cache_add_global_groups( $groups ) { $GLOBALS['wp_object_cache']->global_groups = array_merge( $GLOBALS['wp_object_cache']->global_groups, (array) $groups ); }
function wp_cache_add_non_persistent_groups( $groups ) { $GLOBALS['wp_object_cache']->no_mc_groups = array_merge( $GLOBALS['wp_object_cache']->no_mc_groups, (array) $groups ); }
function wp_cache_switch_to_blog( $blog ) {}
"#;

#[test]
fn a_persistent_cache_and_a_database_that_hangs_up() {
    let jobs = r#"
if ( ! defined( 'WP_INSTALLING' ) ) { wp_cache_add_non_persistent_groups( array( 'of_a_plugin' ) ); }
add_action( 't_cache', function ( $args ) { global $wpdb;
	out( var_export( wp_cache_get( 'kept', 'things' ), true ) . ' ' . (int) in_array( 'of_a_plugin', $GLOBALS['wp_object_cache']->no_mc_groups ) . ' ' . get_option( 'blogname' ) . ' ' . $wpdb->get_var( 'SELECT 1' ) . ' ' . $wpdb->last_error );
	wp_cache_set( 'kept', $args[0], 'things' ); } );
"#;
    for (name, closes, mode) in [("cache", "true", "fork"), ("cache-left", "false", "fork")] {
        let site = Site::with(
            name,
            Plan {
                jobs: jobs.into(),
                config: format!("define( 'CLOSES', {closes} );"),
                ..Plan::default()
            },
        );
        site.write("wp-content/object-cache.php", CACHE);
        // Only connections of our workers have this setting.
        lab().sql(&format!("CREATE OR REPLACE USER 'hasty-{name}' IDENTIFIED BY 'wp'; GRANT ALL ON *.* TO 'hasty-{name}'"));
        site.write(
            "wp-content/mu-plugins/hasty.php",
            "<?php add_action( 'init', function () { $GLOBALS['wpdb']->query( 'SET SESSION wait_timeout = 1' ); } );",
        );
        let worker = site.worker(&[]);
        for n in 0..3 {
            site.add("t_cache", json!([format!("value {n}")]));
            site.wait_for_out(20, n + 1);
            sleep(1300);
        }
        site.php("update_option( 'blogname', 'anew' );");
        site.add("t_cache", json!(["last"]));
        let out = site.wait_for_out(20, 4);
        assert_eq!(
            out,
            [
                "false 1 test 1 ",
                "'value 0' 1 test 1 ",
                "'value 1' 1 test 1 ",
                "'value 2' 1 anew 1 "
            ],
            "{}",
            site.log()
        );
        worker.stop();
        assert!(site.kept().is_empty(), "{:?}", site.kept());
        assert!(!site.log().contains("gone away"), "{}", site.log());
        assert!(site.log().contains(&format!(", {mode})")), "{}", site.log());
    }
}

#[test]
fn sockets_that_stay_open_mean_spawn() {
    let site = Site::with(
        "sockets",
        Plan {
            jobs: "$GLOBALS['pair'] = stream_socket_pair( STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0 );"
                .into(),
            ..Plan::default()
        },
    );
    let worker = site.worker(&[]);
    site.add_many(&[("t_line", json!(["1"])), ("t_line", json!(["2"]))]);
    site.wait_for_out(20, 2);
    site.assert_once(vec!["1".into(), "2".into()]);
    site.wait_for_log(5, "a plugin keeps 2 socket(s) open");
    worker.stop();
}

/// Why a query of the site failed.
fn why(error: anyhow::Error) -> String {
    error.downcast::<Problem>().unwrap().why
}

#[test]
fn a_site_tells_what_it_is_and_proves_that_jobs_run() {
    let site = Site::with(
        "asked",
        Plan {
            jobs: "echo \"<p>noise { } </p>\\n\";".into(),
            ..Plan::default()
        },
    );
    let host = Host::new(None).unwrap();
    let user = lab().user();
    let target = site.target(&user);
    let run = site.state("run");
    let facts = target.facts(&host, &[]).unwrap();
    assert_eq!(facts.plugin.as_deref(), Some("bundled"));
    assert_eq!(facts.function.as_ref(), Some(&site.function));
    assert_eq!(facts.servers, Some(vec![site.gearmand.server.to_string()]));
    assert_eq!(
        (
            facts.identity.name.as_str(),
            facts.blogs,
            facts.identity.network
        ),
        ("test", 1, false)
    );
    assert!(facts.max_connections > 1 && facts.can_add && facts.settings.salt.is_some());
    assert!(facts.settings.on && facts.early == Some(facts.settings.clone()));
    assert_eq!(target.identify(&host).unwrap(), facts.identity);
    // A value that does not enable Gearman.
    let config = fs::read_to_string(site.dir.join("wp-config.php")).unwrap();
    let off = config.replace(
        "'WP_MINIONS_BACKEND', 'gearman'",
        "'WP_MINIONS_BACKEND', 'x'",
    );
    assert_ne!(off, config);
    site.write("wp-config.php", &off);
    let minions = Target {
        plugin: &WP_MINIONS,
        ..target
    };
    assert!(!minions.facts(&host, &[]).unwrap().settings.on);
    site.write("wp-config.php", &config);
    assert!(minions.facts(&host, &[]).unwrap().settings.on);
    // Also with the workers' opcode cache.
    let cache = site.state("cache");
    let cached = Target {
        cache: Some(&cache),
        ..target
    };
    assert_eq!(cached.facts(&host, &[]).unwrap(), facts);

    let prove = |seconds| {
        let probe = Probe {
            run: &run,
            elsewhere: false,
            patience: Duration::from_secs(seconds),
        };
        target.prove(&host, &probe)
    };
    let proof = prove(1).unwrap();
    let error = proof.error.unwrap_or_default();
    assert!(error.contains("no worker ran the job"), "{error}");
    // Setup takes it out of the queue again.
    assert_eq!(site.waits(), 1);
    let server = site.gearmand.server.to_string();
    let functions = [site.function.clone()];
    wp_gears::site::queue::withdraw(&functions, &server, "H:another:1");
    assert_eq!(site.waits(), 1);
    wp_gears::site::queue::withdraw(&functions, &server, &proof.handle);
    assert_eq!(site.waits(), 0);
    let worker = site.worker(&[]);
    let proof = prove(20).unwrap();
    assert_eq!(proof.error, None);
    assert!(
        proof.forked && proof.done_ms >= proof.started_ms && proof.done_ms < 10_000,
        "{proof:?}"
    );
    worker.stop();
    let left = fs::read_dir(&run)
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name());
    let left: Vec<_> = left
        .filter(|name| name.to_string_lossy().contains("probe"))
        .collect();
    assert!(left.len() <= 1, "{left:?}");

    // A plugin of the site's own whose jobs nobody knows how to run.
    site.write(
        "wp-content/mu-plugins/z.php",
        "<?php class Own_Queue {} add_action( 'init', function () { $GLOBALS['wp_async_task'] = new Own_Queue(); } );",
    );
    let facts = target.facts(&host, &[]).unwrap();
    let why_not = facts.why_not.unwrap_or_default();
    assert!(why_not.contains("Own_Queue, has no do_job()"), "{why_not}");
    assert_eq!(facts.plugin, None);

    // A site that exits, or prints garbage.
    for (file, text, says) in [
        (
            "wp-content/mu-plugins/z.php",
            "<?php exit( 'bye' );",
            "exit() was called in",
        ),
        (
            "wp-content/mu-plugins/z.php",
            "<?php no_such();",
            "no_such()",
        ),
        (
            "wp-content/mu-plugins/z.php",
            "<?php wp_die( 'in <i>maintenance</i>' );",
            "in maintenance",
        ),
        (
            "wp-content/mu-plugins/z.php",
            "<?php posix_kill( getmypid(), 9 );",
            "without an answer",
        ),
    ] {
        site.write(file, text);
        let error = why(target.facts(&host, &[]).unwrap_err());
        assert!(error.contains(says), "{text}: {error}");
    }
}

#[test]
fn a_cache_that_is_anothers_by_now_is_left_alone_until_it_is_not() {
    let site = Site::new("cache-taken");
    site.php("");
    let _worker = site.worker(&["--max-jobs", "1"]);
    let job = |count: usize| {
        site.add("t_line", json!([count.to_string()]));
        site.wait_for_out(20, count);
    };
    job(1);
    let cache = site.state("cache");
    // A PHP that was already booted runs the first job.
    let (uid, mode) = match lab().is_root() {
        true => (Some(0), 0o700),
        false => (None, 0o755),
    };
    let was = fs::metadata(&cache).unwrap().uid();
    chown(&cache, uid, None).unwrap();
    fs::set_permissions(&cache, Permissions::from_mode(mode)).unwrap();
    (2..5).for_each(job);
    assert!(
        site.log().contains("not using the opcode cache in"),
        "{}",
        site.log()
    );
    chown(&cache, uid.map(|_| was), None).unwrap();
    fs::set_permissions(&cache, Permissions::from_mode(0o700)).unwrap();
    (5..8).for_each(job);
    let again = format!("using the opcode cache in {} again", cache.display());
    assert!(site.log().contains(&again), "{}", site.log());
}

/// Who could run code as the site's user, and wrote the old time on a file, or on what
/// PHP has compiled from it, is not run once the file is clean.
#[test]
fn a_cleaned_file_is_not_run_from_the_opcode_cache() {
    let site = Site::new("cleaned");
    let path = site.dir.join("wp-content/mu-plugins/z.php");
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_500_000_000);
    let text =
        |says: &str| format!("<?php add_action( 't_says', function () {{ out( '{says}' ); }} );\n");
    // In place: neither its inode nor its size changes.
    let overwrite = |says: &str| {
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(text(says).as_bytes(), 0).unwrap();
        file.set_modified(then).unwrap();
    };
    site.write("wp-content/mu-plugins/z.php", &text("hacked"));
    overwrite("hacked");
    let _worker = site.worker(&[]);
    let runs = |says: &str, count: usize| {
        site.add("t_says", json!([]));
        let out = site.wait_for_out(20, count);
        assert_eq!(out.last().unwrap(), says, "{}", site.log());
    };
    runs("hacked", 1);
    overwrite("clean1");
    site.wp_gears(&["reload", "--wait"]);
    runs("clean1", 2);
    // What replaces it with the same time is noticed without a reload.
    let new = path.with_extension("new");
    fs::write(&new, text("clean2")).unwrap();
    lab().give_away(&new);
    File::open(&new).unwrap().set_modified(then).unwrap();
    fs::rename(&new, &path).unwrap();
    sleep(1000);
    runs("clean2", 3);
    assert_eq!(fs::read_dir(site.state("cache")).unwrap().count(), 1);
}
