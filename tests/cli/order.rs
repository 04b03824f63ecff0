//! What a power failure may leave: the order of all writes of a setup, traced by
//! strace. No file gets its name before its contents are on disk, and nothing changes
//! before the journal entry about it is on disk.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use crate::common::needs::installed;
use crate::root::{Root, SITE, text};
use regex::Regex;

/// A system call that changes something.
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

/// The calls of each thread that changes something, the main thread's first.
fn traced(root: &Root, words: &[&str]) -> Vec<Vec<Call>> {
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
    let files = std::fs::read_dir(log.path()).unwrap();
    let number = |path: &Path| path.extension()?.to_str()?.parse::<u32>().ok();
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort_by_key(|path| number(path).unwrap());
    let calls = files.iter().map(|file| {
        let lines = std::fs::read_to_string(file).unwrap();
        lines.lines().filter_map(|line| read(line, root)).collect()
    });
    calls
        .filter(|calls: &Vec<Call>| !calls.is_empty())
        .collect()
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

/// What is there, and what journals tell.
struct Disk {
    there: BTreeSet<String>,
    journal: String,
}

impl Disk {
    fn of(root: &Root) -> Disk {
        let paths = root.tree().into_keys();
        Disk {
            there: paths.map(|path| format!("/{}", path.display())).collect(),
            journal: String::new(),
        }
    }
}

/// Processes the calls of a thread and tracks what is not yet on disk.
fn check<'c>(calls: &'c [Call], disk: &mut Disk) -> Vec<&'c str> {
    let Disk { there, journal } = disk;
    let mut dirty: BTreeSet<&str> = BTreeSet::new();
    // Journals with an announcement that is not yet on disk.
    let mut announced: BTreeSet<&str> = BTreeSet::new();
    let mut changed = Vec::new();
    for call in calls {
        if !matches!(call, Call::Write(..) | Call::Flush(_)) {
            assert!(announced.is_empty(), "not flushed: {announced:?}, {call:?}");
        }
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
                announced.remove(path.as_str());
                dirty.retain(|dir| *dir != format!("{path}/"));
            }
            Call::Write(path, text) => {
                let is_new = of_same(folder_of(path));
                assert!(unflushed.is_none() || is_new, "{call:?} with {dirty:?}");
                dirty.insert(path);
                if path.ends_with(".jsonl") {
                    assert!(announced.is_empty(), "not flushed: {announced:?}, {call:?}");
                    // That an act is over is only flushed in the end.
                    if !text.contains("\"record\":\"done\"") {
                        announced.insert(path);
                    }
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
                assert!(told(to), "the journal does not tell of {to}");
                dirty.insert(leak(format!("{}/", folder_of(to))));
                changed.push(to.as_str());
            }
            Call::Remove(path) => {
                // The state folder goes as a whole.
                let together = of_same(folder_of(path)) || path.starts_with(STATE);
                assert!(unflushed.is_none() || together, "{call:?}");
                dirty.retain(|dir| *dir != format!("{path}/"));
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

/// Traces a run of one thread.
fn checked(root: &Root, words: &[&str], paths: &[&str]) {
    let mut disk = Disk::of(root);
    let threads = traced(root, words);
    let [calls] = &threads[..] else {
        panic!("{} threads write", threads.len());
    };
    let changed = check(calls, &mut disk);
    for path in paths {
        assert!(changed.contains(path), "{path} was not seen: {changed:?}");
    }
    println!("{} calls, {} names", calls.len(), changed.len());
}

#[test]
fn nothing_takes_its_name_before_it_and_the_journal_are_on_the_disk() {
    let root = Root::new();
    checked(
        &root,
        &["setup", "--site", SITE, "--yes"],
        &[
            "/etc/default/gearman-job-server",
            "/usr/local/lib/wp-gears/wp-gears",
            "/var/www/site/wp-config.php",
            "/var/www/site/wp-gears-runner.php",
            "/etc/supervisor/conf.d/wp-gears-site.conf",
        ],
    );
    // The same for a change of existing files.
    checked(
        &root,
        &["setup", "--site", SITE, "--yes", "--workers", "3"],
        &[
            "/etc/wp-gears.toml",
            "/var/lib/wp-gears/run/site.settings.toml",
        ],
    );
}

/// Sites are set up and removed at the same time, each by one thread after the other.
#[test]
fn the_order_holds_for_each_of_many_sites() {
    let root = Root::new();
    let sites = ["/var/www/a", "/var/www/b", "/var/www/c", "/var/www/d"];
    let mut setup = vec!["setup", "--yes"];
    for site in sites {
        root.site(site);
        setup.extend(["--site", site]);
    }
    for words in [&setup[..], &["remove", "--yes"]] {
        let mut disk = Disk::of(&root);
        let threads = traced(&root, words);
        assert!(threads.len() > 2, "{} threads", threads.len());
        let changed: Vec<&str> = threads
            .iter()
            .flat_map(|calls| check(calls, &mut disk))
            .collect();
        for site in sites {
            let config = format!("{site}/wp-config.php");
            assert!(changed.contains(&config.as_str()), "{config}: {changed:?}");
        }
    }
}
