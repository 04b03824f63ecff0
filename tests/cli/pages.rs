//! What the documents say about the program. The tables in docs/options.md are
//! generated from the program itself.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{Arg, Command};
use regex::Regex;
use wp_gears::doctor::checks::ALL;
use wp_gears::intent::usage;
use wp_gears::worker::rules::{HookRule, RuleKey};

use crate::held::held;

const PAGE: &str = "docs/options.md";

/// An option and the commands that have it.
struct Row {
    arg: Arg,
    commands: Vec<String>,
}

/// Options that are neither hidden nor common to all programs.
fn options(command: &Command) -> impl Iterator<Item = &Arg> {
    let own = |arg: &&Arg| {
        let name = arg.get_long();
        name.is_some_and(|name| name != "help" && name != "version") && !arg.is_hide_set()
    };
    command.get_arguments().filter(own)
}

/// Every option once. Options with the same name and another meaning or default are
/// separate.
fn rows(program: &Command) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for command in program.get_subcommands() {
        for arg in options(command) {
            let same = |row: &&mut Row| {
                row.arg.get_long() == arg.get_long()
                    && (help(&row.arg), default(&row.arg)) == (help(arg), default(arg))
            };
            let name = command.get_name().to_owned();
            match rows.iter_mut().find(same) {
                Some(row) => row.commands.push(name),
                None => rows.push(Row {
                    arg: arg.clone(),
                    commands: vec![name],
                }),
            }
        }
    }
    rows
}

/// Its purpose, without the default.
fn help(arg: &Arg) -> String {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    help.split(" [default: ").next().unwrap_or_default().into()
}

fn default(arg: &Arg) -> String {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    if let Some((_, rest)) = help.split_once(" [default: ") {
        return rest.split(']').next().unwrap_or_default().into();
    }
    let values = arg.get_default_values().iter();
    let values: Vec<_> = values.map(|value| value.to_string_lossy()).collect();
    match arg.get_action().takes_values() {
        true => values.join(", "),
        false => String::new(),
    }
}

/// Its possible values, or the kind of its value and the requirements.
fn value(program: &Command, row: &Row) -> String {
    let arg = &row.arg;
    if !arg.get_action().takes_values() {
        return String::new();
    }
    let values = arg.get_possible_values();
    let kind = match values.is_empty() {
        false => {
            let names = values.iter().map(|value| format!("`{}`", value.get_name()));
            names.collect::<Vec<_>>().join(", ")
        }
        true => format!("`{}`", arg.get_value_names().unwrap_or_default().join(" ")),
    };
    let kind = match arg.get_value_delimiter() {
        Some(_) => format!("list of {kind}"),
        None => kind,
    };
    match demanded(program, row) {
        Some(demand) if demand.starts_with("such as") => format!("{kind}, {demand}"),
        Some(demand) if values.is_empty() => format!("{kind}: {demand}"),
        _ => kind,
    }
}

/// The program's error for an invalid value.
fn demanded(program: &Command, row: &Row) -> Option<String> {
    const NO_VALUE: &str = "/ ?";
    let name = row.arg.get_long()?;
    let words = [
        "wp-gears".to_owned(),
        row.commands.first()?.clone(),
        format!("--{name}={NO_VALUE}"),
    ];
    let error = program.clone().try_get_matches_from(words).err()?;
    let line = usage::line(&error)?;
    let (_, demand) = line.split_once(&format!("'{NO_VALUE}' for"))?;
    let (_, demand) = demand.split_once("': ")?;
    let demand = demand.strip_prefix("expected ").unwrap_or(demand);
    let kind = row.arg.get_value_names()?.join(" ");
    Some(
        demand
            .strip_prefix(&format!("{kind}, "))
            .unwrap_or(demand)
            .to_owned(),
    )
}

/// Its meaning, and that of each value.
fn meaning(arg: &Arg) -> String {
    let mut text = sentence(&help(arg));
    for value in arg.get_possible_values() {
        if let Some(help) = value.get_help() {
            let help = sentence(&help.to_string());
            text.push_str(&format!(" `{}`: {help}", value.get_name()));
        }
    }
    text
}

fn sentence(text: &str) -> String {
    format!("{}.", text.trim_end_matches('.'))
}

fn name(arg: &Arg) -> String {
    let long = arg.get_long().unwrap_or_default();
    match arg.get_short() {
        Some(short) => format!("`-{short}`, `--{long}`"),
        None => format!("`--{long}`"),
    }
}

/// A table in Markdown.
fn table(heads: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | ").replace("  ", " "));
    let heads: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
    let rule: Vec<String> = heads.iter().map(|_| "---".to_owned()).collect();
    let mut text = line(&heads) + &line(&rule);
    for row in rows {
        text += &line(&row);
    }
    text
}

/// The options of the config file under one heading of setup's help.
fn of_file(program: &Command, rows: &[Row], heading: &str) -> String {
    let chosen = rows.iter().filter(|row| {
        row.arg.get_help_heading() == Some(heading) && row.commands.iter().any(|it| it == "setup")
    });
    table(
        &["Option", "Value", "Default", "Meaning"],
        chosen.map(|row| {
            let worker = row.commands.iter().any(|command| command == "worker");
            vec![
                name(&row.arg) + if worker { " ᵂ" } else { "" },
                value(program, row),
                default(&row.arg),
                meaning(&row.arg),
            ]
        }),
    )
}

