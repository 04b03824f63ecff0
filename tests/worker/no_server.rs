//! Pages while no job server answers: they neither break nor wait, and their jobs go to
//! WP-Cron, whichever plugin submits them.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use wp_gears::gearman::server::Server;

use super::lab::{Plan, Site, lab, signal};
use super::real_plugins::{activate, bare};
use super::software::{
    Software, WP_GEARS_1_0, WP_GEARS_2_0, WP_GEARS_2_1, WP_MINIONS_3, WP_MINIONS_4,
};

/// A page that submits two jobs: whether both were accepted, the time until the site was
/// loaded, and until both were submitted, in milliseconds.
const PAGE: &str = "set_time_limit( 20 ); $t = microtime( true ); load();
    $loaded = microtime( true );
    $ok = wp_async_task_add( 't_line', array( 'x' ), 'high' ) && wp_async_task_add( 't_line', array( 'y' ) );
    $done = microtime( true );
    echo $ok ? 'ok' : 'no', ' ', (int) ( ( $loaded - $t ) * 1000 ), ' ', (int) ( ( $done - $loaded ) * 1000 );";
const RUN_CRON: &str = "foreach ( _get_cron_array() as $time => $hooks ) { foreach ( $hooks['t_line'] ?? array() as $event ) {
    do_action_ref_array( 't_line', $event['args'] ); } } wp_unschedule_hook( 't_line' );";

fn page(site: &Site) -> (bool, u64, u64) {
    let said = site.php(PAGE);
    let words: Vec<&str> = said.split(' ').collect();
    let ms = |at: usize| words[at].parse().expect("a page that ends");
    (words[0] == "ok", ms(1), ms(2))
}

/// A page that comes while pages do not ask a silent server.
fn page_in_a_pause(site: &Site) -> (bool, u64, u64) {
    // At first a pause may be over before a busy machine has loaded the site.
    site.php(
        "$dead = get_site_transient( 'wp_gears_dead_servers' );
         foreach ( $dead as $key => $until ) { if ( $until > 1e9 ) $dead[ $key ] = microtime( true ) + 10; }
         set_site_transient( 'wp_gears_dead_servers', $dead, 20 );",
    );
    page(site)
}

fn cron(site: &Site) -> Vec<String> {
    site.php(RUN_CRON);
    let mut out = site.out();
    out.sort();
    let _ = fs::remove_file(site.dir.join("wp-content/uploads/out"));
    out
}

fn forget(site: &Site) {
    site.php("delete_site_transient( 'wp_gears_dead_servers' );");
}

/// The site as a page of a visitor has it.
fn hurried(site: &Site) {
    let config = fs::read_to_string(site.dir.join("wp-config.php")).unwrap();
    let config = config.replace("define( 'WP_GEARS_TIMEOUT', 5000 );", "");
    site.write("wp-config.php", &config);
}

fn works(site: &mut Site) {
    hurried(site);
    let usual = page(site);
    assert!(usual.0, "{usual:?}");
    assert_eq!(site.waits(), 2, "with a job server");

    site.gearmand.kill();
    let refused = page(site);
    assert!(refused.0, "{refused:?}");
    // What it costs more than usual.
    let cost = |page: (bool, u64, u64)| page.2.saturating_sub(usual.2);
    assert!(cost(refused) < 200, "{usual:?} {refused:?}");
    assert_eq!(cron(site), ["x", "y"], "a server that is down");

    // One that accepts connections and never answers, and 39 more.
    forget(site);
    let port = site.gearmand.server.port;
    let mut silent = vec![TcpListener::bind(("127.0.0.1", port)).unwrap()];
    for _ in 1..40 {
        silent.push(TcpListener::bind("127.0.0.1:0").unwrap());
    }
    let servers: Vec<String> = silent
        .iter()
        .map(|it| format!("'{}'", it.local_addr().unwrap()))
        .collect();
    let config = fs::read_to_string(site.dir.join("wp-config.php")).unwrap();
    let one = format!("array( '{}' )", site.gearmand.server);
    for servers in [one.clone(), format!("array( {} )", servers.join(", "))] {
        site.write("wp-config.php", &config.replace(&one, &servers));
        forget(site);
        let first = page(site);
        let second = page_in_a_pause(site);
        eprintln!(
            "{}: usual {usual:?}, refused {refused:?}, silent {first:?}, then {second:?}",
            site.name
        );
        assert!(first.0 && second.0, "{first:?} {second:?}");
        // WordPress takes its time on a busy machine; a server that is waited for takes 5 s.
        assert!(first.1 + first.2 < 4000, "{usual:?} {first:?}");
        assert!(first.2 < 900, "{usual:?} {first:?}");
        // The next page knows.
        assert!(
            second.1 < 4000 && cost(second) < 200,
            "{usual:?} {second:?}"
        );
        assert_eq!(cron(site), ["x", "x", "y", "y"], "a silent server");
    }
    drop(silent);

    // Jobs go to Gearman again once it is back, and pages look again.
    site.write("wp-config.php", &config);
    site.gearmand.start();
    let before = site.waits();
    forget(site);
    assert!(page(site).0);
    assert_eq!(site.waits(), before + 2);
    assert_eq!(cron(site), [""; 0]);
    assert_eq!(
        site.php("echo count( get_option( 'active_plugins' ) );"),
        if site.name == "away-0" { "0" } else { "1" }
    );
}

