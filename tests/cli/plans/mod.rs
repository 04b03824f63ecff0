//! The plans for a fresh host of each release, and for hosts that are unusual in one
//! way, as the user reads them, held in fixtures/plans. The program itself creates
//! them, on a live host whose package manager, systemd and PHP are stand-ins that
//! answer from fixtures/packages.

use std::collections::{BTreeMap, BTreeSet};

mod host;
mod hosts;

use crate::held::held_each;
use crate::parallel;
use host::{Host, fixtures};

#[test]
fn held_is_the_plan_of_each_release() {
    let hosts = hosts::hosts();
    let plans = plans(&hosts);
    let texts = hosts.iter().map(|host| {
        let plan = &plans[host.name.as_str()];
        let text = match plans.get(host.like.as_str()) {
            Some(other) => difference(&host.like, other, plan),
            None => plan.clone(),
        };
        (format!("fixtures/plans/{}.txt", host.name), text)
    });
    held_each(texts);
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

fn plans(hosts: &[Host]) -> BTreeMap<&str, String> {
    let plans = parallel::each(4, hosts, Host::plan);
    hosts
        .iter()
        .map(|host| host.name.as_str())
        .zip(plans)
        .collect()
}

/// The differences from the base plan.
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
