//! Compares setup, a second setup and remove of many sites below a folder, in one run.
//!
//! ```text
//! cargo bench --bench sites -- [--sites N] [--rounds N] [--within FOLDER] [NAME=PROGRAM]...
//! ```
//!
//! The first program is what the others are compared with. Without any, it is this version's own. The folder decides
//! whether a disk takes part: every file is flushed to it. Files that are written before and after such a run tell how
//! fast that disk is by itself.

#![allow(dead_code, unused_imports, reason = "it shares the tests' environment")]

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/common/measured.rs"]
mod measured;
#[path = "../tests/cli/root.rs"]
mod root;

use std::path::PathBuf;

use crate::measured::Run;
use crate::root::Root;

const STEPS: [(&str, &[&str]); 3] = [
    ("setup", &["setup", "--yes"]),
    ("again", &["setup", "--yes"]),
    ("remove", &["remove", "--yes"]),
];

fn main() {
    let (mut sites, mut rounds) = (1000, 1);
    let mut within = std::env::temp_dir();
    let mut programs: Vec<(String, PathBuf)> = Vec::new();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut next = || words.next().expect("a value");
        match word.as_str() {
            "--sites" => sites = next().parse().expect("a number"),
            "--rounds" => rounds = next().parse().expect("a number"),
            "--within" => within = next().into(),
            "--bench" => {}
            _ => {
                let (name, program) = word.split_once('=').expect("NAME=PROGRAM");
                programs.push((name.into(), program.into()));
            }
        }
    }
    if programs.is_empty() {
        programs.push(("this".into(), env!("CARGO_BIN_EXE_wp-gears").into()));
    }
    println!("{sites} sites within {}", within.display());
    for round in 1..=rounds {
        for (name, program) in &programs {
            for (step, run) in life(&within, sites, program) {
                println!(
                    "round {round} {name} {step}: {:.2} s, processor {:.2} s, {} MB",
                    run.took.as_secs_f64(),
                    run.processor.as_secs_f64(),
                    run.kb >> 10
                );
            }
        }
    }
}

fn life(
    within: &std::path::Path,
    sites: usize,
    program: &std::path::Path,
) -> Vec<(&'static str, Run)> {
    let root = Root::within(within);
    let all: Vec<String> = (0..sites).map(|n| format!("/srv/www/site{n}")).collect();
    all.iter().for_each(|site| root.site(site));
    let of_all: Vec<&str> = all.iter().flat_map(|site| ["--site", site]).collect();
    let steps = STEPS.map(|(name, words)| {
        let of_sites: &[&str] = if name == "remove" { &[] } else { &of_all };
        let run = measured::run(program, &[words, of_sites].concat(), root.path());
        assert_eq!(run.code, 0, "{name}: {}", run.text);
        (name, run)
    });
    steps.into()
}
