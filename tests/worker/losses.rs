//! Every accepted job runs, no matter what dies when.

use std::time::Instant;

use serde_json::json;

use super::lab::{
    Gearmand, Site, Worker, children, is_alive, lab, processor_ms, signal, sleep, wait_for,
};

#[test]
fn term_finishes_the_job_at_hand() {
    let site = Site::new("term");
    let options = ["--stop-timeout", "20"];
    let mut workers = vec![site.worker(&options), site.worker(&options)];
    site.add_sleeping(0..6, 700);
    for _ in 0..4 {
        let begun = site.lines("begun").len();
        wait_for(20, "a job", || {
            site.lines("begun").len() > begun || site.out().len() == 6
        });
        // Restart it like supervisor does: TERM to all its processes, wait, start.
        for worker in &mut workers {
            for pid in children(worker.pid()) {
                children(pid)
                    .into_iter()
                    .for_each(|job| signal(job, "TERM"));
                signal(pid, "TERM");
            }
        }
        workers.drain(..).for_each(|worker| {
            worker.stop();
        });
        workers = vec![site.worker(&options), site.worker(&options)];
    }
    site.wait_for_out(30, 6);
    sleep(300);
    assert!(
        site.counts().values().all(|n| *n == 1),
        "{:?}\n{}",
        site.counts(),
        site.log()
    );
    assert!(site.kept().is_empty(), "{:?}", site.kept());
}

#[test]
fn a_job_that_does_not_end_in_time_goes_to_another_worker() {
    let site = Site::new("giveup");
    let worker = site.worker(&["--stop-timeout", "1"]);
    site.add_sleeping(0..1, 3000);
    wait_for(20, "the job", || site.lines("begun").len() == 1);
    let took = worker.stop();
    assert!((900..2500).contains(&took.as_millis()), "{took:?}");
    let _worker = site.worker(&[]);
    site.wait_for_out(20, 1);
    sleep(300);
    assert_eq!(site.lines("begun").len(), 2);
    assert_eq!(site.out(), ["0"]);
}

#[test]
fn kills_of_all_kinds_lose_nothing() {
    let mut site = Site::new("kills");
    let worker = site.worker(&["--workers", "2"]);
    let jobs = 60;
    site.add_sleeping(0..jobs, 100);
    wait_for(20, "the first job", || !site.out().is_empty());
    let one = || children(worker.pid()).first().copied().unwrap_or(0);
    let php = || children(one()).first().copied().unwrap_or(0);
    for round in 0..6 {
        sleep(350);
        match round % 3 {
            0 => signal(php(), "KILL"),
            1 => {
                if let Some(job) = children(php()).first() {
                    signal(*job, "KILL");
                }
            }
            _ => {
                signal(one(), "KILL");
            }
        }
    }
    site.gearmand.kill();
    sleep(300);
    site.gearmand.start();
    wait_for(60, "all jobs", || {
        (0..jobs).all(|n| site.counts().contains_key(&n.to_string())) || {
            assert!(site.kept().is_empty(), "{:?}", site.kept());
            false
        }
    });
    // Only jobs that were running when something died run twice: two kills of a
    // worker, two of a job, one of the job server, each with two running jobs.
    let twice = site.counts().values().filter(|n| **n > 1).count();
    assert!(twice <= 10, "{twice} jobs ran twice");
    assert!(
        site.counts().values().all(|n| *n <= 3),
        "{:?}",
        site.counts()
    );
    worker.stop();
}

#[test]
fn a_job_outlives_its_php_parent() {
    let site = Site::new("orphan");
    let worker = site.worker(&[]);
    site.add_sleeping(0..1, 1500);
    wait_for(20, "the job", || site.lines("begun").len() == 1);
    signal(worker.php().unwrap(), "KILL");
    site.wait_for_log(10, "handle=");
    sleep(200);
    assert_eq!(site.out(), ["0"]);
    assert_eq!(site.lines("begun").len(), 1, "{}", site.log());
    worker.stop();
}

#[test]
fn a_job_ends_with_its_worker() {
    let site = Site::new("worker-died");
    let worker = site.worker(&[]);
    site.add_sleeping(0..1, 2500);
    wait_for(20, "the job", || site.lines("begun").len() == 1);
    let php = worker.php().unwrap();
    let job = children(php)[0];
    signal(worker.pid(), "KILL");
    // Its server gives the job to another worker at once, so it must not go on running.
    wait_for(2, "the end of the job", || {
        children(php).is_empty() && !is_alive(job) && !is_alive(php)
    });
    let _worker = site.worker(&[]);
    site.wait_for_out(20, 1);
    assert_eq!(site.out(), ["0"]);
}

