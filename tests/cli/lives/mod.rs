//! What happens to edited files between setup and remove: remove takes out what is
//! ours, and keeps what people wrote.

mod random;

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use crate::root::{CONFIG, PARAMS, Root, SITE, code, text};

const FILE: &str = "/var/www/site/wp-config.php";
const OPTIONS: &str = "/etc/default/gearman-job-server";
const PROGRAM: &str = "/etc/supervisor/conf.d/wp-gears-site.conf";
const STATE: &str = "/var/lib/wp-gears/state";

/// A host on which setup has run.
struct Life(Root);

impl Life {
    fn new() -> Life {
        Life::of(CONFIG)
    }

    fn of(config: &str) -> Life {
        let root = Root::new();
        root.put(FILE, config);
        let life = Life(root);
        life.setup(&["--salt", "first"]);
        life
    }

    fn setup(&self, options: &[&str]) -> &Self {
        let words = [&["setup", "--site", SITE, "--yes"], options].concat();
        let output = self.0.run(&words);
        assert_eq!(code(&output), 0, "{options:?}: {}", text(&output));
        self
    }

    fn edit(&self, path: &str, change: impl FnOnce(String) -> String) -> &Self {
        let old = self.0.get(path);
        let new = change(old.clone());
        assert_ne!(old, new, "nothing was edited");
        self.0.put(path, &new);
        self
    }

    fn replace(&self, path: &str, old: &str, new: &str) -> &Self {
        self.edit(path, |text| text.replacen(old, new, 1))
    }

    fn lose_the_journal(&self) -> &Self {
        std::fs::remove_dir_all(self.0.at(STATE)).unwrap();
        self
    }

    /// Removes everything; returns what was said.
    fn remove(&self) -> String {
        let output = self.0.run(&["remove", "--site", SITE, "--yes"]);
        assert_eq!(code(&output), 0, "{}", text(&output));
        text(&output)
    }

    #[track_caller]
    fn ends_as(&self, path: &str, wanted: &str) -> String {
        let before = self.0.get(path);
        let said = self.remove();
        assert_eq!(self.0.get(path), wanted, "{said}\nfrom {before}");
        said
    }
}

/// Later setups that edit the file.
const LATER: [&[&str]; 4] = [
    &["--salt", "second"],
    &["--servers", "10.0.0.1:4730"],
    &["--port", "4999"],
    &[],
];

const NETWORK: &str = "define( 'MULTISITE', true );\ndefine( 'SUBDOMAIN_INSTALL', false );\ndefine( 'DOMAIN_CURRENT_SITE', 'net.example' );\ndefine( 'PATH_CURRENT_SITE', '/' );\n";

#[test]
fn what_people_write_between_two_setups_stays() {
    let passwords = |text: &str| text.replace("geheim", "rotated");
    let network = |text: &str| text.replace("$table_prefix", &format!("{NETWORK}$table_prefix"));
    let cache = |text: &str| text.replace("<?php\n", "<?php\ndefine( 'WP_CACHE', true );\n");
    let dos = |text: &str| text.replace('\n', "\r\n");
    let spaces = |text: &str| text.replace('\t', "    ");
    type Change<'c> = &'c dyn Fn(&str) -> String;
    let changes: [Change; 5] = [&passwords, &network, &cache, &dos, &spaces];
    for options in LATER {
        for change in changes {
            let life = Life::new();
            life.edit(FILE, |text| change(&text)).setup(options);
            life.ends_as(FILE, &change(CONFIG));
        }
        let life = Life::new();
        for change in changes {
            life.edit(FILE, |text| change(&text)).setup(options);
        }
        let all = changes
            .iter()
            .fold(CONFIG.to_owned(), |text, change| change(&text));
        life.edit(FILE, |text| text + "// the end\r\n");
        life.ends_as(FILE, &(all + "// the end\r\n"));
    }
}

