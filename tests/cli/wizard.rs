//! The wizard, driven through a real terminal. wizard.txt holds the screens that the
//! user sees, each as the changes since the one before.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::common::terminal::Terminal;
use crate::held::held;
use crate::parallel;
use crate::root::{Root, code};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const ENTER: &str = "\r";
const CTRL_C: &str = "\x03";

/// A kind of terminal, and a conversation on it: texts to wait for, and the keys to
/// press.
struct Talk {
    name: &'static str,
    columns: u16,
    lines: u16,
    env: &'static [(&'static str, &'static str)],
    words: &'static [&'static str],
    answers: &'static [(&'static str, &'static str)],
}

fn start(root: &Root, talk: &Talk) -> Terminal {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wp-gears"));
    command
        .args(["setup", "--root", root.path().to_str().unwrap()])
        .args(talk.words)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("LANG", "C.UTF-8")
        .envs(talk.env.iter().copied());
    Terminal::run(command, talk.columns, talk.lines)
}

/// The screen, once it contains the text and no more output follows.
#[track_caller]
fn settled(terminal: &Terminal, text: &str) -> String {
    let mut before = terminal.wait_for(text);
    let mut same = 0;
    while same < 3 {
        std::thread::sleep(Duration::from_millis(50));
        let now = terminal.screen();
        same = if now == before { same + 1 } else { 0 };
        before = now;
    }
    before
}

fn host() -> Root {
    let root = Root::new();
    root.site("/var/www/blog");
    root.put(
        "/var/www/site/wp-content/plugins/wp-minions/wp-minions.php",
        "<?php\n",
    );
    root
}

/// Enter at each question.
const DEFAULTS: &[(&str, &str)] = &[
    ("Which sites?", ENTER),
    ("How many workers?", ENTER),
    ("Where should queued jobs", ENTER),
    ("Is this right?", ENTER),
    ("Apply these changes?", ENTER),
    ("setup --yes'.", ""),
];

const LINES: &[(&str, &str)] = &[
    ("Which sites?", "1 7\r"),
    ("Invalid answer:", "1 2\r"),
    ("How many workers for each", "0\r"),
    ("Invalid answer: expected a whole", "3\r"),
    ("Where should queued jobs", "2\r"),
    ("Is this right?", "\r"),
    ("Apply these changes?", "yes\r"),
    ("setup --yes'.", ""),
];

const TALKS: &[Talk] = &[
    Talk {
        name: "80x24",
        columns: 80,
        lines: 24,
        env: &[],
        words: &[],
        answers: DEFAULTS,
    },
    Talk {
        name: "40x20",
        columns: 40,
        lines: 20,
        env: &[],
        words: &[],
        answers: DEFAULTS,
    },
    Talk {
        name: "another folder, other answers, 40x20",
        columns: 40,
        lines: 20,
        env: &[],
        words: &["--site", "/var/www/site"],
        answers: &[
            ("How many workers?", "x\r"),
            ("Invalid answer:", "3\r"),
            ("Where should queued jobs", "\x1b[B\r"),
            ("Is this right?", "\x1b[B\x1b[B\x1b[B\r"),
            ("Which option?", "\x1b[B\x1b[B\x1b[B\x1b[B\r"),
            ("worker-user", "root\r"),
            ("cannot run jobs as", "\x1b[B\r"),
            ("How many workers?", "4\r"),
            ("Is this right?", ENTER),
            ("Apply these changes?", "d"),
            ("Apply these changes? [Y/n]", "n"),
            ("Nothing was changed.", ""),
        ],
    },
    Talk {
        name: "MySQL, 40x20",
        columns: 40,
        lines: 20,
        env: &[],
        words: &["--site", "/var/www/site", "--workers", "1"],
        answers: &[
            ("Where should queued jobs", "\x1b[B\x1b[B\r"),
            ("MySQL server [localhost]", "db.test\r"),
            ("MySQL user for the job server", ENTER),
            ("Database", "a b\r"),
            ("Invalid answer:", "jobs\r"),
            ("Password", "with blanks\r"),
            ("contains white", "very-geheim\r"),
            ("Is this right?", ENTER),
            ("Apply these changes?", ENTER),
            ("The password is not saved", ""),
        ],
    },
    Talk {
        name: "NO_COLOR",
        columns: 80,
        lines: 24,
        env: &[("NO_COLOR", "1")],
        words: &[],
        answers: &[
            ("Which sites?", ENTER),
            ("How many workers?", ENTER),
            ("Where should queued", ENTER),
            ("Is this right?", "\x1b[A\r"),
            ("Nothing was changed.", ""),
        ],
    },
    Talk {
        name: "--plain, 40x20",
        columns: 40,
        lines: 20,
        env: &[],
        words: &["--plain", "--workers", "2"],
        answers: &[
            ("Which site?", "3\r"),
            ("WordPress folder", "/nowhere\r"),
            ("Invalid answer:", "/var/www/blog\r"),
            ("Where should queued jobs", ENTER),
            ("Is this right?", "4\r"),
            ("allow-upgrades", "12\r"),
            ("1 fork", "2\r"),
            ("worker-mode spawn …", "5\r"),
            ("Nothing was changed.", ""),
        ],
    },
    Talk {
        name: "TERM=dumb",
        columns: 80,
        lines: 24,
        env: &[("TERM", "dumb")],
        words: &[],
        answers: LINES,
    },
];

