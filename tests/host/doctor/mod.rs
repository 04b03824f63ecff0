//! Doctor on a real host: silent on a healthy one, and naming each of many faults.

mod faults;

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Host, Out, Site, rhel, site};
use crate::phase::phase;
use crate::support::{add_second, host_of, on_both, on_site, ready_host, wp_gears};
use faults::Repair::{Fix, FixThen, Hand};
use faults::{EL_FAULTS, EXEMPT, FAULTS, Fault, KEEP, SHARED_SALT};

/// Parts of names of faults or checks, separated by commas: only these faults are
/// planted.
const ONLY: &str = "WP_GEARS_FAULTS";

#[test]
fn doctor_is_silent_on_a_healthy_host_and_names_each_fault() {
    let host = ready_host("doctor");
    on_site(&host, "setup", &[]).exits(0);
    phase("a healthy host");
    a_healthy_host_has_no_problem(&host);
    host.shell(KEEP).ok();
    each_is_named_and_repaired(&host, FAULTS);
    phase(SHARED_SALT.name);
    two_sites_with_one_salt_are_named(&host);
}

#[test]
fn doctor_names_faults_that_only_the_rhel_family_has() {
    let host = host_of(&rhel::with_packages().unwrap(), "doctor-el");
    rhel::set_selinux(&host, "Enforcing").unwrap();
    on_site(&host, "setup", &[]).exits(0);
    doctor(&host, &[]).exits(0);
    each_is_named_and_repaired(&host, EL_FAULTS);
}

/// A check that was never seen to fail may be unable to.
#[test]
fn each_check_has_a_planted_fault_or_a_reason() {
    let list = Command::new(wp_gears()).args(["doctor", "--list"]).output();
    let list = String::from_utf8(list.unwrap().stdout).unwrap();
    let checks: Vec<&str> = list.lines().filter_map(|it| it.split(' ').next()).collect();
    let planted = || {
        let tables = FAULTS.iter().chain(EL_FAULTS).chain([&SHARED_SALT]);
        tables.map(|fault| fault.check)
    };
    let exempt = || EXEMPT.iter().map(|(check, _)| *check);
    for check in &checks {
        let places = usize::from(planted().any(|it| it == *check))
            + usize::from(exempt().any(|it| it == *check));
        assert_eq!(
            places, 1,
            "'{check}' is to have a fault in FAULTS, or a reason in EXEMPT"
        );
    }
    for check in planted().chain(exempt()) {
        assert!(checks.contains(&check), "there is no check '{check}'");
    }
}