#[test]
fn what_people_write_into_gearmands_options_stays() {
    let more = |text: &str| text.replace("--daemon", "--daemon --verbose=INFO");
    for options in LATER {
        let life = Life::new();
        life.edit(OPTIONS, |text| more(&text) + "MINE=1\n")
            .setup(options);
        life.ends_as(OPTIONS, &(more(PARAMS) + "MINE=1\n"));
    }
}

#[test]
fn what_people_write_into_a_program_file_stays_unless_it_is_about_the_program() {
    let mine = "\n[program:mine]\ncommand=/bin/mine\n";
    let life = Life::new();
    life.edit(PROGRAM, |text| text + mine);
    life.remove();
    assert_eq!(life.0.get(PROGRAM).trim(), mine.trim());

    let life = Life::new();
    life.edit(PROGRAM, |text| text + "priority=5\n");
    let said = life.remove();
    assert!(said.contains("priority=5"), "{said}");
    assert!(!life.0.at(PROGRAM).exists());

    let life = Life::new();
    life.lose_the_journal().edit(PROGRAM, |text| text + mine);
    life.remove();
    assert_eq!(life.0.get(PROGRAM).trim(), mine.trim());
}

#[test]
fn values_that_were_there_come_back_as_people_left_them() {
    let with = |salt: &str| {
        CONFIG.replace(
            "$table_prefix",
            &format!("define( 'WP_ASYNC_TASK_SALT', '{salt}' ); // ours\n$table_prefix"),
        )
    };
    for options in [&["--salt", "second"][..], &["--port", "4999"]] {
        let life = Life::of(&with("old"));
        life.replace(FILE, "// ours", "// really ours")
            .setup(options);
        life.ends_as(FILE, &with("old").replace("// ours", "// really ours"));
    }
    let life = Life::of(&with("old"));
    life.replace(FILE, "'first'", "'theirs'")
        .setup(&["--salt", "second"]);
    life.ends_as(FILE, &with("theirs"));
    // The statement was moved.
    let life = Life::of(&with("old"));
    let line = "define( 'WP_ASYNC_TASK_SALT', 'first' ); // ours\n";
    life.replace(FILE, line, "")
        .replace(FILE, "<?php\n", &format!("<?php\n{line}"));
    let moved = CONFIG.replace(
        "<?php\n",
        &format!("<?php\n{}", line.replace("first", "old")),
    );
    life.ends_as(FILE, &moved);
}

#[test]
fn a_file_from_an_old_backup_stays_without_our_lines() {
    let rotated = CONFIG.replace("geheim", "rotated");
    for journal in [true, false] {
        // From before setup.
        let life = Life::new();
        life.edit(FILE, |_| CONFIG.replace("wp_", "old_"));
        let said = match journal {
            true => life.ends_as(FILE, &CONFIG.replace("wp_", "old_")),
            false => life
                .lose_the_journal()
                .ends_as(FILE, &CONFIG.replace("wp_", "old_")),
        };
        assert!(!said.contains("changed since setup"), "{said}");
        // From the first setup; a later one had changed it.
        let life = Life::new();
        let first = life.0.get(FILE);
        life.replace(FILE, "geheim", "rotated")
            .setup(&["--salt", "second"]);
        life.edit(FILE, |_| first.clone());
        if !journal {
            life.lose_the_journal();
        }
        life.ends_as(FILE, CONFIG);
        // The same, and edited.
        let life = Life::new();
        life.setup(&["--salt", "second", "--servers", "10.0.0.1:4730"]);
        life.edit(FILE, |_| first.replace("geheim", "rotated"));
        if !journal {
            life.lose_the_journal();
        }
        life.ends_as(FILE, &rotated);
        // The lines are back after remove.
        let life = Life::new();
        life.remove();
        life.edit(FILE, |_| first.clone());
        if journal {
            life.setup(&[]);
        }
        life.ends_as(FILE, CONFIG);
    }
}

