//! Bedrock, whose `config/application.php` collects constants.

use super::*;

pub const WP: &str = "/srv/shop/web/wp";
pub const SETTINGS: &str = "/srv/shop/config/application.php";

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

pub fn bedrock(application: &str) -> Root {
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
