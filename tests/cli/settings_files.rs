//! Sites whose wp-config.php has the settings in another file: Bedrock's
//! config/application.php, and the file of a host that Debian's package chooses. PHP is
//! the judge of what WordPress sees.

use std::path::{Path, PathBuf};

use serde_json::Value;
use wp_gears::base::problem::Problem;
use wp_gears::host::Host;
use wp_gears::site::config::{self, Desired, Want};
use wp_gears::site::plugins::WP_GEARS;
use wp_gears::site::settings;

use crate::root::{Root, code, text};
use crate::wp_config::judge::judge;

const MODES: [&str; 4] = ["top", "function", "web", "wp-cli"];

const WP: &str = "/srv/shop/web/wp";
const SETTINGS: &str = "/srv/shop/config/application.php";

/// What Composer would bring: the class that collects constants, and `env`.
const AUTOLOAD: &str = r#"<?php
namespace Roots\WPConfig {
    class Config {
        private static $map = array();
        public static function define( $name, $value ) {
            self::must_be_free( $name );
            self::$map[ $name ] = $value;
        }
        public static function get( $name ) {
            if ( ! array_key_exists( $name, self::$map ) ) {
                throw new \Exception( "$name has not been defined" );
            }
            return self::$map[ $name ];
        }
        public static function remove( $name ) {
            unset( self::$map[ $name ] );
        }
        public static function apply() {
            foreach ( self::$map as $name => $value ) {
                if ( defined( $name ) && constant( $name ) !== $value ) {
                    self::must_be_free( $name );
                }
            }
            foreach ( self::$map as $name => $value ) {
                defined( $name ) || define( $name, $value );
            }
        }
        private static function must_be_free( $name ) {
            if ( defined( $name ) ) {
                throw new \Exception( "$name is defined elsewhere" );
            }
        }
    }
}
namespace Env {
    function env( $name ) {
        $file = __DIR__ . '/../.env';
        foreach ( file_exists( $file ) ? file( $file, FILE_IGNORE_NEW_LINES ) : array() as $line ) {
            if ( 0 === strpos( $line, "$name=" ) ) {
                return substr( $line, strlen( $name ) + 1 );
            }
        }
        return getenv( $name ) ?: null;
    }
}
"#;

pub const APPLICATION: &str = r#"<?php

use Roots\WPConfig\Config;
use function Env\env;

/** The folder with all of the site's files. */
$root_dir = dirname( __DIR__ );
$webroot_dir = $root_dir . '/web';

define( 'WP_ENV', env( 'WP_ENV' ) ?: 'production' );

Config::define( 'CONTENT_DIR', '/app' );
Config::define( 'WP_CONTENT_DIR', $webroot_dir . Config::get( 'CONTENT_DIR' ) );
Config::define( 'DB_NAME', env( 'DB_NAME' ) ?: 'blog' );
Config::define( 'DB_PASSWORD', env( 'DB_PASSWORD' ) );
$table_prefix = env( 'DB_PREFIX' ) ?: 'wp_';

$env_config = __DIR__ . '/environments/' . WP_ENV . '.php';

if ( file_exists( $env_config ) ) {
	require_once $env_config;
}

Config::apply();

/**
 * Bootstrap WordPress
 */
if ( ! defined( 'ABSPATH' ) ) {
	define( 'ABSPATH', $webroot_dir . '/wp/' );
}
"#;

/// As it was before there was such a class.
const OLD: &str = r#"<?php
$root_dir = dirname( __DIR__ );
$webroot_dir = $root_dir . '/web';
define( 'WP_ENV', env( 'WP_ENV' ) ?: 'production' );
$env_config = __DIR__ . '/environments/' . WP_ENV . '.php';
if ( file_exists( $env_config ) ) {
	require_once $env_config;
}
define( 'DB_NAME', env( 'DB_NAME' ) ?: 'blog' );
define( 'WP_CONTENT_DIR', $webroot_dir . '/app' );

/** Bootstrap WordPress */
if ( ! defined( 'ABSPATH' ) ) {
	define( 'ABSPATH', $webroot_dir . '/wp/' );
}
"#;

fn bedrock(application: &str) -> Root {
    let root = Root::new();
    let put = |path: &str, text: &str| root.put(&format!("/srv/shop/{path}"), text);
    put("vendor/autoload.php", AUTOLOAD);
    put("config/application.php", application);
    put(".env", "DB_PASSWORD='geheim'\nWP_ENV=production\n");
    put(
        "web/wp-config.php",
        "<?php\n// Edit the files in config/ instead.\nrequire_once dirname(__DIR__) . '/vendor/autoload.php';\nrequire_once dirname(__DIR__) . '/config/application.php';\nrequire_once ABSPATH . 'wp-settings.php';\n",
    );
    put(
        "web/index.php",
        "<?php\nrequire __DIR__ . '/wp/wp-blog-header.php';\n",
    );
    put("web/app/plugins/index.php", "<?php\n");
    put("web/wp/wp-load.php", "<?php\n");
    put("web/wp/wp-settings.php", "<?php\njudge_say( true );\n");
    put(
        "web/wp/wp-includes/version.php",
        "<?php\n$wp_version = '6.4';\n",
    );
    root
}

