//! Setup cut off at every single act, and refused space at every one: the
//! next setup or remove finishes the work, and nothing is lost. The outcomes
//! are held in tests/faults.txt; WP_GEARS_UPDATE=1 writes them anew.

mod common;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::Parser;
use common::{Root, SITE, code, held, text};
use rustix::process::{Pid, Signal, WaitOptions, waitpid};
use wp_gears::cli;
use wp_gears::cli::{Cli, Command as Verb};
use wp_gears::host::Host;
use wp_gears::report::Ui;

/// Runs setup in this process, with a gate before each act.
fn setup(root: &Path, gate: Box<wp_gears::host::Gate>) -> anyhow::Result<u8> {
    let host = Host::new(Some(root))?.with_gate(gate);
    let cli = Cli::parse_from([
        "wp-gears", "setup", "--site", SITE, "--salt", "a-salt", "--yes",
    ]);
    let Verb::Setup(args) = cli.command else {
        unreachable!("the words above are setup's");
    };
    cli::setup::run_on(&host, &args, Ui::new(false, true, false))
}

/// All acts of a setup, by name.
fn acts() -> Vec<String> {
    let root = Root::new();
    let names = Arc::new(Mutex::new(Vec::new()));
    let seen = names.clone();
    let gate = move |_: usize, name: &str| {
        seen.lock().unwrap().push(name.to_owned());
        Ok(())
    };
    assert_eq!(setup(root.path(), Box::new(gate)).unwrap(), 0);
    std::mem::take(&mut *names.lock().unwrap())
}

/// Not a test by itself: the process that is killed, or stopped, at an act.
#[test]
fn child() {
    let (Ok(root), Ok(act)) = (std::env::var("FAULT_ROOT"), std::env::var("FAULT_ACT")) else {
        return;
    };
    let act: usize = act.parse().unwrap();
    let signal = match std::env::var_os("FAULT_STOPS") {
        Some(_) => Signal::STOP,
        None => Signal::KILL,
    };
    let gate = move |number: usize, _: &str| {
        if number == act {
            let _ = rustix::process::kill_process(rustix::process::getpid(), signal);
        }
        Ok(())
    };
    let _ = setup(Path::new(&root), Box::new(gate));
}

fn child_at(act: usize, root: &Root) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "child"])
        .env("FAULT_ROOT", root.path())
        .env("FAULT_ACT", act.to_string())
        .stdout(std::process::Stdio::null());
    command
}

fn killed_at(act: usize, root: &Root) {
    let status = child_at(act, root).status().unwrap();
    assert_eq!(status.signal(), Some(9), "act {act} was not reached");
}

fn no_space_at(act: usize, root: &Root) -> String {
    let gate = move |number: usize, _: &str| match number == act {
        true => Err(std::io::Error::from_raw_os_error(28)),
        false => Ok(()),
    };
    match setup(root.path(), Box::new(gate)) {
        Err(error) => format!("{error:#}"),
        Ok(0) => panic!("act {act}: a full disk went unnoticed"),
        Ok(_) => "said".into(),
    }
}

type Tree = BTreeMap<PathBuf, String>;

/// What setup leaves, without what no two runs share: the journal, and the binary that ran.
fn result(root: &Root) -> Tree {
    let mut tree = root.tree();
    tree.retain(|path, _| {
        !path.starts_with("var/lib/wp-gears/state") && !path.ends_with("wp-gears/wp-gears")
    });
    tree
}

fn finish_by_setup(root: &Root, whole: &Tree, before: &Tree) -> String {
    let output = root.run(&["setup", "--site", SITE, "--salt", "a-salt", "--yes"]);
    if code(&output) != 0 || result(root) != *whole {
        return format!("setup: {}", text(&output));
    }
    finish_by_remove(root, before)
}

fn finish_by_remove(root: &Root, before: &Tree) -> String {
    let output = root.run(&["remove", "--yes", "--purge"]);
    let after = root.tree();
    if code(&output) != 0 {
        return format!("remove: {}", text(&output));
    }
    match after == *before {
        true => "given back".into(),
        false => {
            let other: Vec<_> = after
                .iter()
                .filter(|(k, v)| before.get(*k) != Some(v))
                .collect();
            let gone: Vec<_> = before.keys().filter(|k| !after.contains_key(*k)).collect();
            format!("differs: {other:?} gone: {gone:?}")
        }
    }
}

/// One line of the table, and whether all went well.
fn outcomes(act: usize, name: &str, whole: &Tree, before: &Tree) -> (String, bool) {
    let killed = Root::new();
    killed_at(act, &killed);
    let by_setup = finish_by_setup(&killed, whole, before);
    let killed = Root::new();
    killed_at(act, &killed);
    let by_remove = finish_by_remove(&killed, before);
    let full = Root::new();
    let said = no_space_at(act, &full);
    let litter = full
        .tree()
        .into_keys()
        .find(|path| path.to_string_lossy().ends_with(".tmp"));
    let after_full = match litter {
        Some(litter) => format!("litter: {}", litter.display()),
        None if said != "said" && !said.contains("No space left") => said,
        None => finish_by_setup(&full, whole, before),
    };
    let all = [by_setup, by_remove, after_full];
    // Journals and originals are named by what they hold.
    let name: Vec<&str> = name
        .split('/')
        .map(|part| if part.len() == 64 { "SHA" } else { part })
        .collect();
    let row = format!("{act} {} | {}", name.join("/"), all.join(" | "));
    (row, all.iter().all(|outcome| outcome == "given back"))
}

