//! Debian's package, whose wp-config.php takes the file of the request's host.

use super::*;

pub const DEBIAN: &str = "/usr/share/wordpress";
pub const CONTENT: &str = "/var/lib/wordpress/wp-content";

/// Chooses a file as the stub of Debian's package does.
const STUB: &str = r#"<?php
/* Please do NOT edit. */
$debian_server = preg_replace( '/:.*/', '', isset( $_SERVER['HTTP_HOST'] ) ? $_SERVER['HTTP_HOST'] : '' );
$debian_server = preg_replace( "/[^a-zA-Z0-9.\-]/", '', $debian_server );
$debian_file = '/etc/wordpress/config-'.strtolower( $debian_server ).'.php';
$debian_main_server = preg_replace( "/^[^.]*\./", '', $debian_server );
$debian_main_file = '/etc/wordpress/config-'.strtolower( $debian_main_server ).'.php';

if ( file_exists( $debian_file ) ) {
	require_once( $debian_file );
	define( 'DEBIAN_FILE', $debian_file );
} elseif ( file_exists( $debian_main_file ) ) {
	require_once( $debian_main_file );
	define( 'DEBIAN_FILE', $debian_main_file );
} elseif ( file_exists( "/etc/wordpress/config-default.php" ) ) {
	require_once( "/etc/wordpress/config-default.php" );
	define( 'DEBIAN_FILE', "/etc/wordpress/config-default.php" );
} else {
	header( 'HTTP/1.0 404 Not Found' );
	exit( 1 );
}
if ( ! defined( 'ABSPATH' ) )
	define( 'ABSPATH', '/usr/share/wordpress/' );
if ( ! defined( 'WP_ALLOW_MULTISITE' ) )
	define( 'WP_ALLOW_MULTISITE', true );
if ( ! defined( 'WP_CONTENT_DIR' ) && ! defined( 'DONT_SET_WP_CONTENT_DIR' ) )
	define( 'WP_CONTENT_DIR', '/var/lib/wordpress/wp-content' );
if ( ! isset( $table_prefix ) ) {
	$table_prefix = 'wp_';
}
require_once( ABSPATH . 'wp-settings.php' );
?>
"#;

pub const OF_HOST: &str = "<?php\n# Created by setup-mysql\ndefine('DB_NAME', 'blog');\ndefine('DB_PASSWORD', 'geheim');\ndefine('WP_CONTENT_DIR', '/var/lib/wordpress/wp-content');\n?>\n";

pub fn debian(configs: &[(&str, &str)]) -> Root {
    let root = Root::new();
    for (name, text) in configs {
        root.put(&format!("/etc/wordpress/config-{name}.php"), text);
    }
    root.put(&format!("{DEBIAN}/wp-load.php"), "<?php\n");
    root.put(
        &format!("{DEBIAN}/wp-settings.php"),
        "<?php\njudge_say( true );\n",
    );
    root.put(
        &format!("{DEBIAN}/wp-includes/version.php"),
        "<?php\n$wp_version = '6.1.9';\n",
    );
    root.put(&format!("{DEBIAN}/wp-content/index.php"), "<?php\n");
    root.put(&format!("{DEBIAN}/wp-config.php"), STUB);
    root.put(&format!("{CONTENT}/plugins/index.php"), "<?php\n");
    root
}

/// The stub, for PHP that does not have this root.
fn stub(root: &Root, host: &str) -> PathBuf {
    let here = root.path().to_str().unwrap();
    let text = STUB.replace("/etc/wordpress/", &format!("{here}/etc/wordpress/"));
    let text = text.replace("'/usr/share", &format!("'{here}/usr/share"));
    let text = text.replacen(
        "<?php\n",
        &format!("<?php\n$_SERVER['HTTP_HOST'] = '{host}';\n"),
        1,
    );
    let file = "/tmp/stub/wp-config.php";
    root.put(file, &text);
    root.at(file)
}

#[test]
fn debians_package_has_its_settings_in_the_file_of_a_host() {
    let no_end = OF_HOST.trim_end().trim_end_matches("?>").trim_end();
    for (name, text) in [
        ("as setup-mysql writes it", OF_HOST.to_owned()),
        (
            "without the content",
            OF_HOST.replace(
                "define('WP_CONTENT_DIR', '/var/lib/wordpress/wp-content');\n",
                "",
            ),
        ),
        ("no closing tag", no_end.to_owned() + "\n"),
        ("no end of line", no_end.to_owned()),
        ("one line", "<?php define('DB_NAME', 'blog'); ?>".to_owned()),
        ("returns", no_end.to_owned() + "\nreturn;\n"),
        ("text", OF_HOST.to_owned() + "\n\n"),
        (
            "comments",
            no_end.to_owned() + "\n\n/* That's all, stop editing! */\n\n/* The end */\n",
        ),
    ] {
        for host in ["default", "blog.example.com"] {
            let root = debian(&[(host, &text)]);
            let config = format!("/etc/wordpress/config-{host}.php");
            let entry = |root: &Root| stub(root, host);
            let before = root.get(&config);
            let (after, _) = is_edited(&root, name, DEBIAN, &entry);
            assert_ne!(before, after);
        }
    }
}

#[test]
fn the_host_decides_between_several_files_of_debians_package() {
    let all = [
        ("a.example", OF_HOST),
        ("b.example", OF_HOST),
        ("default", OF_HOST),
    ];
    let root = debian(&all);
    let before = root.tree();
    let (exit, said) = setup(&root, DEBIAN, &[]);
    assert_eq!(exit, 1, "{said}");
    assert!(said.contains("pass the site's host with --host"), "{said}");
    assert_eq!(root.tree(), before);

    let (exit, said) = setup(&root, DEBIAN, &["--host", "http://www.b.example/"]);
    assert_eq!(exit, 0, "{said}");
    let of = |name: &str| root.get(&format!("/etc/wordpress/config-{name}.php"));
    assert!(of("b.example").contains("WP_GEARS"), "{said}");
    assert_eq!((&*of("a.example"), &*of("default")), (OF_HOST, OF_HOST));
    let (_, said) = setup(&root, DEBIAN, &[]);
    assert!(said.contains("Nothing to change"), "{said}");

    // Jobs of the first would wait forever.
    let (exit, said) = setup(&root, DEBIAN, &["--host", "a.example"]);
    assert_eq!(exit, 1, "{said}");
    assert!(said.contains("has the lines from setup already"), "{said}");
    let output = root.run(&["remove", "--site", DEBIAN, "--yes", "--purge"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    assert_eq!(root.tree(), before);
    let (exit, said) = setup(&root, DEBIAN, &["--host", "a.example"]);
    assert_eq!(exit, 0, "{said}");
    assert!(of("a.example").contains("WP_GEARS"));
}
