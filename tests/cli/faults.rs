//! Interrupts setup at every single act, and simulates a full disk at each: the next
//! setup or remove finishes the work, and nothing is lost.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::Parser;
use rustix::process::{Pid, Signal, WaitOptions, waitpid};
use wp_gears::cli;
use wp_gears::cli::{Cli, Command as Verb};
use wp_gears::host::Host;
use wp_gears::report::Ui;

use crate::parallel;
use crate::root::{Root, SITE, code, text};

/// Runs setup in this process, with a gate before each act.
fn setup(root: &Path, gate: Box<wp_gears::host::Gate>) -> anyhow::Result<u8> {
    run_setup(&SETUP, root, gate)
}

fn run_setup(words: &[&str], root: &Path, gate: Box<wp_gears::host::Gate>) -> anyhow::Result<u8> {
    let host = Host::new(Some(root))?.with_gate(gate);
    let cli = Cli::parse_from([&["wp-gears"], words].concat());
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

const ROOT: &str = "CUT_OFF_ROOT";
const ACT: &str = "CUT_OFF_ACT";
const SIGNAL: &str = "CUT_OFF_SIGNAL";
/// Setup's words, separated by spaces.
const WORDS: &str = "CUT_OFF_WORDS";

/// The process that the tests below kill or stop at an act: this binary again. As a
/// test it is ignored, and it cannot pass: reaching its end is a failure.
#[test]
#[ignore = "no test by itself: others run it and cut it off"]
fn cut_off() {
    let Some(root) = std::env::var_os(ROOT) else {
        panic!("this is no test by itself: the others of this module run it");
    };
    let number = |name| std::env::var(name).unwrap().parse().unwrap();
    let (act, signal) = (number(ACT) as usize, number(SIGNAL));
    let signal = Signal::from_named_raw(signal).unwrap();
    let gate = move |number: usize, _: &str| {
        if number == act {
            let _ = rustix::process::kill_process(rustix::process::getpid(), signal);
        }
        Ok(())
    };
    let words = std::env::var(WORDS).unwrap();
    let words: Vec<&str> = words.split(' ').collect();
    let outcome = run_setup(&words, Path::new(&root), Box::new(gate));
    panic!("act {act} was not reached: {outcome:?}");
}

/// A setup of this root that receives the signal right before the act.
fn cut_off_at(act: usize, signal: Signal, root: &Root) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "faults::cut_off", "--ignored"])
        .env(ROOT, root.path())
        .env(ACT, act.to_string())
        .env(SIGNAL, signal.as_raw().to_string())
        .env(WORDS, SETUP.join(" "))
        .stdout(std::process::Stdio::null());
    command
}

