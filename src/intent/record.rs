//! Writes an intent into the config file's text and removes it again. Comments,
//! order and spacing of the rest are preserved.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use serde::{Deserialize, Serialize};
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, Value};

use crate::base::problem::Problem;
use crate::intent::effective::set_values;
use crate::intent::file::{parse, place, without_trailing_slash};
use crate::intent::hooks;
use crate::intent::hosts::MATCH;
use crate::intent::options::{HostOptions, SiteOptions};
use crate::intent::record::own::{HOST, own_table, own_table_mut, part, remove_own};
use crate::queue::{STDIN, passwords};
use crate::worker::rules::HookRule;

const SITE: &str = "site";

/// The header of a file that we create.
const HEADER: &str = "\
# What wp-gears does on this host. 'wp-gears setup' with options changes this
# file. After editing it, run 'wp-gears setup' to apply it.
";

/// What to record. Secrets are left out when it is written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Intent {
    pub host: HostOptions,
    pub sites: Vec<(PathBuf, SiteOptions)>,
    /// The rules for hooks of those that have some.
    pub hooks: BTreeMap<PathBuf, Vec<HookRule>>,
}

/// What a run wrote into the file, so that it can be reverted: the options of
/// the host, each with its previous TOML value, and new sites.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    pub path: PathBuf,
    /// The file did not exist before.
    pub created: bool,
    pub set: BTreeMap<String, Setting>,
    /// The same in this host's own table of a file that hosts share.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub own: BTreeMap<String, Setting>,
    /// That table did not exist before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub made_own: bool,
    /// The folders of the sites whose tables are new. After an interruption at
    /// this point, these sites have no journal yet.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub sites: BTreeSet<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    pub after: String,
}

impl Recorded {
    /// What a run sets, from the text before (`None` without a file) and after.
    ///
    /// # Errors
    /// Text that is not TOML.
    pub fn between(before: Option<&str>, after: &str, path: &Path, name: &str) -> Result<Self> {
        let old = document(before.unwrap_or_default(), path)?;
        let new = document(after, path)?;
        let (old_own, new_own) = (own_table(&old, name), own_table(&new, name));
        let none = Table::new();
        let known = parse(before.unwrap_or_default(), path, name)?;
        let sites = parse(after, path, name)?.sites.into_iter();
        Ok(Recorded {
            path: path.to_owned(),
            created: before.is_none(),
            set: changes(old.as_table(), new.as_table()),
            own: changes(old_own.unwrap_or(&none), new_own.unwrap_or(&none))
                .into_iter()
                .filter(|(key, _)| key != MATCH)
                .collect(),
            made_own: old_own.is_none() && new_own.is_some(),
            sites: sites
                .map(|(dir, _)| dir)
                .filter(|dir| !known.has_site(dir))
                .collect(),
        })
    }

    /// Combines two runs. A value that the user set between them is the one to restore.
    pub fn fold(mut self, later: Recorded) -> Self {
        fold(&mut self.set, later.set);
        fold(&mut self.own, later.own);
        self.made_own |= later.made_own;
        self.sites.extend(later.sites);
        self
    }
}

/// The values that differ.
fn changes(old: &Table, new: &Table) -> BTreeMap<String, Setting> {
    let mut set = BTreeMap::new();
    for (key, value) in new.iter().filter(|(_, value)| value.is_value()) {
        let (before, after) = (old.get(key).map(plain), plain(value));
        if before.as_ref() != Some(&after) {
            set.insert(key.to_owned(), Setting { before, after });
        }
    }
    set
}

fn fold(set: &mut BTreeMap<String, Setting>, later: BTreeMap<String, Setting>) {
    for (key, next) in later {
        let before = match set.remove(&key) {
            Some(first) if next.before.as_ref() == Some(&first.after) => first.before,
            _ => next.before,
        };
        let after = next.after;
        set.insert(key, Setting { before, after });
    }
}

