//! Reads /etc/wp-gears.toml: options of the host and of all sites at the top,
//! those of one site in a `[[site]]` table, and the same for some of the hosts that share
//! the file in a `[[host]]` table. Unknown keys are errors.

use std::any::TypeId;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use indexmap::IndexMap;
use serde::de::DeserializeOwned;
use toml::{Table, Value};
use toml_edit::Document;

use crate::base::problem::Problem;
use crate::host::Host;
use crate::intent::alert::{self, Alert};
use crate::intent::options::{HostOptions, Role, SiteOptions};
use crate::intent::usage::nearest;
use crate::intent::{hooks, hosts};
use crate::worker::rules::HookRule;

pub const DEFAULT: &str = "/etc/wp-gears.toml";

/// The options in a file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FileOptions {
    pub host: HostOptions,
    /// Options for all sites, unless a site has its own.
    pub common: SiteOptions,
    /// Each site's own options, by folder.
    pub sites: IndexMap<PathBuf, SiteOptions>,
    /// The rules for hooks of those that have some.
    pub hooks: BTreeMap<PathBuf, Vec<HookRule>>,
    /// Of these, the sites that only a file given for this run has.
    pub new_sites: BTreeSet<PathBuf>,
    /// What to watch for, and whom to tell.
    pub alert: Option<Alert>,
    /// The file has tables for hosts.
    pub is_shared: bool,
    /// This host, if none of them is for it.
    pub unlisted: Option<String>,
}

impl FileOptions {
    /// The options of a site: its own, over those of all sites.
    pub fn of_site(&self, dir: &Path) -> SiteOptions {
        let own = self.sites.get(dir).cloned();
        own.unwrap_or_default().over(self.common.clone())
    }

    /// The rules for a site's hooks.
    pub fn hooks_of(&self, dir: &Path) -> Vec<HookRule> {
        self.hooks.get(dir).cloned().unwrap_or_default()
    }

    /// Whether the file's sites are there for other hosts: this one is only a job server.
    pub fn are_sites_of_others(&self, host: &HostOptions) -> bool {
        self.is_shared && host.role.as_deref() == Some(&[Role::Server])
    }

    pub fn has_site(&self, dir: &Path) -> bool {
        self.sites.contains_key(dir)
    }

    /// These options, those of a `[[host]]` table, and those that it leaves open. What it
    /// says of all sites goes over what the others say of one.
    fn of_host_over(self, under: FileOptions) -> FileOptions {
        let mut all = under;
        for known in all.sites.values_mut() {
            *known = self.common.clone().over(std::mem::take(known));
        }
        let common = self.common.clone().over(std::mem::take(&mut all.common));
        let mut all = self.over(all);
        all.new_sites.clear();
        all.common = common;
        all
    }

    /// These options, given for one run, and those of the host's file that they leave open.
    pub(super) fn over(self, file: FileOptions) -> FileOptions {
        let (asked, mut all) = (self.sites, file);
        for (dir, options) in asked {
            match all.sites.get_mut(&dir) {
                Some(known) => *known = options.over(std::mem::take(known)),
                None => {
                    all.new_sites.insert(dir.clone());
                    all.sites.insert(dir, options);
                }
            }
        }
        all.hooks.extend(self.hooks);
        all.alert = self.alert.or(all.alert);
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
    parse(utf8(&bytes, &path)?, &path, &host.name()?)
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

/// What the file says for the host with this name.
///
/// # Errors
/// Invalid TOML, unknown names, wrong types and values that the command line
/// would refuse, with the line and column. The line itself is not quoted: it
/// may hold a secret. Tables for other hosts are checked as well.
pub fn parse(text: &str, path: &Path, name: &str) -> Result<FileOptions> {
    let what = || format!("read the config file {}", path.display());
    // The parser's own message quotes the line, which may hold a secret: only the place is shown.
    let mut table: Table = text.parse().map_err(|error: toml::de::Error| {
        let why = format!(
            "{}{}",
            place(text, error.span().map(|s| s.start)),
            error.message()
        );
        Problem::usage(what(), why)
    })?;
    // A string is the option of sites.
    let hosts = match table.remove("host") {
        Some(Value::Array(hosts)) => hosts,
        Some(other) => {
            table.insert("host".into(), other);
            Vec::new()
        }
        None => Vec::new(),
    };
    let all = Part { text, host: None };
    let mut read = all.read(table, &what)?;
    for (at, one) in hosts.iter().enumerate() {
        let mut one = one.as_table().cloned().unwrap_or_default();
        one.remove(hosts::MATCH);
        let host = Some(at);
        Part { text, host }.read(one, &what)?;
    }
    if !hosts.is_empty() && name.is_empty() {
        let why = "it has [[host]] tables, but the name of this host is not known";
        return Err(Problem::usage(what(), why)
            .help("write the name into /etc/hostname")
            .into());
    }
    read.is_shared = !hosts.is_empty();
    let of_host = hosts::of_host(hosts, name).map_err(|wrong| {
        let why = format!(
            "{}{}",
            place(text, offset(text, &["host"], &[wrong.table])),
            wrong.why
        );
        match wrong.help {
            Some(help) => Problem::usage(what(), why).help(help),
            None => Problem::usage(what(), why),
        }
    })?;
    read.unlisted = (read.is_shared && of_host.is_empty()).then(|| name.to_owned());
    // The closest table comes first, so it goes over the others last.
    for one in of_host.into_iter().rev() {
        let host = Some(one.at);
        read = Part { text, host }
            .read(one.table, &what)?
            .of_host_over(read);
    }
    if read.are_sites_of_others(&read.host) {
        read.sites.clear();
        read.hooks.clear();
    }
    Ok(read)
}

/// The options at the top of the file, or those of a `[[host]]` table.
struct Part<'a> {
    text: &'a str,
    host: Option<usize>,
}

impl Part<'_> {
    /// Where a table of this part begins: that of a site, if one is named.
    fn offset(&self, site: Option<usize>) -> Option<usize> {
        let text = self.text;
        match (self.host, site) {
            (None, None) => Some(0),
            (None, Some(site)) => offset(text, &["site"], &[site]),
            (Some(host), None) => offset(text, &["host"], &[host]),
            (Some(host), Some(site)) => offset(text, &["host", "site"], &[host, site]),
        }
    }