fn setup(root: &Root, site: &str, more: &[&str]) -> (i32, String) {
    let output = root.run(&[&["setup", "--site", site, "--yes"], more].concat());
    (code(&output), text(&output))
}

/// What PHP makes of a wp-config.php, as a worker, a page and WP-CLI.
fn judged(file: PathBuf) -> Vec<Value> {
    judge(&MODES.map(|mode| (mode, file.clone())))
}

fn desired() -> Desired {
    Desired {
        switch: WP_GEARS.switch,
        servers: Want::Default(vec!["127.0.0.1:4730".into()]),
        salt: Want::Default("salt-of-the-test".into()),
    }
}

/// The file that setup edits for a site, and what it makes of it.
fn edited(root: &Root, site: &str) -> (PathBuf, Result<Vec<u8>, String>) {
    let host = Host::new(Some(root.path())).unwrap();
    let dir = Path::new(site);
    let config = settings::locate(&host, dir, None).unwrap();
    let include = settings::includes(&host, dir, &config);
    let text = std::fs::read(root.at(&config)).unwrap();
    let edited = config::edit(&text, &desired(), &include).map(|it| {
        let again = config::edit(&it.text, &desired(), &include).unwrap();
        assert!(again.text == it.text, "a second edit changes it");
        assert_eq!(config::scan(&it.text, &include).unwrap(), it.found);
        it.text
    });
    let explain = |refusal| settings::explain(&config, refusal);
    let edited = edited.map_err(|refusal| format!("{:#}", render(&explain(refusal))));
    (config, edited)
}

fn render(problem: &Problem) -> String {
    format!("{problem:?}")
}

/// PHP sees the settings after the edit, and undoing it gives the file back. Returns the
/// edited file and PHP's answers.
#[track_caller]
fn is_edited(
    root: &Root,
    name: &str,
    site: &str,
    entry: &dyn Fn(&Root) -> PathBuf,
) -> (String, Vec<Value>) {
    let known = judged(entry(root));
    let (config, new) = edited(root, site);
    let new = new.unwrap_or_else(|why| panic!("{name}: {why}"));
    let old = std::fs::read(root.at(&config)).unwrap();
    std::fs::write(root.at(&config), &new).unwrap();
    let answers = judged(entry(root));
    let shown = String::from_utf8(new.clone()).unwrap();
    for (mode, (was, is)) in MODES.iter().zip(known.iter().zip(&answers)) {
        let sees = is["loaded"] == true
            && is["gears"] == true
            && is["salt"].is_string()
            && is["servers"].as_array().is_some_and(|it| !it.is_empty())
            && is["db"] == was["db"]
            && is["notices"] == was["notices"];
        assert!(
            sees || was["loaded"] != true,
            "{name} ({mode}): {was}\n{is}\n{shown}"
        );
    }
    assert_eq!(answers[0]["loaded"], true, "{name}: {}", answers[0]);
    assert!(config::undo(&new, &old, &new).text == old, "{name}");
    if String::from_utf8_lossy(&old).contains("'WP_GEARS'") {
        return (shown, answers);
    }
    let removed = String::from_utf8(config::remove(&new).text).unwrap();
    assert_eq!(removed, String::from_utf8(old).unwrap(), "{name}");
    (shown, answers)
}

fn entry(root: &Root) -> PathBuf {
    root.at("/srv/shop/web/wp-config.php")
}

#[test]
fn bedrock_collects_our_settings_before_its_environments() {
    let root = bedrock(APPLICATION);
    let (edited, _) = is_edited(&root, "plain", WP, &entry);
    let at = |part: &str| {
        edited
            .find(part)
            .unwrap_or_else(|| panic!("{part} in {edited}"))
    };
    assert!(
        at("Config::define( 'WP_GEARS', true );") < at("$env_config ="),
        "{edited}"
    );
    assert!(at("$table_prefix") < at("BEGIN wp-gears"), "{edited}");
}

