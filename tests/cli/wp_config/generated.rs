//! wp-config.php files composed of random pieces: our own scan judges thousands of
//! them, PHP hundreds.

use super::judge;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use wp_gears::site::config::{Desired, Edited, Network, Want, edit, remove, undo};
use wp_gears::site::plugins::WP_GEARS;

const SERVER: &str = "127.0.0.1:4730";
const SALT: &str = "default-salt";
const DOMAIN: &str = "net.example.org";

/// Pieces without settings of ours.
const PLAIN: &[&str] = &[
    "define( 'WP_DEBUG', false );",
    "define( 'WP_DEBUG_LOG', true ); // define( 'WP_GEARS', false );",
    "$table_prefix = 'wp_';",
    "/* define( 'WP_GEARS', false ); */",
    "# require ABSPATH . 'wp-settings.php';",
    "/** Docs: $gearman_servers = array( 'x:1' ); */\n$documented = 1;",
    "$text = 'require \"wp-settings.php\"; define( \\'WP_GEARS\\', false );';",
    "$here = <<<TXT\nrequire 'wp-settings.php';\n  define( 'WP_GEARS', 0 ); ?>\nTXT;",
    "$now = <<<'TXT'\n/* BEGIN wp-gears: x */ {$a \" '\nTXT;",
    "if ( isset( $_SERVER['HTTPS'] ) ) {\n\t$scheme = 'https';\n} elseif ( 1 ) {\n\t{ $scheme = 'x'; }\n} else {\n\t$scheme = 'http';\n}",
    "if ( 0 ) : ?>\n<b>\"it's</b>\n<?php endif;",
    "?>\n\n<?php",
    "?><!-- <?xml define( 'WP_GEARS', false ); --><?php",
    "function helper() {\n\treturn 'wp-settings.php';\n}",
    "$close = function () { return array( 1, array( 2 ) ); };",
    "foreach ( array( 1, 2 ) as $i ) {\n\tif ( $i > 1 ) continue;\n}",
    "# BEGIN cache\ndefine( 'WP_CACHE', true );\n# END cache",
    "/**#@+\n * Keys\n */\ndefine( 'AUTH_KEY', '//#/*' );\n/**#@-*/",
    "$exists = file_exists( __DIR__ . '/wp-settings.php' );",
    "try { $x = intdiv( 1, 1 ); } catch ( Exception $e ) { exit; }",
    "switch ( 1 ) { case 2: exit; }",
    "$m\u{fc}ller = 'sch\u{f6}n';",
    ";;",
    "",
];

const SWITCHES: &[&str] = &[
    "define( 'WP_GEARS', true );",
    "define( 'WP_GEARS', false ); // off",
    "\\define(\"WP_GEARS\",1);",
    "@Define( 'WP_GEARS' , ! 0 , false );",
    "const WP_GEARS = TRUE;",
    "if ( ! defined( 'WP_GEARS' ) ) define( 'WP_GEARS', false );",
    "defined( 'WP_GEARS' ) || define( 'WP_GEARS', true );",
];

const SALTS: &[(&str, &str)] = &[
    ("define( 'WP_ASYNC_TASK_SALT', 'mine' );", "mine"),
    (
        "define( \"WP_ASYNC_TASK_SALT\", \"mi\\x6ee\" /* mine */ );",
        "mine",
    ),
    ("const WP_ASYNC_TASK_SALT = 'a' . 'b';", "ab"),
    (
        "if ( ! defined( 'WP_ASYNC_TASK_SALT' ) ) {\n\tdefine( 'WP_ASYNC_TASK_SALT', <<<'S'\nmine\nS\n\t);\n}",
        "mine",
    ),
];

const SERVERS: &[(&str, &[&str])] = &[
    (
        "global $gearman_servers;\n$gearman_servers = array( '10.0.0.5:4730' );",
        &["10.0.0.5:4730"],
    ),
    (
        "$gearman_servers = [ 'a:1', # one\n\t'b:2', ];",
        &["a:1", "b:2"],
    ),
    (
        "$GLOBALS['gearman_servers'] = array( 'x' => \"a:1\" );",
        &["a:1"],
    ),
    (
        "global $gearman_servers;\n$gearman_servers[] = 'a:1';\n$gearman_servers[] = 'b:2';",
        &["a:1", "b:2"],
    ),
];

