//! The `[[host]]` tables of the config file: what differs between the hosts that share it.

use std::collections::BTreeSet;

use toml::{Table, Value};
use wildmatch::WildMatch;

/// The key that says for which hosts a table is.
pub const MATCH: &str = "match";
const SITE: &str = "site";

/// What is wrong with a table.
#[derive(Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The table, from 0.
    pub table: usize,
    pub why: String,
    pub help: Option<String>,
}

impl Wrong {
    fn new(table: usize, why: impl Into<String>) -> Wrong {
        Wrong {
            table,
            why: why.into(),
            help: None,
        }
    }

    fn help(self, help: impl Into<String>) -> Wrong {
        Wrong {
            help: Some(help.into()),
            ..self
        }
    }
}

/// How closely a table's names fit a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Pattern,
    /// One of several names.
    Listed,
    /// Its name alone.
    Own,
}

/// A table that is for this host, and its place among all.
#[derive(Debug, Clone, PartialEq)]
pub struct OfHost {
    pub at: usize,
    /// Its options and sites.
    pub table: Table,
}

/// Takes the names out of the tables, and returns those that are for the host with this
/// name: first the one that names it alone, then one that lists it, then those with a
/// pattern.
///
/// # Errors
/// Tables without names or with the same, and two patterns that fit this host and set the
/// same option differently.
pub fn of_host(tables: Vec<Value>, host: &str) -> Result<Vec<OfHost>, Wrong> {
    let mut found: Vec<(Fit, OfHost)> = Vec::new();
    let mut known: BTreeSet<(bool, String)> = BTreeSet::new();
    for (at, table) in tables.into_iter().enumerate() {
        let Value::Table(mut table) = table else {
            return Err(Wrong::new(at, "'host' is written as [[host]] tables"));
        };
        let names = names(table.remove(MATCH).as_ref()).ok_or_else(|| {
            let why = "each [[host]] needs match = \"…\", the name of a host, in which * stands for any text and ? for one character, or a list of them";
            Wrong::new(at, why)
        })?;
        for name in &names {
            if !known.insert((names.len() == 1, name.clone())) {
                let why = format!("two [[host]] tables have match = {name:?}");
                return Err(Wrong::new(at, why).help("merge them into one table"));
            }
        }
        let fits = fit_of(&names, host);
        found.extend(fits.map(|fit| (fit, OfHost { at, table })));
    }
    found.sort_by_key(|(fit, _)| std::cmp::Reverse(*fit));
    for (nth, (fit, one)) in found.iter().enumerate() {
        let before = &found[..nth];
        let named: Vec<&Table> = before
            .iter()
            .filter(|(other, _)| other > fit)
            .map(|(_, other)| &other.table)
            .collect();
        for (_, other) in before.iter().filter(|(other, _)| other == fit) {
            if let Some(key) = clash(&other.table, &one.table, &named) {
                let why = format!(
                    "this [[host]] table and another one are for this host, {host}, and set '{key}' differently"
                );
                let help = format!(
                    "set it in a [[host]] table with match = {:?}, which comes before patterns",
                    short(host)
                );
                return Err(Wrong::new(one.at, why).help(help));
            }
        }
    }
    Ok(found.into_iter().map(|(_, one)| one).collect())
}

/// The names in the value of `match`; `None` if it is none, or has control characters.
pub fn names(value: Option<&Value>) -> Option<Vec<String>> {
    let one = |value: &Value| {
        let name = value.as_str()?;
        let is_name = (1..=255).contains(&name.len()) && !name.chars().any(char::is_control);
        is_name.then(|| name.to_owned())
    };
    match value? {
        Value::Array(list) if !list.is_empty() => list.iter().map(one).collect(),
        value => Some(vec![one(value)?]),
    }
}

/// Whether a table with this value of `match` is for this host alone.
pub fn is_own(value: Option<&Value>, host: &str) -> bool {
    names(value).and_then(|names| fit_of(&names, host)) == Some(Fit::Own)
}

/// A host's name without its domain.
pub fn short(host: &str) -> &str {
    host.split('.').next().unwrap_or(host)
}

fn fit_of(names: &[String], host: &str) -> Option<Fit> {
    match names.iter().filter_map(|name| fit(name, host)).max() {
        Some(Fit::Own) if names.len() > 1 => Some(Fit::Listed),
        fit => fit,
    }
}

