//! Scheduled events that nobody runs: what workers see of WP-Cron, in a real WordPress whose
//! pages do not run it.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use wp_gears::base::clock::now_ms;

use super::common::judge::is_valid;
use super::lab::{Plan, Site, lab, run, wait_for};
use super::prometheus::samples;

fn status(site: &Site, form: &[&str]) -> String {
    let server = site.gearmand.server.to_string();
    let mut command = Command::new(lab().dir.join("lib/wp-gears"));
    command.args(["status", "--servers", &server, "--site", &site.name]);
    command
        .args(form)
        .arg("--state")
        .arg(lab().dir.join("state"));
    String::from_utf8(run(&mut command).stdout).unwrap()
}

fn events(site: &Site) -> Value {
    let document: Value = serde_json::from_str(&status(site, &["--json"])).unwrap();
    is_valid("status", &document);
    document["sites"][0]["events"].clone()
}

/// How long it is until the next look if PHP ends before, in milliseconds. While a worker
/// looks, it is short.
fn next_look(site: &Site) -> u64 {
    let text = fs::read_to_string(site.state("failed").join("table/look")).unwrap();
    let at: u64 = text.split(' ').nth(1).unwrap().parse().unwrap();
    at.saturating_sub(now_ms())
}

fn plan(network: bool) -> Plan {
    Plan {
        config: "define( 'WP_HTTP_BLOCK_EXTERNAL', true );".into(),
        network,
        ..Plan::default()
    }
}

#[test]
fn overdue_events_are_seen_until_they_have_run() {
    let site = Site::with("events", plan(false));
    site.php("wp_schedule_single_event( time() - 2000, 't_line', array( array( 'late' ) ) );");
    let worker = site.worker(&["--retry-grace", "2"]);
    site.add("t_line", json!(["job"]));
    site.wait_for_out(30, 1);
    wait_for(20, "a look", || events(&site) != Value::Null);
    let seen = events(&site);
    let overdue = seen["overdue_ms"].as_u64().unwrap();
    assert!((2_000_000..2_060_000).contains(&overdue), "{seen}");
    assert_eq!(seen["hook"], "t_line");
    // What is seen once may have been run by the same visitor.
    wait_for(20, "a second look", || {
        status(&site, &[]).contains("WP-Cron is late: the event t_line is overdue by 33 min")
    });
    wait_for(10, "a plan for the next look", || {
        (840_000..=900_000).contains(&next_look(&site))
    });
    let overdue = samples(&status(&site, &["--prometheus"]))
        .into_iter()
        .find(|it| it.starts_with("wp_gears_events_overdue_seconds{site=events} 20"));
    assert!(overdue.is_some());

    run(lab().command("php").arg(site.dir.join("wp-cron.php")));
    assert!(site.out().contains(&"late".to_owned()), "{:?}", site.out());
    wait_for(20, "a look after WP-Cron", || {
        events(&site)["overdue_ms"].as_u64().unwrap() < 60_000
    });
    assert!(!status(&site, &[]).contains("WP-Cron"));
    // An idle site is left alone.
    wait_for(10, "a plan for the next look", || {
        (2..6).contains(&(next_look(&site) / 3_600_000))
    });
    worker.stop();
}

#[test]
fn events_of_all_sites_of_a_network_count() {
    let site = Site::with("eventful", plan(true));
    site.php(
        "wpmu_create_blog( 'two.site.test', '/', 'second', 1 ); switch_to_blog( 2 );
         wp_schedule_single_event( time() - 5000, 't_of_two' );",
    );
    let worker = site.worker(&["--worker-mode", "spawn"]);
    site.add("t_line", json!(["job"]));
    site.wait_for_out(30, 1);
    wait_for(20, "a look", || events(&site)["hook"] == "t_of_two");
    // Jobs go on.
    site.add("t_line", json!(["another"]));
    site.wait_for_out(30, 2);
    worker.stop();
}
