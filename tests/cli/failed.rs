//! Many failed jobs: which of them a command is about, and what that costs.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use crate::common::judge::is_valid;
use crate::root::wp_gears;

const HOUR: u64 = 3_600_000;

fn now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap().as_millis() as u64
}

/// Puts a failed job, or one that waits for a retry, into the folder of a site.
fn put(state: &Path, site: &str, id: &str, hook: &str, error: &str, at: u64, waits: bool) {
    let payload = format!(r#"{{"hook":"{hook}","args":[]}}"#);
    let record = json!({
        "id": id, "name": site, "site": format!("/srv/{site}"), "server": "127.0.0.1:9",
        "function": "f", "unique": "", "handle": "H:1", "hook": hook, "blog": null,
        "size": payload.len(), "whole": true, "taken": at,
        "tries": [{ "at": at, "ms": 5, "error": error, "output": "x".repeat(300) }],
    });
    let folder = state.join("failed").join(site);
    std::fs::create_dir_all(folder.join("waiting")).unwrap();
    std::fs::create_dir_all(state.join("run").join(site)).unwrap();
    let name = match waits {
        true => format!("waiting/{:013}~{id}.job", at + HOUR),
        false => format!("{id}.job"),
    };
    std::fs::write(folder.join(name), format!("{record}\n{payload}")).unwrap();
}

fn few() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path();
    let at = now();
    put(
        state,
        "a",
        "1-a",
        "import_users",
        "Request timed out after 30 s",
        at - 2 * HOUR,
        false,
    );
    put(
        state,
        "a",
        "2-a",
        "import_posts",
        "Request timed out after 30 s",
        at - HOUR / 2,
        false,
    );
    put(
        state,
        "a",
        "3-a",
        "import_posts",
        "Request timed out after 30 s",
        at,
        false,
    );
    put(state, "a", "4-a", "mail", "SMTP says no", at, false);
    put(state, "a", "5-a", "mail", "SMTP says no", at, true);
    put(state, "b", "6-b", "import_posts", "disk full", at, false);
    dir
}

fn run(state: &Path, words: &[&str]) -> std::process::Output {
    wp_gears(&[&["failed"], words, &["--state", state.to_str().unwrap()]].concat())
}

fn document(state: &Path, words: &[&str]) -> Value {
    let output = run(state, &[words, &["--json"]].concat());
    let document = serde_json::from_slice(&output.stdout).unwrap();
    is_valid("failed", &document);
    document
}

fn ids(state: &Path, words: &[&str]) -> Vec<String> {
    let document = document(state, words);
    let id = |it: &Value| it["job"]["id"].as_str().unwrap().to_owned();
    document["failed"]
        .as_array()
        .unwrap()
        .iter()
        .map(id)
        .collect()
}

#[test]
fn a_list_has_what_matches() {
    let dir = few();
    let ids = |words: &[&str]| ids(dir.path(), words).join(" ");
    assert_eq!(ids(&[]), "1-a 2-a 3-a 4-a 5-a 6-b");
    assert_eq!(ids(&["--hook", "import_*"]), "1-a 2-a 3-a 6-b");
    assert_eq!(ids(&["list", "--hook", "mai?"]), "4-a 5-a");
    assert_eq!(ids(&["--hook", "import"]), "");
    assert_eq!(ids(&["--error", "TIMED OUT"]), "1-a 2-a 3-a");
    assert_eq!(ids(&["--since", "1h"]), "2-a 3-a 4-a 5-a 6-b");
    assert_eq!(ids(&["--since", "60"]), "3-a 4-a 5-a 6-b");
    let all = [
        "--hook", "import_*", "--error", "timed", "--since", "1h", "--site", "a",
    ];
    assert_eq!(ids(&all), "2-a 3-a");
}

