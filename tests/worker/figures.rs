//! How long jobs wait and run: what workers record, against what the jobs themselves say.

use serde_json::{Value, json};
use wp_gears::base::clock::now_ms;

use super::common::judge::is_valid;
use super::lab::{Plan, Site, lab, run, signal, wait_for};
use super::prometheus::samples;

const WHEN: &str = "add_action( 't_when', function ( $args, $job ) {
        $payload = json_decode( $job->workload(), true );
        out( $args[0] . ' ' . (int) ( microtime( true ) * 1000 ) . ' ' . implode( ',', array_keys( $payload ) ), 'when' );
    }, 10, 2 );";

fn status(site: &Site) -> (Value, Vec<String>) {
    let server = site.gearmand.server.to_string();
    let text = |form: &str| {
        let mut command = std::process::Command::new(lab().dir.join("lib/wp-gears"));
        command.args(["status", form, "--servers", &server, "--site", &site.name]);
        command.arg("--state").arg(lab().dir.join("state"));
        String::from_utf8(run(&mut command).stdout).unwrap()
    };
    let document: Value = serde_json::from_str(&text("--json")).unwrap();
    is_valid("status", &document);
    (document["sites"][0].clone(), samples(&text("--prometheus")))
}

/// The jobs' own word: what they waited, in milliseconds, sorted.
fn waits(site: &Site) -> Vec<u64> {
    let mut waits: Vec<u64> = site
        .lines("when")
        .iter()
        .map(|line| {
            let mut words = line.split(' ').map(|word| word.parse::<u64>());
            let submitted = words.next().unwrap().unwrap();
            words.next().unwrap().unwrap() - submitted
        })
        .collect();
    waits.sort_unstable();
    waits
}

#[track_caller]
fn within(got: &Value, truth: u64) {
    let got = got.as_u64().unwrap();
    let off = got.abs_diff(truth) as f64 / truth as f64;
    assert!(off <= 0.05, "{got} instead of {truth}");
}

