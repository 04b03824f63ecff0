//! Setup cut off at every single act, and refused space at every one: the
//! next setup or remove finishes the work, and nothing is lost. The outcomes
//! are held in tests/faults.txt; WP_GEARS_UPDATE=1 writes them anew.

mod common;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use clap::Parser;
use common::{Root, SITE, code, text};
use wp_gears::cli::{Cli, Command as Verb};
use wp_gears::command;
use wp_gears::host::Host;
use wp_gears::ui::Ui;

/// Runs setup in this process, with a gate before each act.
fn setup(root: &Path, gate: Box<wp_gears::host::Gate>) -> anyhow::Result<u8> {
    let host = Host::new(Some(root))?.with_gate(gate);
    let cli = Cli::parse_from([
        "wp-gears", "setup", "--site", SITE, "--salt", "a-salt", "--yes",
    ]);
    let Verb::Setup(args) = cli.command else {
        unreachable!("the words above are setup's");
    };
    command::setup::run_on(&host, &args, Ui::new(false, true, false))
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
    let names = names.lock().unwrap().clone();
    names
}

/// Not a test by itself: the process that is killed at an act.
#[test]
fn child() {
    let (Ok(root), Ok(act)) = (std::env::var("FAULT_ROOT"), std::env::var("FAULT_ACT")) else {
        return;
    };
    let act: usize = act.parse().unwrap();
    let gate = move |number: usize, _: &str| {
        if number == act {
            let _ = rustix::process::kill_process(
                rustix::process::getpid(),
                rustix::process::Signal::KILL,
            );
        }
        Ok(())
    };
    let _ = setup(Path::new(&root), Box::new(gate));
}

fn killed_at(act: usize, root: &Root) {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child"])
        .env("FAULT_ROOT", root.path())
        .env("FAULT_ACT", act.to_string())
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
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
    let mut bad = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let act = index + 1;
        let outcomes = [
            {
                let root = Root::new();
                killed_at(act, &root);
                finish_by_setup(&root, &whole, &before)
            },
            {
                let root = Root::new();
                killed_at(act, &root);
                finish_by_remove(&root, &before)
            },
            {
                let root = Root::new();
                let said = no_space_at(act, &root);
                if said != "said" && !said.contains("No space left") {
                    bad.push(format!("{act} {name}: {said}"));
                }
                let litter = root
                    .tree()
                    .into_keys()
                    .find(|path| path.to_string_lossy().ends_with(".tmp"));
                if let Some(litter) = litter {
                    bad.push(format!("{act} {name}: litter {litter:?}"));
                }
                finish_by_setup(&root, &whole, &before)
            },
        ];
        // Journals and originals are named by what they hold.
        let name = regex::Regex::new("[0-9a-f]{64}")
            .unwrap()
            .replace_all(name, "SHA");
        let line = format!("{act} {name} | {}", outcomes.join(" | "));
        if outcomes.iter().any(|outcome| outcome != "given back") {
            bad.push(line.clone());
        }
        table.push_str(&line);
        table.push('\n');
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults.txt");
    if std::env::var_os("WP_GEARS_UPDATE").is_some() {
        std::fs::write(&file, &table).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(&file).unwrap(),
        table,
        "WP_GEARS_UPDATE=1 writes it anew"
    );
}