#[test]
fn a_worker_without_a_job_server_costs_nothing_and_comes_back() {
    let mut site = Site::new("away");
    let worker = site.worker(&["--idle-timeout", "1"]);
    site.add("t_line", json!(["1"]));
    site.wait_for_out(20, 1);
    wait_for(10, "PHP to exit", || worker.php().is_none());
    site.gearmand.kill();
    sleep(500);
    let (start, before) = (Instant::now(), processor_ms(worker.pid()));
    sleep(3000);
    let used = processor_ms(worker.pid()) - before;
    let percent = used * 100 / start.elapsed().as_millis() as u64;
    assert!(percent < 2, "{percent}% of a core");
    site.gearmand.start();
    let back = wait_for(8, "the worker", || {
        site.gearmand
            .queue(&site.function)
            .is_some_and(|q| q.workers == 1)
    });
    site.add("t_line", json!(["2"]));
    site.wait_for_out(8, 2);
    assert!(back.as_secs() < 8);
    // Logged once, not at each attempt.
    assert!(
        site.log().matches("trying again").count() <= 3,
        "{}",
        site.log()
    );
}

#[test]
fn a_server_that_hangs_keeps_a_worker_from_others_for_seconds_only() {
    let site = Site::new("hangs");
    let other = Gearmand::new(None);
    let server = other.server.to_string();
    let _worker = site.worker(&["--servers", &server]);
    site.add_sleeping(0..1, 1500);
    wait_for(20, "the job", || site.lines("begun").len() == 1);
    signal(site.gearmand.pid(), "STOP");
    site.wait_for_out(20, 1);
    // It has asked the server that hangs, in the same write as it told the outcome.
    sleep(200);
    site.php(&format!(
        "load(); $GLOBALS['gearman_servers'] = array( '{server}' ); wp_async_task_add( 't_line', array( 'other' ) );"
    ));
    let began = Instant::now();
    site.wait_for_out(20, 2);
    let took = began.elapsed();
    signal(site.gearmand.pid(), "CONT");
    println!("the other server's job ran after {took:?}");
    assert!(took.as_secs() < 6, "{took:?}");
    sleep(1000);
    site.assert_once(vec!["0".into(), "other".into()]);
}

#[test]
fn pause_lets_jobs_finish_and_takes_no_more() {
    let site = Site::new("pause");
    let worker = site.worker(&["--workers", "2"]);
    site.add_sleeping(0..2, 1000);
    wait_for(20, "both jobs", || site.lines("begun").len() == 2);
    site.wp_gears(&["pause", "--wait"]);
    assert_eq!(site.out().len(), 2);
    site.add("t_line", json!(["later"]));
    sleep(800);
    assert_eq!(site.out().len(), 2);
    // A worker that starts while the site is paused is paused too.
    let other = site.worker(&[]);
    sleep(700);
    assert_eq!(site.out().len(), 2);
    site.wp_gears(&["resume"]);
    site.wait_for_out(10, 3);
    // The job server also knows that the jobs that ran during the pause have finished.
    sleep(500);
    assert_eq!(site.lines("begun").len(), 2, "{}", site.log());
    site.assert_once(vec!["0".into(), "1".into(), "later".into()]);
    let loads = site.log().matches("loaded the site").count();
    site.wp_gears(&["reload", "--wait"]);
    for n in 0..4 {
        site.add("t_line", json!([n.to_string()]));
    }
    site.wait_for_out(20, 7);
    assert!(
        site.log().matches("loaded the site").count() > loads,
        "{}",
        site.log()
    );
    other.stop();
    worker.stop();
}

#[test]
fn a_site_that_cannot_be_loaded_keeps_its_jobs() {
    let site = Site::new("broken");
    site.add("t_line", json!(["waits"]));
    let config = std::fs::read_to_string(site.dir.join("wp-config.php")).unwrap();
    site.write(
        "wp-config.php",
        &config.replace("localhost:", "localhost:/nowhere"),
    );
    let worker = site.worker(&[]);
    site.wait_for_log(20, "cannot run jobs now");
    assert!(
        site.log()
            .contains("Error establishing a database connection"),
        "{}",
        site.log()
    );
    site.write("wp-config.php", "<?php this is no PHP");
    site.wait_for_log(20, "syntax error");
    assert_eq!(site.waits(), 1);
    site.write("wp-config.php", &config);
    site.wait_for_out(40, 1);
    worker.stop();
}

#[test]
fn an_upgrade_changes_the_program_of_a_worker_and_not_its_process() {
    let site = Site::new("upgrade");
    let program = lab().dir.join("lib/wp-gears-upgrade");
    let install = || {
        let new = program.with_extension("new");
        std::fs::copy(lab().dir.join("lib/wp-gears"), &new).unwrap();
        std::fs::rename(&new, &program).unwrap();
    };
    install();
    let worker = Worker::of_program(&program, &site, &[]);
    let runs_installed = || {
        let exe = std::fs::read_link(format!("/proc/{}/exe", worker.pid())).unwrap();
        exe == program
    };
    site.add_sleeping(0..1, 1500);
    wait_for(20, "a job", || site.lines("begun").len() == 1);
    install();
    worker.signal("USR1");
    sleep(300);
    assert!(!runs_installed(), "it left its job");
    site.wait_for_out(20, 1);
    worker.signal("USR1");
    wait_for(10, "the new program", runs_installed);
    site.add_sleeping(0..5, 1);
    site.wait_for_out(20, 6);
    assert!(
        site.counts().values().all(|n| *n <= 5),
        "{:?}",
        site.counts()
    );
    assert_eq!(site.out().len(), 6);
}
