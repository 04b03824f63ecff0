//! A crew keeps as many workers as are wanted, and adopts what changes, without ending or
//! losing a job.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wp_gears::worker::settings::CrewSettings;
use wp_gears::worker::workers::Workers;

use super::lab::{
    Plan, Site, Worker, children, is_alive, lab, processor_ms, signal, sleep, wait_for,
};

fn workers(workers: u32) -> CrewSettings {
    CrewSettings {
        workers: Workers::fixed(workers),
        ..CrewSettings::default()
    }
}

fn assert_all_once(site: &Site, jobs: usize) {
    site.assert_once((0..jobs).map(|n| n.to_string()).collect());
}

#[test]
fn the_number_changes_while_jobs_run() {
    let site = Site::new("crew-number");
    let crew = Worker::crew(&site, &workers(2));
    let jobs = 60;
    site.add_sleeping(0..jobs, 300);
    let members = || children(crew.pid()).len();
    wait_for(20, "two workers", || members() == 2);
    site.wait_for_out(20, 4);
    site.settings(&workers(8));
    wait_for(5, "eight workers", || members() == 8);
    site.wait_for_out(20, 30);
    site.settings(&workers(1));
    wait_for(10, "one worker", || members() == 1);
    site.wait_for_out(60, jobs);
    sleep(500);
    assert_all_once(&site, jobs);
    assert_eq!(site.lines("begun").len(), jobs);
    assert!(!site.log().contains("exited"), "{}", site.log());
    crew.stop();
}

#[test]
fn a_long_job_survives_whatever_changes() {
    let site = Site::new("crew-long");
    let program = lab().dir.join("lib/crew-long/wp-gears");
    fs::create_dir_all(program.parent().unwrap()).unwrap();
    fs::copy(lab().dir.join("lib/wp-gears"), &program).unwrap();
    let crew = Worker::crew_of_program(&program, &site, &workers(3));
    site.add_sleeping(0..1, 20_000);
    wait_for(20, "the job", || site.lines("begun").len() == 1);
    let members = || children(crew.pid());
    let before = members();
    site.settings(&workers(1));
    wait_for(5, "one worker", || members().len() == 1);
    site.settings(&workers(2));
    wait_for(5, "two workers", || members().len() == 2);
    wait_for(5, "the start of another", || {
        site.log().matches("started").count() == 4
    });
    // Options: idle members adopt them at once, the busy one later.
    let mut other = workers(2);
    other.options.max_jobs = Some(7);
    site.settings(&other);
    site.wait_for_log(5, "continuing with changed settings");
    site.wp_gears(&["reload"]);
    // Another program in its place.
    let new = program.with_extension("new");
    fs::copy(&program, &new).unwrap();
    fs::rename(&new, &program).unwrap();
    site.wake_crew();
    site.wait_for_log(5, "upgraded");
    wait_for(5, "the crew of the new program", || {
        site.crew().is_some_and(|crew| crew["wanted"] == 2)
    });
    sleep(500);
    let exe = fs::read_link(format!("/proc/{}/exe", crew.pid())).unwrap();
    assert_eq!(exe, program);
    site.add("t_line", json!(["other"]));
    assert_eq!(site.wait_for_out(10, 1), ["other"]);
    let kept = members().iter().filter(|pid| before.contains(pid)).count();
    assert_eq!(kept, 1, "{before:?} {:?}", members());
    let out = site.wait_for_out(40, 2);
    assert_eq!(out, ["other", "0"]);
    // The member that was busy has the new program, too.
    wait_for(5, "the new program", || {
        members()
            .iter()
            .all(|pid| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == program))
    });
    sleep(300);
    assert_eq!(site.lines("begun").len(), 1, "{}", site.log());
    assert!(!site.log().contains("exited"), "{}", site.log());
    crew.stop();
}

#[test]
fn members_of_a_killed_crew_finish_and_are_not_doubled() {
    let site = Site::new("crew-killed");
    let crew = Worker::crew(&site, &workers(2));
    site.add_sleeping(0..8, 1500);
    wait_for(20, "two jobs", || site.lines("begun").len() == 2);
    let old = children(crew.pid());
    crew.signal("KILL");
    let new = Worker::crew(&site, &workers(2));
    let mut most = 0;
    while site.out().len() < 8 {
        let alive = old.iter().filter(|pid| is_alive(**pid)).count();
        most = most.max(alive + children(new.pid()).len());
        sleep(10);
    }
    assert_eq!(most, 2, "{}", site.log());
    sleep(300);
    assert_all_once(&site, 8);
    assert_eq!(site.lines("begun").len(), 8);
    assert!(old.iter().all(|pid| !is_alive(*pid)));
    new.stop();
}

