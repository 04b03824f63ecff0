//! wp-config.php between several runs: what people write in the meantime stays.

use crate::root::{CONFIG, Root, SITE, code, text};

const MINE: &str = "define( 'MINE', true );\n";

/// Adds a line of the site's administrator.
fn edit(root: &Root, line: &str) {
    let path = format!("{SITE}/wp-config.php");
    let now = root.get(&path);
    root.put(
        &path,
        &now.replacen("\n$table_prefix", &format!("\n{line}$table_prefix"), 1),
    );
}

fn run(root: &Root, words: &[&str]) {
    let output = root.run(words);
    assert_eq!(code(&output), 0, "{}", text(&output));
}

#[test]
fn what_people_wrote_between_two_setups_outlives_remove() {
    let root = Root::new();
    run(&root, &["setup", "--site", SITE, "--yes"]);
    edit(&root, MINE);
    run(
        &root,
        &[
            "setup",
            "--site",
            SITE,
            "--yes",
            "--servers",
            "10.0.0.1:4730",
        ],
    );
    edit(&root, "define( 'LATER', 1 );\n");
    run(
        &root,
        &["setup", "--site", SITE, "--yes", "--salt", "another"],
    );
    run(&root, &["remove", "--yes"]);
    let both = format!("\n{MINE}define( 'LATER', 1 );\n$table_prefix");
    assert_eq!(
        root.get(&format!("{SITE}/wp-config.php")),
        CONFIG.replacen("\n$table_prefix", &both, 1)
    );
}

/// The same for gearmand's options.
#[test]
fn what_people_wrote_into_gearmands_options_outlives_remove() {
    let root = Root::new();
    const FILE: &str = "/etc/default/gearman-job-server";
    let before = root.get(FILE);
    run(&root, &["setup", "--site", SITE, "--yes"]);
    root.put(FILE, &format!("{}# mine\n", root.get(FILE)));
    run(&root, &["setup", "--site", SITE, "--yes", "--port", "4731"]);
    run(&root, &["remove", "--yes"]);
    assert_eq!(root.get(FILE), format!("{before}# mine\n"));
}

/// Below --root nothing can be proved, so nothing is on trial.
#[test]
fn a_setup_of_files_is_not_repeated() {
    let root = Root::new();
    run(&root, &["setup", "--site", SITE, "--yes"]);
    let again = root.run(&["setup", "--site", SITE, "--yes"]);
    assert!(
        text(&again).contains("Nothing to change."),
        "{}",
        text(&again)
    );
}
