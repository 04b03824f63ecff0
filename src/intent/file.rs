//! Reads /etc/wp-gears.toml: options of the host and of all sites at the top,
//! those of one site in a `[[site]]` table. Unknown keys are errors.

use std::any::TypeId;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::base::problem::Problem;
use crate::host::Host;
use crate::intent::hooks;
use crate::intent::options::{HostOptions, SiteOptions};
use crate::intent::usage::nearest;
use crate::worker::rules::HookRule;

pub const DEFAULT: &str = "/etc/wp-gears.toml";

/// The options in a file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FileOptions {
    pub host: HostOptions,
    /// Options for all sites, unless a site has its own.
    pub common: SiteOptions,
    /// Each site's own options, by folder.
    pub sites: Vec<(PathBuf, SiteOptions)>,
    /// The rules for hooks of those that have some.
    pub hooks: BTreeMap<PathBuf, Vec<HookRule>>,
    /// Of these, the sites that only a file given for this run has.
    pub new_sites: BTreeSet<PathBuf>,
}

impl FileOptions {
    /// The options of a site: its own, over those of all sites.
    pub fn of_site(&self, dir: &Path) -> SiteOptions {
        let own = self.sites.iter().find(|(known, _)| known == dir);
        let own = own.map(|(_, options)| options.clone());
        own.unwrap_or_default().over(self.common.clone())
    }

    /// The rules for a site's hooks.
    pub fn hooks_of(&self, dir: &Path) -> Vec<HookRule> {
        self.hooks.get(dir).cloned().unwrap_or_default()
    }

    pub fn has_site(&self, dir: &Path) -> bool {
        self.sites.iter().any(|(known, _)| known == dir)
    }

    /// These options, given for one run, and those of the host's file that they leave open.
    fn over(self, file: FileOptions) -> FileOptions {
        let (asked, mut all) = (self.sites, file);
        for (dir, options) in asked {
            match all.sites.iter_mut().find(|(known, _)| *known == dir) {
                Some((_, known)) => *known = options.over(std::mem::take(known)),
                None => {
                    all.new_sites.insert(dir.clone());
                    all.sites.push((dir, options));
                }
            }
        }
        all.hooks.extend(self.hooks);
        FileOptions {
            host: self.host.over(all.host),
            common: self.common.over(all.common),
            ..all
        }
    }
}

/// Reads the file that `--config` names, or the host's.
///
/// # Errors
/// A file that `--config` names and that cannot be read, and what `parse` refuses.
pub fn read(host: &Host, path: Option<&Path>) -> Result<FileOptions> {
    let (path, must) = match path {
        Some(path) => (std::path::absolute(path)?, true),
        None => (PathBuf::from(DEFAULT), false),
    };
    // A file named on the command line is not below --root.
    let bytes = if must {
        std::fs::read(&path).map_err(|error| {
            Problem::usage(format!("read the config file {}", path.display()), error)
                .help("pass the path of a config file, or omit --config to use /etc/wp-gears.toml")
        })?
    } else {
        match host.read(&path)? {
            Some(file) => file.bytes,
            None => return Ok(FileOptions::default()),
        }
    };
    parse(utf8(&bytes, &path)?, &path)
}

/// Reads the file, and over it the one that `--from` names.
///
/// # Errors
/// Those of `read`, for both files.
pub fn read_over(host: &Host, path: Option<&Path>, from: Option<&Path>) -> Result<FileOptions> {
    let file = read(host, path)?;
    Ok(match from {
        Some(from) => read(host, Some(from))?.over(file),
        None => file,
    })
}

/// Returns the text of a TOML file, which is UTF-8.
///
/// # Errors
/// Invalid UTF-8, with its line and column.
pub fn utf8<'b>(bytes: &'b [u8], path: &Path) -> Result<&'b str> {
    std::str::from_utf8(bytes).map_err(|error| {
        let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        let why = format!("{}not valid UTF-8", place(&before, Some(before.len())));
        let what = format!("read the config file {}", path.display());
        Problem::usage(what, why)
            .help("save the file as UTF-8")
            .into()
    })
}