#[test]
fn members_that_are_killed_are_replaced_and_term_ends_all() {
    let site = Site::new("crew-members");
    let crew = Worker::crew(&site, &workers(3));
    let jobs = 40;
    site.add_sleeping(0..jobs, 200);
    wait_for(20, "three workers", || children(crew.pid()).len() == 3);
    let mut kills = 0;
    for _ in 0..3 {
        let done = site.out().len();
        wait_for(20, "another job", || site.out().len() > done);
        if let Some(member) = children(crew.pid()).first() {
            signal(*member, "KILL");
            kills += 1;
        }
    }
    wait_for(60, "all jobs", || site.counts().len() == jobs);
    let twice = site.counts().values().filter(|n| **n > 1).count();
    assert!(twice <= kills, "{twice} of {kills}");
    // TERM finishes what runs.
    site.add_sleeping(jobs..jobs + 3, 1000);
    wait_for(20, "jobs", || site.lines("begun").len() >= jobs + 3);
    let took = crew.stop();
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(site.counts().len(), jobs + 3, "{}", site.log());
}

#[test]
fn a_member_that_always_dies_is_restarted_less_and_less_often() {
    let site = Site::new("crew-dies");
    let crew = Worker::crew(&site, &workers(1));
    site.add_sleeping(0..1, 60_000);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(8) {
        for member in children(crew.pid()) {
            signal(member, "KILL");
        }
        sleep(20);
    }
    let starts = site.log().matches("starting another").count();
    assert!((3..=6).contains(&starts), "{starts}: {}", site.log());
    crew.stop();
}

#[test]
fn an_idle_crew_has_no_members_and_starts_them_for_a_job() {
    // Without the time for jobs that are not sealed.
    let plain = Plan {
        plain: true,
        ..Plan::default()
    };
    let site = Site::with("crew-idle", plain);
    let mut settings = workers(2);
    settings.options.idle_timeout = Some(wp_gears::base::options::Seconds(1));
    let crew = Worker::crew(&site, &settings);
    site.add("t_line", json!(["1"]));
    site.wait_for_out(20, 1);
    let members = || children(crew.pid()).len();
    wait_for(60, "the end of the workers", || members() == 0);
    let document = |words: &[&str]| -> Value {
        let output = site.wp_gears(words);
        serde_json::from_slice(&output.stdout).unwrap()
    };
    // It stands for them.
    let server = site.gearmand.server.to_string();
    let status = document(&["status", "--json", "--servers", &server]);
    assert_eq!(status["sites"][0]["workers"], 2, "{status}");
    assert_eq!(site.crew().unwrap()["asleep"], true);
    wait_for(5, "its registration", || {
        site.gearmand
            .queue(&site.function)
            .is_some_and(|queue| queue.workers == 1)
    });
    site.add("t_line", json!(["2"]));
    site.wait_for_out(30, 2);
    assert!(members() >= 1);
    wait_for(60, "the end of the workers", || members() == 0);
    // While paused, nobody starts; then they do.
    let paused = document(&["pause", "--json"]);
    assert_eq!(paused["sites"][0]["workers"], 2, "{paused}");
    wait_for(5, "the pause", || {
        site.gearmand
            .queue(&site.function)
            .is_none_or(|queue| queue.workers == 0)
    });
    site.add("t_line", json!(["3"]));
    sleep(500);
    assert_eq!(members(), 0);
    site.wp_gears(&["resume"]);
    site.wait_for_out(30, 3);
    wait_for(60, "the end of the workers", || members() == 0);
    // A reload makes one worker look at the site again.
    site.wp_gears(&["reload"]);
    wait_for(30, "a worker", || members() > 0);
    wait_for(60, "the end of the workers", || members() == 0);
    site.add("t_line", json!(["4"]));
    site.wait_for_out(30, 4);
    wait_for(60, "the end of the workers", || members() == 0);
    let before = processor_ms(crew.pid());
    sleep(2000);
    assert_eq!(processor_ms(crew.pid()), before);
    let took = crew.stop();
    assert!(took < Duration::from_secs(1), "{took:?}");
}