fn killed_at(act: usize) -> Root {
    let root = Root::new();
    let status = cut_off_at(act, Signal::KILL, &root).status().unwrap();
    assert_eq!(status.signal(), Some(9), "act {act} was not reached");
    root
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

const SETUP: [&str; 6] = ["setup", "--site", SITE, "--salt", "a-salt", "--yes"];

/// What setup leaves, without what differs between runs: the journal and the binary.
fn result(root: &Root) -> Tree {
    let mut tree = root.tree();
    tree.retain(|path, _| {
        !path.starts_with("var/lib/wp-gears/state") && !path.ends_with("wp-gears/wp-gears")
    });
    tree
}

/// The next setup does the rest, and remove restores everything.
fn finished_by_setup(root: &Root, whole: &Tree, before: &Tree) -> Result<(), String> {
    let output = root.run(&SETUP);
    if code(&output) != 0 || result(root) != *whole {
        return Err(format!("setup: {}", text(&output)));
    }
    given_back(root, before)
}

fn given_back(root: &Root, before: &Tree) -> Result<(), String> {
    let output = root.run(&["remove", "--yes", "--purge"]);
    if code(&output) != 0 {
        return Err(format!("remove: {}", text(&output)));
    }
    let after = root.tree();
    if after == *before {
        return Ok(());
    }
    let other: Vec<_> = after
        .iter()
        .filter(|(path, what)| before.get(*path) != Some(what))
        .collect();
    let gone: Vec<_> = before.keys().filter(|k| !after.contains_key(*k)).collect();
    Err(format!("differs: {other:?} gone: {gone:?}"))
}

/// The run with the full disk reports that, and leaves no temporary file.
fn full_at(act: usize) -> Result<Root, String> {
    let root = Root::new();
    let said = no_space_at(act, &root);
    let litter = root
        .tree()
        .into_keys()
        .find(|path| path.to_string_lossy().ends_with(".tmp"));
    match litter {
        Some(litter) => Err(format!("litter: {}", litter.display())),
        None if said != "said" && !said.contains("No space left") => Err(said),
        None => Ok(root),
    }
}

#[test]
fn cut_off_at_any_act_nothing_is_lost() {
    let names = acts();
    let before = Root::new().tree();
    let whole = {
        let root = Root::new();
        root.run(&SETUP);
        result(&root)
    };
    // The list of acts is complete: every path that was created or changed is in the name
    // of one.
    for (path, _) in whole.iter().filter(|(k, v)| before.get(*k) != Some(v)) {
        let path = format!("/{}", path.display());
        let named = |name: &String| name.split(' ').any(|word| word == path);
        assert!(names.iter().any(named), "no act for {path}");
    }
    let acts: Vec<(usize, &String)> = (1..).zip(&names).collect();
    let outcomes = parallel::each(2, &acts, |(act, _)| {
        [
            (
                "killed",
                finished_by_setup(&killed_at(*act), &whole, &before),
            ),
            (
                "killed, then removed",
                given_back(&killed_at(*act), &before),
            ),
            (
                "no space",
                full_at(*act).and_then(|root| finished_by_setup(&root, &whole, &before)),
            ),
        ]
    });
    let mut bad = Vec::new();
    for ((act, name), outcomes) in acts.iter().zip(outcomes) {
        for (fault, outcome) in outcomes {
            if let Err(why) = outcome {
                bad.push(format!("{fault} at act {act}, {name}: {why}"));
            }
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

/// Only at the few acts at which nothing but the intent file names the new site. The
/// test of all acts takes minutes in a debug build.
#[test]
fn cut_off_before_the_site_has_a_journal_remove_takes_its_table() {
    let names = acts();
    let before = Root::new().tree();
    let of_intent = |name: &&String| name.ends_with(" /etc/wp-gears.toml");
    let count = names.iter().filter(of_intent).count();
    assert!(count > 3, "{names:?}");
    let first = names.iter().position(|name| of_intent(&name)).unwrap() + 1;
    for act in first..=first + count {
        given_back(&killed_at(act), &before).unwrap_or_else(|why| panic!("act {act}: {why}"));
    }
}

#[test]
fn a_second_run_says_who_holds_the_host_and_goes_on_once_that_one_is_gone() {
    let root = Root::new();
    let mut first = cut_off_at(30, Signal::STOP, &root).spawn().unwrap();
    waitpid(Some(Pid::from_child(&first)), WaitOptions::UNTRACED).unwrap();
    let before = root.tree();

    let began = Instant::now();
    let second = root.run(&SETUP);
    let said = text(&second);
    assert_eq!(code(&second), 1, "{said}");
    let waited = began.elapsed();
    assert!(waited > Duration::from_secs(5), "{waited:?}");
    assert!(waited < Duration::from_secs(30), "{waited:?}");
    let who = format!("process {} (cli-", first.id());
    assert!(said.contains(&who) && said.contains("since 20"), "{said}");
    assert_eq!(root.tree(), before);

    // A waiting run starts as soon as the other one has ended in any way.
    std::thread::scope(|scope| {
        let third = scope.spawn(|| root.run(&SETUP));
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

const MANY: [&str; 4] = ["/var/www/a", "/var/www/b", "/var/www/c", "/var/www/d"];

/// A root with sites that are set up at the same time, and the words that do it.
fn many() -> (Root, Vec<&'static str>) {
    let root = Root::new();
    let mut words = vec!["setup", "--yes"];
    for site in MANY {
        root.site(site);
        let salt = format!("<?php\ndefine( 'WP_ASYNC_TASK_SALT', 'salt of {site}' );");
        let config = root.get(&format!("{site}/wp-config.php"));
        root.put(
            &format!("{site}/wp-config.php"),
            &config.replacen("<?php", &salt, 1),
        );
        words.extend(["--site", site]);
    }
    (root, words)
}

/// While other sites are worked on too. In every run it is another moment for them.
#[test]
fn cut_off_while_many_sites_are_set_up_nothing_is_lost() {
    let (root, words) = many();
    let before = root.tree();
    let output = root.run(&words);
    assert_eq!(code(&output), 0, "{}", text(&output));
    let whole = result(&root);
    let acts = {
        let (root, words) = many();
        let count = Arc::new(Mutex::new(0));
        let seen = count.clone();
        let gate = move |number: usize, _: &str| {
            let mut most = seen.lock().unwrap();
            *most = number.max(*most);
            Ok(())
        };
        assert_eq!(run_setup(&words, root.path(), Box::new(gate)).unwrap(), 0);
        *count.lock().unwrap()
    };
    // The first acts are the host's, which the tests of one site cut off.
    for act in (acts / 3..acts).step_by(acts / 10) {
        let (root, words) = many();
        let mut killed = cut_off_at(act, Signal::KILL, &root);
        let status = killed.env(WORDS, words.join(" ")).status().unwrap();
        assert_eq!(status.signal(), Some(9), "act {act} was not reached");
        let output = root.run(&words);
        assert_eq!(code(&output), 0, "act {act}: {}", text(&output));
        assert!(result(&root) == whole, "act {act}: not as after one run");
        given_back(&root, &before).unwrap_or_else(|why| panic!("act {act}: {why}"));
    }
}

#[test]
fn a_site_that_fails_leaves_the_others_alone() {
    let (root, words) = many();
    let before = root.tree();
    let gate = |_: usize, name: &str| match name == "rename /var/www/b/wp-config.php" {
        true => Err(std::io::Error::from_raw_os_error(28)),
        false => Ok(()),
    };
    assert_eq!(run_setup(&words, root.path(), Box::new(gate)).unwrap(), 1);
    let of = |site: &str| PathBuf::from(format!("{}/wp-config.php", &site[1..]));
    for site in MANY {
        let changed = root.tree().get(&of(site)) != before.get(&of(site));
        assert_eq!(changed, site != "/var/www/b", "{site}");
    }
    let output = root.run(&words);
    assert_eq!(code(&output), 0, "{}", text(&output));
    given_back(&root, &before).unwrap();
}

#[test]
fn what_is_done_to_many_sites_is_listed_in_the_order_of_the_plan() {
    let (root, words) = many();
    let output = root.run(&words);
    assert_eq!(code(&output), 0, "{}", text(&output));
    let said = text(&output);
    let done: Vec<&str> = said.lines().filter(|line| line.starts_with('✓')).collect();
    let switches: Vec<usize> = MANY
        .iter()
        .map(|site| {
            let config = format!("{site}/wp-config.php");
            done.iter().position(|line| line.contains(&config)).unwrap()
        })
        .collect();
    assert!(switches.is_sorted(), "{switches:?}: {done:?}");
    // All of a site's steps after its plugins come together.
    let of_a = |line: &&&str| line.contains("[a]");
    assert!(done[switches[0] + 1..].iter().filter(of_a).count() == 0);
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
    let output = root.run(&SETUP);
    assert_eq!(code(&output), 0, "{}", text(&output));
}
