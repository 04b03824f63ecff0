//! Several worker hosts of a site: what one has kept, the others have too.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use super::lab::{Plan, Site, Worker, lab, run, wait_for};

/// Jobs that kill their process, at most twice, as long as the site is sick.
const JOBS: &str = r#"
add_action( 't_dies', function ( $args ) {
	$died = array_keys( @file( WP_CONTENT_DIR . '/uploads/died', FILE_IGNORE_NEW_LINES ) ?: [], "$args[0]" );
	if ( file_exists( WP_CONTENT_DIR . '/uploads/sick' ) && count( $died ) < 2 ) {
		file_put_contents( WP_CONTENT_DIR . '/uploads/died', "$args[0]\n", FILE_APPEND | LOCK_EX );
		posix_kill( getmypid(), SIGKILL );
	}
	out( $args[0] );
} );
"#;

/// A worker host: its folder is all that it has of its own.
pub struct Host<'a> {
    pub site: &'a Site,
    pub state: PathBuf,
}

impl<'a> Host<'a> {
    pub fn new(site: &'a Site, name: &str) -> Host<'a> {
        let state = lab().dir.join(format!("{}-{name}", site.name));
        fs::create_dir_all(&state).unwrap();
        lab().give_away(&state);
        Host { site, state }
    }

    pub fn work(&self, options: &[&str]) -> Worker {
        let state = self.state.to_str().unwrap();
        let all = [&["--state", state, "--retry-grace", "2"], options].concat();
        self.site.worker(&all)
    }

    pub fn failed(&self) -> Vec<Value> {
        if !self.state.join("failed").join(&self.site.name).exists() {
            return Vec::new(); // No worker has run yet.
        }
        let output = run(Command::new(lab().dir.join("lib/wp-gears"))
            .args(["failed", "--json", "--site", &self.site.name, "--state"])
            .arg(&self.state));
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        document["failed"].as_array().unwrap().clone()
    }

    pub fn kept(&self) -> usize {
        self.failed()
            .iter()
            .filter(|it| it["due"].is_null())
            .count()
    }

    fn waiting(&self) -> usize {
        self.failed().len() - self.kept()
    }

    /// It is deleted, with its disk.
    fn vanish(self, worker: Worker) {
        for pid in super::lab::children(worker.pid()) {
            super::lab::signal(pid, "KILL");
        }
        worker.signal("KILL");
        drop(worker);
        fs::remove_dir_all(&self.state).unwrap();
    }
}

fn site(name: &str) -> Site {
    let site = Site::with(
        name,
        Plan {
            jobs: JOBS.into(),
            ..Plan::default()
        },
    );
    site.write("wp-content/uploads/sick", "");
    site
}

fn table(site: &Site, what: &str) -> String {
    lab().sql(&format!(
        "SELECT {what} FROM wp.{}_wp_gears_jobs",
        site.name.replace('-', "_")
    ))
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|n| n.to_string()).collect()
}

fn add(site: &Site, count: usize) {
    let mut jobs = Vec::new();
    for n in 0..count {
        jobs.push(("t_dies", json!([n])));
        jobs.push(("t_throw", json!([])));
    }
    site.add_many(&jobs);
}

