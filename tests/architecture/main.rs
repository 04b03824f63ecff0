//! Enforces the layers: a module only uses lower ones, and no two files of a layer
//! use each other. ARCHITECTURE.md shows the same layers.

mod wording;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use regex::Regex;

/// From the bottom up, in the order of lib.rs.
const LAYERS: [&str; 13] = [
    "base",
    "host",
    "gearman",
    "worker",
    "supervisor",
    "queue",
    "site",
    "intent",
    "resource",
    "plan",
    "doctor",
    "report",
    "cli",
];

/// Modules by their paths, such as "plan::recipe::program", and what they use.
type Uses = BTreeMap<String, BTreeSet<String>>;

/// Reads every file below a folder. Tests in a file are skipped: they may use
/// anything.
fn uses(src: &Path) -> Uses {
    let mut files = Vec::new();
    collect(src, src, &mut files);
    let modules: BTreeSet<String> = files.iter().map(|(module, ..)| module.clone()).collect();
    files
        .iter()
        .map(|(module, is_folder, text)| {
            let mut used = BTreeSet::new();
            for path in paths(module, *is_folder, text) {
                // The longest prefix of the path that is a module.
                let parts: Vec<&str> = path.split("::").collect();
                let found = (1..=parts.len())
                    .rev()
                    .map(|n| parts[..n].join("::"))
                    .find(|path| modules.contains(path));
                used.extend(found.filter(|found| found != module));
            }
            (module.clone(), used)
        })
        .collect()
}

fn collect(root: &Path, dir: &Path, files: &mut Vec<(String, bool, String)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, files);
            continue;
        }
        let below = path.strip_prefix(root).unwrap().with_extension("");
        let mut parts: Vec<String> = below
            .iter()
            .map(|part| part.to_string_lossy().into_owned())
            .collect();
        if path.extension().is_none_or(|ending| ending != "rs")
            || parts == ["lib"]
            || parts == ["main"]
        {
            continue;
        }
        let is_folder = parts.last().is_some_and(|name| name == "mod");
        if is_folder {
            parts.pop();
        }
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let lines = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let code: Vec<&str> = lines.collect();
        files.push((parts.join("::"), is_folder, code.join("\n")));
    }
}

/// All paths in the text that begin with `crate` or `super`, with braces expanded.
fn paths(module: &str, is_folder: bool, text: &str) -> Vec<String> {
    let start = Regex::new(r"\b(crate|(?:super::)*super)::").unwrap();
    let mut found = Vec::new();
    for word in start.captures_iter(text) {
        let mut base: Vec<&str> = module.split("::").collect();
        if &word[1] == "crate" {
            base.clear();
        } else {
            // The parent of a folder's own file is the folder above.
            let _ = is_folder;
            for _ in 0..word[1].matches("super").count() {
                base.pop();
            }
        }
        let rest = &text[word.get(0).unwrap().end()..];
        let mut tails = Vec::new();
        expand(rest, "", &mut tails);
        for tail in tails {
            let parts: Vec<&str> = base.iter().copied().chain([tail.as_str()]).collect();
            found.push(parts.join("::"));
        }
    }
    found
}

/// Expands `a::{b, c::d}` to `a::b` and `a::c::d`; returns the rest of the text.
fn expand<'t>(text: &'t str, before: &str, found: &mut Vec<String>) -> &'t str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = expand(rest, before, found).trim_start();
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => return rest.strip_prefix('}').unwrap_or(rest),
            }
            if let Some(end) = rest.trim_start().strip_prefix('}') {
                return end;
            }
        }
    }
    let end = text
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let path = format!("{before}{name}");
    if let Some(deeper) = rest.strip_prefix("::") {
        return expand(deeper, &format!("{path}::"), found);
    }
    found.push(path);
    // `name as other`
    let rest = rest.trim_start();
    match rest.strip_prefix("as ") {
        Some(alias) => alias.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_'),
        None => rest,
    }
}

fn layer(module: &str) -> Option<usize> {
    let first = module.split("::").next().unwrap_or_default();
    LAYERS.iter().position(|layer| *layer == first)
}

/// Every use of a higher layer, and every module without a layer.
fn upward(uses: &Uses) -> Vec<String> {
    let mut found = Vec::new();
    for (module, used) in uses {
        let Some(from) = layer(module) else {
            found.push(format!("{module} is in no layer"));
            continue;
        };
        for other in used {
            if layer(other).is_some_and(|to| to > from) {
                found.push(format!("{module} uses {other}, of a higher layer"));
            }
        }
    }
    found
}

/// Files that use each other, directly or indirectly. A file may use its own folder's
/// mod.rs: that is not part of a cycle.
fn circles(uses: &Uses) -> Vec<String> {
    let below = |module: &str| -> Vec<&String> {
        let used = uses.get(module).into_iter().flatten();
        used.filter(|other| !module.starts_with(&format!("{other}::")))
            .collect()
    };
    let reached = |from: &str| -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        let mut open = below(from);
        while let Some(next) = open.pop() {
            if seen.insert(next.clone()) {
                open.extend(below(next));
            }
        }
        seen
    };
    uses.keys()
        .filter(|module| reached(module).contains(*module))
        .map(|module| format!("{module} is part of a cycle"))
        .collect()
}