#[test]
fn bedrock_is_edited_where_that_is_sure() {
    let before =
        |line: &str| APPLICATION.replace("$table_prefix", &format!("{line}\n$table_prefix"));
    let late =
        |line: &str| APPLICATION.replace("Config::apply();", &format!("{line}\nConfig::apply();"));
    let cases = [
        (
            "off",
            before("Config::define( 'WP_GEARS', false );"),
            "Config::define( 'WP_GEARS', true );",
        ),
        (
            "plain",
            before("define( 'WP_GEARS', true );"),
            "define( 'WP_GEARS', true );",
        ),
        (
            "twice",
            before(
                "Config::define( 'WP_ASYNC_TASK_SALT', 'a' );\nConfig::define( 'WP_ASYNC_TASK_SALT', 'b' );",
            ),
            "BEGIN wp-gears",
        ),
        (
            "after the environment",
            late("Config::define( 'WP_GEARS', false );"),
            "Config::define( 'WP_GEARS', true );",
        ),
        (
            "alias",
            APPLICATION
                .replace("\\Config;", "\\Config as C;")
                .replace("Config::", "C::"),
            "C::define( 'WP_GEARS'",
        ),
        (
            "full name",
            APPLICATION
                .replace("use Roots\\WPConfig\\Config;\n", "")
                .replace("Config::", "\\Roots\\WPConfig\\Config::"),
            "\\Roots\\WPConfig\\Config::define( 'WP_GEARS'",
        ),
        (
            "windows",
            APPLICATION.replace('\n', "\r\n"),
            "'WP_GEARS', true );\r\n",
        ),
        (
            "closing tag",
            format!("{APPLICATION}?>\n"),
            "BEGIN wp-gears",
        ),
        ("old", OLD.replace("env(", "getenv("), "BEGIN wp-gears"),
        (
            "servers",
            before("$gearman_servers = [ '10.0.0.1:4730' ];"),
            "$GLOBALS['gearman_servers'] = $gearman_servers;",
        ),
        (
            "no environments",
            APPLICATION.replace("require_once $env_config;", "// none"),
            "BEGIN wp-gears",
        ),
    ];
    for (name, application, part) in cases {
        let root = bedrock(&application);
        let (edited, answers) = is_edited(&root, name, WP, &entry);
        assert!(edited.contains(part), "{name}: {edited}");
        match name {
            "twice" => assert_eq!(answers[0]["salt"], "b"),
            "servers" => assert_eq!(answers[0]["servers"][0], "10.0.0.1:4730"),
            _ => {}
        }
    }
}

#[test]
fn a_network_of_bedrock_gets_its_host() {
    let network = "Config::define( 'MULTISITE', true );\nConfig::define( 'DOMAIN_CURRENT_SITE', 'net.example' );\n";
    for (name, at, host) in [
        ("first", "$table_prefix", Some("net.example")),
        (
            "after the environment",
            "Config::apply();",
            Some("net.example"),
        ),
    ] {
        let root = bedrock(&APPLICATION.replace(at, &format!("{network}{at}")));
        let (edited, answers) = is_edited(&root, name, WP, &entry);
        assert_eq!(answers[0]["host"].as_str(), host, "{name}: {edited}");
    }
    // In the file of an environment, where nothing in application.php can read it.
    let root = bedrock(APPLICATION);
    let file = "/srv/shop/config/environments/production.php";
    root.put(
        file,
        &format!("<?php\nuse Roots\\WPConfig\\Config;\n{network}"),
    );
    is_edited(&root, "environment", WP, &entry);
}

#[test]
fn what_an_environment_of_bedrock_sets_counts() {
    let file = |value: &str| {
        format!("<?php\nuse Roots\\WPConfig\\Config;\nConfig::define( 'WP_GEARS', {value} );\n")
    };
    let with = |name: &str, value: &str, env: Option<&str>| {
        let root = bedrock(APPLICATION);
        root.put(
            &format!("/srv/shop/config/environments/{name}.php"),
            &file(value),
        );
        match env {
            Some(env) => root.put("/srv/shop/.env", env),
            None => std::fs::remove_file(root.at("/srv/shop/.env")).unwrap(),
        }
        root
    };
    let refused = |root: &Root, says: &[&str]| {
        let said = edited(root, WP).1.unwrap_err();
        for part in says {
            assert!(said.contains(part), "{part}: {said}");
        }
    };
    // The present environment turns jobs off.
    let help = "Config::define( 'WP_GEARS', true );";
    let place = "environments/production.php, line 3";
    refused(
        &with("production", "false", Some("WP_ENV=production\n")),
        &[place, help],
    );
    // Another one does.
    let root = with("development", "false", Some("WP_ENV='production'\n"));
    is_edited(&root, "another", WP, &entry);
    // It is not known which one is used.
    let place = "environments/development.php, line 3";
    refused(&with("development", "false", None), &[place]);
    let root = with("development", "true", None);
    is_edited(&root, "the same anyway", WP, &entry);
    // It has the settings already.
    let root = with("production", "true", Some("WP_ENV=production\n"));
    let (edited, _) = is_edited(&root, "adopted", WP, &entry);
    assert!(!edited.contains("'WP_GEARS'"), "{edited}");
}