/// A host vanishes with two retries and two failed jobs; the next one has them, whatever
/// database the site has. `before`: what the code that submits them does first. `run`:
/// what the retries write.
pub fn are_on_the_next_host(site: &Site, before: &str, ran: [&str; 2]) {
    site.write(
        "wp-content/mu-plugins/dies.php",
        &format!(
            "<?php\n{}",
            JOBS.replace(
                "out( $args[0] )",
                "out( get_current_blog_id() . \" $args[0]\" )"
            )
        ),
    );
    site.write("wp-content/uploads/sick", "");
    let _ = fs::remove_file(site.dir.join("wp-content/uploads/out"));
    let rows = |what: &str| {
        site.php(&format!(
            "$wpdb->suppress_errors(); echo (int) $wpdb->get_var( \"SELECT {what} FROM {{$wpdb->base_prefix}}wp_gears_jobs\" );"
        ))
    };
    let first = Host::new(site, "first");
    let worker = first.work(&["--retry-pause", "600"]);
    site.php(&format!(
        "load(); {before}
         foreach ( array( 0, 1 ) as $n ) {{ wp_async_task_add( 't_dies', array( $n ) ); wp_async_task_add( 't_throw', array() ); }}"
    ));
    wait_for(60, "two of each", || {
        (first.waiting(), first.kept()) == (2, 2)
    });
    wait_for(20, "the rows", || rows("COUNT(*)") == "4");
    first.vanish(worker);
    fs::remove_file(site.dir.join("wp-content/uploads/sick")).unwrap();
    // The time passes in which they are due and late.
    site.php("$wpdb->query( \"UPDATE {$wpdb->base_prefix}wp_gears_jobs SET due = 1, held_until = 2 WHERE state = 0\" );");
    let second = Host::new(site, "second");
    let worker = second.work(&[]);
    site.wait_for_out(60, 2);
    site.assert_once(ran.map(String::from).to_vec());
    wait_for(20, "the failed jobs", || second.kept() == 2);
    wait_for(20, "the end of the retries", || {
        rows("SUM(state = 2)") == "2"
    });
    worker.stop();
    let user = lab().user();
    let (target, host) = (site.target(&user), wp_gears::host::Host::new(None).unwrap());
    let in_it = target.stored_jobs(&host).unwrap().unwrap();
    assert_eq!(in_it.to_string(), "2 failed, 0 waiting for a retry");
    target.drop_stored_jobs(&host).unwrap();
    assert_eq!(target.stored_jobs(&host).unwrap(), None);
    for bad in ["PHP Fatal", "PHP Warning", "database error", "cannot"] {
        assert!(!site.log().contains(bad), "{}", site.log());
    }
}

#[test]
fn a_networks_jobs_are_on_the_next_host_with_their_site() {
    let site = Site::with(
        "network-hosts",
        Plan {
            network: true,
            ..Plan::default()
        },
    );
    site.php("wpmu_create_blog( 'two.site.test', '/', 'two', 1 );");
    are_on_the_next_host(&site, "switch_to_blog( 2 );", ["2 0", "2 1"]);
}

#[test]
fn the_next_host_has_what_a_vanished_one_had() {
    let site = site("vanishes");
    let first = Host::new(&site, "first");
    let worker = first.work(&["--workers", "2", "--retry-pause", "600"]);
    add(&site, 20);
    wait_for(60, "20 retries and 20 failed jobs", || {
        (first.waiting(), first.kept()) == (20, 20)
    });
    wait_for(20, "the rows", || table(&site, "COUNT(*)") == "40");
    let payloads = table(&site, "GROUP_CONCAT(FROM_BASE64(body))");
    assert!(payloads.contains("wp-gears-seal:1:"));
    first.vanish(worker);
    fs::remove_file(site.dir.join("wp-content/uploads/sick")).unwrap();
    // The time passes in which they are due and late.
    lab().sql(&format!(
        "UPDATE wp.{}_wp_gears_jobs SET due = 1, held_until = 2 WHERE state = 0",
        site.name
    ));
    let second = Host::new(&site, "second");
    let third = Host::new(&site, "third");
    let workers = (
        second.work(&["--workers", "2"]),
        third.work(&["--workers", "2"]),
    );
    site.wait_for_out(60, 20);
    site.assert_once(numbers(20));
    wait_for(20, "the failed jobs", || {
        (second.kept(), third.kept()) == (20, 20)
    });
    wait_for(20, "the end of all retries", || {
        table(&site, "SUM(state = 2)") == "20"
    });
    assert_eq!(second.waiting() + third.waiting(), 0);
    drop(workers);
    // remove says what is in it, and takes it out.
    let user = lab().user();
    let target = site.target(&user);
    let host = wp_gears::host::Host::new(None).unwrap();
    let in_it = target.stored_jobs(&host).unwrap().unwrap();
    assert_eq!(in_it.to_string(), "20 failed, 0 waiting for a retry");
    target.drop_stored_jobs(&host).unwrap();
    assert_eq!(target.stored_jobs(&host).unwrap(), None);
}