fn ours() -> Uses {
    uses(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
}

#[test]
fn a_module_uses_only_those_below_it() {
    assert_eq!(upward(&ours()), Vec::<String>::new());
}

#[test]
fn no_two_files_use_each_other() {
    assert_eq!(circles(&ours()), Vec::<String>::new());
}

#[test]
fn lib_rs_and_the_architectures_page_list_the_same_layers() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let lib = fs::read_to_string(root.join("src/lib.rs")).unwrap();
    let listed: BTreeSet<&str> = lib
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .collect();
    assert_eq!(listed, LAYERS.into_iter().collect());
    let page = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let mut rest = page.as_str();
    for layer in LAYERS.iter().rev() {
        let row = format!("`{layer}`");
        let at = rest
            .find(&row)
            .unwrap_or_else(|| panic!("{layer} is not in its place"));
        rest = &rest[at..];
    }
}

/// Commands that differ between platforms, in texts: only `host` knows which of them a
/// host has.
fn platform_commands(text: &str) -> Vec<String> {
    let literal = Regex::new(r#"(?s)"(?:[^"\\]|\\.)*""#).unwrap();
    let command = Regex::new(
        r"systemctl|journalctl|timedatectl|phpenmod|supervisorctl|update-rc\.d|chkconfig|apt-get|\bdnf\b|\byum\b|service \{?\w*\}? (start|stop|restart|reload)",
    )
    .unwrap();
    literal
        .find_iter(text)
        .map(|literal| literal.as_str())
        .filter(|literal| command.is_match(literal))
        .map(str::to_owned)
        .collect()
}

#[test]
fn only_the_platform_names_its_commands() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&src, &src, &mut files);
    let named: Vec<(String, Vec<String>)> = files
        .into_iter()
        .filter(|(module, ..)| !module.starts_with("host"))
        .map(|(module, _, text)| (module, platform_commands(&text)))
        .filter(|(_, commands)| !commands.is_empty())
        .collect();
    assert_eq!(named, []);
    for (text, found) in [
        ("let todo = \"run 'phpenmod gearman' first\";", 1),
        ("format!(\n    \"service {name} restart\"\n)", 1),
        ("context.supervisorctl(\"update\")", 0),
        ("format!(\"the service {name} is masked\")", 0),
    ] {
        assert_eq!(platform_commands(text).len(), found, "{text}");
    }
}

/// Where a process is started past `host::commands`, or with words that it cannot keep
/// from being options.
fn past_commands(text: &str) -> Vec<&'static str> {
    let past = [
        ("std", r"process::(Command\b|\{[^}]*\bCommand\b)"),
        ("as written", r"\bCommand::as_written\b"),
        ("leak", r"\bleak\("),
    ];
    let is_in = |pattern: &str| Regex::new(pattern).unwrap().is_match(text);
    past.into_iter()
        .filter(|(_, pattern)| is_in(pattern))
        .map(|(name, _)| name)
        .collect()
}

/// There, the type of an argument says whether it can be an option.
#[test]
fn commands_are_built_where_no_value_becomes_an_option() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&src, &src, &mut files);
    let starters = ["host::commands", "host::child", "host::process"];
    let past: Vec<(String, Vec<&str>)> = files
        .into_iter()
        .filter(|(module, ..)| !starters.contains(&module.as_str()))
        // The worker has no rights that its site has not.
        .filter(|(module, ..)| !module.starts_with("worker::"))
        .map(|(module, _, text)| (module, past_commands(&text)))
        .filter(|(_, past)| !past.is_empty())
        .collect();
    let mut past = past;
    past.sort();
    // The command of [alert], which root wrote as a list, and the line that supervisor runs.
    let whole = ["cli::alert::deliver", "plan::recipe::switch"]
        .map(|module| (module.to_owned(), vec!["as written"]));
    assert_eq!(past, whole);
    for (text, found) in [
        ("use std::process::{Child,\n    Command};", vec!["std"]),
        ("std::process::Command::new(name)", vec!["std"]),
        ("command.args([&*name.leak()])", vec!["leak"]),
        ("use std::process::ExitStatus;", vec![]),
    ] {
        assert_eq!(past_commands(text), found, "{text}");
    }
}

/// The test detects what it is meant to detect.
#[test]
fn an_upward_use_and_a_circle_are_seen() {
    let with = |module: &str, text: &str| {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("base/mod.rs", "pub mod clock;"),
            ("base/clock.rs", ""),
            ("host/mod.rs", "use crate::base::clock;"),
            ("host/files.rs", "use super::Host;\nuse crate::host::walk;"),
            (
                "host/walk.rs",
                "#[cfg(test)]\nmod tests { use crate::cli; }",
            ),
            (
                "cli/mod.rs",
                "use crate::host::files::{self, Node as Other};",
            ),
            (module, text),
        ] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let uses = uses(dir.path());
        [upward(&uses), circles(&uses)].concat()
    };
    assert_eq!(
        with("host/lock.rs", "use crate::base::{clock};"),
        Vec::<String>::new()
    );
    for text in [
        "use crate::cli;",
        "use crate::{base::clock, cli::Cli};",
        "use super::super::cli::Cli;",
        "fn f() { crate::cli::run() }",
    ] {
        let seen = with("host/lock.rs", text);
        assert_eq!(seen, ["host::lock uses cli, of a higher layer"], "{text}");
    }
    assert_eq!(
        with("host/walk.rs", "use super::files::Node;"),
        [
            "host::files is part of a cycle",
            "host::walk is part of a cycle"
        ]
    );
    assert_eq!(with("ui/mod.rs", ""), ["ui is in no layer"]);
}