/// Accepts connections, answers what pages ask first, and closes them when a job comes.
fn goes_away_when_a_job_comes() -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut bytes = [0; 20];
                while stream.read_exact(&mut bytes).is_ok() && bytes[4..8] == [0, 0, 0, 16] {
                    bytes[..8].copy_from_slice(b"\0RES\0\0\0\x11");
                    stream.write_all(&bytes).unwrap();
                }
            });
        }
    });
    server.parse().unwrap()
}

#[test]
fn a_job_that_one_server_did_not_confirm_goes_to_another() {
    let site = Site::new("away-one");
    hurried(&site);
    let config = fs::read_to_string(site.dir.join("wp-config.php")).unwrap();
    let own = format!("array( '{}' )", site.gearmand.server);
    let both = format!(
        "array( '{}', '{}' )",
        goes_away_when_a_job_comes(),
        site.gearmand.server
    );
    assert!(config.contains(&own));
    site.write("wp-config.php", &config.replace(&own, &both));
    assert!(page(&site).0);
    assert_eq!(site.waits(), 2);
    assert_eq!(cron(&site), [""; 0]);
}

#[test]
fn a_server_that_was_slow_once_is_soon_asked_again() {
    let site = Site::new("away-slow");
    hurried(&site);
    let pid = site.gearmand.pid();
    signal(pid, "STOP");
    assert!(page(&site).0);
    signal(pid, "CONT");
    let began = Instant::now();
    let mut pages = 0;
    while site.waits() == 0 {
        assert!(page(&site).0);
        pages += 1;
        assert!(began.elapsed().as_secs() < 6, "{pages} pages later");
    }
    println!("the server is used again after {:?}", began.elapsed());
}

#[test]
fn jobs_given_to_wp_cron_while_it_runs_are_neither_lost_nor_doubled() {
    let mut site = Site::new("away-cron");
    hurried(&site);
    site.gearmand.kill();
    let events = "echo count( array_filter( _get_cron_array(), function ( $at ) { return isset( $at['t_line'] ); } ) );";
    let jobs: Vec<String> = (0..80).map(|n| format!("job {n}")).collect();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // As visitors start it, one after the other.
        let runs = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) || site.php(events) != "0" {
                site.php("delete_transient( 'doing_cron' );");
                let mut run = lab().command("php");
                run.arg(site.dir.join("wp-cron.php"));
                super::lab::run(&mut run);
            }
        });
        for jobs in jobs.chunks(4) {
            // Four pages at a time, each of which takes a while.
            std::thread::scope(|pages| {
                for job in jobs {
                    let code = format!(
                        "load(); usleep( 200000 ); wp_async_task_add( 't_line', array( '{job}' ) );"
                    );
                    let site = &site;
                    pages.spawn(move || site.php(&code));
                }
            });
        }
        is_over.store(true, Ordering::Relaxed);
        runs.join().unwrap();
    });
    let mut out = site.out();
    out.sort();
    let mut jobs = jobs;
    jobs.sort();
    assert_eq!(out, jobs);
}

fn published(name: &str, software: &Software) {
    let mut site = bare(name, Plan::default());
    if activate(&site, software) {
        works(&mut site);
    }
}

#[test]
fn with_the_bundled_plugin() {
    works(&mut Site::new("away-0"));
}

#[test]
fn with_wp_gears_1_0() {
    published("away-10", &WP_GEARS_1_0);
}

#[test]
fn with_wp_gears_2_0() {
    published("away-20", &WP_GEARS_2_0);
}

#[test]
fn with_wp_gears_2_1() {
    published("away-21", &WP_GEARS_2_1);
}

#[test]
fn with_wp_minions_3() {
    published("away-30", &WP_MINIONS_3);
}

#[test]
fn with_wp_minions_4() {
    published("away-41", &WP_MINIONS_4);
}