/// Gives the site a link to the database's socket, so that it can be away for this site
/// alone, and this user.
fn with_database_of_its_own(site: &Site, user: &str) -> PathBuf {
    let link = site.dir.join("wp-content/uploads/database");
    std::os::unix::fs::symlink(lab().socket(), &link).unwrap();
    let config = fs::read_to_string(site.dir.join("wp-config.php")).unwrap();
    let socket = format!("localhost:{}", lab().socket().display());
    let config = config
        .replace(&socket, &format!("localhost:{}", link.display()))
        .replace("'DB_USER', 'wp'", &format!("'DB_USER', '{user}'"));
    site.write("wp-config.php", &config);
    link
}

#[test]
fn the_disk_holds_what_the_database_cannot_take() {
    let site = site("unplugged");
    let link = with_database_of_its_own(&site, "wp");
    let more = "add_action( 't_cuts', function ( $args ) {
        unlink( WP_CONTENT_DIR . '/uploads/database' );
        throw new RuntimeException( 'without a database' );
    } );";
    site.write("wp-content/mu-plugins/cuts.php", &format!("<?php\n{more}"));
    let host = Host::new(&site, "only");
    let _worker = host.work(&[]);
    site.add("t_cuts", json!([]));
    wait_for(30, "the failed job", || host.kept() == 1);
    std::os::unix::fs::symlink(lab().socket(), &link).unwrap();
    wait_for(40, "the row", || {
        !lab()
            .sql("SHOW TABLES IN wp LIKE 'unplugged_wp_gears_jobs'")
            .is_empty()
            && table(&site, "COUNT(*)") == "1"
    });
    // Another host has it too, and ends it for both.
    let other = Host::new(&site, "other");
    let _other = other.work(&[]);
    wait_for(30, "the copy", || other.kept() == 1);
    assert_eq!(host.failed()[0]["job"], other.failed()[0]["job"]);
}

#[test]
fn without_the_right_to_create_tables_all_stays_on_disk() {
    let site = site("poor");
    lab().sql(
        "CREATE USER poor IDENTIFIED BY 'wp'; GRANT SELECT, INSERT, UPDATE, DELETE ON wp.* TO poor",
    );
    with_database_of_its_own(&site, "poor");
    let host = Host::new(&site, "only");
    let _worker = host.work(&[]);
    site.add("t_throw", json!([]));
    site.add("t_dies", json!(["again"]));
    wait_for(30, "the failed jobs", || host.failed().len() == 2);
    let why = host.state.join("failed/poor/table/why");
    wait_for(10, "the reason", || why.exists());
    assert!(
        fs::read_to_string(why)
            .unwrap()
            .contains("poor_wp_gears_jobs")
    );
    fs::remove_file(site.dir.join("wp-content/uploads/sick")).unwrap();
    site.wait_for_out(30, 1);
}

#[test]
fn what_an_earlier_version_kept_goes_into_the_table_once() {
    let site = site("earlier");
    let host = Host::new(&site, "only");
    let worker = host.work(&["--workers", "2", "--retry-pause", "600"]);
    add(&site, 10);
    wait_for(60, "the rows", || {
        host.failed().len() == 20 && table(&site, "COUNT(*)") == "20"
    });
    worker.stop();
    lab().sql("DROP TABLE wp.earlier_wp_gears_jobs");
    fs::remove_dir_all(host.state.join("failed/earlier/table")).unwrap();
    let worker = host.work(&["--workers", "2", "--retry-pause", "600"]);
    // An old host has time, until its PHP runs anyway.
    site.add("t_line", json!(["runs"]));
    site.wait_for_out(30, 1);
    wait_for(30, "the rows", || {
        !lab()
            .sql("SHOW TABLES IN wp LIKE 'earlier_wp_gears_jobs'")
            .is_empty()
            && table(&site, "COUNT(*)") == "20"
    });
    assert_eq!(host.failed().len(), 20);
    worker.stop();
}