#[test]
fn what_is_left_of_the_block_goes() {
    let begin = |text: String| {
        let from = text.find("/* BEGIN").unwrap();
        let to = from + text[from..].find('\n').unwrap() + 1;
        format!("{}{}", &text[..from], &text[to..])
    };
    let end = |text: String| text.replace("/* END wp-gears */\n", "");
    let both = |text: String| begin(end(text));
    let formatted = |text: String| {
        text.replace("( '", "('")
            .replace("' )", "')")
            .replace("true )", "true)")
            .replace("array( '127.0.0.1:4730')", "[\n    \"127.0.0.1:4730\",\n]")
            .replace("array('127.0.0.1:4730')", "[\n    \"127.0.0.1:4730\",\n]")
    };
    let slashes = |text: String| formatted(text).replace("/* END wp-gears */", "// END wp-gears");
    let mine = CONFIG.replace("geheim", "rotated");
    let plain = |text: &str| text.replace("( '", "('").replace("' )", "')");
    type Change<'c> = &'c dyn Fn(String) -> String;
    let changes: [(Change, bool, String); 5] = [
        (&begin, true, mine.clone()),
        (&end, true, mine.clone()),
        (&both, false, mine.clone()),
        (&formatted, true, plain(&mine)),
        (&slashes, true, plain(&mine)),
    ];
    let lines = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        lines.map(str::to_owned).collect()
    };
    for (i, (change, marked, wanted)) in changes.iter().enumerate() {
        for again in [None, Some("second")] {
            for journal in [true, false] {
                if !journal && !marked {
                    continue;
                }
                let life = Life::new();
                life.edit(FILE, change).replace(FILE, "geheim", "rotated");
                if let Some(salt) = again {
                    life.setup(&["--salt", salt]);
                }
                if !journal {
                    life.lose_the_journal();
                }
                let before = life.0.get(FILE);
                let said = life.remove();
                let after = life.0.get(FILE);
                assert_eq!(
                    lines(&after),
                    lines(wanted),
                    "{i} {again:?} {journal} {said}\nfrom {before}"
                );
            }
        }
    }
}

#[test]
fn a_server_that_was_added_by_hand_stays_and_is_told() {
    for options in [None, Some(&["--salt", "second"]), Some(&["--workers", "3"])] {
        let life = Life::new();
        let own = "array( '127.0.0.1:4730', '10.0.0.9:4730' )";
        life.replace(FILE, "array( '127.0.0.1:4730' )", own);
        if let Some(options) = options {
            life.setup(options);
        }
        let said = life.remove();
        let left = life.0.get(FILE);
        let line = format!("$gearman_servers = {own};\n");
        assert_eq!(left.replace(&line, ""), CONFIG, "{said}");
        assert!(left.contains(&line), "{left}");
        assert!(said.contains("10.0.0.9"), "{said}");
    }
}

#[test]
fn another_file_at_the_same_place_is_edited_as_it_is() {
    // An editor writes a new file, with another mode.
    let life = Life::new();
    let new = life.0.get(FILE).replace("geheim", "rotated");
    std::fs::write(life.0.at("/var/www/site/new"), &new).unwrap();
    std::fs::rename(life.0.at("/var/www/site/new"), life.0.at(FILE)).unwrap();
    let mode = std::fs::Permissions::from_mode(0o640);
    std::fs::set_permissions(life.0.at(FILE), mode).unwrap();
    life.setup(&["--salt", "second"]);
    life.ends_as(FILE, &CONFIG.replace("geheim", "rotated"));
    let meta = std::fs::metadata(life.0.at(FILE)).unwrap();
    assert_eq!(meta.mode() & 0o777, 0o640);

    // It is moved, and a link leads to it.
    let life = Life::new();
    life.replace(FILE, "geheim", "rotated");
    std::fs::rename(life.0.at(FILE), life.0.at("/var/www/site/real.php")).unwrap();
    symlink("real.php", life.0.at(FILE)).unwrap();
    life.setup(&["--salt", "second"]);
    life.ends_as(FILE, &CONFIG.replace("geheim", "rotated"));
    assert!(life.0.at(FILE).is_symlink());
}
