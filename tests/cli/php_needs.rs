//! The table of what PHP has to have, compared with what our PHP calls; and the PHP that
//! is asked below `--root`.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use wp_gears::site::php_settings::NEEDS;

use super::common::needs::installed;
use crate::root::{CONFIG, Root, SITE, code, text};

/// Prints each call of one of PHP's own functions, and each use of one of its classes,
/// in the files that are its arguments, unless the file first asks whether it exists.
const PROGRAM: &str = r#"
$functions = array_flip(get_defined_functions()['internal']);
// What runner.php calls only once fork.php has found it.
$fork = file_get_contents(dirname($argv[1]) . '/fork.php');
foreach (array_slice($argv, 1) as $file) {
    $text = file_get_contents($file);
    preg_match_all('/(?:function|class)_exists\(\s*\'(\w+)\'/', $text, $asked);
    preg_match_all('/const NEEDS = array\((.*?)\);/s', $text . $fork, $lists);
    preg_match_all('/foreach \( array\( (.*?) \) as \$function \) \{\s+if \( function_exists/', $text, $loops);
    preg_match_all('/\'(\w+)\'/', implode(' ', array_merge($lists[1], $loops[1])), $needs);
    $guarded = array_flip(array_map('strtolower', array_merge($asked[1], $needs[1])));
    $tokens = array_values(array_filter(token_get_all($text), function ($token) {
        return !is_array($token) || !in_array($token[0], [T_WHITESPACE, T_COMMENT, T_DOC_COMMENT]);
    }));
    foreach ($tokens as $i => $token) {
        if (!is_array($token) || $token[0] !== T_STRING || $i === 0) continue;
        $before = is_array($tokens[$i - 1]) ? $tokens[$i - 1][0] : $tokens[$i - 1];
        $name = strtolower($token[1]);
        if ($before === T_NEW || $before === T_EXTENDS) {
            if (class_exists($token[1], false) && (new ReflectionClass($token[1]))->isInternal() && !isset($guarded[$name])) {
                echo basename($file), " class $name\n";
            }
            continue;
        }
        $is_call = ($tokens[$i + 1] ?? '') === '(' && !in_array($before, [T_OBJECT_OPERATOR, T_DOUBLE_COLON, T_FUNCTION], true);
        if ($is_call && isset($functions[$name]) && !isset($guarded[$name])) {
            echo basename($file), " function $name\n";
        }
    }
}
"#;

/// Classes that can be disabled without harm: a subclass of ours works all the same, a
/// call is within try, or only a runner that is started by hand uses it.
const HARMLESS: [&str; 4] = [
    "gearmanjob",
    "gearmanworker",
    "reflectionfunction",
    "runtimeexception",
];

#[test]
fn our_php_calls_only_what_the_table_names_or_what_it_asked_for() {
    let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
    let files = [
        "runner", "work", "fork", "database", "clock", "seal", "client", "servers", "peer", "keys",
        "plugin", "request", "exits", "ask", "bundled", "proof", "identity", "memory", "store",
        "events", "job",
    ];
    let started = Command::new("php")
        .args(["-r", PROGRAM, "--"])
        .args(files.map(|name| templates.join(format!("{name}.php"))))
        .output();
    let output = installed("php-cli", started);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.stderr.is_empty() && printed.lines().count() > 100,
        "{printed}"
    );
    let names = |of: fn(&wp_gears::site::php_settings::Need) -> &'static str| -> BTreeSet<String> {
        let all = NEEDS.iter().flat_map(|need| of(need).split_whitespace());
        all.map(str::to_lowercase).collect()
    };
    let (functions, classes) = (names(|need| need.functions), names(|need| need.classes));
    // The page that proves the web's side runs in the web's PHP.
    let calls = printed
        .lines()
        .filter(|line| !line.starts_with("proof.php"));
    let unknown: BTreeSet<&str> = calls
        .clone()
        .filter(|line| {
            let (kind, name) = line.split_once(' ').unwrap().1.split_once(' ').unwrap();
            match kind {
                "function" => !functions.contains(name),
                _ => !classes.contains(name) && !HARMLESS.contains(&name),
            }
        })
        .collect();
    assert!(
        unknown.is_empty(),
        "add them to NEEDS, or ask first: {unknown:#?}"
    );
    let called: BTreeSet<&str> = calls.filter_map(|line| line.split(' ').nth(2)).collect();
    let ours = NEEDS.iter().filter(|need| need.by.contains("workers"));
    let stale: Vec<&str> = ours
        .flat_map(|need| need.functions.split_whitespace())
        .filter(|name| !called.contains(name))
        .collect();
    assert!(stale.is_empty(), "nothing calls them any more: {stale:?}");
}

/// The machine that builds an image may have another PHP than the image.
#[test]
fn below_root_this_machines_php_is_asked() {
    let root = Root::new();
    let note = "the PHP of this machine cannot parse";
    for (line, is_told) in [
        ("$port = (int) '3306';", false),
        ("$port = (real) '3306';", true),
    ] {
        root.put(
            &format!("{SITE}/wp-config.php"),
            &CONFIG.replacen("<?php\n", &format!("<?php\n{line}\n"), 1),
        );
        let output = root.run(&["plan", "--site", SITE]);
        assert_eq!(code(&output), 0, "{}", text(&output));
        assert_eq!(text(&output).contains(note), is_told, "{}", text(&output));
    }
    let output = root.run(&["setup", "--site", SITE, "--yes"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
}
