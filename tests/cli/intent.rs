//! The intent for a host is stored in `/etc/wp-gears.toml`, and obeyed.

use std::process::Output;

use crate::root::{Root, SETTINGS, SITE, code, text, wp_gears_command};

pub const INTENT: &str = "/etc/wp-gears.toml";
pub const PROGRAM: &str = "/etc/supervisor/conf.d/wp-gears-site.conf";

pub fn setup(root: &Root, words: &[&str]) -> Output {
    let output = root.run(&[&["setup", "--yes"], words].concat());
    assert_eq!(code(&output), 0, "{}", text(&output));
    output
}

/// Asserts that neither plan nor a second setup have anything to do.
#[track_caller]
pub fn is_settled(root: &Root) {
    let output = root.run(&["plan", "--check"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    let before = root.tree();
    assert!(text(&setup(root, &[])).contains("Nothing to change."));
    assert_eq!(root.tree(), before);
}

#[test]
fn a_role_is_remembered() {
    let root = Root::new();
    setup(
        &root,
        &[
            "--site",
            SITE,
            "--role",
            "worker,web",
            "--servers",
            "jobs:4730",
        ],
    );
    is_settled(&root);
    let text = root.get(INTENT);
    for line in [
        "role = [\"worker\", \"web\"]",
        "servers = [\"jobs:4730\"]",
        "dir = \"/var/www/site\"",
    ] {
        assert!(text.lines().any(|it| it == line), "{line}: {text}");
    }
}

#[test]
fn options_from_another_file_are_added_and_recorded() {
    let root = Root::new();
    root.site("/srv/b");
    root.put(
        INTENT,
        "# mine\nport = 4731\n\n[[site]]\ndir = \"/var/www/site\"\nworkers = 3\njob-retries = 5\n",
    );
    let from = root.at("/from.toml");
    let added = "queue = \"memory\"\n[[site]]\ndir = \"/var/www/site\"\nworkers = 4\n[[site]]\ndir = \"/srv/b\"\nsalt = \"SaltOfB12345\"\n";
    std::fs::write(&from, added).unwrap();
    let from = format!("--from={}", from.display());

    let before = root.tree();
    let output = root.run(&["plan", &from, "--check", "--quiet"]);
    assert_eq!(code(&output), 3, "{}", text(&output));
    assert_eq!(root.tree(), before);

    // The command line overrides both files.
    setup(&root, &[&from, "--port", "4732"]);
    let recorded = root.get(INTENT);
    assert_eq!(
        recorded,
        "# mine\nport = 4732\nqueue = \"memory\"\n\n[[site]]\ndir = \"/var/www/site\"\nworkers = 4\njob-retries = 5\n\n[[site]]\ndir = \"/srv/b\"\n"
    );
    let config = root.get("/srv/b/wp-config.php");
    assert!(config.contains("'SaltOfB12345'"), "{config}");
    is_settled(&root);
}

#[test]
fn a_file_with_options_to_add_that_is_wrong_is_refused() {
    let root = Root::new();
    let before = root.tree();
    let output = root.run(&["setup", "--yes", "--from", "/nowhere/from.toml"]);
    assert_eq!(code(&output), 2, "{}", text(&output));
    assert!(text(&output).contains("/nowhere/from.toml"));
    root.put("/from.toml", "[[site]]\ndir = \"/srv/a\"\nworker = 4\n");
    let from = format!("--from={}", root.at("/from.toml").display());
    let output = root.run(&["setup", "--yes", &from]);
    assert_eq!(code(&output), 2, "{}", text(&output));
    assert!(text(&output).contains("did you mean 'workers'?"));
    std::fs::remove_file(root.at("/from.toml")).unwrap();
    assert_eq!(root.tree(), before);
}

#[test]
fn a_dry_run_of_remove_shows_what_remove_does() {
    let root = Root::new();
    setup(&root, &["--site", SITE]);
    let before = root.tree();
    let shown = root.run(&["remove", "--dry-run", "--json"]);
    assert_eq!(code(&shown), 0, "{}", text(&shown));
    assert_eq!(root.tree(), before);
    let resources = |output: &Output, list: &str| {
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let names = document[list].as_array().unwrap().iter();
        let mut names: Vec<String> = names.map(|it| it["resource"].to_string()).collect();
        names.sort();
        names
    };
    let removed = root.run(&["remove", "--yes", "--json"]);
    assert_eq!(resources(&shown, "plan"), resources(&removed, "done"));
    let nothing = root.run(&["remove", "--dry-run"]);
    assert!(
        text(&nothing).contains("Nothing would change."),
        "{}",
        text(&nothing)
    );
}

#[test]
fn a_job_server_needs_no_site() {
    let root = Root::new();
    setup(&root, &["--role", "server", "--listen", "10.0.0.5"]);
    let options = root.get("/etc/default/gearman-job-server");
    assert!(options.contains("--listen=10.0.0.5"), "{options}");
    assert!(!root.at("/usr/local/lib/wp-gears").exists());
    is_settled(&root);
    let output = root.run(&["remove", "--yes", "--purge"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    assert!(!root.at(INTENT).exists());
}

#[test]
fn a_program_that_was_deleted_comes_back_as_it_was() {
    let root = Root::new();
    setup(
        &root,
        &["--site", SITE, "--workers", "5", "--job-retries", "7"],
    );
    let before = root.tree();
    std::fs::remove_file(root.at(PROGRAM)).unwrap();
    let output = root.run(&["plan"]);
    assert!(text(&output).contains(&format!("create file {PROGRAM}")));
    setup(&root, &[]);
    let mut after = root.tree();
    // The journal has one more entry.
    let is_journal = |path: &std::path::Path| path.ends_with("site-site.jsonl");
    let mut expected = before;
    expected.retain(|path, _| !is_journal(path));
    after.retain(|path, _| !is_journal(path));
    assert_eq!(after, expected);
}

#[test]
fn every_worker_option_reaches_the_workers_and_stays() {
    let root = Root::new();
    let options = [
        ("--idle-timeout", "61"),
        ("--max-age", "62"),
        ("--max-jobs", "63"),
        ("--max-memory", "64"),
        ("--job-timeout", "65"),
        ("--log", "/var/log/wp-gears/mine.log"),
        ("--scale-after", "66"),
    ];
    let words = options.iter().flat_map(|(name, value)| [*name, *value]);
    let words: Vec<&str> = ["--site", SITE].into_iter().chain(words).collect();
    setup(&root, &["--site", SITE]);
    let program = root.get(PROGRAM);
    setup(&root, &words);
    for (name, value) in options {
        let settings: toml::Table = root.get(SETTINGS).parse().unwrap();
        let found = &settings["options"][name.trim_start_matches('-')];
        let found = found
            .as_str()
            .map_or_else(|| found.to_string(), str::to_owned);
        assert_eq!(found, value, "{name}");
    }
    // A changed program would be restarted.
    assert_eq!(root.get(PROGRAM), program);
    is_settled(&root);
    // Removed from the file, it is the default again.
    let without = root.get(INTENT).replace("max-memory = 64\n", "");
    root.put(INTENT, &without);
    setup(&root, &[]);
    assert!(!root.get(SETTINGS).contains("max-memory"));
    is_settled(&root);
}

#[test]
fn variables_are_recorded_and_secrets_are_not() {
    let root = Root::new();
    let output = wp_gears_command(&["setup", "--yes", "--site", SITE, "--salt", "very-geheim"])
        .args([std::ffi::OsStr::new("--root"), root.path().as_os_str()])
        .env("WP_GEARS_WORKERS", "4")
        .env("WP_GEARS_QUEUE", "memory")
        .output()
        .unwrap();
    assert_eq!(code(&output), 0, "{}", text(&output));
    let recorded = root.get(INTENT);
    assert!(recorded.contains("workers = 4\n"), "{recorded}");
    assert!(recorded.contains("queue = \"memory\"\n"), "{recorded}");
    assert!(!recorded.contains("geheim"), "{recorded}");
    is_settled(&root);
}

#[test]
fn remove_takes_a_sites_table_out_and_leaves_what_people_wrote() {
    let root = Root::new();
    root.site("/srv/b");
    let before = root.tree();
    setup(
        &root,
        &["--site", SITE, "--site", "/srv/b", "--queue", "memory"],
    );
    let with_comment = root.get(INTENT).replace(
        "[[site]]\ndir = \"/srv/b\"",
        "# the shop\n[[site]]\ndir = \"/srv/b\"",
    );
    root.put(INTENT, &with_comment);
    let output = root.run(&["remove", "--site", SITE, "--yes"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    let left = root.get(INTENT);
    assert!(!left.contains(SITE) && left.contains("/srv/b"), "{left}");
    assert!(left.contains("queue = \"memory\""), "{left}");
    let output = root.run(&["remove", "--yes", "--purge"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    let left = root.get(INTENT);
    assert!(left.contains("# the shop"), "{left}");
    assert!(
        !left.contains("queue") && !left.contains("/srv/b"),
        "{left}"
    );
    std::fs::remove_file(root.at(INTENT)).unwrap();
    assert_eq!(root.tree(), before);
}

#[test]
fn a_file_that_people_keep_is_adopted_and_not_written() {
    let root = Root::new();
    let written = "# managed elsewhere\nqueue = \"memory\"\n[[site]]\ndir = \"/var/www/site\"\n";
    root.put(INTENT, written);
    setup(&root, &[]);
    assert_eq!(root.get(INTENT), written);
    is_settled(&root);
    // With another file nothing is recorded.
    root.put(
        "/other.toml",
        "workers = 3\n[[site]]\ndir = \"/var/www/site\"\n",
    );
    let other = root.at("/other.toml");
    setup(&root, &["--config", other.to_str().unwrap()]);
    assert_eq!(root.get(INTENT), written);
}

#[test]
fn what_is_refused_is_not_recorded() {
    let root = Root::new();
    let output = root.run(&["setup", "--yes", "--site", SITE, "--site", "/srv/nothing"]);
    assert_eq!(code(&output), 1);
    let recorded = root.get(INTENT);
    assert!(
        recorded.contains(SITE) && !recorded.contains("/srv/nothing"),
        "{recorded}"
    );
}

#[test]
fn another_queue_leaves_the_old_ones_options_behind() {
    let root = Root::new();
    let options = ["--queue", "mysql", "--mysql-host", "db"];
    setup(&root, &[&["--site", SITE], &options[..]].concat());
    is_settled(&root);
    let params = "/etc/default/gearman-job-server";
    assert!(root.get(params).contains("--mysql-host=db"));

    // The file keeps its MySQL options, which have no effect.
    setup(&root, &["--queue", "sqlite"]);
    is_settled(&root);
    assert!(root.get(INTENT).contains("mysql-host = \"db\""));
    assert!(root.get(params).contains("--queue-type=libsqlite3"));

    for queue in ["memory", "sqlite"] {
        let words = ["plan", "--queue", queue, "--mysql-port", "3307"];
        let output = root.run(&words);
        assert_eq!(code(&output), 2, "{}", text(&output));
        assert!(text(&output).contains("--mysql-port"), "{}", text(&output));
    }
    setup(&root, &["--queue", "mysql"]);
    assert!(root.get(params).contains("--queue-type=MySQL"));
}

#[test]
fn a_file_with_options_of_another_queue_and_no_queue_is_refused() {
    let root = Root::new();
    root.put(
        INTENT,
        &format!("mysql-host = \"db\"\n[[site]]\ndir = \"{SITE}\"\n"),
    );
    let output = root.run(&["plan"]);
    assert_eq!(code(&output), 2, "{}", text(&output));
    assert!(
        text(&output).contains("add --queue mysql"),
        "{}",
        text(&output)
    );
}

#[test]
fn a_job_server_serves_no_site_until_it_has_the_role() {
    let root = Root::new();
    setup(&root, &["--role", "server"]);
    let before = root.tree();
    for command in ["plan", "setup"] {
        let output = root.run(&[command, "--site", SITE]);
        assert_eq!(code(&output), 2, "{}", text(&output));
        assert!(text(&output).contains("--role server,worker,web"));
    }
    // A folder that is not a site does not stop it.
    let output = root.run(&["remove", "--yes", "--site", SITE]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    assert_eq!(root.tree(), before);
    setup(&root, &["--site", SITE, "--role", "server,worker,web"]);
    is_settled(&root);
}

#[test]
fn pages_alone_have_the_php_that_they_need() {
    let root = Root::new();
    let words = [
        "--site",
        SITE,
        "--role",
        "web",
        "--servers",
        "jobs:4730,more:1",
    ];
    setup(&root, &words);
    let own = root.at("/usr/local/lib/wp-gears");
    assert!(own.join("runner.php").is_file() && !own.join("wp-gears").exists());
    assert!(root.at(SITE).join("wp-gears-runner.php").is_symlink());
    is_settled(&root);
}

#[test]
fn a_relative_path_is_recorded_as_an_absolute_one() {
    let root = Root::new();
    setup(&root, &["--site", SITE, "--worker-dir", "tests"]);
    let dir = std::env::current_dir().unwrap().join("tests");
    let program = root.get(PROGRAM);
    assert!(
        program.contains(&format!("directory={}\n", dir.display())),
        "{program}"
    );
    is_settled(&root);
    let relative = root.get(INTENT).replace(dir.to_str().unwrap(), "tests");
    root.put(INTENT, &relative);
    let output = root.run(&["plan"]);
    assert_eq!(code(&output), 2, "{}", text(&output));
    assert!(text(&output).contains("'worker-dir': expected an absolute path"));
}

#[test]
fn a_file_that_cannot_be_read_stops_setup_but_not_remove() {
    for broken in ["role = [\"worker\"\n", "# caf\u{e9}\n"] {
        let root = Root::new();
        let clean = root.tree();
        setup(&root, &["--site", SITE]);
        // The second one in Latin-1.
        let latin: Vec<u8> = broken.chars().map(|c| c as u8).collect();
        let bytes = [root.get(INTENT).into_bytes(), latin].concat();
        std::fs::write(root.at(INTENT), &bytes).unwrap();
        let before = root.tree();
        for words in [&["plan"][..], &["setup", "--yes", "--site", SITE]] {
            let output = root.run(words);
            assert_eq!(code(&output), 2, "{}", text(&output));
            assert!(
                text(&output).contains("line 6, column"),
                "{}",
                text(&output)
            );
        }
        assert_eq!(root.tree(), before);
        let output = root.run(&["remove", "--yes", "--purge"]);
        assert_eq!(code(&output), 0, "{}", text(&output));
        let left = format!("note: kept {INTENT}, which cannot be edited (line 6, column");
        assert!(text(&output).contains(&left), "{}", text(&output));
        assert_eq!(std::fs::read(root.at(INTENT)).unwrap(), bytes);
        std::fs::remove_file(root.at(INTENT)).unwrap();
        assert_eq!(root.tree(), clean);
    }
}

#[test]
fn a_site_that_is_gone_is_taken_out_of_the_file_by_remove() {
    let root = Root::new();
    root.site("/srv/b");
    setup(&root, &["--site", SITE, "--site", "/srv/b"]);
    std::fs::remove_dir_all(root.at("/srv/b")).unwrap();
    // Also one that was never set up.
    let named = format!(
        "{}\n# later\n[[site]]\ndir = \"/srv/c/\"\n",
        root.get(INTENT)
    );
    root.put(INTENT, &named);
    let output = root.run(&["plan"]);
    assert_eq!(code(&output), 1);
    for dir in ["/srv/b", "/srv/c"] {
        let help = format!("run 'wp-gears remove --site {dir}'");
        assert!(text(&output).contains(&help), "{}", text(&output));
        let output = root.run(&["remove", "--yes", "--site", dir]);
        assert_eq!(code(&output), 0, "{}", text(&output));
        assert!(!root.get(INTENT).contains(dir));
    }
    assert!(root.get(INTENT).contains("# later"));
    is_settled(&root);
}

#[test]
fn a_salt_that_people_wrote_into_the_file_is_not_shown() {
    for salt in ["'geheim'", "\"\"\"\ngeheim\"\"\""] {
        let root = Root::new();
        root.put(
            INTENT,
            &format!("port = 4731\nsalt = {salt}\n[[site]]\ndir = \"{SITE}\"\n"),
        );
        for words in [
            &["setup", "--yes", "--workers", "3"][..],
            &["plan", "--json", "--port", "4732", "--workers", "2"],
            &["remove", "--yes"],
        ] {
            let output = root.run(words);
            assert_eq!(code(&output), 0, "{}", text(&output));
            assert!(text(&output).contains(INTENT), "{}", text(&output));
            assert!(!text(&output).contains("geheim"), "{}", text(&output));
        }
    }
}

#[test]
fn a_range_of_workers_is_recorded_and_stays() {
    let root = Root::new();
    setup(&root, &["--site", SITE, "--workers", "2..8"]);
    let recorded = root.get(INTENT);
    assert!(recorded.contains("workers = \"2..8\"\n"), "{recorded}");
    is_settled(&root);
    let printed = root.run(&["setup", "--print-config"]);
    assert!(
        text(&printed).contains("\nworkers = \"2..8\"\n"),
        "{}",
        text(&printed)
    );
    setup(&root, &["--site", SITE, "--workers", "4..4"]);
    assert!(root.get(INTENT).contains("workers = 4\n"));
    is_settled(&root);
}
