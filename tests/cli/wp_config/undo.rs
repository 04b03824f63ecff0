//! Reverting an edit after our lines were edited by hand, and locating the file.

use std::path::Path;
use wp_gears::site::config::{Desired, Undone, Want, edit, locate, remove, undo};
use wp_gears::site::plugins::WP_GEARS;

const ORIGINAL: &str = "<?php
define( 'WP_ASYNC_TASK_SALT', 'old' ); // ours
define( 'MULTISITE', true );
define( 'DOMAIN_CURRENT_SITE', 'net.example.org' );

/* That's all, stop editing! */
require_once __DIR__ . '/wp-settings.php';
";

fn left() -> String {
    let desired = Desired {
        switch: WP_GEARS.switch,
        servers: Want::Default(vec!["127.0.0.1:4730".into()]),
        salt: Want::Exactly("new".into()),
    };
    let edited = edit(ORIGINAL.as_bytes(), &desired, &|_: &[u8]| None).expect("an edit");
    String::from_utf8(edited.text).expect("text")
}

fn undone(current: &str) -> (String, Vec<String>) {
    let Undone { text, left_alone } =
        undo(current.as_bytes(), ORIGINAL.as_bytes(), left().as_bytes());
    (String::from_utf8(text).expect("text"), left_alone)
}

#[test]
fn the_block_names_us_and_survives_wp_cli() {
    let left = left();
    let (begin, end) = (left.find("/* BEGIN").unwrap(), left.find("/* END").unwrap());
    let block = &left[begin..end];
    assert!(block.contains("wp-gears"), "{block}");
    assert!(
        !block.contains("stop editing") && !block.contains("require"),
        "{block}"
    );
    assert!(
        left.contains("define( 'WP_ASYNC_TASK_SALT', 'new' ); // ours"),
        "{left}"
    );
}

#[test]
fn an_edited_line_of_ours_is_kept_and_reported() {
    let current = left().replace("array( '127.0.0.1:4730' )", "array( '10.0.0.9:4730' )");
    let (text, said) = undone(&current);
    assert_eq!(
        text,
        ORIGINAL.replace(
            "/* That's",
            "$gearman_servers = array( '10.0.0.9:4730' );\n/* That's"
        )
    );
    assert!(said.iter().any(|it| it.contains("10.0.0.9")), "{said:?}");
}

#[test]
fn an_edited_statement_of_several_lines_is_kept_whole() {
    let current = left().replace("= DOMAIN_CURRENT_SITE;", "= 'cli.example.org';");
    let (text, said) = undone(&current);
    assert!(text.contains("if ( 'cli' === PHP_SAPI"), "{text}");
    assert!(text.contains("cli.example.org';\n}\n"), "{text}");
    assert!(!text.contains("WP_GEARS"), "{text}");
    assert_eq!(said.len(), 1, "{said:?}");
}

#[test]
fn a_value_changed_since_is_kept() {
    let (text, said) = undone(&left().replace("'new'", "'newer'"));
    assert_eq!(text, ORIGINAL.replace("'old'", "'newer'"));
    assert!(
        said[0].contains("'old'") && said[0].contains("'new'"),
        "{said:?}"
    );
}

#[test]
fn lines_added_to_the_block_by_hand_are_kept() {
    let current = left().replace("/* END", "define( 'MINE', 1 );\n/* END");
    let (text, said) = undone(&current);
    assert!(text.contains("define( 'MINE', 1 );\n/* That's"), "{text}");
    assert!(said.iter().any(|it| it.contains("MINE")), "{said:?}");
    let removed = remove(current.as_bytes());
    assert!(String::from_utf8_lossy(&removed.text).contains("define( 'MINE', 1 );\n/* That's"));
    assert_eq!(removed.left_alone.len(), 1);
}

#[test]
fn a_block_that_was_already_removed_is_fine() {
    let left = left();
    let start = left.find("/* BEGIN").unwrap();
    let end = left.find("/* That's").unwrap();
    let current = format!("{}{}", &left[..start], &left[end..]);
    assert_eq!(undone(&current), (ORIGINAL.to_owned(), Vec::new()));
}