/// # Errors
/// Invalid TOML, unknown names, wrong types and values that the command line
/// would refuse, with the line and column. The line itself is not quoted: it
/// may hold a secret.
pub fn parse(text: &str, path: &Path) -> Result<FileOptions> {
    let what = || format!("read the config file {}", path.display());
    // The parser's own message quotes the line, which may hold a secret: only the place is shown.
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        let why = format!(
            "{}{}",
            place(text, error.span().map(|s| s.start)),
            error.message()
        );
        Problem::usage(what(), why)
    })?;
    let host_names = names::<HostOptions>();
    let site_names = names::<SiteOptions>();
    let (mut of_host, mut of_sites, mut sites) = (Table::new(), Table::new(), Vec::new());
    for (key, value) in table {
        if key == "site" {
            let Value::Array(tables) = value else {
                let why = format!("{}'site' is written as [[site]] tables", at(text, &key));
                return Err(Problem::usage(what(), why).into());
            };
            sites = tables;
        } else if host_names.contains(key.as_str()) {
            of_host.insert(key, value);
        } else if site_names.contains(key.as_str()) {
            of_sites.insert(key, value);
        } else {
            let mut known: Vec<&str> = host_names.iter().chain(&site_names).map(|s| &**s).collect();
            known.push("site");
            return Err(unknown(text, &key, &known, what()));
        }
    }
    let host: HostOptions = typed(of_host, text, &what)?;
    let common: SiteOptions = typed(of_sites, text, &what)?;
    let mut read = FileOptions {
        host,
        common,
        ..FileOptions::default()
    };
    for (nth, site) in sites.into_iter().enumerate() {
        let Value::Table(mut site) = site else {
            let why = "'site' is written as [[site]] tables";
            return Err(Problem::usage(what(), why).into());
        };
        let dir = match site.remove("dir") {
            Some(Value::String(dir)) => PathBuf::from(dir),
            _ => {
                let why = "each [[site]] needs dir = \"…\", its WordPress folder";
                return Err(Problem::usage(what(), why).into());
            }
        };
        let rules = site.remove("hook").map_or(Ok(Vec::new()), hooks::read);
        let rules = rules.map_err(|wrong| {
            let why = format!("{}{}", place(text, wrong.offset(text, nth)), wrong.why);
            match wrong.help {
                Some(help) => Problem::usage(what(), why).help(help),
                None => Problem::usage(what(), why),
            }
        })?;
        if let Some(key) = site.keys().find(|key| !site_names.contains(key.as_str())) {
            let mut known: Vec<&str> = site_names.iter().map(|s| &**s).collect();
            known.extend(["dir", "hook"]);
            return Err(unknown(text, key, &known, what()));
        }
        if !dir.is_absolute() {
            let why = format!(
                "the dir of a [[site]]: expected an absolute path, not '{}'",
                dir.display()
            );
            return Err(Problem::usage(what(), why).into());
        }
        let dir = without_trailing_slash(&dir);
        if read.has_site(&dir) {
            let why = format!("two [[site]] tables have the same dir, {}", dir.display());
            return Err(Problem::usage(what(), why)
                .help("merge them into one table")
                .into());
        }
        if !rules.is_empty() {
            read.hooks.insert(dir.clone(), rules);
        }
        read.sites.push((dir, typed(site, text, &what)?));
    }
    Ok(read)
}

/// A site's folder as given, made absolute; the links in it are kept.
///
/// # Errors
/// The current folder cannot be determined.
pub fn absolute(dir: &Path) -> Result<PathBuf> {
    Ok(without_trailing_slash(&std::path::absolute(dir)?))
}

/// The path without a trailing slash, which is not part of a folder's name.
pub fn without_trailing_slash(dir: &Path) -> PathBuf {
    dir.components().collect()
}

/// The names of the options, as on the command line.
fn names<T: Args>() -> BTreeSet<String> {
    T::augment_args(clap::Command::new("names"))
        .get_arguments()
        .filter_map(|arg| arg.get_long().map(str::to_owned))
        .collect()
}

fn typed<T: DeserializeOwned + Args>(
    table: Table,
    text: &str,
    what: &dyn Fn() -> String,
) -> Result<T> {
    // One key at a time, so that the error can name it.
    for (key, value) in &table {
        let one = Table::from_iter([(key.clone(), value.clone())]);
        // The command line explains invalid values better, but knows nothing of types.
        let why = match T::deserialize(Value::Table(one)) {
            Err(error) if error.message().starts_with("invalid type") => {
                Some(wrong_type(key, value, error.message()))
            }
            Err(error) => refused::<T>(key, value).or(Some(error.message().to_owned())),
            Ok(_) => refused::<T>(key, value),
        };
        if let Some(why) = why {
            return Err(Problem::usage(what(), format!("{}{why}", at(text, key))).into());
        }
    }
    T::deserialize(Value::Table(table))
        .map_err(|error| Problem::usage(what(), error.message()).into())
}

/// Describes a wrong type without the value, which may be a misplaced secret.
fn wrong_type(key: &str, value: &Value, message: &str) -> String {
    let expected = message.rsplit("expected ").next().unwrap_or_default();
    let wanted = match expected.trim() {
        "u16" | "u32" | "u64" => "a whole number",
        "a boolean" => "true or false",
        "a sequence" => "a list, such as [\"one\", \"two\"]",
        _ => "a string",
    };
    format!("'{key}': expected {wanted}, found {}", value.type_str())
}

