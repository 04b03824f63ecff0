//! Hosts that people configured before setup: it takes over what is there, and remove
//! gives it back.

use crate::root::{CONFIG, Root, SETTINGS, SITE, code, text};

const SETUP: [&str; 4] = ["setup", "--site", SITE, "--yes"];

#[test]
fn a_main_file_without_a_folder_gets_a_marked_block() {
    let root = Root::new();
    root.put(
        "/etc/supervisor/supervisord.conf",
        "[supervisord]\nlogfile=/x\n",
    );
    let before = root.tree();
    assert_eq!(code(&root.run(&SETUP)), 0);
    let main = root.get("/etc/supervisor/supervisord.conf");
    assert!(main.contains("; BEGIN wp-gears") && main.contains("[program:wp-gears-site]"));
    let after = root.tree();
    root.run(&SETUP);
    assert_eq!(root.tree(), after);
    // A line that is not ours is kept when the block is removed.
    root.put(
        "/etc/supervisor/supervisord.conf",
        &format!("{main}[program:x]\ncommand=/x\n"),
    );
    let output = root.run(&["remove", "--yes", "--purge"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    assert_eq!(
        root.get("/etc/supervisor/supervisord.conf"),
        "[supervisord]\nlogfile=/x\n[program:x]\ncommand=/x\n"
    );
    root.put(
        "/etc/supervisor/supervisord.conf",
        "[supervisord]\nlogfile=/x\n",
    );
    assert_eq!(root.tree(), before);
}

/// A host set up by hand, following the plugin's readme.
fn by_hand(root: &Root) {
    root.put(
        "/etc/supervisor/conf.d/jobs.conf",
        &format!("; our jobs\n[program:jobs]\ncommand=/usr/bin/env php {SITE}/wp-gears-runner.php\nprocess_name=%(program_name)s-%(process_num)02d\nnumprocs=4\ndirectory=/tmp\nautostart=true\nautorestart=true\nkillasgroup=true\nuser=www-data\n\n; another\n[program:other]\ncommand=/bin/other\n"),
    );
    root.put(
        &format!("{SITE}/wp-gears-runner.php"),
        "<?php\n// a copy\nrequire 'wp-load.php';\n",
    );
    let config = CONFIG.replace(
        "$table_prefix",
        "define('WP_GEARS', true); // by the readme\ndefine( 'WP_ASYNC_TASK_SALT', 'mine' );\n$table_prefix",
    );
    root.put(&format!("{SITE}/wp-config.php"), &config);
    root.put(
        "/etc/default/gearman-job-server",
        "PARAMS=\"--listen=127.0.0.1\"\n",
    );
}

#[test]
fn what_was_set_up_by_hand_is_taken_over_and_given_back() {
    let root = Root::new();
    by_hand(&root);
    let before = root.tree();
    let output = root.run(&SETUP);
    assert_eq!(code(&output), 0, "{}", text(&output));
    let program = root.get("/etc/supervisor/conf.d/jobs.conf");
    assert!(
        program.starts_with("; our jobs\n[program:jobs]\n"),
        "{program}"
    );
    assert!(
        program.contains("numprocs=1") && program.contains("directory=/tmp"),
        "{program}"
    );
    assert!(root.get(SETTINGS).contains("workers = 4\n"));
    assert!(
        program.contains(" worker ")
            && program.ends_with("\n\n; another\n[program:other]\ncommand=/bin/other\n")
    );
    assert!(
        !root
            .at("/etc/supervisor/conf.d/wp-gears-site.conf")
            .exists()
    );
    let config = root.get(&format!("{SITE}/wp-config.php"));
    assert_eq!(config.matches("'WP_GEARS'").count(), 1, "{config}");
    assert!(config.contains("// by the readme") && config.contains("'mine'"));
    assert!(
        root.get("/etc/default/gearman-job-server")
            .contains("--daemon")
    );
    assert!(root.at(format!("{SITE}/wp-gears-runner.php")).is_symlink());
    let after = root.tree();
    let output = root.run(&SETUP);
    assert!(
        text(&output).contains("Nothing to change"),
        "{}",
        text(&output)
    );
    assert_eq!(root.tree(), after);
    let output = root.run(&["remove", "--yes", "--purge"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    assert_eq!(root.tree(), before);
}

#[test]
fn a_password_on_gearmands_command_line_moves_out_of_sight() {
    let root = Root::new();
    root.put(
        "/etc/default/gearman-job-server",
        "PARAMS=\"--listen=localhost -q MySQL --mysql-host=db --mysql-user=g --mysql-password=geheim --mysql-db=gearman\"\n",
    );
    let before = root.tree();
    let output = root.run(&SETUP);
    assert_eq!(code(&output), 0, "{}", text(&output));
    assert!(!text(&output).contains("geheim"), "{}", text(&output));
    let params = root.get("/etc/default/gearman-job-server");
    assert!(
        !params.contains("geheim") && params.contains("--mysql-user=g"),
        "{params}"
    );
    assert!(
        params.contains("-q MySQL") && params.contains("--daemon"),
        "{params}"
    );
    assert_eq!(root.get("/etc/gearmand.conf"), "--mysql-password=geheim\n");
    let after = root.tree();
    root.run(&SETUP);
    assert_eq!(root.tree(), after);
    let output = root.run(&["remove", "--yes", "--purge"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    assert_eq!(root.tree(), before);
}