/// The keys of a rule for hooks.
fn of_hooks() -> String {
    let row = |key: RuleKey| {
        let (name, means) = (format!("`{}`", key.name), sentence(key.means));
        vec![name, key.takes.into(), means]
    };
    table(&["Key", "Value", "Meaning"], HookRule::KEYS.map(row))
}

/// All other options, with the commands that have them.
fn of_commands(program: &Command, rows: &[Row]) -> String {
    let of_file = |row: &Row| {
        ["Host options", "Site options"]
            .map(Some)
            .contains(&row.arg.get_help_heading())
            && row.commands.iter().any(|it| it == "setup")
    };
    table(
        &["Option", "Commands", "Value", "Default", "Meaning"],
        rows.iter().filter(|row| !of_file(row)).map(|row| {
            vec![
                name(&row.arg),
                row.commands.join(", "),
                value(program, row),
                default(&row.arg),
                meaning(&row.arg),
            ]
        }),
    )
}

/// The commands whose options can be set by environment variables.
fn with_variables(program: &Command) -> String {
    let reads_all = |command: &&Command| {
        let mut values = options(command).filter(|arg| arg.get_action().takes_values());
        options(command).next().is_some() && values.all(|arg| arg.get_env().is_some())
    };
    let commands = program.get_subcommands().filter(reads_all);
    let names: Vec<String> = commands.map(|it| format!("`{}`", it.get_name())).collect();
    format!("{}\n", names.join(", "))
}

#[test]
fn held_options_are_on_their_page() {
    let program = wp_gears::cli::command();
    let rows = rows(&program);
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let mut page = std::fs::read_to_string(page).unwrap();
    for (part, text) in [
        ("variables", with_variables(&program)),
        ("host", of_file(&program, &rows, "Host options")),
        ("site", of_file(&program, &rows, "Site options")),
        ("hooks", of_hooks()),
        ("commands", of_commands(&program, &rows)),
    ] {
        let (begin, end) = (format!("<!-- begin {part} -->\n"), "<!-- end -->");
        let from = page.find(&begin).expect(part) + begin.len();
        let to = from + page[from..].find(end).expect(part);
        page.replace_range(from..to, &text);
    }
    held(PAGE, page);
}

/// The documents, with their text.
fn documents() -> Vec<(PathBuf, String)> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = std::fs::read_dir(project.join("docs")).unwrap();
    let pages = pages.map(|page| page.unwrap().path());
    let top = ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"];
    let paths = pages.chain(top.map(|name| project.join(name)));
    paths
        .map(|path| (path.clone(), std::fs::read_to_string(path).unwrap()))
        .collect()
}

/// The text between backticks in a document, and its command lines.
fn code(text: &str) -> Vec<String> {
    let span = Regex::new(r"(?s)```.*?```|`[^`\n]+`").unwrap();
    let found = span.find_iter(text);
    found
        .map(|code| code.as_str().trim_matches('`').to_owned())
        .collect()
}

#[test]
fn documents_name_only_options_that_exist() {
    let program = wp_gears::cli::command();
    let mut known: BTreeSet<String> = rows(&program)
        .iter()
        .filter_map(|row| row.arg.get_long())
        .map(str::to_owned)
        .collect();
    known.insert("help".into());
    let option = Regex::new(r"--([a-z][a-z-]+)").unwrap();
    let mut unknown = Vec::new();
    for (path, text) in documents() {
        let code = code(&text);
        for line in code.iter().flat_map(|code| code.lines()) {
            // Options of other programs are ignored.
            if !line.starts_with("--") && !line.contains("wp-gears ") {
                continue;
            }
            for found in option.captures_iter(line) {
                if !known.contains(&found[1]) {
                    unknown.push(format!("{}: {line}", path.display()));
                }
            }
        }
    }
    assert_eq!(unknown, Vec::<String>::new());
}

#[test]
fn documents_name_only_files_of_the_project_that_exist() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let named = Regex::new(r"^(src|tests|docs|templates|fixtures|examples)(/[\w./-]+)?$").unwrap();
    let link = Regex::new(r"\]\(([^)#:]+)(#[^)]*)?\)").unwrap();
    let mut missing = Vec::new();
    for (path, text) in documents() {
        let folder = path.parent().unwrap();
        let links = link.captures_iter(&text).map(|it| folder.join(&it[1]));
        let names = code(&text).into_iter();
        let names = names.filter(|code| named.is_match(code) && !code.contains("NAME"));
        let names = names.map(|name| project.join(name));
        for file in links.chain(names).filter(|file| !file.exists()) {
            missing.push(format!("{}: {}", path.display(), file.display()));
        }
    }
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn packages_have_all_pages() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = std::fs::read_to_string(project.join("Cargo.toml")).unwrap();
    let (_, packages) = manifest.split_once("[package.metadata.deb]").unwrap();
    for (page, _) in documents() {
        let name = page.strip_prefix(project).unwrap().display().to_string();
        let times = packages.matches(&format!("\"{name}\"")).count();
        assert!(times == 2 || !name.starts_with("docs/"), "{name}: {times}");
    }
}

#[test]
fn the_readme_names_only_checks_that_exist() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"));
    let readme = readme.unwrap();
    let (_, table) = readme.split_once("| `wp-gears doctor …` |\n").unwrap();
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    for check in rows.flat_map(|row| code(row.rsplit('|').nth(1).unwrap_or_default())) {
        let known = ALL.iter().any(|it| it.name == check) || check.starts_with("wp-gears ");
        assert!(known, "{check}");
    }
}