const NETWORKS: &[&str] = &[
    "define( 'MULTISITE', true );\ndefine( 'DOMAIN_CURRENT_SITE', 'net.example.org' );",
    "define( 'VHOST', 'no' );\nconst DOMAIN_CURRENT_SITE = 'net.example.org';",
    "if ( 1 ) {\n\tdefine( 'MULTISITE', true );\n\tdefine( 'DOMAIN_CURRENT_SITE', 'net.example.org' );\n}",
];

const LOADS: &[&str] = &[
    "/* That's all, stop editing! */\n\n/** Path */\nif ( ! defined( 'ABSPATH' ) ) {\n\tdefine( 'ABSPATH', __DIR__ . '/' );\n}\n\n/** Load */\nrequire_once ABSPATH . 'wp-settings.php';\n",
    "if ( ! defined( 'ABSPATH' ) )\n\tdefine( 'ABSPATH', __DIR__ . '/' );\nrequire_once( ABSPATH . 'wp-settings.php' );",
    "require __DIR__ . '/wp-settings.php'; ?>\n",
    "if ( $exists ?? true ) {\n\tinclude_once dirname( __FILE__ ) . \"/wp-settings.php\";\n} else\n\texit( 1 );\n",
    "{\n\trequire\n\t\t__DIR__ . '/wp-settings.php';\n}\ndefine( 'LATER', 1 );\n",
    "// BEGIN panel\nrequire __DIR__ . '/wp-settings.php';\n// END panel\n",
    "# comment of the load\n( @include __DIR__ . '/wp-settings.php' ) or die();",
];

#[derive(Debug, Clone)]
struct Sample {
    text: Vec<u8>,
    servers: Option<Vec<String>>,
    salt: Option<String>,
    network: bool,
    /// These servers and this salt are requested rather than defaults.
    requested: bool,
}

impl Sample {
    fn desired(&self) -> Desired {
        let (servers, salt) = (vec![SERVER.to_owned()], SALT.to_owned());
        Desired {
            switch: WP_GEARS.switch,
            servers: if self.requested {
                Want::Exactly(servers)
            } else {
                Want::Default(servers)
            },
            salt: if self.requested {
                Want::Exactly(salt)
            } else {
                Want::Default(salt)
            },
        }
    }

    fn expected_servers(&self) -> Vec<String> {
        match &self.servers {
            Some(servers) if !self.requested => servers.clone(),
            _ => vec![SERVER.into()],
        }
    }

    fn expected_salt(&self) -> &str {
        match &self.salt {
            Some(salt) if !self.requested => salt,
            _ => SALT,
        }
    }

    fn edit(&self) -> Edited {
        edit(&self.text, &self.desired(), &|_: &[u8]| None)
            .unwrap_or_else(|refusal| panic!("{refusal}\n{}", String::from_utf8_lossy(&self.text)))
    }
}

fn sample() -> impl Strategy<Value = Sample> {
    (
        prop::sample::subsequence(PLAIN, 0..9).prop_shuffle(),
        prop::option::of(prop::sample::select(SWITCHES)),
        prop::option::of(prop::sample::select(SALTS)),
        prop::option::of(prop::sample::select(SERVERS)),
        prop::option::weighted(0.3, prop::sample::select(NETWORKS)),
        prop::sample::select(LOADS),
        any::<[u16; 4]>(),
        (0..6usize, any::<bool>(), any::<bool>()),
    )
        .prop_map(
            |(plain, switch, salt, servers, network, load, at, (format, requested, tight))| {
                let mut pieces: Vec<&str> = plain;
                let ours = [switch, salt.map(|it| it.0), servers.map(|it| it.0), network];
                for (piece, at) in ours.into_iter().zip(at) {
                    if let Some(piece) = piece {
                        pieces.insert(at as usize % (pieces.len() + 1), piece);
                    }
                }
                // A list that is built by appending cannot be changed.
                let requested = requested && !servers.is_some_and(|it| it.0.contains("[]"));
                let mut text = format!(
                    "<?php\n{}\n{load}",
                    pieces.join(if tight { "\n" } else { "\n\n" })
                );
                match format {
                    1 => text = text.replace('\n', "\r\n"),
                    2 => text = text.replace('\n', "\r"),
                    3 => text = format!("\u{feff}{text}"),
                    _ => {}
                }
                let mut bytes = text.into_bytes();
                if format == 4 {
                    bytes = bytes
                        .iter()
                        .map(|b| if *b == 0xc3 { 0xfc } else { *b })
                        .collect();
                }
                Sample {
                    text: bytes,
                    servers: servers.map(|it| it.1.iter().map(|it| (*it).to_owned()).collect()),
                    salt: salt.map(|it| it.1.to_owned()),
                    network: network.is_some(),
                    requested,
                }
            },
        )
}