#[test]
fn held_screens_are_what_people_see() {
    let conversations = side_by_side(&TALKS.iter().collect::<Vec<_>>(), screens_of);
    held("tests/cli/wizard.txt", conversations.concat());
}

/// All in parallel, as terminals mostly wait.
fn side_by_side<R: Send>(talks: &[&Talk], run: fn(&Talk) -> R) -> Vec<R> {
    parallel::each(talks.len(), talks, |talk| run(talk))
}

fn screens_of(talk: &Talk) -> String {
    let mut shown = format!("==== {}\n", talk.name);
    let mut last = String::new();
    let root = host();
    let before = root.tree();
    let mut terminal = start(&root, talk);
    for (text, keys) in talk.answers {
        let screen = settled(&terminal, text);
        let screen = screen.replace(root.path().to_str().unwrap(), "/dev/shm/.tmp123456");
        let screen = no_times(&screen);
        shown += &format!("---- {text}\n{}\n", changes(&last, &screen));
        last = screen;
        terminal.keys(keys);
    }
    let sent = terminal.sent();
    let plain = talk.env.contains(&("TERM", "dumb")) || talk.words.contains(&"--plain");
    assert!(!plain || !sent.contains('\x1b'), "{}", talk.name);
    let colours = regex::Regex::new("\x1b\\[[0-9;]*m").unwrap();
    let colourless = plain || talk.env.contains(&("NO_COLOR", "1"));
    assert_eq!(colours.is_match(&sent), !colourless, "{}", talk.name);
    let no = last.ends_with("Nothing was changed.");
    assert_eq!(terminal.ends().code(), Some(i32::from(no)), "{}", talk.name);
    assert_eq!(root.tree() == before, no, "{}", talk.name);
    assert!(!sent.contains("geheim"), "{}", talk.name);
    if talk.name.starts_with("MySQL") {
        let config = root.get("/etc/gearmand.conf");
        assert!(config.contains("=very-geheim\n"));
    }
    shown
}

/// The lines of a screen that are new since the one before, below the ones that are
/// kept. The whole screen can be reconstructed from this.
fn changes(before: &str, now: &str) -> String {
    let (before, now): (Vec<&str>, Vec<&str>) = (lines(before), lines(now));
    let kept = |gone: &usize| {
        let pairs = before[*gone..].iter().zip(&now);
        pairs.take_while(|(old, new)| old == new).count()
    };
    // The smallest scroll distance with which the most lines are kept.
    let gone = (0..before.len()).rev().max_by_key(kept).unwrap_or(0);
    let kept = kept(&gone);
    let mut text = match (gone, kept) {
        (_, 0) => String::new(),
        (0, _) => format!("({kept} lines kept)\n"),
        _ => format!("({gone} scrolled off, {kept} kept)\n"),
    };
    for line in &now[kept..] {
        text += &format!("{line}\n");
    }
    text
}

fn lines(screen: &str) -> Vec<&str> {
    screen.lines().map(str::trim_end).collect()
}

