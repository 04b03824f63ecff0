//! What a power failure may leave: the order of all writes of a setup, traced by
//! strace. No file gets its name before its contents are on disk, and nothing changes
//! before the journal entry about it is on disk.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::LazyLock;

use crate::common::needs::installed;
use crate::root::{Root, SITE, text};
use regex::Regex;

/// A system call of the process's main thread that changes something.
#[derive(Debug, PartialEq)]
enum Call {
    Create(String),
    Write(String, String),
    Flush(String),
    Rename(String, String),
    /// Creates a folder or a link, under its temporary name.
    Make(String),
    Remove(String),
    /// Changes the owner or mode of an open file.
    Own(String),
}

const CALLS: &str = "trace=openat,write,pwrite64,writev,ftruncate,fsync,fdatasync,rename,renameat,\
    renameat2,link,linkat,symlink,symlinkat,mkdir,mkdirat,unlink,unlinkat,rmdir,chmod,fchmod,fchmodat,\
    chown,fchown,fchownat,lchown,truncate,open,creat";

fn traced(root: &Root, words: &[&str]) -> Vec<Call> {
    let log = tempfile::tempdir().unwrap();
    let output = Command::new("strace")
        .args(["-ff", "-y", "-s", "4096", "-e", CALLS, "-o"])
        .arg(log.path().join("log"))
        .arg(env!("CARGO_BIN_EXE_wp-gears"))
        .args(words)
        .arg("--root")
        .arg(root.path())
        .env_clear()
        .output();
    let output = installed("strace", output);
    assert!(output.status.success(), "{}", text(&output));
    let mut calls = Vec::new();
    for file in std::fs::read_dir(log.path()).unwrap() {
        let lines = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let of_thread: Vec<Call> = lines.lines().filter_map(|line| read(line, root)).collect();
        // Other threads only read.
        assert!(
            of_thread.is_empty() || calls.is_empty(),
            "two threads write"
        );
        calls.extend(of_thread);
    }
    calls
}

/// Parses a line of strace, if the call changes something below the root.
fn read(line: &str, root: &Root) -> Option<Call> {
    static LINE: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r#"^(\w+)\((.*)\)\s+= (\S+)"#).unwrap());
    // `7</tmp/root/etc>, "name"` is a name in an open folder.
    static NAME: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r#"\d+<([^>]*)>, "([^"]*)""#).unwrap());
    if !line.contains(root.path().to_str().unwrap()) {
        return None;
    }
    let parts = LINE.captures(line)?;
    let (name, args, result) = (&parts[1], &parts[2], &parts[3]);
    if result.starts_with('-') {
        return None;
    }
    let path = |text: &str| text.replace(root.path().to_str().unwrap(), "");
    let named: Vec<String> = NAME
        .captures_iter(args)
        .map(|one| path(&format!("{}/{}", &one[1], &one[2])))
        .collect();
    let open = || path(&args[args.find('<').unwrap() + 1..args.find('>').unwrap()]);
    // Nobody can read meanwhile what the final mode hides.
    let mode = match name {
        "openat" if args.contains("O_CREAT") => ", 0600",
        "mkdirat" => ", 0700",
        _ => "",
    };
    assert!(args.ends_with(mode), "wider than it must be: {line}");
    Some(match name {
        "open" | "openat" if !args.contains("O_CREAT") && !args.contains("O_TRUNC") => return None,
        "openat" => Call::Create(named[0].clone()),
        "write" => Call::Write(open(), args.replace("\\\"", "\"")),
        "fsync" => Call::Flush(open()),
        "renameat" => Call::Rename(named[0].clone(), named[1].clone()),
        "mkdirat" => Call::Make(named[0].clone()),
        "symlinkat" => Call::Make(named[0].clone()),
        "unlinkat" => Call::Remove(named[0].clone()),
        "fchown" | "fchmod" => Call::Own(open()),
        "fchownat" => Call::Own(named[0].clone()),
        _ => panic!("not among the calls that writing a file is made of: {line}"),
    })
}

