//! Sealed jobs: what only the site can submit, and nobody else can read.

use std::fs;

use serde_json::json;

use super::common::judge::is_valid;
use super::lab::{Plan, Site, Worker, signal, wait_for};
use super::real_plugins::{activate, bare};
use super::software::{
    Software, WP_GEARS_1_0, WP_GEARS_2_0, WP_GEARS_2_1, WP_MINIONS_3, WP_MINIONS_4,
};

/// How a worker ends the time for plain jobs at once.
const NO_GRACE: [&str; 2] = ["--seal-grace", "0"];
const ONLY: &str = "from now on, only sealed jobs are run";

fn forged(hook: &str, word: &str) -> String {
    json!({ "hook": hook, "args": [word], "blog_id": null }).to_string()
}

/// What waits, as somebody sees it who takes it from the job server.
fn grab(site: &Site) -> Vec<u8> {
    let code = format!(
        "$w = new GearmanWorker(); $w->addServers( '{}' ); $w->setTimeout( 3000 );
         $w->addFunction( '{}', function ( $j ) {{ echo bin2hex( $j->workload() ); }} ); $w->work();",
        site.gearmand.server, site.function
    );
    let hex = site.php(&format!("if ( false ) load(); {code}"));
    (0..hex.len() / 2)
        .map(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).unwrap())
        .collect()
}

fn sealing_worker(site: &Site) -> Worker {
    let worker = site.worker(&NO_GRACE);
    site.wait_for_log(20, ONLY);
    worker
}

fn refusals(site: &Site, count: usize) -> Vec<String> {
    wait_for(30, "the refused jobs", || site.kept().len() >= count);
    site.kept().into_iter().map(|(_, error)| error).collect()
}

#[test]
fn others_can_neither_read_nor_submit_jobs() {
    let site = Site::new("sealed");
    let other = Site::new("sealed-too");
    site.add("t_line", json!(["secret-word"]));
    let taken = grab(&site);
    assert!(taken.starts_with(b"wp-gears-seal:1:"), "{taken:?}");
    let shown = String::from_utf8_lossy(&taken).into_owned();
    assert!(!shown.contains("secret-word") && !shown.contains("t_line"));

    let worker = sealing_worker(&site);
    let mut changed = taken.clone();
    *changed.last_mut().unwrap() ^= 1;
    other.add("t_line", json!(["of another site"]));
    let of_other = grab(&other);
    let mut cut = taken.clone();
    cut.truncate(40);
    for payload in [
        forged("t_line", "mallory").as_bytes(),
        &changed,
        &of_other,
        &cut,
    ] {
        site.gearmand.submit(&site.function, payload);
    }
    let why = refusals(&site, 4);
    for part in [
        "not sealed",
        "forged or changed",
        "does not have",
        "forged or changed",
    ] {
        assert!(why.iter().any(|text| text.contains(part)), "{why:?}");
    }
    assert!(site.out().is_empty(), "{:?}", site.out());
    let log = site.log();
    assert_eq!(log.matches(" refused: ").count(), 4, "{log}");

    // The job that was taken away and is given back runs: it is the site's own.
    site.gearmand.submit(&site.function, &taken);
    site.add("t_chain", json!([2]));
    site.wait_for_out(20, 4);
    assert!(site.out().contains(&"secret-word".to_owned()));
    let log = site.log();
    assert!(!log.contains("secret-word"), "{log}");
    assert!(log.contains("job hook=t_line"), "{log}");
    worker.stop();
}

