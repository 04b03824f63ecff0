//! The `[alert]` table of the config file: what to watch for, and whom to tell.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::intent::usage::nearest;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Alert {
    /// Jobs wait longer than this many seconds; 0 to accept any wait.
    pub waiting: u64,
    /// Jobs fail for good.
    pub failed: bool,
    /// No worker of a site runs.
    pub workers: bool,
    /// WordPress's scheduled events are overdue by more than this many seconds; 0 to accept
    /// any delay.
    pub events: u64,
    /// A job server does not answer.
    pub servers: bool,
    /// Run `doctor`, with its test job, every so many minutes; 0 for never.
    pub doctor: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// A file of root's with the URL, which may be secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mail: Option<String>,
}

impl Default for Alert {
    fn default() -> Alert {
        Alert {
            waiting: 60,
            failed: true,
            workers: true,
            events: 1800,
            servers: true,
            doctor: 15,
            command: Vec::new(),
            webhook_file: None,
            mail: None,
        }
    }
}

/// The keys, and what each takes, as the documentation has them.
const KEYS: [(&str, &str); 9] = [
    ("waiting", "a number of seconds"),
    ("failed", "true or false"),
    ("workers", "true or false"),
    ("events", "a number of seconds"),
    ("servers", "true or false"),
    ("doctor", "a number of minutes"),
    (
        "command",
        "a list: a program, by its absolute path, and its arguments",
    ),
    ("webhook-file", "the absolute path of a file with the URL"),
    ("mail", "an address"),
];

/// What is wrong with the table.
#[derive(Debug, PartialEq, Eq)]
pub struct Wrong {
    pub key: Option<String>,
    pub why: String,
    pub help: String,
}

/// Reads the value of `alert`. Errors quote no values: a URL in the wrong place is a secret.
///
/// # Errors
/// The first key that is wrong, or a table that tells nobody.
pub fn read(value: Value) -> Result<Alert, Wrong> {
    let wrong = |key: Option<&str>, why: String| Wrong {
        key: key.map(str::to_owned),
        why,
        help: String::new(),
    };
    let Value::Table(table) = value else {
        return Err(wrong(None, "'alert' is written as an [alert] table".into()));
    };
    let alert = Alert::default();
    for (key, value) in &table {
        let Some((_, takes)) = KEYS.iter().find(|(known, _)| known == key) else {
            let help = match nearest(key, KEYS.iter().map(|(known, _)| *known)) {
                Some(name) => format!("did you mean '{name}'?"),
                None => {
                    let names: Vec<&str> = KEYS.iter().map(|(known, _)| *known).collect();
                    format!("its keys are {}", names.join(", "))
                }
            };
            let why = format!("an [alert] table has no key '{key}'");
            return Err(Wrong {
                help,
                ..wrong(Some(key), why)
            });
        };
        let one = Table::from_iter([(key.clone(), value.clone())]);
        let is_valid = Value::Table(one)
            .try_into()
            .is_ok_and(|it| alert.allows(&it));
        if !is_valid {
            return Err(wrong(Some(key), format!("'{key}': expected {takes}")));
        }
    }
    let read: Alert = Value::Table(table)
        .try_into()
        .map_err(|_| wrong(None, "'alert' cannot be read".into()))?;
    if read.command.is_empty() && read.webhook_file.is_none() && read.mail.is_none() {
        let why = "[alert] has no way to send alerts".to_owned();
        return Err(Wrong {
            help: "add command, webhook-file or mail to it".into(),
            ..wrong(None, why)
        });
    }
    Ok(read)
}

/// The table as the config file has it.
pub fn text(alert: &Alert) -> String {
    let table = toml::to_string(alert).unwrap_or_default();
    format!("\n[alert]\n{table}")
}

/// The table with every key as a comment.
pub fn sample() -> String {
    let keys = KEYS.map(|(key, takes)| format!("# {takes}\n# {key} =\n"));
    format!(
        "\n# What to watch for, and whom to tell: see docs/monitoring.md.\n# [alert]\n{}",
        keys.concat()
    )
}

impl Alert {
    /// Whether these values can be used.
    fn allows(&self, value: &Alert) -> bool {
        let is_absolute = |path: &str| path.starts_with('/');
        let is_address = |address: &String| {
            let is_plain = |c: char| c.is_ascii_graphic() && !"<>,;\"".contains(c);
            address.chars().all(is_plain) && address.contains('@') && !address.starts_with('-')
        };
        value.command.first().is_none_or(|it| is_absolute(it))
            && value.command.iter().all(|word| !word.contains('\0'))
            && value
                .webhook_file
                .as_ref()
                .is_none_or(|it| it.is_absolute())
            && value.mail.as_ref().is_none_or(is_address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Alert, Wrong> {
        let table: Table = text.parse().unwrap();
        read(Value::Table(table))
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let alert = parse("mail = 'ops@example.com'\nwaiting = 9").unwrap();
        assert_eq!((alert.waiting, alert.doctor, alert.failed), (9, 15, true));
    }

    #[test]
    fn a_wrong_value_is_not_quoted() {
        for (text, says) in [
            (
                "mail = 'a@b'\nwaiting = 'https://hooks.example/secret'",
                "'waiting': expected a number",
            ),
            (
                "mail = 'https://hooks.example/secret'",
                "'mail': expected an address",
            ),
            ("mail = 'a@b\\nBcc: c@d'", "'mail': expected an address"),
            ("command = ['notify']", "'command': expected a list"),
            (
                "webhook-file = 'https://hooks.example/secret'",
                "'webhook-file': expected",
            ),
            (
                "webhook = 'https://hooks.example/secret'",
                "no key 'webhook'",
            ),
            ("waiting = 5", "no way to send alerts"),
        ] {
            let wrong = parse(text).unwrap_err();
            assert!(wrong.why.contains(says), "{wrong:?}");
            assert!(!format!("{wrong:?}").contains("secret"), "{wrong:?}");
        }
    }
}