proptest! {
    #![proptest_config(Config { cases: 600, failure_persistence: None, ..Config::default() })]
    #[test]
    fn our_scan_agrees(sample in sample()) {
        let edited = sample.edit();
        let found = &edited.found;
        prop_assert_eq!(&found.on, &[WP_GEARS.switch]);
        prop_assert_eq!(found.servers.as_ref(), Some(&sample.expected_servers()));
        prop_assert_eq!(found.salt.as_deref(), Some(sample.expected_salt()));
        prop_assert!(found.host || found.network == Network::No);
        prop_assert_eq!(found.network != Network::No, sample.network);
        let again = edit(&edited.text, &sample.desired(), &|_: &[u8]| None);
        prop_assert_eq!(again.map(|it| it.text), Ok(edited.text.clone()));
        // The first line is edited by hand, then our edit is reverted.
        let since = |text: &[u8]| -> Vec<u8> {
            let at = text.iter().position(|b| matches!(b, b'\n' | b'\r')).unwrap();
            [&text[..at], b" // hello", &text[at..]].concat()
        };
        let undone = undo(&since(&edited.text), &sample.text, &edited.text);
        prop_assert_eq!(undone.left_alone, Vec::<String>::new());
        prop_assert_eq!(undone.text, since(&sample.text));
        if !sample.requested && remove(&edited.text).text != sample.text {
            // Only a switch that was off is changed in place.
            let text = String::from_utf8_lossy(&sample.text).into_owned();
            prop_assert!(text.contains("'WP_GEARS', false )"));
        }
    }
}

#[test]
fn php_agrees() {
    let temp = tempfile::tempdir().unwrap();
    let mut runner = TestRunner::new(Config::default());
    let (mut jobs, mut all) = (Vec::new(), Vec::new());
    for i in 0..300 {
        let sample = sample().new_tree(&mut runner).unwrap().current();
        let after = sample.edit().text;
        for (when, text) in [("before", &sample.text), ("after", &after)] {
            let folder = temp.path().join(format!("{i}-{when}"));
            let file = judge::site(&folder, text, &temp.path().join("no-includes"), "");
            jobs.extend([("top", file.clone()), ("function", file)]);
        }
        all.push((sample, after));
    }
    let answers = judge::judge(&jobs);
    for ((sample, after), answers) in all.iter().zip(answers.chunks(4)) {
        for (before, now) in [(&answers[0], &answers[2]), (&answers[1], &answers[3])] {
            let text = String::from_utf8_lossy(after);
            assert_eq!(now["loaded"], true, "{now}\n{text}");
            assert_eq!(now["gears"], true, "{now}\n{text}");
            assert_eq!(now["salt"], sample.expected_salt(), "{now}\n{text}");
            let servers: Vec<String> = match &now["servers"] {
                serde_json::Value::Object(keyed) => keyed.values().cloned().collect(),
                list => list.as_array().cloned().unwrap_or_default(),
            }
            .iter()
            .map(|it| it.as_str().unwrap_or_default().to_owned())
            .collect();
            assert_eq!(servers, sample.expected_servers(), "{now}\n{text}");
            assert_eq!(now["host"] == DOMAIN, sample.network, "{now}\n{text}");
            let new = now["notices"].as_array().unwrap().iter();
            let known = before["notices"].as_array().unwrap();
            let new: Vec<_> = new.filter(|it| !known.contains(it)).collect();
            assert!(new.is_empty(), "{new:?}\n{text}");
        }
    }
}