    fn alert(&self, value: Value, what: &dyn Fn() -> String) -> Result<Alert> {
        let read = alert::read(value).map_err(|wrong| {
            let from = self.offset(None);
            let place = wrong.key.map(|key| at(self.text, from, &key));
            let why = format!("{}{}", place.unwrap_or_default(), wrong.why);
            Problem::usage(what(), why).help(wrong.help)
        })?;
        Ok(read)
    }

    fn read(&self, table: Table, what: &dyn Fn() -> String) -> Result<FileOptions> {
        let header = match self.host {
            Some(_) => "[[host.site]]",
            None => "[[site]]",
        };
        let host_names = names::<HostOptions>();
        let site_names = names::<SiteOptions>();
        let (mut of_host, mut of_sites, mut sites) = (Table::new(), Table::new(), Vec::new());
        let mut alert = None;
        for (key, value) in table {
            if key == "site" {
                let Value::Array(tables) = value else {
                    let place = at(self.text, self.offset(None), &key);
                    let why = format!("{place}'site' is written as {header} tables");
                    return Err(Problem::usage(what(), why).into());
                };
                sites = tables;
            } else if key == "alert" {
                alert = Some(self.alert(value, what)?);
            } else if host_names.contains(key.as_str()) {
                of_host.insert(key, value);
            } else if site_names.contains(key.as_str()) {
                of_sites.insert(key, value);
            } else {
                let mut known: Vec<&str> =
                    host_names.iter().chain(&site_names).map(|s| &**s).collect();
                known.extend(["site", "alert"]);
                let place = at(self.text, self.offset(None), &key);
                return Err(unknown(&place, &key, &known, what()));
            }
        }
        // To look for a place takes another reading of the whole text: for an error only.
        let place_in = |site: Option<usize>| move |key: &str| at(self.text, self.offset(site), key);
        let mut read = FileOptions {
            host: typed(of_host, &place_in(None), what)?,
            common: typed(of_sites, &place_in(None), what)?,
            alert,
            ..FileOptions::default()
        };
        for (nth, site) in sites.into_iter().enumerate() {
            let Value::Table(mut site) = site else {
                let why = format!("'site' is written as {header} tables");
                return Err(Problem::usage(what(), why).into());
            };
            let dir = match site.remove("dir") {
                Some(Value::String(dir)) => PathBuf::from(dir),
                _ => {
                    let why = format!("each {header} needs dir = \"…\", its WordPress folder");
                    return Err(Problem::usage(what(), why).into());
                }
            };
            let rules = site.remove("hook").map_or(Ok(Vec::new()), hooks::read);
            let rules = rules.map_err(|wrong| {
                let offset = wrong.offset(self.text, self.host, nth);
                let why = format!("{}{}", place(self.text, offset), wrong.why);
                match wrong.help {
                    Some(help) => Problem::usage(what(), why).help(help),
                    None => Problem::usage(what(), why),
                }
            })?;
            if let Some(key) = site.keys().find(|key| !site_names.contains(key.as_str())) {
                let mut known: Vec<&str> = site_names.iter().map(|s| &**s).collect();
                known.extend(["dir", "hook"]);
                return Err(unknown(&place_in(Some(nth))(key), key, &known, what()));
            }
            if !dir.is_absolute() {
                let why = format!(
                    "the dir of a {header}: expected an absolute path, not '{}'",
                    dir.display()
                );
                return Err(Problem::usage(what(), why).into());
            }
            let dir = without_trailing_slash(&dir);
            if read.has_site(&dir) {
                let why = format!("two {header} tables have the same dir, {}", dir.display());
                return Err(Problem::usage(what(), why)
                    .help("merge them into one table")
                    .into());
            }
            if !rules.is_empty() {
                read.hooks.insert(dir.clone(), rules);
            }
            let options = typed(site, &place_in(Some(nth)), what)?;
            read.sites.insert(dir, options);
        }
        Ok(read)
    }
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

/// `place_of` tells where a key is set.
fn typed<T: DeserializeOwned + Args>(
    table: Table,
    place_of: &dyn Fn(&str) -> String,
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
            return Err(Problem::usage(what(), format!("{}{why}", place_of(key))).into());
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

fn unknown(place: &str, key: &str, known: &[&str], what: String) -> anyhow::Error {
    let why = format!("{place}there is no option '{key}'");
    let problem = Problem::usage(what, why);
    match nearest(key, known.iter().copied()) {
        Some(name) => problem.help(format!("did you mean '{name}'?")),
        None => problem.help("run 'wp-gears setup --help' to list the options"),
    }
    .into()
}

/// Where a table begins: `path` and `places` are alternating keys and places in lists.
fn offset(text: &str, path: &[&str], places: &[usize]) -> Option<usize> {
    let document = Document::parse(text).ok()?;
    let mut item = document.as_item();
    for (key, place) in path.iter().zip(places) {
        item = item.get(key)?.get(place)?;
    }
    Some(item.span()?.start)
}

/// "line 3, column 1: ", where the key is first set from this place on.
fn at(text: &str, from: Option<usize>, key: &str) -> String {
    let mut offset = from.unwrap_or(0);
    for line in text.get(offset..).unwrap_or_default().split_inclusive('\n') {
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
mod tests;
