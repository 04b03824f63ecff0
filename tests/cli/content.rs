//! Sites whose content is not in wp-content.

use crate::root::{CONFIG, Root, SITE, code, text};

const SETUP: [&str; 4] = ["setup", "--site", SITE, "--yes"];

/// A host whose site's wp-config.php begins with these lines.
fn root(lines: &str) -> Root {
    let root = Root::new();
    std::fs::remove_dir_all(root.at(format!("{SITE}/wp-content"))).unwrap_or_default();
    let config = CONFIG.replacen("<?php\n", &format!("<?php\n{lines}\n"), 1);
    root.put(&format!("{SITE}/wp-config.php"), &config);
    root
}

#[test]
fn plugins_are_where_wp_config_says() {
    let root = root("define( 'WP_CONTENT_DIR', dirname( __DIR__ ) . '/content' );");
    let minions = "/var/www/content/plugins/wp-minions/wp-minions.php";
    root.put(minions, "<?php\n// Version: 4.1.0\n");
    let before = root.tree();
    let output = root.run(&SETUP);
    assert_eq!(code(&output), 0, "{}", text(&output));
    let config = root.get(&format!("{SITE}/wp-config.php"));
    assert!(config.contains("WP_MINIONS_BACKEND"), "{config}");
    let proof = root.at("/var/www/content/mu-plugins/wp-gears-proof.php");
    assert!(proof.exists() && !root.at(format!("{SITE}/wp-content")).exists());
    let again = root.run(&SETUP);
    assert!(
        text(&again).contains("Nothing to change"),
        "{}",
        text(&again)
    );
    let output = root.run(&["remove", "--site", SITE, "--yes", "--purge"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    assert_eq!(root.tree(), before);
}

#[test]
fn what_only_wordpress_knows_is_an_option() {
    let root = root("define( 'WP_CONTENT_DIR', getenv( 'CONTENT' ) );");
    root.put("/srv/content/plugins/index.php", "<?php\n");
    let before = root.tree();
    let output = root.run(&SETUP);
    assert_eq!(code(&output), 1, "{}", text(&output));
    assert!(text(&output).contains("pass it with --content-dir"));
    assert_eq!(root.tree(), before);

    let given = [&SETUP[..], &["--content-dir", "/srv/content"]].concat();
    let output = root.run(&given);
    assert_eq!(code(&output), 0, "{}", text(&output));
    assert!(
        root.at("/srv/content/mu-plugins/wp-gears-bundled.php")
            .exists()
    );
    // It is recorded.
    let again = root.run(&SETUP);
    assert!(
        text(&again).contains("Nothing to change"),
        "{}",
        text(&again)
    );
    assert!(
        root.get("/etc/wp-gears.toml")
            .contains("content-dir = \"/srv/content\"")
    );
}