#[test]
fn spawned_jobs_are_shared_as_well() {
    let site = site("spawns");
    let first = Host::new(&site, "first");
    let worker = first.work(&["--worker-mode", "spawn", "--retry-pause", "600"]);
    add(&site, 3);
    wait_for(60, "the rows", || {
        first.failed().len() == 6 && table(&site, "COUNT(*)") == "6"
    });
    first.vanish(worker);
    fs::remove_file(site.dir.join("wp-content/uploads/sick")).unwrap();
    lab().sql("UPDATE wp.spawns_wp_gears_jobs SET due = 1, held_until = 2 WHERE state = 0");
    let second = Host::new(&site, "second");
    let _worker = second.work(&["--worker-mode", "spawn"]);
    site.wait_for_out(60, 3);
    site.assert_once(numbers(3));
    wait_for(20, "the failed jobs", || second.kept() == 3);
}

#[test]
fn kills_lose_no_retry() {
    let site = site("killed");
    let hosts = [Host::new(&site, "first"), Host::new(&site, "second")];
    let mut workers: Vec<Worker> = hosts
        .iter()
        .map(|host| host.work(&["--job-retries", "50"]))
        .collect();
    add(&site, 8);
    for round in 0..4 {
        let progress = || site.lines("died").len() + site.out().len();
        let before = progress();
        wait_for(60, "another attempt", || {
            progress() > before || site.out().len() >= 8
        });
        workers[round % 2].signal("KILL");
        workers[round % 2] = hosts[round % 2].work(&["--job-retries", "50"]);
    }
    wait_for(90, "all jobs", || {
        let out = site.out();
        numbers(8).iter().all(|number| out.contains(number))
    });
    wait_for(30, "the end of all retries", || {
        hosts.iter().all(|host| host.waiting() == 0) && table(&site, "SUM(state = 0)") == "0"
    });
    wait_for(30, "the failed jobs", || {
        hosts.iter().all(|host| host.kept() >= 8)
    });
}

#[test]
fn a_retry_in_wordpress_runs_once_whoever_clicks_how_often() {
    const JOBS: usize = 60;
    let site = Site::with(
        "clicks",
        Plan {
            jobs: "add_action( 't_sick', function ( $args ) {
                if ( file_exists( WP_CONTENT_DIR . '/uploads/sick' ) ) throw new Exception( 'sick' );
                out( $args[0] );
            } );"
            .into(),
            ..Plan::default()
        },
    );
    site.write("wp-content/uploads/sick", "");
    site.write("admin.php", wp_gears::site::admin::text());
    let hosts = [Host::new(&site, "first"), Host::new(&site, "second")];
    let _first = hosts[0].work(&["--workers", "2"]);
    let jobs: Vec<_> = (0..JOBS).map(|n| ("t_sick", json!([n]))).collect();
    site.add_many(&jobs);
    wait_for(60, "the rows", || {
        hosts[0].kept() == JOBS && table(&site, "SUM(state = 1)") == JOBS.to_string()
    });
    // It gets copies of them all.
    let _second = hosts[1].work(&["--workers", "2"]);
    wait_for(30, "the copies", || hosts[1].kept() == JOBS);
    fs::remove_file(site.dir.join("wp-content/uploads/sick")).unwrap();
    let click = || {
        let said = site.php(
            "require ABSPATH . 'admin.php'; $tokens = array();
             WP_Gears_Jobs::each( 1, array(), function ( $job ) use ( &$tokens ) { $tokens[] = $job['token']; } );
             shuffle( $tokens );
             $changed = 0;
             foreach ( array_chunk( $tokens, 7 ) as $some ) { $changed += WP_Gears_Jobs::retry( $some ); }
             WP_Gears_Jobs::wake(); echo $changed;",
        );
        said.parse::<usize>().unwrap()
    };
    let clicks: usize = std::thread::scope(|scope| {
        let all = [(); 5].map(|()| scope.spawn(click));
        all.map(|one| one.join().unwrap()).iter().sum()
    });
    assert_eq!(clicks, JOBS);
    wait_for(60, "the end of all", || {
        table(&site, "SUM(state = 2)") == JOBS.to_string()
    });
    site.assert_once(numbers(JOBS));
    wait_for(30, "the hosts to know", || {
        hosts.iter().all(|host| host.failed().is_empty())
    });
}

