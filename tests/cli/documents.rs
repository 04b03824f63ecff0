//! Output for programs: the configuration that setup prints, and the documents of
//! --json.

use crate::common::judge::is_valid;
use crate::root::{CONFIG, Root, SITE, code, text};

fn document(output: &std::process::Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
}

/// The output of `plan` with these arguments.
fn plan(root: &Root, words: &[&str]) -> serde_json::Value {
    let mut plan = document(&root.run(&[&["plan", "--json"], words].concat()))["plan"].take();
    // With --config, nothing is recorded.
    if let Some(steps) = plan.as_array_mut() {
        steps.retain(|step| step["resource"] != "file /etc/wp-gears.toml");
    }
    plan
}

#[test]
fn the_printed_configuration_gives_the_same_plan() {
    let hosts: [(&str, &[&str], &str); 4] = [
        ("fresh", &[], ""),
        (
            "set by options",
            &[
                "--workers",
                "5",
                "--port",
                "4999",
                "--queue",
                "memory",
                "--job-timeout",
                "90",
                "--worker-user",
                "www-data",
                "--program",
                "mine",
                "--allow-upgrades",
            ],
            "",
        ),
        (
            "elsewhere",
            &["--role", "worker,web", "--servers", "jobs:4730,[::1]:4731"],
            "",
        ),
        (
            "set by a file",
            &[],
            "listen = '0.0.0.0'\nexpose = true\njob-retries = 7\n",
        ),
    ];
    for (what, options, file) in hosts {
        let root = Root::new();
        root.site("/srv/b c");
        if !file.is_empty() {
            root.put("/etc/wp-gears.toml", file);
        }
        let words = [&["--site", SITE], options].concat();
        let before = root.tree();
        let output = root.run(&[&["setup", "--print-config"], &words[..]].concat());
        assert_eq!(code(&output), 0, "{what}: {}", text(&output));
        assert_eq!(root.tree(), before, "{what}");
        let printed = String::from_utf8(output.stdout).unwrap();
        let path = root.at("/printed.toml");
        std::fs::write(&path, &printed).unwrap();
        let config = ["--config", path.to_str().unwrap()];
        let wanted = plan(&root, &words);
        assert!(
            wanted.as_array().is_some_and(|plan| plan.len() > 3),
            "{what}"
        );
        assert_eq!(plan(&root, &config), wanted, "{what}:\n{printed}");

        // On a host that is set up, it reports the present state and changes nothing.
        root.run(&[&["setup", "--yes"], &words[..]].concat());
        let output = root.run(&["setup", "--print-config"]);
        std::fs::write(&path, &output.stdout).unwrap();
        let output = root.run(&[&["plan", "--check"], &config[..]].concat());
        assert_eq!(code(&output), 0, "{what}: {}", text(&output));
    }
}

#[test]
fn the_printed_configuration_says_what_each_option_is_and_no_salt() {
    let root = Root::new();
    root.site("/srv/b");
    let output = root.run(&[
        "setup",
        "--site",
        SITE,
        "--print-config",
        "--salt",
        "geheim",
        "--workers",
        "3",
    ]);
    let printed = text(&output);
    assert!(!printed.contains("geheim"), "{printed}");
    assert!(printed.contains("\nworkers = 3\n") && printed.contains("\nport = 4730\n"));
    let setup = wp_gears::cli::command();
    let setup = setup.find_subcommand("setup").unwrap();
    let about = |arg: &clap::Arg| {
        arg.get_help_heading()
            .is_some_and(|h| h.ends_with("options"))
    };
    let named: Vec<&clap::Arg> = setup.get_arguments().filter(|arg| about(arg)).collect();
    assert!(named.len() > 30, "{}", named.len());
    for arg in named {
        let name = arg.get_long().unwrap();
        let set = printed.lines().any(|line| {
            line.trim_start_matches("# ")
                .starts_with(&format!("{name} ="))
        });
        assert!(set, "no {name} in\n{printed}");
    }
    // A site that cannot be set up is reported, and the others are printed.
    let output = root.run(&[
        "setup",
        "--print-config",
        "--site",
        "/srv/b",
        "--site",
        "/nowhere",
    ]);
    assert_eq!(code(&output), 1);
    assert!(text(&output).contains("dir = \"/srv/b\"") && text(&output).contains("/nowhere"));
}

#[test]
fn documents_are_as_their_schema_says() {
    let root = Root::new();
    root.site("/srv/b");
    root.put("/srv/c/readme.txt", "");
    root.put(&format!("{SITE}/wp-config.php"), CONFIG);
    let runs: [(&str, &[&str], i32); 7] = [
        ("setup", &["plan", "--site", SITE, "--json"], 0),
        (
            "setup",
            &[
                "setup", "--site", SITE, "--site", "/srv/b", "--site", "/srv/c", "--yes", "--json",
            ],
            1,
        ),
        ("setup", &["setup", "--site", SITE, "--yes", "--json"], 0),
        (
            "setup",
            &["setup", "--site", "/nowhere", "--yes", "--json"],
            1,
        ),
        ("setup", &["setup", "--workers", "0", "--json"], 2),
        ("setup", &["remove", "--site", SITE, "--yes", "--json"], 0),
        ("setup", &["remove", "--yes", "--purge", "--json"], 0),
    ];
    for (schema, words, wanted) in runs {
        let output = root.run(words);
        assert_eq!(code(&output), wanted, "{words:?}: {}", text(&output));
        is_valid(schema, &document(&output));
    }
    let state = root.at("/var/lib/wp-gears");
    std::fs::create_dir_all(state.join("run")).unwrap();
    let failed = ["failed", "--json", "--state", state.to_str().unwrap()];
    is_valid("failed", &document(&crate::root::wp_gears(&failed)));
    let none = crate::root::wp_gears(&[&failed[..], &["show", "no-such"]].concat());
    assert_eq!(code(&none), 2, "{}", text(&none));
    is_valid("failed", &document(&none));
    for verb in ["pause", "reload", "resume"] {
        for name in ["a", "b"] {
            std::fs::create_dir_all(state.join("run").join(name)).unwrap();
        }
        let words = [verb, "--json", "--state", state.to_str().unwrap()];
        let paused = document(&crate::root::wp_gears(&words));
        assert_eq!(
            paused["sites"].as_array().map(Vec::len),
            Some(2),
            "{paused}"
        );
        is_valid("pause", &paused);
    }
    // The content depends on this machine, so only its form is checked.
    let looked = [
        "doctor", "--json", "--site", "/nowhere", "platform", "sites",
    ];
    is_valid("doctor", &document(&crate::root::wp_gears(&looked)));
    is_valid(
        "doctor",
        &document(&crate::root::wp_gears(&["doctor", "--json", "no-check"])),
    );
}

/// Files to start from name variables that the program knows.
#[test]
fn variables_in_files_for_containers_are_options() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib");
    let page = include_str!("../../docs/options.md");
    let mut seen = 0;
    for file in ["container/compose.yaml", "kubernetes/worker.yaml"] {
        let all = std::fs::read_to_string(folder.join(file)).unwrap();
        for name in all.split(|c: char| !c.is_ascii_uppercase() && c != '_') {
            let Some(option) = name.strip_prefix("WP_GEARS_") else {
                continue;
            };
            let option = option.to_lowercase().replace('_', "-");
            let others = ["site", "name", "servers"].contains(&option.as_str());
            assert!(
                others || page.contains(&format!("`--{option}`")),
                "{file}: {name}"
            );
            seen += 1;
        }
    }
    assert!(seen > 10, "{seen}");
}