#[test]
fn half_a_block_is_removed_as_far_as_it_is_ours() {
    let mine = "define( 'MINE', 1 );\n";
    let plain = left().replace("/* That's", &format!("{mine}/* That's"));
    let without = remove(plain.as_bytes()).text;
    let (begin, end) = (
        plain.find("/* BEGIN").unwrap(),
        plain.find("/* END").unwrap(),
    );
    let first = begin + plain[begin..].find('\n').unwrap() + 1;
    for current in [
        plain.replace("/* END wp-gears */\n", ""),
        format!("{}{}", &plain[..begin], &plain[first..]),
        plain[..end].to_owned() + mine + &plain[end + "/* END wp-gears */\n".len()..],
    ] {
        let Undone { text, left_alone } = remove(current.as_bytes());
        let text = String::from_utf8(text).unwrap();
        assert!(
            !text.contains("WP_GEARS") && !text.contains("wp-gears"),
            "{text}"
        );
        assert_eq!(
            text.matches("MINE").count(),
            current.matches("MINE").count()
        );
        assert_eq!(left_alone, Vec::<String>::new());
        let bare = |text: &str| text.replace(['\n', ' '], "").replace(mine.trim(), "");
        assert_eq!(
            bare(&text).replace("define('MINE',1);", ""),
            bare(&String::from_utf8_lossy(&without)).replace("define('MINE',1);", "")
        );
    }
}

#[test]
fn the_file_is_located_in_the_order_of_wordpress() {
    let look = |files: &'static [&str]| {
        let exists = move |path: &Path| files.iter().any(|it| Path::new(it) == path);
        let read = move |path: &Path| exists(path).then(|| b"<?php".to_vec());
        locate(Path::new("/srv/site"), &read, &exists)
    };
    let both = look(&["/srv/site/wp-config.php", "/srv/wp-config.php"]).unwrap();
    assert_eq!(both.path, Path::new("/srv/site/wp-config.php"));
    let above = look(&["/srv/wp-config.php"]).unwrap();
    assert!(above.above && above.path == Path::new("/srv/wp-config.php"));
    let other = look(&["/srv/wp-config.php", "/srv/wp-settings.php"]).unwrap_err();
    assert!(other.reason.contains("another WordPress"), "{other}");
    assert!(look(&[]).unwrap_err().reason.contains("no wp-config.php"));
}

#[test]
fn deep_trees_do_not_overflow_the_stack() {
    let desired = Desired {
        switch: WP_GEARS.switch,
        servers: Want::Default(vec![]),
        salt: Want::Default("salt".into()),
    };
    let load = "require __DIR__ . '/wp-settings.php';";
    let shapes = [
        ("$a = ", "(", "1", ")", ";"),
        ("$a = ", "array( ", "1", ")", ";"),
        ("", "if ( 1 ) { ", "", "}", ""),
        ("", "if ( 1 ) : ", "", " endif;", ""),
        ("", "if ( 1 ) ", ";", "", ""),
        ("", "if ( 1 ) {} else ", ";", "", ""),
        ("$a = ", "! ", "1", "", ";"),
        ("$a = 1", " . 1", "", "", ";"),
        ("$a = $b", "[1]", "", "", ";"),
        ("$a = $b", "->c( 1 )", "", "", ";"),
        ("$a = ", "1 ? 2 : ( ", "3", " )", ";"),
        ("$a = ", "( ", "getenv( 'a' )", " ? 1 : $b )", ";"),
        ("$a = ", "( ", "$_SERVER['HTTP_HOST']", " ?? 1 )", ";"),
        ("$a = ", "\"{$b[ ", "1", " ]}\"", ";"),
        ("$a = ", "fn() => ", "1", "", ";"),
        ("$a = ", "function() { return ", "1", "; }", ";"),
    ];
    for (start, open, middle, close, end) in shapes {
        for depth in [20, 60, 100, 140, 600, 5000] {
            let (open, close) = (open.repeat(depth), close.repeat(depth));
            let text = format!("<?php\n{start}{open}{middle}{close}{end}\n{load}\n");
            let _ = edit(text.as_bytes(), &desired, &|_: &[u8]| None);
        }
    }
}
