//! Drop-ins and plugins of others, under 200 jobs: no error, no lost write, nothing of
//! one job in the next.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::common::needs::installed;
use super::compatibility::seen;
use super::hosts::are_on_the_next_host;
use super::lab::{Plan, Site, lab, run, sleep, wait_for};
use super::software::{
    ACTION_SCHEDULER, HYPERDB, LUDICROUSDB, MEMCACHED_CACHE, REDIS_CACHE, SQLITE, Software,
};

const TABLE: &str = "Drop-ins and other plugins";
const JOBS: usize = 200;

/// Each job writes through everything that it can, and says what is wrong.
const WRITE: &str = r#"
add_action( 'init', function () { wp_cache_add_non_persistent_groups( 'of_this_process' ); } );
add_action( 't_write', function ( $args ) {
	global $wpdb;
	$n     = (int) $args[0];
	$wrong = array();
	if ( isset( $GLOBALS['left_by_a_job'] ) || wp_cache_get( 'left_by_a_job', 'of_this_process' ) || '' !== $wpdb->last_error ) {
		$wrong[] = 'something of another job';
	}
	$GLOBALS['left_by_a_job'] = 1;
	wp_cache_set( 'left_by_a_job', 1, 'of_this_process' );
	if ( ! add_option( "t_done_$n", $n, '', 'no' ) || $n !== (int) get_option( "t_done_$n" ) ) {
		$wrong[] = 'the option: ' . $wpdb->last_error;
	}
	if ( 1 !== $wpdb->query( "UPDATE $wpdb->options SET option_value = option_value + 1 WHERE option_name = 't_count'" ) ) {
		$wrong[] = 'the count: ' . $wpdb->last_error;
	}
	wp_cache_set( "n$n", $n, 'things' );
	out( $wrong ? "$n: " . implode( ', ', $wrong ) : (string) $n );
} );
"#;

/// A site with the software in it, which has a name of its own at the database.
struct Mixed {
    site: Site,
    user: String,
    /// Whether the object cache outlives processes.
    cached: bool,
    workers: &'static str,
}

impl Mixed {
    fn new(name: &str, config: &str) -> Mixed {
        let user = format!("u-{name}");
        lab().sql(&format!(
            "SET GLOBAL log_warnings = 9; CREATE USER '{user}' IDENTIFIED BY 'wp'; GRANT ALL ON *.* TO '{user}'"
        ));
        let site = Site::with(
            name,
            Plan {
                jobs: WRITE.into(),
                config: format!(
                    "ini_set( 'mysqli.default_socket', '{}' );{config}",
                    lab().socket().display()
                ),
                ..Plan::default()
            },
        );
        let path = site.dir.join("wp-config.php");
        let text = fs::read_to_string(path).unwrap();
        site.write(
            "wp-config.php",
            &text.replace("'DB_USER', 'wp'", &format!("'DB_USER', '{user}'")),
        );
        Mixed {
            site,
            user,
            cached: false,
            workers: "2",
        }
    }

    /// Copies a plugin's folder, and activates nothing.
    fn put(&self, software: &Software, name: &str) -> Option<()> {
        let to = self.site.dir.join("wp-content/plugins").join(name);
        run(Command::new("cp")
            .arg("-r")
            .arg(software.folder()?)
            .arg(&to));
        lab().give_away(&to);
        Some(())
    }

    /// Puts a drop-in where WordPress looks for it.
    fn drop_in(&self, software: &Software, from: &str, to: &str) -> Option<()> {
        let text = fs::read_to_string(software.folder()?.join(from)).unwrap();
        self.site.write(&format!("wp-content/{to}"), &text);
        Some(())
    }

    /// Connections that nobody closed, according to the database's log.
    fn aborted(&self) -> Vec<String> {
        let log = fs::read_to_string(lab().dir.join("db.log")).unwrap();
        let user = format!("user: '{}'", self.user);
        let aborted = log
            .lines()
            .filter(|line| line.contains("Aborted connection"));
        aborted
            .filter(|line| line.contains(&user))
            .map(String::from)
            .collect()
    }