/// Removes durations, which differ between runs.
fn no_times(screen: &str) -> String {
    let seconds = regex::Regex::new(r"\d+\.\d s\b").unwrap();
    seconds.replace_all(screen.trim_end(), "0.0 s").into_owned()
}

#[test]
fn ctrl_c_at_any_question_changes_nothing_and_gives_the_terminal_back() {
    let names = ["80x24", "MySQL, 40x20", "TERM=dumb"];
    let talks = TALKS.iter().filter(|talk| names.contains(&talk.name));
    side_by_side(&talks.collect::<Vec<_>>(), ctrl_c_at_each);
}

fn ctrl_c_at_each(talk: &Talk) {
    let answers = talk.answers;
    // At each question but the last text, where everything is done.
    for at in 0..answers.len() - 1 {
        let root = host();
        let before = root.tree();
        let mut terminal = start(&root, talk);
        for (text, keys) in &answers[..at] {
            terminal.wait_for(text);
            terminal.keys(keys);
        }
        terminal.wait_for(answers[at].0);
        terminal.keys(CTRL_C);
        let screen = terminal.wait_for("Nothing was changed.");
        assert_eq!(terminal.ends().code(), Some(130), "{screen}");
        assert!(root.tree() == before, "{screen}");
    }
}

#[test]
fn a_signal_at_a_question_is_as_ctrl_c() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let root = host();
        let before = root.tree();
        let terminal = start(&root, &TALKS[0]);
        settled(&terminal, "Which sites?");
        kill(Pid::from_raw(terminal.pid()), signal).unwrap();
        let screen = settled(&terminal, "Nothing was changed.");
        let code = 128 + signal as i32;
        assert_eq!(terminal.ends().code(), Some(code), "{screen}");
        assert!(root.tree() == before);
    }
}

#[test]
fn nothing_is_asked_where_enough_is_given() {
    let root = host();
    let words = &[
        "--site",
        "/var/www/site",
        "--workers",
        "1",
        "--queue",
        "memory",
    ];
    let talk = Talk { words, ..TALKS[0] };
    let mut terminal = start(&root, &talk);
    let screen = settled(&terminal, "Apply these changes?");
    assert!(!screen.contains("Is this right?"));
    terminal.keys("y");
    settled(&terminal, "Done in");
    assert!(terminal.ends().success());
    // Options from the host's present state are given too.
    let again = Talk {
        words: &words[..2],
        ..TALKS[0]
    };
    let terminal = start(&root, &again);
    settled(&terminal, "Nothing to change.");
    assert!(terminal.ends().success());
}

#[test]
fn the_command_line_and_the_file_that_are_told_give_the_same() {
    let root = host();
    let mut terminal = start(&root, &TALKS[0]);
    let mut last = String::new();
    for (text, keys) in DEFAULTS {
        last = settled(&terminal, text);
        terminal.keys(if text.contains("workers") {
            "3\r"
        } else {
            keys
        });
    }
    terminal.ends();
    let (_, told) = last.split_once("wp-gears setup ").unwrap();
    let (line, _) = told.split_once("\n\n").unwrap();

    let by_words = host();
    let words: Vec<&str> = line.split_whitespace().filter(|it| *it != "\\").collect();
    let at = words.iter().position(|it| *it == "--root").unwrap();
    let words = [&["setup"], &words[..at], &words[at + 2..]].concat();
    assert_eq!(code(&by_words.run(&words)), 0);
    assert_eq!(files(&root), files(&by_words));

    let by_file = host();
    let recorded = std::fs::read_to_string(root.at("/etc/wp-gears.toml")).unwrap();
    by_file.put("/etc/wp-gears.toml", &recorded);
    assert_eq!(code(&by_file.run(&["setup", "--yes"])), 0);
    assert_eq!(files(&root), files(&by_file));
}

/// What setup created, without the random salt and the journal.
fn files(root: &Root) -> BTreeMap<PathBuf, String> {
    let salt = regex::Regex::new("'WP_ASYNC_TASK_SALT', '[^']+'").unwrap();
    let mut tree = root.tree();
    tree.retain(|path, _| !path.starts_with("var/lib/wp-gears/state"));
    for text in tree.values_mut() {
        *text = salt.replace_all(text, "SALT").into_owned();
    }
    tree
}