/// Returns the text with the intent added. Options that the text already has,
/// for one site or for all sites, are not written again. If hosts share the file, what is
/// new goes into the table of the host with this name: what is outside is the others' too.
///
/// # Errors
/// Text that `parse` refuses, and a change to sites or hosts in an inline array.
pub fn record(text: Option<&str>, path: &Path, name: &str, intent: &Intent) -> Result<String> {
    let known = parse(text.unwrap_or_default(), path, name)?;
    let (head, body) = text.map_or((HEADER, ""), split_head);
    let mut doc = document(body, path)?;
    let of_host = missing(&intent.host, &known.host);
    let is_shared = doc.contains_key(HOST) && !doc[HOST].is_str();
    if !is_shared && !of_host.is_empty() && doc.iter().all(|(_, item)| !item.is_value()) {
        let tables = doc.get_mut("site").and_then(Item::as_array_of_tables_mut);
        if let Some(first) = tables.and_then(|tables| tables.get_mut(0)) {
            let prefix = first.decor().prefix().and_then(|it| it.as_str());
            let prefix = format!("\n{}", prefix.unwrap_or_default().trim_start());
            first.decor_mut().set_prefix(prefix);
        }
    }
    if !of_host.is_empty() {
        set(part(&mut doc, path, name)?, of_host);
    }
    let mut places = None;
    for (dir, options) in &intent.sites {
        let missing = missing(options, &known.of_site(dir));
        let rules = intent
            .hooks
            .get(dir)
            .filter(|it| **it != known.hooks_of(dir));
        // An inline array is left alone as long as nothing in it changes.
        if missing.is_empty() && rules.is_none() && known.has_site(dir) {
            continue;
        }
        let tables = tables(part(&mut doc, path, name)?, path)?;
        let at = places.get_or_insert_with(|| places_of(tables));
        let at = *at.entry(dir.clone()).or_insert_with(|| {
            let mut table = Table::new();
            table.insert("dir", Item::Value(dir.to_string_lossy().as_ref().into()));
            table.decor_mut().set_prefix("\n");
            tables.push(table);
            tables.len() - 1
        });
        if let Some(table) = tables.get_mut(at) {
            set(table, missing);
            if let Some(rules) = rules {
                table.insert("hook", hooks::tables(rules));
            }
        }
    }
    let rest = doc.to_string();
    let is_apart = head.is_empty() || head.ends_with("\n\n") || rest.starts_with('\n');
    let gap = match is_apart || rest.is_empty() {
        true => "",
        false => "\n",
    };
    Ok(format!("{head}{gap}{rest}"))
}

/// Splits off the comments at the top of a file without options, which stay
/// above the options that are added. Those right before a table are the table's.
fn split_head(text: &str) -> (&str, &str) {
    let mut at = 0;
    let mut head = 0;
    for line in text.split_inclusive('\n') {
        at += line.len();
        match line.trim().chars().next() {
            None => head = at,
            Some('#') => {}
            Some('[') => return text.split_at(head),
            Some(_) => return ("", text),
        }
    }
    (text, "")
}

/// Returns the text without these sites. The user's comments in their tables are
/// kept.
///
/// # Errors
/// Text that is not TOML.
pub fn without_sites(text: &str, path: &Path, name: &str, dirs: &[PathBuf]) -> Result<String> {
    let mut doc = document(text, path)?;
    let dirs: HashSet<&Path> = dirs.iter().map(PathBuf::as_path).collect();
    let is_removed =
        |named: Option<&Item>| named_dir(named).is_some_and(|dir| dirs.contains(dir.as_path()));
    if let Some(inline) = doc.get_mut(SITE).and_then(Item::as_array_mut) {
        inline.retain(|site| {
            let dir = site.as_inline_table().and_then(|site| site.get("dir"));
            !is_removed(dir.cloned().map(Item::Value).as_ref())
        });
        if inline.is_empty() {
            doc.remove(SITE);
        }
        return Ok(doc.to_string());
    }
    let mut left = take_sites(doc.as_table_mut(), &is_removed);
    if let Some(own) = own_table_mut(&mut doc, name) {
        let of_own = take_sites(own, &is_removed);
        left = match (left, of_own) {
            (Some(left), Some(more)) => Some(left + &more),
            (left, more) => left.or(more),
        };
    }
    let Some(left) = left else {
        return Ok(text.to_owned());
    };
    let trailing = doc.trailing().as_str().unwrap_or_default();
    doc.set_trailing(format!("{left}{trailing}"));
    Ok(doc.to_string())
}

/// Takes sites out of a table. `None` if it has none of them, and otherwise the comments
/// that no other site's table takes over.
fn take_sites(part: &mut Table, is_removed: &dyn Fn(Option<&Item>) -> bool) -> Option<String> {
    let all = part.get_mut(SITE).and_then(Item::as_array_of_tables_mut)?;
    let mut kept = ArrayOfTables::new();
    let mut left = String::new();
    for table in all.iter() {
        if is_removed(table.get("dir")) {
            left.push_str(&comments(table));
            continue;
        }
        let mut table = table.clone();
        if !left.is_empty() {
            let prefix = table.decor().prefix().and_then(|it| it.as_str());
            let prefix = format!("{left}{}", prefix.unwrap_or_default());
            table.decor_mut().set_prefix(prefix);
            left.clear();
        }
        kept.push(table);
    }
    if kept.len() == all.len() {
        return None;
    }
    match kept.is_empty() {
        true => drop(part.remove(SITE)),
        false => *all = kept,
    }
    Some(left)
}