    /// Runs the jobs, and returns the mode that was really used.
    fn jobs_run(&self, mode: &str) -> &'static str {
        let site = &self.site;
        let before = self.aborted().len();
        let _ = fs::remove_file(site.dir.join("wp-content/uploads/out"));
        site.php(
            "$wpdb->query( \"DELETE FROM $wpdb->options WHERE option_name LIKE 't\\\\_done\\\\_%'\" );
             update_option( 't_count', '0', 'no' ); wp_cache_flush();",
        );
        let log = site.log().len();
        let worker = site.worker(&["--worker-mode", mode, "--workers", self.workers]);
        let jobs: Vec<(&str, Value)> = (0..JOBS)
            .map(|n| ("t_write", json!([n.to_string()])))
            .collect();
        site.add_many(&jobs);
        site.wait_for_out(240, JOBS);
        site.assert_once((0..JOBS).map(|n| n.to_string()).collect());
        // A PHP that boots in advance is killed with its connection when the worker stops.
        wait_for(10, "the last jobs to end", || site.waits() == 0);
        let aborted = self.aborted();
        assert_eq!(aborted[before..], [""; 0], "{}", site.log());
        worker.stop();

        let log = &site.log()[log..];
        for bad in ["PHP Fatal", "PHP Warning", "database error", "Uncaught"] {
            assert!(!log.contains(bad), "{log}");
        }
        let there: Vec<u64> = serde_json::from_str(&site.php(&format!(
            "$c = 0; for ( $n = 0; $n < {JOBS}; $n++ ) {{ $c += (int) ( (int) wp_cache_get( \"n$n\", 'things' ) === $n ); }}
             echo json_encode( array( (int) $wpdb->get_var( \"SELECT COUNT(*) FROM $wpdb->options WHERE option_name LIKE 't\\\\_done\\\\_%'\" ),
             (int) $wpdb->get_var( \"SELECT option_value FROM $wpdb->options WHERE option_name = 't_count'\" ),
             $c ) );"
        )))
        .unwrap();
        let all = JOBS as u64;
        assert_eq!(there[..2], [all, all], "lost writes");
        if self.cached {
            assert_eq!(there[2], all, "lost writes of the cache");
        }
        assert!(site.kept().is_empty(), "{:?}", site.kept());
        match log.contains(", fork)") {
            true => "fork",
            false => "spawn",
        }
    }

    /// In both modes; makes the row.
    fn works(&self, software: &Software) {
        let fork = self.jobs_run("fork");
        assert_eq!(self.jobs_run("spawn"), "spawn");
        seen(
            TABLE,
            &[software.title, self.workers, fork, "200 of 200", "0", "0"],
        );
    }
}

/// A server of ours for the test, as the owner of the sites.
fn serve(program: &str, args: &[&str], socket: &str) {
    let started = lab()
        .command(program)
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    lab().remember(installed(program, started).id());
    wait_for(10, program, || fs::metadata(socket).is_ok());
}

fn socket(name: &str) -> String {
    lab().dir.join("state").join(name).display().to_string()
}

#[test]
fn redis_object_cache() {
    let path = socket("redis");
    let mut mixed = Mixed::new(
        "redis",
        &format!("define( 'WP_REDIS_SCHEME', 'unix' ); define( 'WP_REDIS_PATH', '{path}' );"),
    );
    if mixed.put(&REDIS_CACHE, "redis-cache").is_none() {
        return;
    }
    let options = ["--port", "0", "--save", "", "--unixsocket", &path];
    serve("redis-server", &options, &path);
    mixed.drop_in(
        &REDIS_CACHE,
        "includes/object-cache.php",
        "object-cache.php",
    );
    mixed.cached = true;
    mixed.works(&REDIS_CACHE);
}

#[test]
fn memcached_object_cache() {
    let path = socket("memcached");
    let mut mixed = Mixed::new(
        "memcached",
        &format!("$memcached_servers = array( array( '{path}', 0 ) );"),
    );
    let from = mixed.drop_in(&MEMCACHED_CACHE, "object-cache.php", "object-cache.php");
    if from.is_none() {
        return;
    }
    serve("memcached", &["-s", &path], &path);
    mixed.cached = true;
    mixed.works(&MEMCACHED_CACHE);
}

/// Reads go to a connection of their own.
const REPLICATED: &str = "<?php
$wpdb->check_tcp_responsiveness = false;
$wpdb->charset = 'utf8mb4';
$wpdb->collate = 'utf8mb4_unicode_ci';
foreach ( array( array( 1, 0 ), array( 0, 1 ) ) as $may ) {
	$wpdb->add_database( array( 'host' => 'localhost', 'user' => DB_USER, 'password' => DB_PASSWORD,
		'name' => DB_NAME, 'write' => $may[0], 'read' => $may[1] ) );
}
";

#[test]
fn hyperdb() {
    let mixed = Mixed::new("hyperdb", "");
    if mixed.drop_in(&HYPERDB, "db.php", "db.php").is_none() {
        return;
    }
    mixed.site.write("db-config.php", REPLICATED);
    mixed.works(&HYPERDB);
}

#[test]
fn ludicrousdb() {
    let mixed = Mixed::new(
        "ludicrous",
        "define( 'DB_CONFIG_FILE', __DIR__ . '/db-config.php' );",
    );
    if mixed.put(&LUDICROUSDB, "ludicrousdb").is_none() {
        return;
    }
    mixed.drop_in(&LUDICROUSDB, "ludicrousdb/drop-ins/db.php", "db.php");
    mixed.site.write("db-config.php", REPLICATED);
    mixed.works(&LUDICROUSDB);
}

#[test]
fn sqlite_database() {
    // SQLite reserves tables with names that begin with its own.
    let mut mixed = Mixed::new("lite", "");
    mixed.workers = "1";
    if mixed.put(&SQLITE, "sqlite-database-integration").is_none() {
        return;
    }
    mixed.drop_in(&SQLITE, "db.copy", "db.php");
    let said = mixed.site.php(
        "define( 'WP_INSTALLING', true ); load(); require ABSPATH . 'wp-admin/includes/upgrade.php';
         add_filter( 'pre_wp_mail', '__return_true' );
         wp_install( 'test', 'admin', 'a@site.test', true, '', 'pw' );
         update_option( 'siteurl', 'http://site.test' ); update_option( 'home', 'http://site.test' ); echo 'installed';",
    );
    assert!(said.ends_with("installed"), "{said}");
    mixed.site.php("");
    mixed.works(&SQLITE);
    are_on_the_next_host(&mixed.site, "", ["1 0", "1 1"]);
}

#[test]
fn action_scheduler() {
    let mixed = Mixed::new("scheduler", "");
    let site = &mixed.site;
    if mixed.put(&ACTION_SCHEDULER, "action-scheduler").is_none() {
        return;
    }
    let active =
        "update_option( 'active_plugins', array( 'action-scheduler/action-scheduler.php' ) );";
    site.php(active);
    // It allows itself 30 seconds, and stops when three more jobs like the first would
    // take longer. Less, so that the test needs not wait as long.
    let more =
        "<?php add_filter( 'action_scheduler_queue_runner_time_limit', function () { return 12; } );
        add_action( 't_action', function ( $n ) { out( $n, 'actions' ); } );";
    site.write("wp-content/mu-plugins/actions.php", more);
    site.php("");
    for mode in ["fork", "spawn"] {
        let _ = fs::remove_file(site.dir.join("wp-content/uploads/actions"));
        let worker = site.worker(&["--worker-mode", mode]);
        site.php(
            "for ( $n = 0; $n < 50; $n++ ) { as_enqueue_async_action( 't_action', array( $n ) ); }",
        );
        // PHP boots, and waits for more than a quarter of that.
        site.add("t_line", json!(["first"]));
        wait_for(20, "PHP", || site.out().contains(&"first".to_owned()));
        sleep(3500);
        site.add("action_scheduler_run_queue", json!("Gearman"));
        site.add("t_line", json!(["last"]));
        wait_for(30, "the job", || site.out().contains(&"last".to_owned()));
        assert_eq!(site.lines("actions").len(), 50, "{}", site.log());
        worker.stop();
        let _ = fs::remove_file(site.dir.join("wp-content/uploads/out"));
    }
    mixed.works(&ACTION_SCHEDULER);
}
