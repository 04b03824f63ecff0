//! What users read when something is wrong: errors.txt holds real runs.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use crate::held::held;
use crate::root::{AsNobody, CONFIG, Root, SITE, code};

const FILE: &str = "/etc/wp-gears.toml";
const SECRETS: [&str; 2] = ["geheim", "very-secret"];

/// The beginning of a file with a rule.
const RULE: &str = "[[site]]\ndir = '/var/www/site'\n\n[[site.hook]]\nmatch = 'import_*'\n";

/// A run: its title, what is done to the host first, and the arguments.
type Case = (&'static str, fn(&Root), &'static [&'static str]);

fn nothing(_: &Root) {}

fn config(root: &Root, old: &str, new: &str) {
    let text = CONFIG.replace(old, new);
    assert_ne!(text, CONFIG);
    root.put(&format!("{SITE}/wp-config.php"), &text);
}

macro_rules! setup {
    ($($word:expr),*) => { &["setup", "--site", "/var/www/site", "--yes", $($word),*] };
}

const CASES: &[Case] = &[
    ("no site is named", nothing, &["setup", "--yes"]),
    (
        "the site's folder does not exist",
        nothing,
        &["setup", "--site", "/nowhere", "--yes"],
    ),
    (
        "the folder holds no WordPress",
        |root| root.put("/srv/c/readme.txt", ""),
        &["setup", "--site", "/srv/c", "--yes"],
    ),
    (
        "there is no wp-config.php",
        |root| std::fs::remove_file(root.at(SITE).join("wp-config.php")).unwrap(),
        setup![],
    ),
    (
        "--wp-config names no file",
        nothing,
        setup!["--wp-config", "/srv/wp-config.php"],
    ),
    (
        "wp-config.php is a folder",
        |root| {
            std::fs::remove_file(root.at(SITE).join("wp-config.php")).unwrap();
            root.put(&format!("{SITE}/wp-config.php/x"), "");
        },
        setup!["--wp-config", "/var/www/site/wp-config.php"],
    ),
    (
        "wp-config.php is not PHP",
        |root| config(root, "if ( ! defined", "if ( ( ! defined"),
        setup![],
    ),
    (
        "wp-config.php computes the content folder",
        |root| {
            config(
                root,
                "<?php\n",
                "<?php\ndefine( 'WP_CONTENT_DIR', getenv( 'CONTENT' ) );\n",
            )
        },
        setup![],
    ),
    (
        "wp-config.php names a content folder that does not exist",
        |root| {
            config(
                root,
                "<?php\n",
                "<?php\ndefine( 'WP_CONTENT_DIR', '/srv/content' );\n",
            )
        },
        setup![],
    ),
    (
        "wp-config.php is another tool's",
        |root| config(root, "<?php", "<?php\n#ddev-generated"),
        setup![],
    ),
    (
        "a definition is in a branch",
        |root| {
            config(
                root,
                "$table_prefix",
                "if ( PHP_OS ) { define( 'WP_GEARS', false ); }\n$table_prefix",
            )
        },
        setup![],
    ),
    (
        "a value is computed",
        |root| {
            config(
                root,
                "$table_prefix",
                "$gearman_servers = explode( ',', getenv( 'SERVERS' ) );\n$table_prefix",
            )
        },
        setup!["--servers", "jobs:4730"],
    ),
    (
        "a constant is defined twice",
        |root| {
            config(
                root,
                "$table_prefix",
                "define( 'WP_ASYNC_TASK_SALT', 'geheim' );\ndefine( 'WP_ASYNC_TASK_SALT', 'geheim' );\n$table_prefix",
            )
        },
        setup!["--salt", "very-secret"],
    ),
    (
        "root should run the jobs",
        nothing,
        setup!["--worker-user", "root"],
    ),
    (
        "the worker user does not exist",
        nothing,
        setup!["--worker-user", "nobody9"],
    ),
    (
        "the plugin is not installed",
        nothing,
        setup!["--plugin", "wp-minions"],
    ),
    (
        "the PHP does not exist",
        nothing,
        setup!["--php", "/usr/bin/php9"],
    ),
    (
        "there is no PHP at all",
        |root| {
            std::fs::remove_file(root.at("/usr/bin/php")).unwrap();
            std::fs::remove_file(root.at("/usr/bin/php8.2")).unwrap();
        },
        setup![],
    ),
    (
        "no job server here, and none named",
        nothing,
        setup!["--role", "worker,web"],
    ),
    (
        "the salt has other characters",
        nothing,
        setup!["--salt", "very-secret salt"],
    ),
    (
        "an option of one site, and two sites",
        |root| root.site("/srv/b"),
        &[
            "setup",
            "--site",
            "/var/www/site",
            "--site",
            "/srv/b",
            "--workers",
            "3",
            "--yes",
        ],
    ),
    (
        "two sites share a salt",
        |root| {
            root.site("/srv/b");
            config(
                root,
                "$table_prefix",
                "define( 'WP_ASYNC_TASK_SALT', 'geheim' );\n$table_prefix",
            );
            let text = root.get(&format!("{SITE}/wp-config.php"));
            root.put("/srv/b/wp-config.php", &text);
        },
        &[
            "setup",
            "--site",
            "/var/www/site",
            "--site",
            "/srv/b",
            "--yes",
        ],
    ),
    (
        "there is no terminal to ask on",
        nothing,
        &["setup", "--site", "/var/www/site", "-q"],
    ),
    (
        "an option that is nearly right",
        nothing,
        setup!["--worker", "3"],
    ),
    (
        "a value that is not allowed",
        nothing,
        setup!["--queue", "redis"],
    ),
    (
        "a number that is too large",
        nothing,
        setup!["--port", "99999"],
    ),
    (
        "the file does not exist",
        nothing,
        setup!["--config", "/nowhere/wp-gears.toml"],
    ),
    (
        "the file has an unknown key",
        |root| root.put(FILE, "\nport = 4730\nworker = 3\n"),
        setup![],
    ),
    (
        "the file has a key unlike any other",
        |root| root.put(FILE, "zzz = 1\n"),
        setup![],
    ),
    (
        "the file has a wrong type",
        |root| root.put(FILE, "port = 'geheim'\n"),
        setup![],
    ),
    (
        "the file has a value that is not allowed",
        |root| root.put(FILE, "[[site]]\ndir = '/a'\nworkers = 0\n"),
        setup![],
    ),
    (
        "the file is not TOML",
        |root| root.put(FILE, "port = 4730\nsalt = 'geheim\n"),
        setup![],
    ),
    (
        "the file's site has no folder",
        |root| root.put(FILE, "[[site]]\nworkers = 3\n"),
        setup![],
    ),
    (
        "a rule for hooks has an unknown key",
        |root| root.put(FILE, &format!("{RULE}concurency = 1\n")),
        setup![],
    ),
    (
        "a rule for hooks has a value that is not allowed",
        |root| root.put(FILE, &format!("{RULE}rate = 0\n")),
        setup![],
    ),
    (
        "two rules for hooks are for the same",
        |root| {
            root.put(
                FILE,
                &format!("{RULE}rate = 1\n\n[[site.hook]]\nmatch = 'import_*'\n"),
            )
        },
        setup![],
    ),
    (
        "the platform is unknown",
        |root| root.put("/etc/os-release", "ID=plan9\nPRETTY_NAME=\"Plan 9\"\n"),
        setup![],
    ),
    (
        "the platform does not identify itself",
        |root| std::fs::remove_file(root.at("/etc/os-release")).unwrap(),
        setup![],
    ),
    (
        "the job server's options are a folder",
        |root| {
            std::fs::remove_file(root.at("/etc/default/gearman-job-server")).unwrap();
            root.put("/etc/default/gearman-job-server/x", "");
        },
        setup![],
    ),
    (
        "remove a site that does not exist",
        nothing,
        &["remove", "--site", "/nowhere", "--yes"],
    ),
    (
        "the journal is damaged",
        |root| {
            root.run(setup![]);
            let journal = root.at("/var/lib/wp-gears/state");
            for file in walk(&journal) {
                if file
                    .extension()
                    .is_some_and(|ending| ending == "journal" || ending == "jsonl")
                {
                    let text = std::fs::read_to_string(&file).unwrap();
                    std::fs::write(&file, format!("{{}}\n{text}")).unwrap();
                }
            }
        },
        &["remove", "--yes"],
    ),
];

/// Runs without --root, with their own state folder.
const OTHERS: &[(&str, &[&str])] = &[
    (
        "setup without root's rights",
        &["setup", "--site", "/var/www/site", "--yes"],
    ),
    ("remove without root's rights", &["remove", "--yes"]),
    (
        "the folder of --root does not exist",
        &["plan", "--root", "/nowhere"],
    ),
    ("a command that is nearly right", &["setpu"]),
    ("no workers on this host", &["pause", "--state", "/nowhere"]),
    (
        "pause of a site without workers",
        &["pause", "--state", "STATE", "--site", "/srv/none"],
    ),
    (
        "pause without root's rights",
        &["pause", "--state", "STATE"],
    ),
    (
        "a failed job that does not exist",
        &["failed", "show", "1-2", "--state", "STATE", "--site", "b"],
    ),
    (
        "no failed jobs chosen",
        &["failed", "retry", "--state", "STATE", "--site", "b"],
    ),
    (
        "failed jobs chosen in two ways",
        &[
            "failed", "forget", "--all", "--hook", "import_*", "--state", "STATE", "--site", "b",
        ],
    ),
    (
        "a filter for one failed job",
        &[
            "failed", "show", "1-2", "--since", "1h", "--state", "STATE", "--site", "b",
        ],
    ),
    (
        "an age that is none",
        &["failed", "--since", "yesterday", "--state", "STATE"],
    ),
    (
        "the failed jobs of another user",
        &["failed", "--state", "STATE", "--site", "a"],
    ),
    (
        "status of a site without workers",
        &["status", "--state", "STATE", "--site", "/srv/none"],
    ),
    (
        "an invalid name of a worker",
        &["worker", "--site", "/", "--name", "../x"],
    ),
];

fn walk(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(walk(&path)),
            path => found.push(path),
        }
    }
    found
}