/// Restores the options that were recorded, except those changed since. Returns
/// `None` if a file that we created now holds nothing of the user's.
///
/// # Errors
/// Text that is not TOML.
pub fn restore(text: &str, path: &Path, name: &str, recorded: &Recorded) -> Result<Option<String>> {
    let mut doc = document(text, path)?;
    let mut left = restore_in(doc.as_table_mut(), &recorded.set);
    if let Some(own) = own_table_mut(&mut doc, name) {
        left.push_str(&restore_in(own, &recorded.own));
        let is_empty = own.iter().all(|(key, _)| key == MATCH);
        if recorded.made_own && is_empty {
            left.push_str(&comments(own));
            remove_own(&mut doc, name);
        }
    }
    if !left.is_empty() {
        let rest = doc.trailing().as_str().unwrap_or_default().to_owned();
        doc.set_trailing(format!("{left}{rest}"));
    }
    let text = doc.to_string();
    let own = |line: &str| line.trim().is_empty() || HEADER.lines().any(|it| it == line);
    Ok(match recorded.created && text.lines().all(own) {
        true => None,
        false => Some(text),
    })
}

/// Returns the comments of options that are gone.
fn restore_in(part: &mut Table, set: &BTreeMap<String, Setting>) -> String {
    let mut left = String::new();
    for (key, setting) in set {
        if part.get(key).map(plain).as_ref() != Some(&setting.after) {
            continue;
        }
        match setting.before.as_deref().map(str::parse::<Value>) {
            Some(Ok(before)) => replace(part, key, before),
            _ => {
                left.push_str(&key_comments(part, key));
                part.remove(key);
            }
        }
    }
    left
}

fn document(text: &str, path: &Path) -> Result<DocumentMut> {
    text.parse().map_err(|error: toml_edit::TomlError| {
        // The parser's full message quotes the line, which may hold a secret.
        let place = place(text, error.span().map(|span| span.start));
        let why = format!("{place}{}", error.message());
        Problem::usage(format!("edit {}", path.display()), why).into()
    })
}

/// The options whose values are not in the file yet, except secrets.
fn missing<T: Args + Serialize>(options: &T, known: &T) -> Vec<(String, toml::Value)> {
    let known = set_values(known);
    let mut missing = set_values(options);
    missing.retain(|new| !known.contains(new) && !is_secret(&new.0, &new.1));
    missing
}

fn set(table: &mut Table, values: Vec<(String, toml::Value)>) {
    for (name, value) in values {
        if let Ok(value) = value.to_string().parse::<Value>() {
            replace(table, &name, value);
        }
    }
}

/// A salt belongs in wp-config.php, and standard input can be read only once.
fn is_secret(name: &str, value: &toml::Value) -> bool {
    let of_stdin = || value.as_str() == Some(STDIN);
    name == "salt" || (of_stdin() && passwords().any(|it| it.file_option == name))
}

/// Sets a value, keeping the spacing and comment of the one it replaces.
fn replace(table: &mut Table, key: &str, mut value: Value) {
    match table.get_mut(key).and_then(Item::as_value_mut) {
        Some(old) => {
            *value.decor_mut() = old.decor().clone();
            *old = value;
        }
        None => {
            table.insert(key, Item::Value(value));
        }
    }
}

fn plain(item: &Item) -> String {
    let mut value = item.clone();
    if let Some(value) = value.as_value_mut() {
        value.decor_mut().clear();
    }
    value.to_string().trim().to_owned()
}

fn tables<'d>(part: &'d mut Table, path: &Path) -> Result<&'d mut ArrayOfTables> {
    let item = part
        .entry(SITE)
        .or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
    item.as_array_of_tables_mut().ok_or_else(|| {
        let what = format!("add a site to {}", path.display());
        Problem::usage(what, "its sites are written as an inline array")
            .help("write each site as a [[site]] table, then run it again")
            .into()
    })
}

fn named_dir(dir: Option<&Item>) -> Option<PathBuf> {
    let dir = dir.and_then(Item::as_str)?;
    Some(without_trailing_slash(Path::new(dir)))
}

/// Where the table of each site is.
fn places_of(tables: &ArrayOfTables) -> HashMap<PathBuf, usize> {
    let dirs = tables.iter().map(|table| named_dir(table.get("dir")));
    let places = dirs.enumerate().filter_map(|(at, dir)| Some((dir?, at)));
    places.collect()
}

/// The comment lines of a table, before its header and inside it.
fn comments(table: &Table) -> String {
    let mut text = only_comments(table.decor().prefix().and_then(|it| it.as_str()));
    for (key, value) in table.iter() {
        text.push_str(&key_comments(table, key));
        let behind = value
            .as_value()
            .and_then(|value| value.decor().suffix()?.as_str());
        text.push_str(&only_comments(behind));
        let below = value.as_array_of_tables().into_iter().flatten();
        text.extend(below.map(comments));
    }
    text
}

fn key_comments(table: &Table, key: &str) -> String {
    let prefix = table
        .key(key)
        .and_then(|key| key.leaf_decor().prefix()?.as_str());
    only_comments(prefix)
}

fn only_comments(text: Option<&str>) -> String {
    let lines = text.unwrap_or_default().lines().map(str::trim);
    lines
        .filter(|line| line.starts_with('#') && !HEADER.lines().any(|own| own == *line))
        .map(|line| format!("{line}\n"))
        .collect()
}

#[cfg(test)]
mod tests;

mod own;
