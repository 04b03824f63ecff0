//! Reads and writes the `[[site.hook]]` tables of the config file: the rules for the jobs
//! of some hooks.

use serde::Deserialize;
use toml::Value;
use toml_edit::{ArrayOfTables, Document, Item, Table};

use crate::intent::usage::nearest;
use crate::worker::rules::{HookRule, MAX_RULES};

/// What is wrong with the rules of a site.
#[derive(Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The rule, from 0, and the key in it.
    pub rule: usize,
    pub key: Option<String>,
    pub why: String,
    pub help: Option<String>,
}

impl Wrong {
    fn new(rule: usize, key: Option<&str>, why: impl Into<String>) -> Wrong {
        Wrong {
            rule,
            key: key.map(str::to_owned),
            why: why.into(),
            help: None,
        }
    }

    /// Where that is in the file's text, if the rules are those of its `site`-th site, or
    /// of that of its `host`-th host.
    pub fn offset(&self, text: &str, host: Option<usize>, site: usize) -> Option<usize> {
        let document = Document::parse(text).ok()?;
        let part = match host {
            Some(host) => document.get("host")?.get(host)?,
            None => document.as_item(),
        };
        let hooks = part.get("site")?.get(site)?.get("hook")?;
        let Some(rule) = hooks.get(self.rule) else {
            return Some(hooks.span()?.start);
        };
        let key = self.key.as_deref().and_then(|key| {
            let (key, _) = rule.as_table_like()?.get_key_value(key)?;
            key.span()
        });
        Some(key.or(rule.span())?.start)
    }
}

/// The rules in the value of `hook`.
///
/// # Errors
/// The first rule that is wrong.
pub fn read(value: Value) -> Result<Vec<HookRule>, Wrong> {
    let Value::Array(tables) = value else {
        return Err(Wrong::new(
            0,
            None,
            "'hook' is written as [[site.hook]] tables",
        ));
    };
    if tables.len() > MAX_RULES {
        let why = format!("a site has at most {MAX_RULES} [[site.hook]] tables");
        return Err(Wrong::new(MAX_RULES, None, why));
    }
    let mut rules: Vec<HookRule> = Vec::new();
    for (at, table) in tables.into_iter().enumerate() {
        let rule = one(at, table)?;
        if rules.iter().any(|known| known.pattern == rule.pattern) {
            let why = format!("another rule before it has match = {:?}", rule.pattern);
            let help = "merge them into one table".to_owned();
            return Err(Wrong {
                help: Some(help),
                ..Wrong::new(at, Some("match"), why)
            });
        }
        rules.push(rule);
    }
    Ok(rules)
}

fn one(at: usize, table: Value) -> Result<HookRule, Wrong> {
    let Value::Table(table) = table else {
        return Err(Wrong::new(
            at,
            None,
            "'hook' is written as [[site.hook]] tables",
        ));
    };
    let known = |key: &str| HookRule::KEYS.iter().find(|it| it.name == key);
    if let Some(key) = table.keys().find(|key| known(key).is_none()) {
        let names = HookRule::KEYS.iter().map(|it| it.name);
        let help = match nearest(key, names.clone()) {
            Some(name) => format!("did you mean '{name}'?"),
            None => format!("its keys are {}", names.collect::<Vec<_>>().join(", ")),
        };
        return Err(Wrong {
            help: Some(help),
            ..Wrong::new(at, Some(key), format!("a hook rule has no key '{key}'"))
        });
    }
    if !table.contains_key("match") {
        let why = "each [[site.hook]] needs match = \"…\", the name of a hook";
        return Err(Wrong::new(at, None, why));
    }
    let expected = |key: &str| {
        let what = known(key).map_or("", |it| it.takes);
        Wrong::new(at, Some(key), format!("'{key}': expected {what}"))
    };
    // One key at a time, so that the error can name it.
    for (key, value) in &table {
        let mut one = toml::Table::from_iter([(key.clone(), value.clone())]);
        one.entry("match")
            .or_insert_with(|| Value::String("x".into()));
        if HookRule::deserialize(Value::Table(one)).is_err() {
            return Err(expected(key));
        }
    }
    let rule = HookRule::deserialize(Value::Table(table))
        .map_err(|error| Wrong::new(at, None, error.message()))?;
    match rule.out_of_range() {
        Some(key) => Err(expected(key)),
        None => Ok(rule),
    }
}

/// The rules as tables.
pub fn tables(rules: &[HookRule]) -> Item {
    let mut tables = ArrayOfTables::new();
    for rule in rules {
        // Rules are plain values: they have a form in TOML.
        let text = toml::to_string(rule).unwrap_or_default();
        let document: toml_edit::DocumentMut = text.parse().unwrap_or_default();
        let mut table: Table = document.as_table().clone();
        table.decor_mut().set_prefix("\n");
        table.set_position(None);
        tables.push(table);
    }
    Item::ArrayOfTables(tables)
}

/// The rules as text of the file, below the options of a site.
pub fn text(rules: &[HookRule]) -> String {
    let one = |rule| {
        let keys = toml::to_string(rule).unwrap_or_default();
        format!("\n[[site.hook]]\n{keys}")
    };
    rules.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Vec<HookRule>, Wrong> {
        let mut table: toml::Table = text.parse().unwrap();
        let site = table.get_mut("site").unwrap().get_mut(0).unwrap();
        read(site.as_table_mut().unwrap().remove("hook").unwrap())
    }

    #[test]
    fn rules_are_read_in_their_order_and_written_as_they_are() {
        let text = "[[site]]\n\n[[site.hook]]\nmatch = \"import_*\"\nconcurrency = 1\nmemory = 512\n\n[[site.hook]]\nmatch = \"mail\"\nretries = 0\n";
        let rules = of(text).unwrap();
        assert_eq!(
            (rules[0].concurrency, rules[0].memory),
            (Some(1), Some(512))
        );
        assert_eq!(
            (rules[1].pattern.as_str(), rules[1].retries),
            ("mail", Some(0))
        );
        assert_eq!(format!("[[site]]\n{}", super::text(&rules)), text);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (rule, line, why) in [
            (
                "match = \"a\"\nconcurency = 1",
                8,
                "did you mean 'concurrency'?",
            ),
            (
                "match = \"a\"\nconcurrency = 0",
                8,
                "expected a whole number from 1 to 512",
            ),
            (
                "match = \"a\"\nmemory = \"1G\"",
                8,
                "'memory': expected a whole number",
            ),
            (
                "match = \"a\"\nrate = -1",
                8,
                "'rate': expected a whole number",
            ),
            ("match = \"\"", 7, "'match': expected the name"),
            ("match = 7", 7, "'match': expected the name"),
            ("rate = 7", 6, "needs match"),
            ("match = \"first\"", 7, "another rule before it"),
        ] {
            let text = format!(
                "[[site]]\ndir = \"/a\"\n[[site]]\n[[site.hook]]\nmatch = \"first\"\n[[site.hook]]\n{rule}\n"
            );
            let table: toml::Table = text.parse().unwrap();
            let wrong = read(table["site"][1]["hook"].clone()).unwrap_err();
            let said = format!(
                "{}; {}",
                wrong.why,
                wrong.help.as_deref().unwrap_or_default()
            );
            assert!(said.contains(why), "{said}");
            let offset = wrong.offset(&text, None, 1).unwrap();
            assert_eq!(text[..offset].matches('\n').count() + 1, line, "{rule}");
        }
        assert_eq!(of("[[site]]\nhook = 3").unwrap_err().rule, 0);
    }
}