fn each_is_named_and_repaired(host: &Host, faults: &[Fault]) {
    let only = std::env::var(ONLY).unwrap_or_default();
    let mut wrong = Vec::new();
    for fault in faults {
        let is_meant = |part: &str| fault.name.contains(part) || fault.check.contains(part);
        if !only.split(',').any(is_meant) {
            continue;
        }
        phase(fault.name);
        let began = Instant::now();
        if let Err(why) = is_named_and_repaired(host, fault) {
            println!("WRONG {}: {why}", fault.name);
            wrong.push(format!("{}: {why}", fault.name));
        }
        println!("    {:.1?}", began.elapsed());
    }
    let count = faults.len();
    assert!(
        wrong.is_empty(),
        "{} of {count}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

fn a_healthy_host_has_no_problem(host: &Host) {
    let text = host.run(&["wp-gears", "doctor"]).exits(0);
    println!("{}", text.text());
    let fastest = (0..3).map(|_| host.run(&["wp-gears", "doctor", "--json"]).exits(0));
    let fastest = fastest.min_by_key(|out| out.took).unwrap();
    println!("doctor on a healthy host: {:.2?}", fastest.took);
    let document: Value = serde_json::from_str(&fastest.stdout).unwrap();
    crate::common::judge::is_valid("doctor", &document);
    assert_eq!(document["ok"], true, "{fastest}");
    for check in document["checks"].as_array().unwrap() {
        println!("  {} ms {}", check["ms"], check["name"]);
        // Its sites are not kept apart from each other.
        let wanted = match check["name"] == "isolation" {
            true => "skipped",
            false => "ok",
        };
        assert_eq!(check["status"], wanted, "{check}");
    }
    assert!(fastest.took < Duration::from_secs(4), "{fastest}");
    let some = host.run(&["wp-gears", "doctor", "clock", "disk"]).exits(0);
    assert!(!some.stdout.contains("runner"), "{some}");
    // Without root, doctor reports what it could not check, and no false faults.
    let user = host.as_user("nobody", &["wp-gears", "doctor", "--json"]);
    let document: Value = serde_json::from_str(&user.stdout).unwrap_or_else(|_| panic!("{user}"));
    let checks = document["checks"].as_array();
    for check in checks.unwrap_or_else(|| panic!("{user}")) {
        assert!(
            check["status"] == "ok" || check["status"] == "skipped",
            "{check}"
        );
    }
}

fn doctor(host: &Host, more: &[&str]) -> Out {
    host.run(&[&["wp-gears", "doctor", "--site", site::FOLDER], more].concat())
}

/// The finding of this check, if it has this status.
fn finding(out: &Out, check: &str, status: &str) -> Result<Value, String> {
    let document: Value = serde_json::from_str(&out.stdout).map_err(|e| format!("{e}: {out}"))?;
    crate::common::judge::is_valid("doctor", &document);
    let findings = document["checks"].as_array().cloned().unwrap_or_default();
    let problems: Vec<String> = findings
        .iter()
        .filter(|it| it["status"] == "failed" || it["status"] == "warning")
        .map(|it| format!("{} {}: {}", it["status"], it["name"], it["seen"]))
        .collect();
    println!("    {}", problems.join("\n    "));
    let of_check = || findings.iter().filter(|it| it["name"] == check);
    match of_check().find(|it| it["status"] == status) {
        Some(found) => Ok(found.clone()),
        None => Err(format!(
            "'{check}' is not {status} but {:?}; {}",
            of_check().map(|it| it["seen"].as_str()).collect::<Vec<_>>(),
            problems.join("; ")
        )),
    }
}

fn is_named(host: &Host, fault: &Fault) -> Result<(), String> {
    let out = doctor(host, &["--json"]);
    let found = finding(&out, fault.check, fault.status)?;
    if out.code != i32::from(fault.status == "failed") {
        return Err(format!("exit code {}", out.code));
    }
    if found["do"] == "" {
        return Err(format!("does not say what to do: {found}"));
    }
    let fixable = !matches!(fault.repair, Hand(_));
    if found["fixable"] != fixable {
        return Err(format!("fixable is not {fixable}: {found}"));
    }
    Ok(())
}

/// Doctor's output after the repair.
fn repaired(host: &Host, fault: &Fault) -> Result<Out, String> {
    let fix = || doctor(host, &["--fix", "--yes", "--json"]);
    let script = match fault.repair {
        Fix => return Ok(fix()),
        FixThen(script) => {
            finding(&fix(), fault.check, "ok")?;
            script
        }
        Hand(script) => script,
    };
    host.shell(script).check().map_err(|e| e.to_string())?;
    // Workers that could not run jobs retry within 30 s.
    let began = Instant::now();
    loop {
        let out = doctor(host, &["--json"]);
        if out.code == 0 || began.elapsed() > Duration::from_secs(40) {
            return Ok(out);
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn is_named_and_repaired(host: &Host, fault: &Fault) -> Result<(), String> {
    host.shell(fault.plant).check().map_err(|e| e.to_string())?;
    let named = is_named(host, fault);
    let after = repaired(host, fault)?;
    let site = Site::first(host);
    site.forget_done();
    let sent = site.send(1, 1, 0.0);
    let ran = site.wait_for(1, Duration::from_secs(20)) == [1];
    named?;
    if after.code != 0 {
        return Err(format!("not repaired: {after}"));
    }
    finding(&after, fault.check, "ok").map_err(|why| format!("not repaired: {why}"))?;
    match ran {
        true => Ok(()),
        false => Err(format!("no job ran then: {sent}")),
    }
}

fn two_sites_with_one_salt_are_named(host: &Host) {
    add_second(host);
    host.run(&on_both("setup")).exits(0);
    host.run(&["wp-gears", "doctor"]).exits(0);
    host.shell(SHARED_SALT.plant).ok();
    // With all checks, the test job would wait for a worker of the wrong site.
    let words = ["wp-gears", "doctor", "--json", SHARED_SALT.check];
    let out = host.run(&words).exits(1);
    let found = finding(&out, SHARED_SALT.check, SHARED_SALT.status);
    found.unwrap_or_else(|why| panic!("{why}"));
}
