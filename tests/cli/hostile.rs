//! One hostile site among good ones: whatever its user puts into its folder, the
//! others are set up, compared and removed, soon and in little memory, and what is wrong
//! is said about that site.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use crate::measured::{self, Run};
use crate::parallel;
use crate::root::{CONFIG, Root};
use rustix::fs::{CWD, FileType, Mode, mknodat};

const HOSTILE: &str = "/var/www/hostile";
const GOOD: usize = 6;
/// More than without the hostile site.
const LONGER: Duration = Duration::from_secs(10);
const MORE_KB: u64 = 200 << 10;

fn config(code: &str) -> String {
    CONFIG.replacen("<?php\n", &format!("<?php\n{code}\n"), 1)
}

fn pipe(at: &Path) {
    let _ = std::fs::remove_file(at);
    mknodat(CWD, at, FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap();
}

/// A file that is larger than any disk, and takes no space.
fn endless(at: &Path) {
    let file = std::fs::File::create(at).unwrap();
    file.set_len(1 << 40).unwrap();
}

fn folder(at: &Path) {
    let _ = std::fs::remove_file(at);
    std::fs::create_dir_all(at).unwrap();
}

fn deep(at: &Path) {
    let mut path = at.to_owned();
    for _ in 0..400 {
        path.push("deep");
    }
    std::fs::create_dir_all(path).unwrap();
}

type Plant = fn(&Path);

/// What it is, how it is planted in the site's folder, and whether the site is refused.
const HOSTILITIES: [(&str, Plant, bool); 25] = [
    (
        "8 MB of opening brackets",
        |site| put(site, &config(&"(".repeat(8 << 20))),
        true,
    ),
    (
        "an operator without end",
        |site| put(site, &config(&format!("$a = {}1;", "1 . ".repeat(30_000)))),
        true,
    ),
    (
        "nested strings",
        |site| put(site, &config(&"{$a[\"".repeat(100_000))),
        true,
    ),
    (
        "a text that doubles",
        |site| {
            put(
                site,
                &config(&format!("$a = 'xxxxxxxx';{}", "$a = $a . $a;".repeat(60))),
            );
        },
        true,
    ),
    (
        "a list that doubles",
        |site| {
            put(
                site,
                &config(&format!("$a = [1, 2, 3];{}", "$a = [$a, $a];".repeat(60))),
            );
        },
        true,
    ),
    (
        "a large text that is copied",
        |site| {
            let copies: String = (0..20_000).map(|n| format!("$b{n} = $a;")).collect();
            put(
                site,
                &config(&format!("$a = '{}';{copies}", "x".repeat(1 << 20))),
            );
        },
        true,
    ),
    (
        "guards around many lines",
        |site| {
            let guards: String = (0..300)
                .map(|n| format!("if ( ! defined( 'A{n}' ) ) {{"))
                .collect();
            let lines = "define( 'WP_GEARS', 1 );".repeat(30_000);
            put(
                site,
                &config(&format!("{guards}{lines}{}", "}".repeat(300))),
            );
        },
        true,
    ),
    (
        "30,000 comments in a line",
        |site| put(site, &config(&"/**/".repeat(30_000))),
        false,
    ),
    (
        "a line break in a server's name",
        |site| {
            put(
                site,
                &config("$gearman_servers = array( \"a.test\\n[program:x]\" );"),
            );
        },
        true,
    ),
    (
        "thousands of includes",
        |site| put(site, &config(&"include 'a.php';".repeat(10_000))),
        false,
    ),
    (
        "includes in a circle",
        |site| {
            put(site, &config("include 'a.php';"));
            std::fs::write(site.join("a.php"), "<?php include 'b.php';").unwrap();
            std::fs::write(site.join("b.php"), "<?php include 'a.php';").unwrap();
        },
        false,
    ),
    (
        "an include of a pipe",
        |site| {
            put(site, &config("include 'a.php';"));
            pipe(&site.join("a.php"));
        },
        false,
    ),
    (
        "an include without end",
        |site| {
            put(site, &config("include 'a.php';"));
            endless(&site.join("a.php"));
        },
        false,
    ),
    (
        "a pipe for wp-config.php",
        |site| pipe(&site.join("wp-config.php")),
        true,
    ),
    (
        "an endless wp-config.php",
        |site| endless(&site.join("wp-config.php")),
        true,
    ),
    (
        "a folder for wp-config.php",
        |site| folder(&site.join("wp-config.php")),
        true,
    ),
    (
        "an endless version.php",
        |site| endless(&site.join("wp-includes/version.php")),
        true,
    ),
    (
        "a pipe for wp-load.php",
        |site| pipe(&site.join("wp-load.php")),
        false,
    ),
    (
        "an endless plugin",
        |site| {
            std::fs::create_dir(site.join("wp-content/mu-plugins")).unwrap();
            endless(&site.join("wp-content/mu-plugins/wp-gears-bundled.php"));
        },
        true,
    ),
    (
        "a pipe for mu-plugins",
        |site| pipe(&site.join("wp-content/mu-plugins")),
        true,
    ),
    (
        "an endless runner",
        |site| endless(&site.join("wp-gears-runner.php")),
        true,
    ),
    (
        "3,000 plugins",
        |site| {
            let plugins = site.join("wp-content/plugins");
            for n in 0..3_000 {
                std::fs::create_dir_all(plugins.join(format!("p{n}"))).unwrap();
            }
        },
        true,
    ),
    (
        "content 400 folders deep",
        |site| {
            let path = "/deep".repeat(400);
            put(
                site,
                &config(&format!("define( 'WP_CONTENT_DIR', __DIR__ . '{path}' );")),
            );
            deep(site);
        },
        true,
    ),
    (
        "a chain of links",
        |site| {
            std::fs::rename(site.join("wp-content"), site.join("l0")).unwrap();
            for n in 1..2000 {
                symlink(format!("l{}", n - 1), site.join(format!("l{n}"))).unwrap();
            }
            symlink("l1999", site.join("wp-content")).unwrap();
        },
        true,
    ),
    (
        "an endless marker of maintenance",
        |site| endless(&site.join(".maintenance")),
        false,
    ),
];

fn put(site: &Path, text: &str) {
    std::fs::write(site.join("wp-config.php"), text).unwrap();
}

fn good(n: usize) -> String {
    format!("/srv/good{n}")
}

fn run(root: &Root, words: &[&str]) -> Run {
    measured::run(
        Path::new(env!("CARGO_BIN_EXE_wp-gears")),
        words,
        root.path(),
    )
}

/// What a site gets from setup.
fn is_set_up(root: &Root, site: &str) -> bool {
    let name = Path::new(site).file_name().unwrap().to_string_lossy();
    root.at(format!("/etc/supervisor/conf.d/wp-gears-{name}.conf"))
        .exists()
        && std::fs::read(root.at(format!("{site}/wp-config.php")))
            .is_ok_and(|text| text.windows(9).any(|it| it == b"WP_GEARS'"))
}

/// Setup, plan and remove on all sites: what went wrong.
fn life(
    plant: Option<(Plant, bool)>,
    usual: &BTreeMap<&str, (Duration, u64)>,
) -> Result<Vec<(&'static str, Duration, u64)>, String> {
    let root = Root::new();
    let mut sites: Vec<String> = (0..GOOD).map(good).collect();
    for site in &sites {
        root.site(site);
    }
    let refused = plant.is_some_and(|(_, refused)| refused);
    if let Some((plant, _)) = plant {
        root.site(HOSTILE);
        plant(&root.at(HOSTILE));
        sites.push(HOSTILE.into());
    }
    let all: Vec<&str> = sites.iter().flat_map(|site| ["--site", site]).collect();
    let mut used = Vec::new();
    for (name, words, code) in [
        (
            "setup",
            [&["setup", "--yes"][..], &all].concat(),
            i64::from(refused),
        ),
        ("plan", vec!["plan"], 0),
        ("remove", vec!["remove", "--yes"], 0),
    ] {
        let run = run(&root, &words);
        used.push((name, run.took, run.kb));
        let (took, kb) = usual.get(name).copied().unwrap_or((run.took, run.kb));
        let told = |line: &&str| {
            ["error", "panic", "hostile"]
                .iter()
                .any(|it| line.contains(it))
        };
        let text: Vec<&str> = run.text.lines().filter(told).take(20).collect();
        let text = text.join("\n");
        if run.code != code {
            return Err(format!("{name} exits with {}: {text}", run.code));
        }
        if run.took > took + LONGER || run.kb > kb + MORE_KB {
            return Err(format!(
                "{name} takes {:?}, {:?} of processor time, and {} MB",
                run.took,
                run.processor,
                run.kb >> 10
            ));
        }
        let says = |site: &str| {
            text.lines()
                .any(|line| line.contains("error") && line.contains(site))
        };
        if name == "setup" && says(HOSTILE) != refused {
            return Err(format!("{name} says {text}"));
        }
        let set_up = name != "remove";
        if let Some(site) = (0..GOOD)
            .map(good)
            .find(|site| is_set_up(&root, site) != set_up)
        {
            return Err(format!("{name}: {site} is wrong: {text}"));
        }
    }
    Ok(used)
}

#[test]
fn one_sites_trouble_stays_that_sites() {
    let usual = life(None, &BTreeMap::new()).unwrap();
    let usual = usual
        .into_iter()
        .map(|(name, took, kb)| (name, (took, kb)))
        .collect();
    let results = parallel::each(2, &HOSTILITIES, |(_, plant, refused)| {
        life(Some((*plant, *refused)), &usual)
    });
    let mut wrong = Vec::new();
    for ((name, ..), result) in HOSTILITIES.iter().zip(results) {
        match result {
            Ok(used) => {
                let used: Vec<String> = used
                    .iter()
                    .map(|(name, took, kb)| format!("{name} {took:?} {} MB", kb >> 10))
                    .collect();
                eprintln!("{name}: {}", used.join(", "));
            }
            Err(why) => wrong.push(format!("{name}: {why}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