#[test]
fn what_a_host_no_longer_has_is_over_only_if_no_other_has_it() {
    let site = site("passed-on");
    let host = Host::new(&site, "only");
    let worker = host.work(&[]);
    site.add("t_throw", json!([]));
    let rows = |what: &str| lab().sql(&format!("SELECT {what} FROM wp.passed_on_wp_gears_jobs"));
    wait_for(30, "the row", || {
        let tables = lab().sql("SHOW TABLES IN wp LIKE 'passed_on_wp_gears_jobs'");
        !tables.is_empty() && rows("state") == "1"
    });
    let folder = host.state.join("failed/passed-on");
    let marks = || fs::read_dir(folder.join("table")).unwrap().count();
    wait_for(10, "the mark", || {
        folder
            .join("table")
            .join(format!("failed~{}", rows("id")))
            .exists()
    });
    worker.stop();
    // Another host has it now, and this one died between the two steps of dropping it.
    lab().sql("UPDATE wp.passed_on_wp_gears_jobs SET state = 0, holder = 'other:1', held_until = 9999999999999");
    fs::remove_file(folder.join(format!("{}.job", rows("id")))).unwrap();
    let before = marks();
    let _worker = host.work(&[]);
    site.add("t_line", json!(["runs"]));
    wait_for(30, "a look at the table", || marks() < before);
    assert_eq!(rows("CONCAT(state, ' ', holder)"), "0 other:1");
}

/// Jobs that kill their process once, and then run: all of them are due at the same time,
/// so both hosts are late with most, and take them over from each other.
fn retries_due_at_once_run_once(name: &str, jobs: usize, pause: &str, takes: u32) {
    let site = Site::with(
        name,
        Plan {
            jobs: "add_action( 't_once', function ( $args ) {
                $mark = WP_CONTENT_DIR . \"/uploads/mark-$args[0]\";
                if ( ! file_exists( $mark ) ) { touch( $mark ); posix_kill( getmypid(), SIGKILL ); }
                usleep( 1000 * (int) file_get_contents( WP_CONTENT_DIR . '/uploads/takes' ) );
                out( $args[0] );
            } );"
                .into(),
            ..Plan::default()
        },
    );
    site.write("wp-content/uploads/takes", &takes.to_string());
    let hosts = [Host::new(&site, "slow"), Host::new(&site, "fast")];
    let work = |host: &Host, workers| host.work(&["--workers", workers, "--retry-pause", pause]);
    let _workers = [work(&hosts[0], "1"), work(&hosts[1], "3")];
    let all: Vec<_> = (0..jobs).map(|n| ("t_once", json!([n]))).collect();
    site.add_many(&all);
    wait_for(120, "the first retry", || !site.out().is_empty());
    wait_for(300, "the end of all retries", || {
        table(&site, "SUM(state = 0)") == "0" && site.waits() == 0
    });
    wait_for(30, "the hosts to know", || {
        hosts.iter().all(|host| host.failed().is_empty())
    });
    site.assert_once(numbers(jobs));
    let log = site.log();
    assert!(log.contains("over from the site's database"), "{log}");
}

#[test]
fn retries_that_are_due_at_once_run_once_on_two_hosts() {
    retries_due_at_once_run_once("at-once", 60, "3", 300);
}

#[test]
#[ignore = "takes minutes"]
fn many_retries_that_are_due_at_once_run_once_on_two_hosts() {
    for round in 0..5 {
        retries_due_at_once_run_once(&format!("at-once-{round}"), 900, "10", 10);
    }
}