#[test]
fn a_flood_of_forged_jobs_displaces_no_failed_job() {
    let site = Site::new("flood");
    let worker = sealing_worker(&site);
    site.add("t_throw", json!(["shown to the administrator"]));
    wait_for(20, "the failed job", || !site.kept().is_empty());
    for n in 0..130 {
        site.gearmand
            .submit(&site.function, forged("t_line", &n.to_string()).as_bytes());
    }
    wait_for(60, "the refusals", || {
        site.log().matches(" refused: ").count() == 130
    });
    wait_for(20, "the last one", || site.waits() == 0);
    assert_eq!(site.kept().len(), 101);
    assert!(site.out().is_empty());
    let counted = fs::read_to_string(site.state("failed").join("refused")).unwrap();
    assert_eq!(counted, "130");
    let server = site.gearmand.server.to_string();
    let status = |form: &str| {
        let output = site.wp_gears(&["status", form, "--servers", &server]);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let document: serde_json::Value = serde_json::from_str(&status("--json")).unwrap();
    is_valid("status", &document);
    assert_eq!(document["sites"][0]["refused_ever"], 130, "{document:#}");
    let metrics = status("--prometheus");
    let counter = format!("wp_gears_jobs_refused_total{{site=\"{}\"}} 130", site.name);
    assert!(metrics.contains(&counter), "{metrics}");
    let failed = site.failed();
    let own = failed
        .iter()
        .find(|it| it["job"]["hook"] == "t_throw")
        .unwrap();
    let id = own["job"]["id"].as_str().unwrap();
    let shown = site.wp_gears(&["failed", "show", id]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(
        shown.contains("[\"shown to the administrator\"]"),
        "{shown}"
    );
    // It runs again as it was, sealed.
    site.wp_gears(&["failed", "retry", id]);
    wait_for(20, "its next failure", || {
        let failed = site.failed();
        let job = failed.iter().find(|it| it["job"]["id"] == id);
        let tries = job.and_then(|it| it["job"]["tries"].as_array());
        tries.is_some_and(|tries| tries.len() == 2)
    });
    // A refused one is asked for again, and is none of the site's still.
    let refused = failed.iter().find(|it| it["job"]["refused"] == true);
    let id = refused.unwrap()["job"]["id"].as_str().unwrap();
    site.wp_gears(&["failed", "retry", id, "--servers", &server]);
    wait_for(20, "its next refusal", || {
        site.log().matches(" refused: ").count() == 131
            && site.failed().iter().all(|it| it["job"]["id"] != id)
    });
    assert!(site.out().is_empty());
    worker.stop();
}

#[test]
fn plain_jobs_that_wait_are_run_and_no_later_ones() {
    let site = Site::with(
        "turned",
        Plan {
            plain: true,
            ..Plan::default()
        },
    );
    site.add_many(&[("t_line", json!(["1"])), ("t_line", json!(["2"]))]);
    let plugin = wp_gears::site::seal::plugin(true);
    let worker = site.worker(&NO_GRACE);
    site.wait_for_out(20, 2);
    site.wait_for_log(
        10,
        "jobs are not sealed: the must-use plugin that seals them is not loaded",
    );
    site.wp_gears(&["pause"]);
    signal(worker.pid(), "USR1");
    site.add("t_line", json!(["3"]));
    site.write("wp-content/mu-plugins/wp-gears-seal.php", plugin);
    // Before a new copy seals: it may be that an old PHP still runs jobs.
    site.add("t_line", json!(["4"]));
    wait_for(10, "the first sealed job", || {
        site.add("t_line", json!(["sealed"]));
        site.php("echo time() - filemtime( WPMU_PLUGIN_DIR . '/wp-gears-seal.php' );")
            .parse::<u32>()
            .unwrap()
            > 3
    });
    site.wp_gears(&["resume"]);
    signal(worker.pid(), "USR1");
    site.wait_for_log(20, ONLY);
    wait_for(20, "all jobs", || site.waits() == 0);
    let out = site.out();
    assert_eq!(out[..4], ["1", "2", "3", "4"], "{out:?}");
    assert!(out.len() > 4);
    site.gearmand
        .submit(&site.function, forged("t_line", "late").as_bytes());
    assert!(refusals(&site, 1)[0].contains("not sealed"));
    site.wp_gears(&["failed", "forget", "--all"]);
    worker.stop();

    // What another PHP than pages' does not seal is not refused.
    fs::remove_file(site.dir.join("wp-content/mu-plugins/wp-gears-seal.php")).unwrap();
    let worker = site.worker(&NO_GRACE);
    site.add("t_line", json!(["without"]));
    wait_for(20, "it", || site.out().last().unwrap() == "without");
    worker.stop();

    // Where job servers are shared, or it is off.
    site.write("wp-content/mu-plugins/wp-gears-seal.php", plugin);
    let worker = site.worker(&["--seal-grace", "0", "--seal", "false"]);
    site.add("t_line", json!(["off"]));
    wait_for(20, "it", || site.out().last().unwrap() == "off");
    worker.stop();
    assert!(site.kept().is_empty(), "{:?}", site.kept());
}

#[test]
fn jobs_that_wait_while_keys_change_are_run() {
    let site = Site::new("rotated");
    let worker = sealing_worker(&site);
    site.add("t_line", json!(["first"]));
    site.wait_for_out(20, 1);
    site.wp_gears(&["pause"]);
    signal(worker.pid(), "USR1");
    site.wait_for_log(10, "paused");
    site.add("t_line", json!(["before"]));
    let config = fs::read_to_string(site.dir.join("wp-config.php")).unwrap();
    site.write(
        "wp-config.php",
        &config.replace("ecret of", "ecret, later, of"),
    );
    site.add("t_line", json!(["after"]));
    site.wp_gears(&["resume"]);
    signal(worker.pid(), "USR1");
    site.wait_for_out(30, 3);
    site.assert_once(["first", "before", "after"].map(String::from).into());
    // With no grace, the former key is forgotten once nothing waits.
    site.wait_for_log(20, "forgot a former key");
    let keys = |site: &Site| {
        let files = fs::read_dir(site.state("run")).unwrap();
        let files = files.map(|it| it.unwrap().file_name().into_string().unwrap());
        files.filter(|name| name.ends_with(".key")).count()
    };
    assert_eq!(keys(&site), 1);
    let mode = |name: &str| {
        use std::os::unix::fs::PermissionsExt;
        let path = site.state("run").join(name);
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode("seal-present"), 0o600);

    // While jobs follow each other, with the worker's PHP loaded.
    site.write("wp-config.php", &config);
    site.add("t_line", json!(["at once"]));
    site.wait_for_out(30, 4);
    assert!(site.kept().is_empty(), "{:?}", site.kept());
    let log = site.log();
    assert!(
        !log.contains("ecret of") && !log.contains("ecret, later"),
        "{log}"
    );
    worker.stop();
}

#[test]
fn without_keys_in_wp_config_wordpress_has_some() {
    let site = Site::new("keyless");
    let config = fs::read_to_string(site.dir.join("wp-config.php")).unwrap();
    let keyless: Vec<_> = config
        .lines()
        .filter(|line| !line.contains("AUTH_KEY"))
        .collect();
    site.write("wp-config.php", &keyless.join("\n"));
    let worker = site.worker(&NO_GRACE);
    site.add("t_line", json!(["one"]));
    site.wait_for_out(20, 1);
    site.wait_for_log(20, ONLY);
    site.add("t_line", json!(["two"]));
    site.wait_for_out(20, 2);
    site.gearmand
        .submit(&site.function, forged("t_line", "mallory").as_bytes());
    assert_eq!(refusals(&site, 1).len(), 1);
    worker.stop();
    // The keys of the manual, which everybody knows.
    let known = config.replace(
        "'Secret of keyless, 0123456789 abcdefghijk'",
        "'put your unique phrase here'",
    );
    site.write("wp-config.php", &known);
    let worker = site.worker(&NO_GRACE);
    site.add("t_line", json!(["three"]));
    site.wait_for_out(20, 3);
    worker.stop();
}

#[test]
fn unique_keys_are_the_jobs_own_and_show_nothing() {
    let site = Site::with(
        "unique",
        Plan {
            jobs: "add_action( 't_unique', function ( $args, $job ) { out( $job->unique() . ' ' . json_decode( $job->workload(), true )['hook'] . ' ' . $job->workloadSize() ); }, 10, 2 );".into(),
            ..Plan::default()
        },
    );
    if !activate_over_bundled(&site, &WP_MINIONS_4) {
        return;
    }
    let add = "$c = \\WpMinions\\Plugin::get_instance()->get_client();
        foreach ( array( 1, 2 ) as $n ) $c->get_gearman_client()->doBackground( $c->get_async_group(), json_encode( array( 'hook' => 't_unique', 'args' => array(), 'blog_id' => false ) ), 'user-7@example' );";
    site.php(add);
    assert_eq!(site.waits(), 1, "two jobs with one unique key are one");
    let worker = sealing_worker(&site);
    site.wait_for_out(20, 1);
    assert_eq!(site.out(), ["user-7@example t_unique 45"]);
    worker.stop();
}

/// The real plugin instead of the stand-in.
fn activate_over_bundled(site: &Site, software: &Software) -> bool {
    site.write("wp-content/mu-plugins/0-plugin.php", "<?php");
    activate(site, software)
}

/// Every job that a page or a job submits through a plugin is sealed.
fn sealed(name: &str, software: &Software) {
    let site = bare(name, Plan::default());
    if !activate(&site, software) {
        return;
    }
    for (priority, word) in [("high", "a"), ("normal", "b"), ("low", "c")] {
        site.php(&format!(
            "wp_async_task_add( 't_line', array( '{word}' ), '{priority}' );"
        ));
    }
    let payload = grab(&site);
    assert!(payload.starts_with(b"wp-gears-seal:1:"), "{name}");
    for mode in ["fork", "spawn"] {
        let worker = site.worker(&["--seal-grace", "0", "--worker-mode", mode]);
        site.wait_for_log(20, ONLY);
        site.add("t_chain", json!([2]));
        site.gearmand
            .submit(&site.function, forged("t_line", "mallory").as_bytes());
        assert!(refusals(&site, 1)[0].contains("not sealed"));
        wait_for(20, "the chain", || {
            site.out().iter().filter(|line| *line == "chain 0").count()
                == if mode == "fork" { 1 } else { 2 }
        });
        assert_eq!(site.kept().len(), 1, "{:?}", site.kept());
        assert!(!site.out().contains(&"mallory".to_owned()));
        site.wp_gears(&["failed", "forget", "--all"]);
        worker.stop();
    }
}

#[test]
fn wp_gears_1_0_is_sealed() {
    sealed("sealed10", &WP_GEARS_1_0);
}

#[test]
fn wp_gears_2_0_is_sealed() {
    sealed("sealed20", &WP_GEARS_2_0);
}

#[test]
fn wp_gears_2_1_is_sealed() {
    sealed("sealed21", &WP_GEARS_2_1);
}

#[test]
fn wp_minions_3_is_sealed() {
    sealed("sealed30", &WP_MINIONS_3);
}

#[test]
fn wp_minions_4_is_sealed() {
    sealed("sealed41", &WP_MINIONS_4);
}