fn folder_of(path: &str) -> &str {
    &path[..path.rfind('/').unwrap()]
}

const STATE: &str = "/var/lib/wp-gears/state";

/// Processes all calls and tracks what is not yet on disk.
fn check(calls: &[Call], before: BTreeSet<String>) -> Vec<&str> {
    let mut there = before;
    let mut dirty: BTreeSet<&str> = BTreeSet::new();
    let mut journal = String::new();
    let mut changed = Vec::new();
    for call in calls {
        // New and removed names must be on disk before anything else is done.
        let unflushed = dirty.iter().find(|path| path.ends_with('/'));
        let of_same = |path: &str| unflushed.is_some_and(|dir| format!("{path}/") == **dir);
        let told = |path: &str| {
            path.starts_with(STATE)
                || path == "/var/lib/wp-gears"
                || journal.contains(&format!("\"path\":\"{path}\""))
        };
        match call {
            Call::Flush(path) => {
                dirty.remove(path.as_str());
                dirty.retain(|dir| *dir != format!("{path}/"));
            }
            Call::Write(path, text) => {
                let is_new = of_same(folder_of(path));
                assert!(unflushed.is_none() || is_new, "{call:?} with {dirty:?}");
                dirty.insert(path);
                if path.ends_with(".jsonl") {
                    journal.push_str(text);
                }
            }
            Call::Create(path) | Call::Make(path) => {
                assert!(unflushed.is_none(), "{call:?} with {dirty:?}");
                let named = path.ends_with(".tmp") || path.ends_with(".jsonl") || told(path);
                assert!(named, "{call:?}");
                // A temporary file may be lost.
                if !path.ends_with(".tmp") && there.insert(path.clone()) {
                    dirty.insert(leak(format!("{}/", folder_of(path))));
                }
            }
            Call::Own(path) => assert!(path.ends_with(".tmp") || told(path), "{call:?}"),
            Call::Rename(from, to) => {
                assert!(!dirty.contains(from.as_str()), "not flushed: {call:?}");
                let in_journal = dirty.iter().find(|path| path.ends_with(".jsonl"));
                assert_eq!(in_journal, None, "the journal is not flushed: {call:?}");
                assert!(told(to), "the journal does not tell of {to}");
                dirty.insert(leak(format!("{}/", folder_of(to))));
                changed.push(to.as_str());
            }
            Call::Remove(path) => {
                assert!(unflushed.is_none() || of_same(folder_of(path)), "{call:?}");
                if !path.ends_with(".tmp") {
                    dirty.insert(leak(format!("{}/", folder_of(path))));
                    changed.push(path);
                }
            }
        }
    }
    assert!(dirty.is_empty(), "at the end: {dirty:?}");
    changed
}

/// A test ends soon.
fn leak(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

#[test]
fn nothing_takes_its_name_before_it_and_the_journal_are_on_the_disk() {
    let root = Root::new();
    let there = || {
        root.tree()
            .into_keys()
            .map(|path| format!("/{}", path.display()))
    };
    let before = there().collect();
    let calls = traced(&root, &["setup", "--site", SITE, "--yes"]);
    let changed = check(&calls, before);
    for path in [
        "/etc/default/gearman-job-server",
        "/usr/local/lib/wp-gears/wp-gears",
        "/var/www/site/wp-config.php",
        "/var/www/site/wp-gears-runner.php",
        "/etc/supervisor/conf.d/wp-gears-site.conf",
    ] {
        assert!(changed.contains(&path), "{path} was not seen: {changed:?}");
    }
    println!("{} calls, {} names", calls.len(), changed.len());
    // The same for a change of existing files.
    let before = there().collect();
    let more = ["setup", "--site", SITE, "--yes", "--workers", "3"];
    let again = traced(&root, &more);
    let changed = check(&again, before);
    assert!(changed.contains(&"/etc/supervisor/conf.d/wp-gears-site.conf"));
}