/// A case as in the file: everything that was printed to standard error.
fn shown(what: &str, words: &[&str], output: &Output, places: &[(&Path, &str)]) -> String {
    let mut said = String::from_utf8_lossy(&output.stderr).into_owned();
    let all = format!("{said}{}", String::from_utf8_lossy(&output.stdout));
    for secret in SECRETS {
        assert!(!all.contains(secret), "{what} shows a secret: {all}");
    }
    for (place, name) in places {
        said = said.replace(place.to_str().unwrap(), name);
    }
    assert!(!said.is_empty(), "{what} says nothing: {all}");
    let words = words.join(" ");
    format!(
        "# {what}\n$ wp-gears {words}\n{said}exit {}\n\n",
        code(output)
    )
}

#[test]
fn held_errors_say_what_was_attempted_what_came_back_and_what_to_do() {
    let mut text = String::new();
    for (what, prepare, words) in CASES {
        let root = Root::new();
        prepare(&root);
        let before = root.tree();
        let output = root.run(words);
        assert_ne!(code(&output), 0, "{what}");
        if words[0] == "setup" {
            assert_eq!(root.tree(), before, "changed: {what}");
        }
        text.push_str(&shown(what, words, &output, &[(root.path(), "")]));
    }

    let nobody = AsNobody::new();
    let state = nobody.path().join("state");
    for (name, mode) in [
        ("run/a", 0o755),
        ("run/b", 0o755),
        ("failed/a", 0o000),
        ("failed/b/waiting", 0o755),
    ] {
        std::fs::create_dir_all(state.join(name)).unwrap();
        std::fs::set_permissions(state.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    std::fs::set_permissions(state.join("run"), std::fs::Permissions::from_mode(0o555)).unwrap();
    for (what, words) in OTHERS {
        let words: Vec<&str> = words
            .iter()
            .map(|word| {
                if *word == "STATE" {
                    state.to_str().unwrap()
                } else {
                    word
                }
            })
            .collect();
        let output = nobody.run(&words);
        assert_ne!(code(&output), 0, "{what}");
        let named: Vec<&str> = words
            .iter()
            .map(|word| {
                if *word == state.to_str().unwrap() {
                    "STATE"
                } else {
                    word
                }
            })
            .collect();
        text.push_str(&shown(what, &named, &output, &[(&state, "STATE")]));
    }
    std::fs::set_permissions(
        state.join("failed/a"),
        std::fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    std::fs::set_permissions(state.join("run"), std::fs::Permissions::from_mode(0o755)).unwrap();

    held("tests/cli/errors.txt", text);
}

#[test]
fn the_chain_of_causes_is_shown_with_v_only() {
    let root = Root::new();
    let words = ["setup", "--site", SITE, "--worker-user", "nobody9", "--yes"];
    let short = String::from_utf8(root.run(&words).stderr).unwrap();
    let long = String::from_utf8(root.run(&[&words[..], &["-v"]].concat()).stderr).unwrap();
    assert!(long.contains("there is no such user") && short.contains("there is no such user"));
    assert!(
        !short.contains("Caused by") && short.lines().count() == 2,
        "{short}"
    );
}