#[test]
fn waits_are_true_over_four_workers_a_restart_and_a_kill() {
    let plan = Plan {
        plain: true,
        jobs: WHEN.into(),
        ..Plan::default()
    };
    let site = Site::with("figures", plan);
    let submit = |jobs: std::ops::Range<u64>| {
        let now = now_ms();
        for n in jobs {
            // Most are short, a few as long as an hour.
            let at = now - 500 - 3_600_000 * n.pow(4) / 1000u64.pow(4);
            let args = json!([at.to_string()]);
            let payload =
                format!(r#"{{"hook":"t_when","args":{args},"blog_id":null,"wp_gears_at":{at}}}"#);
            site.gearmand.submit(&site.function, payload.as_bytes());
        }
    };
    let done = |jobs: usize| wait_for(60, "the jobs", || site.lines("when").len() == jobs);
    let worker = site.worker(&["--workers", "4"]);
    submit(0..500);
    done(500);
    worker.stop();
    let worker = site.worker(&["--workers", "4"]);
    submit(500..1000);
    done(1000);
    wait_for(10, "the end of the last job", || {
        site.gearmand
            .queue(&site.function)
            .is_some_and(|it| it.jobs == 0)
    });

    let (seen, samples) = status(&site);
    let figures = &seen["figures"];
    println!("{figures:#}");
    let counters = |figures: &Value| {
        ["submitted", "done", "failed", "retried", "unstamped"]
            .map(|name| figures[name].as_u64().unwrap())
    };
    assert_eq!(counters(figures), [1000, 1000, 0, 0, 0]);
    assert_eq!(counters(&figures["hooks"][0]), [1000, 1000, 0, 0, 0]);
    assert_eq!(figures["hooks"][0]["hook"], "t_when");
    let truth = waits(&site);
    for period in ["hour", "day"] {
        let spread = &figures[period]["wait_ms"];
        assert_eq!(spread["jobs"], 1000);
        for (name, rank) in [("p50", 499), ("p95", 949), ("p99", 989), ("max", 999)] {
            within(&spread[name], truth[rank]);
        }
    }
    // The page in WordPress reads the same files.
    site.write("admin.php", wp_gears::site::admin::text());
    let state = lab().dir.join("state");
    let shown = site.php(&format!(
        "define( 'WP_GEARS_STATE', '{}' ); require ABSPATH . 'admin.php';
         echo json_encode( WP_Gears_Figures::waits() );",
        state.display()
    ));
    let shown: Value = serde_json::from_str(&shown).unwrap();
    within(&shown["p50"], truth[499]);
    within(&shown["p95"], truth[949]);
    let name = &site.name;
    for wanted in [
        format!("wp_gears_jobs_submitted_total{{hook=t_when,site={name}}} 1000"),
        format!("wp_gears_job_attempts_total{{hook=t_when,result=done,site={name}}} 1000"),
        format!("wp_gears_job_wait_seconds_count{{hook=t_when,site={name}}} 1000"),
        format!("wp_gears_job_wait_seconds_bucket{{hook=t_when,le=+Inf,site={name}}} 1000"),
        format!("wp_gears_job_run_seconds_count{{hook=t_when,site={name}}} 1000"),
    ] {
        assert!(samples.contains(&wanted), "no {wanted} in {samples:#?}");
    }
    // The hooks see what their plugin submitted.
    let payloads = site.lines("when");
    assert!(
        payloads
            .iter()
            .all(|line| line.ends_with(" hook,args,blog_id")),
        "{payloads:?}"
    );

    // Whatever is killed, what has ended is counted.
    let all = super::lab::children(worker.pid());
    for pid in [worker.pid()].iter().chain(&all) {
        signal(*pid, "KILL");
    }
    let worker = site.worker(&["--workers", "4"]);
    submit(0..10);
    done(1010);
    worker.stop();
    let (seen, _) = status(&site);
    assert_eq!(counters(&seen["figures"]), [1010, 1010, 0, 0, 0]);
}

#[test]
fn jobs_tell_when_they_were_submitted_whether_sealed_or_not() {
    let plan = Plan {
        jobs: WHEN.into(),
        ..Plan::default()
    };
    let site = Site::with("stamps", plan);
    site.add("t_line", json!(["sealed"]));
    site.add("t_throw", json!([]));
    let worker = site.worker(&["--failed-retries", "1"]);
    site.wait_for_out(30, 1);
    wait_for(30, "the retry", || site.kept().len() == 1);
    worker.stop();
    let plugin = wp_gears::site::seal::plugin(false);
    site.write("wp-content/mu-plugins/wp-gears-seal.php", plugin);
    site.add("t_when", json!(["1"]));
    // One without our must-use plugin.
    site.gearmand.submit(
        &site.function,
        br#"{"hook":"t_line","args":["plain"],"blog_id":null}"#,
    );
    let worker = site.worker(&["--seal", "false"]);
    site.wait_for_out(30, 2);
    worker.stop();
    let (seen, _) = status(&site);
    let figures = &seen["figures"];
    let hook = |name: &str| {
        let all = figures["hooks"].as_array().unwrap();
        all.iter().find(|it| it["hook"] == name).unwrap().clone()
    };
    assert_eq!(
        [&figures["submitted"], &figures["unstamped"]],
        [&json!(4), &json!(1)],
        "{figures:#}"
    );
    let throws = hook("t_throw");
    assert_eq!(
        [&throws["done"], &throws["failed"], &throws["retried"]],
        [&json!(0), &json!(1), &json!(1)]
    );
    // A retry has not waited.
    assert_eq!(throws["hour"]["wait_ms"]["jobs"], 1);
    assert_eq!(hook("t_line")["hour"]["wait_ms"]["jobs"], 1);
    assert_eq!(hook("t_when")["hour"]["wait_ms"]["jobs"], 1);
    assert_eq!(
        site.lines("when")[0].split(' ').next_back(),
        Some("hook,args,blog_id")
    );
}

#[test]
fn the_oldest_waiting_job_is_known_while_all_workers_are_busy_or_paused() {
    let site = Site::new("oldest");
    let worker = site.worker(&["--workers", "2"]);
    site.add_sleeping(0..2, 11_000);
    wait_for(20, "two running jobs", || site.lines("begun").len() == 2);
    let oldest = || status(&site).0["oldest_waiting_ms"].as_u64().unwrap();
    assert_eq!(oldest(), 0);
    // The crew has seen that nothing waits.
    let empty_at = || site.crew().and_then(|crew| crew["empty_at"].as_u64());
    let begun = now_ms();
    wait_for(10, "a look at the queue", || {
        empty_at().is_some_and(|at| at > begun + 2000)
    });
    // Starting PHP for it takes a while.
    let add = |job: &str| {
        let before = now_ms();
        site.add("t_line", json!([job]));
        let least = now_ms();
        let seen = oldest();
        let (least, most) = (now_ms() - least, now_ms() - before);
        assert!(
            seen + 1500 >= least && seen <= most + 3500,
            "{seen}, {least} to {most}"
        );
    };
    add("waits");
    site.wait_for_out(30, 3);
    site.wp_gears(&["pause"]);
    site.wait_for_log(10, "paused");
    let begun = now_ms();
    wait_for(10, "a look at the queue", || {
        empty_at().is_some_and(|at| at > begun)
    });
    add("paused");
    site.wp_gears(&["resume"]);
    site.wait_for_out(10, 4);
    wait_for(10, "the end of all jobs", || oldest() == 0);
    worker.stop();
}
