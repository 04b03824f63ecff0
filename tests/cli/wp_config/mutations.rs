//! Mutated wp-config.php files: the editor neither panics nor hangs, and never
//! turns a file that PHP accepts into one that it rejects. `WP_CONFIG_MUTATIONS`
//! sets the number of mutations.

use super::judge;
use std::time::{Duration, Instant};

use crate::dice::Dice;
use wp_gears::site::config::{Desired, Want, edit, remove, undo};
use wp_gears::site::plugins::{WP_GEARS, WP_MINIONS};

const WORDS: &[&str] = &[
    "<?php ",
    "?>",
    "<?=",
    "\"",
    "'",
    "`",
    "/*",
    "*/",
    "//",
    "#",
    "\n",
    "\r",
    "\r\n",
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    ";",
    ",",
    ".",
    "$",
    "\\",
    "<<<X\n",
    "X;\n",
    "<<<'Y'\n",
    "if ( 1 ) ",
    "else ",
    "exit;",
    "return;",
    "namespace A;",
    "namespace {",
    "__halt_compiler();",
    "define( 'WP_GEARS', true );",
    "define( 'WP_GEARS', ",
    "global $gearman_servers;",
    "$gearman_servers",
    " = array( 'a:1' );",
    "'WP_ASYNC_TASK_SALT'",
    "require ABSPATH . 'wp-settings.php';",
    "'wp-settings.php'",
    "eval( $x );",
    "include __DIR__ . '/a.php';",
    "/* BEGIN wp-gears: x */\n",
    "/* END wp-gears */\n",
    "// BEGIN other\n",
    "// END other\n",
    "function f() {",
    "fn() => ",
    "switch ( $x ) { case 1: ",
    "define( 'MULTISITE', true );",
    "\u{e9}",
    "@",
    "&",
    "...",
    "?->",
    "/**#@+*/",
    "/**#@-*/",
    "goto a;",
    "a:",
    "declare( strict_types=1 );",
    "&& ",
    "|| ",
    "? 1 : ",
    "??=",
];

#[test]
fn mutations_break_nothing() {
    let count = std::env::var("WP_CONFIG_MUTATIONS")
        .ok()
        .and_then(|it| it.parse().ok())
        .unwrap_or(10_000);
    let files: Vec<Vec<u8>> = std::fs::read_dir(judge::fixtures())
        .unwrap()
        .flatten()
        .filter(|it| it.path().extension().is_some_and(|it| it == "php"))
        .map(|it| std::fs::read(it.path()).unwrap())
        .collect();
    let (mut edits, mut pairs, mut slowest) = (0, Vec::new(), Duration::ZERO);
    for seed in 0..count {
        let mut dice = Dice::new(seed);
        let mut text = files[dice.roll(files.len())].clone();
        for _ in 0..=dice.roll(4) {
            let other = &files[dice.roll(files.len())];
            dice.mutate(&mut text, other, WORDS);
        }
        let start = Instant::now();
        if let Some(new) = one(&text, seed) {
            edits += 1;
            pairs.extend([text, new]);
        }
        slowest = slowest.max(start.elapsed());
        if pairs.len() >= 8000 || seed + 1 == count {
            judge_pairs(&std::mem::take(&mut pairs));
        }
    }
    eprintln!("{count} mutations, {edits} edited, slowest {slowest:?}");
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
}

/// Edits one file, checks what can be checked without PHP, and returns the new
/// text if it changed.
fn one(text: &[u8], seed: usize) -> Option<Vec<u8>> {
    let desired = Desired {
        switch: if seed.is_multiple_of(2) {
            WP_GEARS.switch
        } else {
            WP_MINIONS.switch
        },
        servers: match seed % 3 {
            0 => Want::Exactly(vec!["10.1.1.1:4730".into()]),
            _ => Want::Default(vec!["127.0.0.1:4730".into()]),
        },
        salt: match seed % 5 {
            0 => Want::Exactly("requested".into()),
            _ => Want::Default("default".into()),
        },
    };
    let include = |_: &[u8]| None;
    remove(text);
    let edited = edit(text, &desired, &include).ok()?;
    if edited.text == text {
        return None;
    }
    let again = edit(&edited.text, &desired, &include)
        .unwrap_or_else(|why| panic!("seed {seed}: the second edit is refused: {why}"));
    assert!(again.text == edited.text, "seed {seed}: not idempotent");
    let appended = [&edited.text[..], b"\n// mine"].concat();
    let back = undo(&appended, text, &edited.text);
    if back.left_alone.is_empty() && text.iter().filter(|b| **b == b'\n').count() > 2 {
        assert!(
            back.text == [text, b"\n// mine"].concat(),
            "seed {seed}: not reverted"
        );
    }
    Some(edited.text)
}

fn judge_pairs(pairs: &[Vec<u8>]) {
    let parses = judge::parses(pairs);
    for (texts, parses) in pairs.chunks(2).zip(parses.chunks(2)) {
        assert!(
            !parses[0] || parses[1],
            "PHP accepts\n{}\nbut not\n{}",
            String::from_utf8_lossy(&texts[0]),
            String::from_utf8_lossy(&texts[1])
        );
    }
}