#[test]
fn bedrock_is_refused_with_the_place_and_advice_that_works() {
    let before =
        |line: &str| APPLICATION.replace("$table_prefix", &format!("{line}\n$table_prefix"));
    let line = "application.php, line 16";
    for (name, application, says, follow) in [
        (
            "computed",
            before("Config::define( 'WP_GEARS', env( 'WP_GEARS' ) );"),
            [
                line,
                "computed at run time",
                "Config::define( 'WP_GEARS', true );",
            ],
            "Config::define( 'WP_GEARS', true );",
        ),
        (
            "removed",
            before("Config::remove( 'WP_GEARS' );"),
            [
                line,
                "computed at run time",
                "Config::define( 'WP_GEARS', true );",
            ],
            "Config::define( 'WP_GEARS', true );",
        ),
        (
            "in a branch",
            before("if ( $x ) Config::define( 'WP_GEARS', true );"),
            [
                line,
                "under a condition",
                "take the definition of WP_GEARS out",
            ],
            "if ( $x ) true;",
        ),
        (
            "both ways",
            before("define( 'WP_GEARS', true ); Config::define( 'WP_GEARS', true );"),
            [line, "a second time", "take the definition of WP_GEARS out"],
            "define( 'WP_GEARS', true );",
        ),
        (
            "too late",
            format!("{APPLICATION}Config::define( 'WP_GEARS', true );\n"),
            [
                "application.php, line 32",
                "Config::apply() does not follow",
                "take the definition of WP_GEARS out",
            ],
            "true;",
        ),
    ] {
        let root = bedrock(&application.replace("if ( $x )", "if ( getenv( 'X' ) > time() )"));
        let said = edited(&root, WP).1.unwrap_err();
        for part in says {
            assert!(said.contains(part), "{name}: {part}: {said}");
        }
        // The advice is followed.
        let text = root.get(SETTINGS);
        let bad = text
            .lines()
            .find(|it| it.contains("WP_GEARS"))
            .unwrap()
            .to_owned();
        root.put(SETTINGS, &text.replace(&bad, follow));
        is_edited(&root, name, WP, &entry);
    }
    let root = bedrock(APPLICATION);
    std::fs::remove_file(root.at(SETTINGS)).unwrap();
    let (exit, said) = setup(&root, WP, &[]);
    assert!(exit == 1 && said.contains("is missing"), "{said}");
}

const DEBIAN: &str = "/usr/share/wordpress";
const CONTENT: &str = "/var/lib/wordpress/wp-content";

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

const OF_HOST: &str = "<?php\n# Created by setup-mysql\ndefine('DB_NAME', 'blog');\ndefine('DB_PASSWORD', 'geheim');\ndefine('WP_CONTENT_DIR', '/var/lib/wordpress/wp-content');\n?>\n";

fn debian(configs: &[(&str, &str)]) -> Root {
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
    let folder = std::env::temp_dir().join(format!("stub-{}", here.replace('/', "-")));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("wp-config.php");
    let text = text.replacen(
        "<?php\n",
        &format!("<?php\n$_SERVER['HTTP_HOST'] = '{host}';\n"),
        1,
    );
    std::fs::write(&file, text).unwrap();
    file
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
fn the_whole_way_with_bedrock_and_debians_package() {
    for (root, site, config) in [
        (bedrock(APPLICATION), WP, SETTINGS),
        (
            debian(&[("blog.example.com", OF_HOST)]),
            DEBIAN,
            "/etc/wordpress/config-blog.example.com.php",
        ),
    ] {
        let before = root.tree();
        let (exit, said) = setup(&root, site, &[]);
        assert_eq!(exit, 0, "{said}");
        assert!(!said.contains("cannot be read"), "{said}");
        assert!(root.get(config).contains("'WP_GEARS', true"), "{said}");
        let content = match site == WP {
            true => "/srv/shop/web/app",
            false => CONTENT,
        };
        let bundled = format!("{content}/mu-plugins/wp-gears-bundled.php");
        assert!(root.at(bundled).exists());
        let file = root.get("/etc/wp-gears.toml");
        let named = file.contains("host = \"blog.example.com\"");
        assert_eq!(named, site == DEBIAN, "{file}");
        let after = root.tree();
        let (_, said) = setup(&root, site, &[]);
        assert!(said.contains("Nothing to change"), "{said}");
        assert_eq!(root.tree(), after);
        let output = root.run(&["remove", "--site", site, "--yes", "--purge"]);
        assert_eq!(code(&output), 0, "{}", text(&output));
        assert_eq!(root.tree(), before);
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