fn fit(name: &str, host: &str) -> Option<Fit> {
    // The names of hosts do not depend on case.
    let (name, host) = (name.to_ascii_lowercase(), host.to_ascii_lowercase());
    let hosts = [host.as_str(), short(&host)];
    if hosts.contains(&name.as_str()) {
        return Some(Fit::Own);
    }
    let pattern = WildMatch::new(&name);
    let fits = hosts.iter().any(|host| pattern.matches(host));
    (fits && name.contains(['*', '?'])).then_some(Fit::Pattern)
}

/// An option that both set, to different values, and none of `over` does.
fn clash(one: &Table, other: &Table, over: &[&Table]) -> Option<String> {
    let differs = |key: &String| one.get(key) != other.get(key) && other.contains_key(key);
    let is_open = |key: &String| !over.iter().any(|table| table.contains_key(key));
    let options = one.keys().filter(|key| *key != SITE);
    let found = options.filter(|key| differs(key)).find(|key| is_open(key));
    found.cloned().or_else(|| {
        let others = sites(other);
        let clash_of = |site: &&Table| {
            let same = |it: &&Table| it.get("dir") == site.get("dir");
            let other = others.iter().copied().find(|it| same(it))?;
            let over: Vec<&Table> = over.iter().flat_map(|it| sites(it)).filter(same).collect();
            clash(site, other, &over)
        };
        sites(one).iter().find_map(clash_of)
    })
}

fn sites(table: &Table) -> Vec<&Table> {
    let tables = table.get(SITE).and_then(Value::as_array);
    tables
        .into_iter()
        .flatten()
        .filter_map(Value::as_table)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(text: &str) -> Vec<Value> {
        let mut file: Table = text.parse().unwrap();
        match file.remove("host") {
            Some(Value::Array(tables)) => tables,
            other => panic!("{other:?}"),
        }
    }

    fn chosen(text: &str, host: &str) -> Result<Vec<usize>, Wrong> {
        let found = of_host(tables(text), host)?;
        Ok(found.iter().map(|one| one.at).collect())
    }

    #[test]
    fn names_come_before_patterns_and_others_do_not_count() {
        let text = "[[host]]\nmatch = 'worker*'\nworkers = 8\n\
            [[host]]\nmatch = ['worker1', 'web?']\nworkers = 2\n\
            [[host]]\nmatch = 'jobs'\nrole = ['server']\n";
        for (host, expected) in [
            ("worker1", &[1, 0][..]),
            ("worker1.example.com", &[1, 0]),
            ("WORKER2", &[0]),
            ("web1", &[1]),
            ("web10", &[]),
            ("jobs.example.com", &[2]),
            ("jobs2", &[]),
        ] {
            assert_eq!(chosen(text, host).unwrap(), expected, "{host}");
        }
        let own = format!("{text}[[host]]\nmatch = 'worker1'\n");
        assert_eq!(chosen(&own, "worker1").unwrap(), [3, 1, 0]);
        let full = "[[host]]\nmatch = 'a.example.com'\n";
        assert_eq!(chosen(full, "a.example.com").unwrap(), [0]);
        assert!(chosen(full, "a.example.org").unwrap().is_empty());
    }

    #[test]
    fn what_cannot_be_decided_is_an_error() {
        let same = "[[host]]\nmatch = ['a', 'c']\n[[host]]\nmatch = ['b', 'a']\n";
        let wrong = chosen(same, "c").unwrap_err();
        assert_eq!((wrong.table, wrong.help.is_some()), (1, true));
        let two = "[[host]]\nmatch = 'w*'\nworkers = 1\n[[host]]\nmatch = '*1'\nworkers = 2\n";
        assert_eq!(chosen(two, "w2").unwrap(), [0]);
        let wrong = chosen(two, "w1").unwrap_err();
        assert_eq!(wrong.table, 1);
        assert!(wrong.why.contains("'workers'"), "{wrong:?}");
        let named = format!("{two}[[host]]\nmatch = 'w1'\nworkers = 3\n");
        assert_eq!(chosen(&named, "w1").unwrap(), [2, 0, 1]);
        let alike = two.replace("workers = 2", "workers = 1");
        assert_eq!(chosen(&alike, "w1").unwrap(), [0, 1]);
        for text in [
            "[[host]]\n",
            "[[host]]\nmatch = ''\n",
            "[[host]]\nmatch = []\n",
        ] {
            assert!(chosen(text, "a").unwrap_err().why.contains("needs match"));
        }
        let sites = "[[host]]\nmatch = 'w*'\n[[host.site]]\ndir = '/a'\nworkers = 1\n\
            [[host]]\nmatch = '*1'\n[[host.site]]\ndir = '/a'\nworkers = 2\n";
        assert!(chosen(sites, "w1").unwrap_err().why.contains("'workers'"));
    }
}
