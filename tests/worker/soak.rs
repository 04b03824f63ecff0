//! Everything that can change or die while a crew runs jobs, for minutes. It runs when
//! asked: `WP_GEARS_SOAK=600 cargo test --test worker soak -- --ignored --nocapture`

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wp_gears::worker::settings::CrewSettings;
use wp_gears::worker::workers::Workers;

use super::lab::{Site, Worker, children, is_alive, lab, signal, sleep, wait_for};

/// Jobs for each second, on average.
const RATE: usize = 5;

#[test]
#[ignore = "takes minutes"]
fn soak() {
    let seconds = std::env::var("WP_GEARS_SOAK").ok();
    let seconds: usize = seconds.map_or(600, |text| text.parse().unwrap());
    let mut site = Site::new("soak");
    let program = lab().dir.join("lib/soak/wp-gears");
    fs::create_dir_all(program.parent().unwrap()).unwrap();
    fs::copy(lab().dir.join("lib/wp-gears"), &program).unwrap();
    let mut settings = CrewSettings {
        workers: Workers::fixed(2),
        ..CrewSettings::default()
    };
    let mut crew = Worker::crew_of_program(&program, &site, &settings);
    let jobs = seconds * RATE;
    let mut added = 0;
    let mut at_risk: BTreeSet<String> = BTreeSet::new();
    let (mut members_killed, mut crews_killed, mut servers_killed) = (0, 0, 0);
    let start = Instant::now();
    let mut round = 0;
    while start.elapsed() < Duration::from_secs(seconds as u64) {
        let due = (start.elapsed().as_secs() as usize + 1) * RATE;
        let more = due.min(jobs).saturating_sub(added);
        let batch: Vec<(&str, Value)> = (added..added + more)
            .map(|n| ("t_sleep", json!([n.to_string(), 20 + n * 7919 % 300])))
            .collect();
        if !batch.is_empty() {
            site.add_many(&batch);
            added += more;
        }
        match round % 8 {
            0 => settings.workers = Workers::fixed(8),
            1 => replace(&program),
            2 => settings.options.max_jobs = Some(50 + round as u64),
            3 => {
                let out = ended(&site);
                if let Some(member) = children(crew.pid()).first() {
                    let below = children(*member);
                    signal(*member, "KILL");
                    members_killed += 1;
                    // Its PHP may begin the job that it was given last.
                    wait_for(10, "the end of its PHP", || {
                        !below.iter().any(|it| is_alive(*it))
                    });
                }
                sleep(50);
                at_risk.extend(begun_since(&site, &out));
            }
            4 => settings.workers = Workers::fixed(1),
            5 => {
                let out = ended(&site);
                site.gearmand.kill();
                servers_killed += 1;
                sleep(300);
                at_risk.extend(begun_since(&site, &out));
                site.gearmand.start();
            }
            6 => {
                crew.signal("KILL");
                crews_killed += 1;
                crew = Worker::crew_of_program(&program, &site, &settings);
            }
            _ => settings.workers = Workers::fixed(2 + round % 3),
        }
        site.settings(&settings);
        round += 1;
        sleep(1500);
    }
    settings.workers = Workers::fixed(8);
    site.settings(&settings);
    let all = |site: &Site| -> BTreeMap<String, usize> {
        site.lines("begun")
            .into_iter()
            .fold(BTreeMap::new(), |mut all, line| {
                *all.entry(line).or_default() += 1;
                all
            })
    };
    let end = Instant::now();
    while site.out().iter().collect::<BTreeSet<_>>().len() < added {
        assert!(end.elapsed().as_secs() < 180, "{}", site.log());
        sleep(100);
    }
    let twice: Vec<String> = all(&site)
        .into_iter()
        .filter(|(_, times)| *times > 1)
        .map(|(line, _)| line)
        .collect();
    println!(
        "{added} jobs in {seconds} s, {round} changes: 0 lost, {} twice; killed: {members_killed} members, {servers_killed} job servers, {crews_killed} crews",
        twice.len()
    );
    let unexpected: Vec<_> = twice.iter().filter(|it| !at_risk.contains(*it)).collect();
    assert!(unexpected.is_empty(), "{unexpected:?}: {}", site.log());
    assert!(site.kept().is_empty(), "{:?}", site.kept());
    crew.stop();
}

/// A job that runs longer than anything else waits, while everything changes around it:
/// `WP_GEARS_SOAK_JOB=1200` is its length in seconds.
#[test]
#[ignore = "takes minutes"]
fn soak_a_job_of_twenty_minutes() {
    let seconds = std::env::var("WP_GEARS_SOAK_JOB").ok();
    let seconds: u64 = seconds.map_or(1200, |text| text.parse().unwrap());
    let site = Site::new("soak-job");
    let program = lab().dir.join("lib/soak-job/wp-gears");
    fs::create_dir_all(program.parent().unwrap()).unwrap();
    fs::copy(lab().dir.join("lib/wp-gears"), &program).unwrap();
    let mut settings = CrewSettings {
        workers: Workers::fixed(2),
        ..CrewSettings::default()
    };
    let crew = Worker::crew_of_program(&program, &site, &settings);
    let start = Instant::now();
    site.add("t_sleep", json!(["long", seconds * 1000]));
    wait_for(60, "the job", || site.lines("begun").len() == 1);
    let (mut round, mut jobs) = (0, vec![String::from("long")]);
    while start.elapsed().as_secs() + 15 < seconds {
        match round % 5 {
            0 => settings.workers = Workers::fixed(4),
            1 => settings.options.max_jobs = Some(50 + round),
            2 => settings.workers = Workers::fixed(2),
            3 => {
                site.wp_gears(&["reload"]);
            }
            _ => replace(&program),
        }
        site.settings(&settings);
        round += 1;
        // The others work in the meantime.
        jobs.push(round.to_string());
        site.add("t_line", json!([round.to_string()]));
        site.wait_for_out(60, jobs.len() - 1);
        sleep(5000);
    }
    site.wait_for_out(120, jobs.len());
    println!(
        "a job of {seconds} s, {round} changes, {} other jobs",
        jobs.len() - 1
    );
    assert_eq!(site.lines("begun").len(), 1, "{}", site.log());
    site.assert_once(jobs);
    assert!(site.kept().is_empty(), "{:?}", site.kept());
    assert!(!site.log().contains("exited"), "{}", site.log());
    crew.stop();
}

/// The jobs that have ended, without those whose end the job server may not know yet: a
/// kill takes the news with it.
fn ended(site: &Site) -> Vec<String> {
    let out = site.out();
    sleep(200);
    out
}

/// The jobs that have begun, and had not ended when there were these lines.
fn begun_since(site: &Site, out: &[String]) -> BTreeSet<String> {
    let out: BTreeSet<&String> = out.iter().collect();
    let begun = site.lines("begun").into_iter();
    begun.filter(|line| !out.contains(line)).collect()
}

/// Puts another file in the program's place.
fn replace(program: &std::path::Path) {
    let new = program.with_extension("new");
    fs::copy(program, &new).unwrap();
    fs::rename(new, program).unwrap();
}
