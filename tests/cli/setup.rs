//! The command line from outside, on folders that serve as hosts.

use crate::root::{AsNobody, CONFIG, PARAMS, Root, SETTINGS, SITE, code, text, wp_gears};

const SETUP: [&str; 4] = ["setup", "--site", SITE, "--yes"];

#[test]
fn setup_is_idempotent_and_remove_gives_everything_back() {
    let root = Root::new();
    let before = root.tree();
    let output = root.run(&SETUP);
    assert_eq!(code(&output), 0, "{}", text(&output));
    let after = root.tree();
    assert!(
        root.get(&format!("{SITE}/wp-config.php"))
            .contains("WP_GEARS")
    );
    assert!(
        root.get("/etc/default/gearman-job-server")
            .contains("--queue-type=libsqlite3")
    );

    let output = root.run(&SETUP);
    assert!(
        text(&output).contains("Nothing to change"),
        "{}",
        text(&output)
    );
    assert_eq!(root.tree(), after);

    let output = root.run(&["remove", "--site", SITE, "--yes", "--purge"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    assert_eq!(root.tree(), before);
}

#[test]
fn plan_shows_the_diff_and_changes_nothing() {
    let root = Root::new();
    let before = root.tree();
    let output = root.run(&["plan", "--site", SITE, "--check"]);
    assert_eq!(code(&output), 3, "{}", text(&output));
    let shown = text(&output);
    let adds =
        |line: &str| line.trim_start().starts_with('+') && line.contains("--job-retries=255");
    assert!(shown.lines().any(adds), "{shown}");
    assert_eq!(root.tree(), before);
    root.run(&SETUP);
    let output = root.run(&["plan", "--site", SITE, "--check"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
}

/// What a terminal would obey, and what would show a text in another order.
#[test]
fn nothing_in_a_site_can_drive_the_terminal() {
    let root = Root::new();
    let hostile = "\x1b]0;title\x07 \x1b[2J \x1b[8m \u{9b}31m \u{202e}txt \u{2066}";
    let servers = format!("$gearman_servers = array( '10.0.0.1:4730' ); // {hostile}\n");
    let config = CONFIG.replacen("<?php\n", &format!("<?php\n{servers}"), 1);
    root.put(&format!("{SITE}/wp-config.php"), &config);
    for args in [
        vec!["plan", "--site", SITE, "--servers", "10.0.0.2:4730"],
        vec![
            "plan",
            "--site",
            SITE,
            "--servers",
            "10.0.0.2:4730",
            "--json",
        ],
        vec!["plan", "--site", SITE, "--servers", hostile],
        vec!["plan", "--site", hostile],
        vec!["setup", "--site", SITE, "--yes", "--verbose"],
        vec!["doctor", "--site", SITE],
    ] {
        let output = root.run(&args);
        let shown = text(&output);
        let bad = shown.chars().find(|c| {
            (c.is_control() && *c != '\n' && *c != '\t')
                || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        });
        assert_eq!(bad, None, "{args:?}: {shown:?}");
    }
}

#[test]
fn secrets_are_not_shown() {
    let root = Root::new();
    let salt = "very-secret-salt";
    for verb in ["plan", "setup"] {
        let mut args = vec![verb, "--site", SITE, "--salt", salt];
        if verb == "setup" {
            args.push("--yes");
        }
        for extra in ["-v", "--json"] {
            let mut args = args.clone();
            args.push(extra);
            let shown = text(&root.run(&args));
            assert!(
                !shown.contains(salt) && !shown.contains("geheim"),
                "{shown}"
            );
        }
    }
    assert!(root.get(&format!("{SITE}/wp-config.php")).contains(salt));
}

#[test]
fn what_a_later_setup_does_not_say_stays() {
    let root = Root::new();
    root.run(&[
        "setup",
        "--site",
        SITE,
        "--yes",
        "--workers",
        "5",
        "--job-timeout",
        "90",
        "--port",
        "4999",
    ]);
    let after = root.tree();
    let output = root.run(&SETUP);
    assert_eq!(code(&output), 0, "{}", text(&output));
    assert_eq!(root.tree(), after);
}

#[test]
fn several_sites_one_refused() {
    let root = Root::new();
    root.site("/srv/b");
    root.put("/srv/c/readme.txt", "");
    let output = root.run(&[
        "setup", "--site", SITE, "--site", "/srv/b", "--site", "/srv/c", "--yes",
    ]);
    assert_eq!(code(&output), 1, "{}", text(&output));
    assert!(text(&output).contains("/srv/c"), "{}", text(&output));
    for site in [SITE, "/srv/b"] {
        assert!(
            root.get(&format!("{site}/wp-config.php"))
                .contains("WP_GEARS")
        );
    }
    // Each has its own salt, and removing one leaves the other.
    let output = root.run(&["remove", "--site", "/srv/b", "--yes"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    assert_eq!(root.get("/srv/b/wp-config.php"), CONFIG);
    assert!(
        root.get(&format!("{SITE}/wp-config.php"))
            .contains("WP_GEARS")
    );
    assert_ne!(root.get("/etc/default/gearman-job-server"), PARAMS);
}

#[test]
fn two_sites_with_one_salt_are_refused() {
    let root = Root::new();
    root.site("/srv/b");
    let salted = CONFIG.replace(
        "$table_prefix",
        "define( 'WP_ASYNC_TASK_SALT', 'one' );\n$table_prefix",
    );
    for site in [SITE, "/srv/b"] {
        root.put(&format!("{site}/wp-config.php"), &salted);
    }
    let before = root.tree();
    let output = root.run(&["setup", "--site", SITE, "--site", "/srv/b", "--yes"]);
    assert_eq!(code(&output), 1, "{}", text(&output));
    assert!(
        text(&output).contains("same WP_ASYNC_TASK_SALT"),
        "{}",
        text(&output)
    );
    assert_eq!(root.tree(), before);
}

#[test]
fn remove_works_without_a_journal() {
    let root = Root::new();
    root.run(&SETUP);
    std::fs::remove_dir_all(root.at("/var/lib/wp-gears/state")).unwrap();
    let output = root.run(&["remove", "--site", SITE, "--yes"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    assert_eq!(root.get(&format!("{SITE}/wp-config.php")), CONFIG);
    assert!(
        !root
            .at("/etc/supervisor/conf.d/wp-gears-site.conf")
            .exists()
    );
    assert!(!root.at(format!("{SITE}/wp-gears-runner.php")).is_symlink());
}

#[test]
fn bad_input_is_one_clear_error_before_anything_changes() {
    let root = Root::new();
    root.put("/srv/empty/readme.txt", "");
    let before = root.tree();
    for (args, code_wanted, words) in [
        (
            vec!["setup", "--site", "/nowhere", "--yes"],
            1,
            "no such folder",
        ),
        (
            vec!["setup", "--site", "/srv/empty", "--yes"],
            1,
            "contains no WordPress",
        ),
        (vec!["setup", "--yes"], 2, "no site was specified"),
        (vec!["setup", "--site", SITE], 1, "terminal or --yes"),
        (
            vec!["setup", "--site", SITE, "--salt", "a b", "--yes"],
            2,
            "letters",
        ),
        (
            vec!["setup", "--site", SITE, "--worker-user", "root", "--yes"],
            1,
            "root never runs",
        ),
        (
            vec!["setup", "--site", SITE, "--worker-user", "nobody9", "--yes"],
            1,
            "no such user",
        ),
        (
            vec!["setup", "--site", SITE, "--workers", "0", "--yes"],
            2,
            "workers",
        ),
        (
            vec!["setup", "--site", SITE, "--port", "99999", "--yes"],
            2,
            "port",
        ),
        (
            vec!["setup", "--site", SITE, "--queue", "redis", "--yes"],
            2,
            "queue",
        ),
        (
            vec!["setup", "--site", SITE, "--mysql-host", "db", "--yes"],
            2,
            "add --queue mysql",
        ),
        (
            vec!["setup", "--site", SITE, "--plugin", "wp-minions", "--yes"],
            1,
            "files are missing",
        ),
        (
            vec!["setup", "--site", SITE, "--role", "worker,web", "--yes"],
            2,
            "--servers",
        ),
        (
            vec!["remove", "--site", "/nowhere", "--yes"],
            1,
            "knows no such site",
        ),
    ] {
        let output = root.run(&args);
        assert_eq!(code(&output), code_wanted, "{args:?}: {}", text(&output));
        assert!(text(&output).contains(words), "{args:?}: {}", text(&output));
        assert_eq!(root.tree(), before, "{args:?}");
    }
}

#[test]
fn each_of_two_plugins_can_be_chosen() {
    let root = Root::new();
    for plugin in ["wp-gears", "wp-minions"] {
        let main = format!("{SITE}/wp-content/plugins/{plugin}/{plugin}.php");
        root.put(&main, "<?php\n");
    }
    for (plugin, constant) in [
        ("wp-gears", "'WP_GEARS'"),
        ("wp-minions", "'WP_MINIONS_BACKEND'"),
    ] {
        let output = root.run(&["plan", "--site", SITE, "--plugin", plugin]);
        assert!(
            text(&output).contains(constant),
            "{plugin}: {}",
            text(&output)
        );
    }
}

#[test]
fn a_linked_site_has_the_config_that_wordpress_loads() {
    let root = Root::new();
    let config = std::fs::read_to_string(root.at(format!("{SITE}/wp-config.php"))).unwrap();
    std::fs::remove_file(root.at(format!("{SITE}/wp-config.php"))).unwrap();
    std::fs::create_dir_all(root.at("/srv/www")).unwrap();
    std::os::unix::fs::symlink("../../var/www/site", root.at("/srv/www/blog")).unwrap();
    root.put("/srv/www/wp-config.php", &config);
    root.put("/var/www/wp-config.php", &config);
    let output = root.run(&["setup", "--site", "/srv/www/blog", "--yes"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    let read = |path: &str| std::fs::read_to_string(root.at(path)).unwrap();
    assert_eq!(read("/srv/www/wp-config.php"), config);
    assert!(read("/var/www/wp-config.php").contains("'WP_GEARS'"));
}

#[test]
fn a_config_that_is_a_link_to_nothing_is_named() {
    let root = Root::new();
    let path = root.at(format!("{SITE}/wp-config.php"));
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("../gone.php", &path).unwrap();
    let output = root.run(&["setup", "--site", SITE, "--yes"]);
    assert_eq!(code(&output), 1);
    assert!(
        text(&output).contains("it is a link to ../gone.php"),
        "{}",
        text(&output)
    );
}

#[test]
fn of_two_sites_with_one_config_the_second_is_refused() {
    let root = Root::new();
    root.site("/var/www/other");
    let config = root.at("/var/www/other/wp-config.php");
    std::fs::remove_file(&config).unwrap();
    std::os::unix::fs::symlink("../site/wp-config.php", &config).unwrap();
    for _ in 0..2 {
        let output = root.run(&["setup", "--site", SITE, "--site", "/var/www/other", "--yes"]);
        assert!(
            text(&output).contains("would have the same WP_ASYNC_TASK_SALT"),
            "{}",
            text(&output)
        );
    }
    let text = std::fs::read_to_string(root.at(format!("{SITE}/wp-config.php"))).unwrap();
    assert_eq!(text.matches("BEGIN wp-gears").count(), 1);
}

#[test]
fn json_is_one_document_and_nothing_else() {
    let root = Root::new();
    let output = root.run(&["setup", "--site", SITE, "--yes", "--json"]);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["platform"]["id"], "debian");
    assert_eq!(document["changed"], true);
    assert!(
        document["plan"]
            .as_array()
            .is_some_and(|plan| plan.len() > 5)
    );
    let output = root.run(&["setup", "--site", "/nowhere", "--yes", "--json"]);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(
        document["error"]
            .as_str()
            .is_some_and(|text| text.contains("no such folder"))
    );
}

#[test]
fn the_file_speaks_for_sites_and_the_command_line_over_it() {
    let root = Root::new();
    root.put(
        "/etc/wp-gears.toml",
        &format!("port = 4999\n[[site]]\ndir = \"{SITE}\"\nworkers = 7\nprogram = \"mine\"\n"),
    );
    let output = root.run(&["setup", "--workers", "3", "--yes"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    assert!(root.at("/etc/supervisor/conf.d/mine.conf").exists());
    let settings = root.get(SETTINGS);
    assert!(
        settings.contains("workers = 3\n") && settings.contains("127.0.0.1:4999"),
        "{settings}"
    );
    root.put("/etc/wp-gears.toml", "prot = 4999\n");
    let output = root.run(&SETUP);
    assert_eq!(code(&output), 2);
    assert!(
        text(&output).contains("did you mean 'port'"),
        "{}",
        text(&output)
    );
}

#[test]
fn help_and_version() {
    for command in ["setup", "plan", "remove", "worker"] {
        assert_eq!(code(&wp_gears(&[command, "--help"])), 0);
    }
    assert_eq!(code(&wp_gears(&["--version"])), 0);
    assert_eq!(code(&wp_gears(&["frobnicate"])), 2);
}

#[test]
fn without_root_rights_nothing_is_changed() {
    let output = AsNobody::new().run(&SETUP);
    assert_eq!(code(&output), 1, "{}", text(&output));
    assert!(
        text(&output).contains("root privileges are required"),
        "{}",
        text(&output)
    );
}

#[test]
fn a_site_that_is_gone_or_moved_can_be_removed() {
    let root = Root::new();
    root.site("/srv/b");
    root.run(&["setup", "--site", SITE, "--site", "/srv/b", "--yes"]);
    std::fs::remove_dir_all(root.at(SITE)).unwrap();
    std::fs::rename(root.at("/srv/b"), root.at("/srv/c")).unwrap();
    let output = root.run(&["remove", "--yes", "--purge"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    assert!(
        text(&output).contains("/srv/b no longer exists"),
        "{}",
        text(&output)
    );
    assert_eq!(root.get("/etc/default/gearman-job-server"), PARAMS);
    assert!(
        !root
            .at("/etc/supervisor/conf.d/wp-gears-site.conf")
            .exists()
    );
    assert!(root.get("/srv/c/wp-config.php").contains("WP_GEARS"));
    let output = root.run(&["remove", "--site", "/srv/c", "--yes"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    assert_eq!(root.get("/srv/c/wp-config.php"), CONFIG);
    assert!(!root.at("/srv/c/wp-gears-runner.php").is_symlink());
}

#[test]
fn a_site_moves_along_with_the_job_servers_port() {
    let root = Root::new();
    root.run(&SETUP);
    let output = root.run(&["setup", "--site", SITE, "--yes", "--port", "4999"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    assert!(
        root.get(&format!("{SITE}/wp-config.php"))
            .contains("'127.0.0.1:4999'")
    );
    let settings = root.get(SETTINGS);
    assert!(settings.contains("127.0.0.1:4999"), "{settings}");
    let after = root.tree();
    root.run(&SETUP);
    assert_eq!(root.tree(), after);
}

#[test]
fn doctor_lists_its_checks_and_knows_the_nearest_name() {
    let output = wp_gears(&["doctor", "--list"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    let list = text(&output);
    for name in ["job-server ", "queue ", "php-extension ", "runner ", "job "] {
        assert!(list.lines().any(|line| line.starts_with(name)), "{list}");
    }
    let some = wp_gears(&["doctor", "--list", "clock", "disk"]);
    assert_eq!(text(&some).lines().count(), 2, "{}", text(&some));

    let output = wp_gears(&["doctor", "que-store"]);
    assert_eq!(code(&output), 2, "{}", text(&output));
    assert!(
        text(&output).contains("did you mean 'queue-store'?"),
        "{}",
        text(&output)
    );
    let output = wp_gears(&["doctor", "xyz", "--json"]);
    assert_eq!(code(&output), 2);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(document["error"].is_string(), "{document}");
}
