//! The plan of each release's fresh host, and of hosts that are odd in one way,
//! as a person reads it: held in fixtures/plans; WP_GEARS_UPDATE=1 writes them
//! anew. The program itself makes them, on a live host whose package manager,
//! systemd and PHP are stand-ins that answer from fixtures/packages.

use std::collections::{BTreeMap, BTreeSet};

#[path = "plans/host.rs"]
mod host;
#[path = "plans/hosts.rs"]
mod hosts;

use host::{Host, fixtures};

#[test]
fn each_release_has_its_plan() {
    let update = std::env::var_os("WP_GEARS_UPDATE").is_some();
    let hosts = hosts::hosts();
    let plans = plans(&hosts);
    let mut bad = Vec::new();
    for host in &hosts {
        let plan = &plans[host.name.as_str()];
        let text = match plans.get(host.like.as_str()) {
            Some(other) => difference(&host.like, other, plan),
            None => plan.clone(),
        };
        let file = fixtures().join(format!("plans/{}.txt", host.name));
        if update {
            std::fs::write(&file, &text).unwrap();
        }
        if std::fs::read_to_string(&file).unwrap_or_default() != text {
            bad.push(format!("{}:\n{text}", host.name));
        }
    }
    let why = "WP_GEARS_UPDATE=1 writes them anew";
    assert!(bad.is_empty(), "{why}:\n{}", bad.join("\n"));
}

#[test]
fn each_release_and_each_held_plan_belongs_to_a_host() {
    let hosts = hosts::hosts();
    let names = |folder: &str| -> BTreeSet<String> {
        let entries = std::fs::read_dir(fixtures().join(folder)).unwrap();
        let name = |entry: std::fs::DirEntry| entry.file_name().into_string().unwrap();
        entries.map(|entry| name(entry.unwrap())).collect()
    };
    let releases = hosts.iter().map(|host| host.release.clone());
    assert_eq!(names("os-release"), releases.collect());
    let plans = hosts.iter().map(|host| format!("{}.txt", host.name));
    assert_eq!(names("plans"), plans.collect());
    let tables = hosts.iter().flat_map(|host| &host.tables);
    let tables = tables.map(|table| (*table).to_owned());
    assert_eq!(names("packages"), tables.collect());
}

/// A few at a time.
fn plans(hosts: &[Host]) -> BTreeMap<&str, String> {
    let mut plans = BTreeMap::new();
    for some in hosts.chunks(4) {
        std::thread::scope(|scope| {
            let running = some.iter().map(|host| (host, scope.spawn(|| host.plan())));
            for (host, thread) in running.collect::<Vec<_>>() {
                plans.insert(host.name.as_str(), thread.join().unwrap());
            }
        });
    }
    plans
}

/// What is other than in an elder's plan.
fn difference(like: &str, other: &str, plan: &str) -> String {
    if other == plan {
        return format!("as {like}\n");
    }
    let end = |plan: &str| plan.lines().last().map(str::to_owned);
    if end(other) != end(plan) {
        return plan.to_owned(); // one of them is refused
    }
    let diff = similar::TextDiff::from_lines(other, plan);
    let diff = diff.unified_diff().context_radius(0).to_string();
    let lines = diff.lines().filter(|line| !line.starts_with("@@"));
    let lines: Vec<&str> = lines.collect();
    format!("as {like}, but\n{}\n", lines.join("\n"))
}