/// The command line's error for such a value: both allow the same values.
fn refused<T: Args>(key: &str, value: &Value) -> Option<String> {
    let word = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let words = match value {
        Value::Array(values) => values.iter().map(word).collect::<Vec<_>>().join(","),
        value => word(value),
    };
    let command = T::augment_args(clap::Command::new("file").no_binary_name(true));
    // Environment variables belong to the command line, not to the file.
    let command = command.mut_args(|arg| arg.env(None::<&str>));
    let is_path = |arg: &clap::Arg| {
        arg.get_long() == Some(key) && arg.get_value_parser().type_id() == TypeId::of::<PathBuf>()
    };
    if command.get_arguments().any(is_path) && !words.starts_with('/') && words != "-" {
        return Some(format!("'{key}': expected an absolute path"));
    }
    let error = command
        .try_get_matches_from([format!("--{key}={words}")])
        .err()?;
    crate::intent::usage::line(&error)
}

fn unknown(text: &str, key: &str, known: &[&str], what: String) -> anyhow::Error {
    let why = format!("{}there is no option '{key}'", at(text, key));
    let problem = Problem::usage(what, why);
    match nearest(key, known.iter().copied()) {
        Some(name) => problem.help(format!("did you mean '{name}'?")),
        None => problem.help("run 'wp-gears setup --help' to list the options"),
    }
    .into()
}

/// "line 3, column 1: ", where the key is set.
fn at(text: &str, key: &str) -> String {
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let start = line.len() - line.trim_start().len();
        let rest = line[start..].trim_start_matches(['"', '\'', '[']);
        if rest.strip_prefix(key).is_some_and(|rest| {
            rest.trim_start_matches(['"', '\'', ']', ' ', '\t'])
                .starts_with('=')
        }) {
            return place(text, Some(offset + start));
        }
        offset += line.len();
    }
    String::new()
}

/// "line 3, column 1: ", where the offset is known.
pub fn place(text: &str, offset: Option<usize>) -> String {
    let Some(before) = offset.and_then(|offset| text.get(..offset)) else {
        return String::new();
    };
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    format!("line {line}, column {column}: ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::workers::Workers;

    fn read(text: &str) -> Result<FileOptions> {
        parse(text, Path::new("/etc/wp-gears.toml"))
    }

    #[test]
    fn a_sites_own_options_override_those_of_all_sites() {
        let file = read("queue = 'sqlite'\nworkers = 2\n[[site]]\ndir = '/a'\nworkers = 5\n[[site]]\ndir = '/b'\n[[site]]\ndir = '/d'\nworkers = '2..8'\n").unwrap();
        let range = Workers { min: 2, max: 8 };
        assert_eq!(file.of_site(Path::new("/d")).workers, Some(range));
        assert_eq!(
            file.of_site(Path::new("/a")).workers,
            Some(Workers::fixed(5))
        );
        assert_eq!(
            file.of_site(Path::new("/b")).workers,
            Some(Workers::fixed(2))
        );
        assert_eq!(
            file.of_site(Path::new("/c")).workers,
            Some(Workers::fixed(2))
        );
    }

    #[test]
    fn errors_name_the_place_and_the_nearest_name() {
        let error = read("port = 4730\nworker = 2\n").unwrap_err().to_string();
        assert!(error.contains("line 2, column 1"), "{error}");
        assert!(error.contains("did you mean 'workers'"), "{error}");
        let error = read("port = 'x'\n").unwrap_err().to_string();
        assert!(
            error.contains("line 1, column 1: 'port': expected a whole number"),
            "{error}"
        );
        for (text, says) in [
            (
                "\nworkers = 0\n",
                "line 2, column 1: invalid value '0' for '--workers <N>': expected a whole number from 1 to 512, or a range of them such as 2..8",
            ),
            (
                "port = 99999\n",
                "line 1, column 1: invalid value '99999' for '--port <N>': expected a whole number from 1 to 65535",
            ),
            (
                "program = 'a]b'\n",
                "'--program <NAME>': expected at most 100 letters",
            ),
            ("servers = ['a b']\n", "expected HOST:PORT"),
            ("salt = 7\n", "'salt': expected a string, found integer"),
            ("servers = 'a'\n", "'servers': expected a list"),
            (
                "allow-upgrades = 1\n",
                "'allow-upgrades': expected true or false",
            ),
            ("queue = 1\n", "'queue': expected a string"),
            ("queue = 'disk'\n", "expected one of memory, sqlite, mysql"),
            ("[[site]]\ndir = '/a'\nworkers = 999\n", "line 3, column 1"),
            (
                "[[site]]\ndir = 'a'\n",
                "expected an absolute path, not 'a'",
            ),
            (
                "[[site]]\ndir = '/a'\n[[site]]\ndir = '/a/'\n",
                "two [[site]] tables have the same dir, /a",
            ),
            (
                "worker-dir = 'a'\n",
                "line 1, column 1: 'worker-dir': expected an absolute path",
            ),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
        // The line of a secret is not quoted.
        for text in [
            "salt = 'geheim\n",
            "salt = geheim\n",
            "salt = ['geheim']\n",
            "salt 'geheim'\n",
        ] {
            let error = format!("{:?}", read(text).unwrap_err());
            assert!(!error.contains("geheim"), "{error}");
        }
    }
}