#[test]
fn at_every_act() {
    let names = acts();
    let before = Root::new().tree();
    let whole = {
        let root = Root::new();
        root.run(&["setup", "--site", SITE, "--salt", "a-salt", "--yes"]);
        result(&root)
    };
    let mut table = String::from(
        "# act | killed before it, then setup and remove | killed, then remove | no space, then setup and remove\n",
    );
    // Side by side; each act has roots of its own.
    let next = std::sync::atomic::AtomicUsize::new(0);
    let rows = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    let Some(name) = names.get(index) else {
                        return;
                    };
                    let row = outcomes(index + 1, name, &whole, &before);
                    rows.lock().unwrap().insert(index, row);
                }
            });
        }
    });
    let rows = rows.into_inner().unwrap();
    let bad: Vec<&String> = rows
        .values()
        .filter(|(_, ok)| !ok)
        .map(|(row, _)| row)
        .collect();
    for (row, _) in rows.values() {
        table.push_str(row);
        table.push('\n');
    }
    let bad: Vec<&str> = bad.iter().map(|row| row.as_str()).collect();
    assert!(bad.is_empty(), "{}", bad.join("\n"));
    held("faults.txt", &table);
}

#[test]
fn a_second_run_says_who_holds_the_host_and_goes_on_once_that_one_is_gone() {
    let root = Root::new();
    let mut first = child_at(30, &root).env("FAULT_STOPS", "1").spawn().unwrap();
    waitpid(Some(Pid::from_child(&first)), WaitOptions::UNTRACED).unwrap();
    let before = root.tree();
    let setup = ["setup", "--site", SITE, "--salt", "a-salt", "--yes"];

    let began = Instant::now();
    let second = root.run(&setup);
    let said = text(&second);
    assert_eq!(code(&second), 1, "{said}");
    let waited = began.elapsed();
    assert!(waited > Duration::from_secs(5), "{waited:?}");
    assert!(waited < Duration::from_secs(30), "{waited:?}");
    let who = format!("process {} (faults-", first.id());
    assert!(said.contains(&who) && said.contains("since 20"), "{said}");
    assert_eq!(root.tree(), before);

    // One that waits begins as soon as the other is gone, however it ended.
    std::thread::scope(|scope| {
        let third = scope.spawn(|| root.run(&setup));
        std::thread::sleep(Duration::from_millis(500));
        assert!(!third.is_finished());
        first.kill().unwrap();
        first.wait().unwrap();
        let third = third.join().unwrap();
        assert_eq!(code(&third), 0, "{}", text(&third));
    });
}

#[test]
fn a_run_that_crashes_leaves_no_core_file() {
    let root = Root::new();
    let folder = std::fs::File::open(root.path()).unwrap();
    folder.lock().unwrap(); // so that setup waits
    let dir = tempfile::tempdir().unwrap();
    let dumps = |program: &str, words: &[&str]| {
        let mut child = Command::new("sh")
            .args(["-c", "ulimit -c unlimited; exec \"$0\" \"$@\"", program])
            .args(words)
            .current_dir(dir.path())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(1500));
        let pid = Pid::from_child(&child);
        rustix::process::kill_process(pid, Signal::ABORT).unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(6), "it did not wait");
        status.core_dumped()
    };
    assert!(dumps("sleep", &["60"]), "no core files on this machine");
    let words = ["setup", "--site", SITE, "--yes", "--root"];
    let root = root.path().to_str().unwrap();
    let program = env!("CARGO_BIN_EXE_wp-gears");
    assert!(!dumps(program, &[&words[..], &[root]].concat()));
}

/// root may write what its owner then has no quota for.
#[test]
fn a_used_up_quota_is_told_and_nothing_is_left_of_the_try() {
    let root = Root::new();
    let config = root.get(&format!("{SITE}/wp-config.php"));
    let gate = |_: usize, name: &str| match name == format!("own {SITE}/wp-config.php") {
        true => Err(std::io::Error::from_raw_os_error(122)),
        false => Ok(()),
    };
    assert_eq!(setup(root.path(), Box::new(gate)).unwrap(), 1);
    assert_eq!(root.get(&format!("{SITE}/wp-config.php")), config);
    let litter = |path: &PathBuf| path.to_string_lossy().ends_with(".tmp");
    assert_eq!(root.tree().into_keys().find(litter), None);
    let output = root.run(&["setup", "--site", SITE, "--salt", "a-salt", "--yes"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
}