#[test]
fn groups_count_what_failed_in_the_same_way() {
    let dir = few();
    let document = document(dir.path(), &["--group"]);
    let group = |it: &Value| {
        let text = |key| it[key].as_str().unwrap();
        let (count, waiting) = (&it["count"], &it["waiting"]);
        format!(
            "{} {} {} {count} {waiting}",
            text("site"),
            text("hook"),
            text("error")
        )
    };
    let mut groups: Vec<String> = document["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(group)
        .collect();
    // Those with the same number follow by time.
    groups[..2].sort();
    groups[2..].sort();
    assert_eq!(
        groups,
        [
            "a import_posts Request timed out after 30 s 2 0",
            "a mail SMTP says no 2 1",
            "a import_users Request timed out after 30 s 1 0",
            "b import_posts disk full 1 0",
        ]
    );
    let said = String::from_utf8(run(dir.path(), &["--group", "--hook", "mail"]).stdout).unwrap();
    assert!(said.starts_with("     2  latest 20"), "{said}");
    assert!(
        said.ends_with("a  mail  SMTP says no (1 wait for a retry)\n"),
        "{said}"
    );
}

#[test]
fn what_matches_is_deleted_and_nothing_else() {
    let dir = few();
    let forget = |words: &[&str]| document(dir.path(), &[&["forget"], words].concat());
    let gone = forget(&["--hook", "import_*", "--since", "1h"]);
    assert_eq!(gone["forgotten"].as_array().unwrap().len(), 3);
    assert_eq!(ids(dir.path(), &[]).join(" "), "1-a 4-a 5-a");
    let gone = forget(&["--error", "nothing of the kind"]);
    assert_eq!(gone["forgotten"], json!([]));
    // One that waits for a retry has not failed.
    forget(&["--hook", "mail"]);
    assert_eq!(ids(dir.path(), &[]).join(" "), "1-a 5-a");
}

#[test]
fn the_limit_is_told_before_it_displaces_a_job_and_afterwards() {
    let dir = few();
    let at = now();
    let said = |words: &[&str]| String::from_utf8(run(dir.path(), words).stdout).unwrap();
    let limit = "only the latest 1000 failed jobs of a site are kept, up to 512 MiB";
    for words in [&[][..], &["--group"]] {
        assert!(!said(words).contains(limit), "{words:?}");
    }
    for n in 10..1010 {
        put(dir.path(), "b", &format!("{n}-b"), "h", "e", at, false);
    }
    let status = |state: &Path| {
        let state = state.to_str().unwrap();
        let output = wp_gears(&["status", "--servers", "127.0.0.1:9", "--state", state]);
        String::from_utf8(output.stdout).unwrap()
    };
    for text in [said(&[]), said(&["--group"]), status(dir.path())] {
        let told = text.lines().filter(|line| line.contains(limit));
        let told: Vec<&str> = told.collect();
        let [told] = told[..] else { panic!("{told:?}") };
        assert!(
            told.contains("b: the next failed job displaces the oldest: "),
            "{told}"
        );
    }
    std::fs::write(dir.path().join("failed/a/dropped"), "7").unwrap();
    for text in [said(&["--hook", "mail"]), said(&["--group"])] {
        let told = format!("\na: 7 older failed jobs were dropped: {limit}\n");
        assert!(text.contains(&told), "{text}");
    }
    assert_eq!(document(dir.path(), &["--group"])["dropped"], 7);
}

#[test]
fn ten_thousand_cost_little() {
    let dir = tempfile::tempdir().unwrap();
    let at = now();
    for n in 0..10_000 {
        let (site, hook) = (format!("s{}", n % 10), format!("import_{}", n % 7));
        let error = format!("the order {n} of the customer cannot be found");
        put(
            dir.path(),
            &site,
            &format!("{n:013}-a"),
            &hook,
            &error,
            at,
            false,
        );
    }
    for (words, megabytes) in [
        (&["--json"][..], 64),
        (&["--hook", "import_3"], 64),
        (&["--group"], 96),
        (&["forget", "--hook", "import_3"], 64),
        (&["forget", "--all", "--json"], 64),
    ] {
        let start = Instant::now();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_wp-gears"));
        command
            .arg("failed")
            .args(words)
            .arg("--state")
            .arg(dir.path());
        let output = crate::claims::within(megabytes, command);
        assert!(
            output.status.success(),
            "{words:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let took = start.elapsed();
        assert!(took < Duration::from_secs(10), "{words:?}: {took:?}");
    }
    assert!(ids(dir.path(), &[]).is_empty());
}
