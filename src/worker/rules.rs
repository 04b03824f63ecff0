//! Rules for the jobs of some hooks: how many run at a time, how often, how long, with
//! how much memory, and how often they are retried.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wildmatch::WildMatch;

use crate::base::checksum;
use crate::base::options::Seconds;

/// The maximum number of rules of a site.
pub const MAX_RULES: usize = 100;

/// A `[[site.hook]]` table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HookRule {
    /// Names of hooks; `*` stands for any text, `?` for one character.
    #[serde(rename = "match")]
    pub pattern: String,
    /// How many jobs run at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// How many jobs start in a minute, evenly spaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
    /// How long a job may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Seconds>,
    /// How often a job is retried, whether it failed or its process died.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// How much memory a job's process may use, in megabytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// How many jobs follow each other in one process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reuse: Option<u32>,
}

/// A key of the table, as the file has it.
pub struct RuleKey {
    pub name: &'static str,
    /// The values that it takes.
    pub takes: &'static str,
    pub means: &'static str,
}

impl HookRule {
    /// A rule that says nothing but for which hooks it is.
    #[cfg(test)]
    pub fn matching(pattern: &str) -> HookRule {
        HookRule {
            pattern: pattern.into(),
            ..HookRule::default()
        }
    }

    pub const KEYS: [RuleKey; 7] = [
        RuleKey {
            name: "match",
            takes: "the name of a hook, in which * stands for any text and ? for one character",
            means: "The hooks that the rule is for. Only the first rule that matches counts",
        },
        RuleKey {
            name: "concurrency",
            takes: "a whole number from 1 to 512",
            means: "How many of these jobs run at a time, over all of the site's workers on this host",
        },
        RuleKey {
            name: "rate",
            takes: "a whole number from 1 to 60000",
            means: "How many of them start in a minute, evenly spaced: 60 is one a second",
        },
        RuleKey {
            name: "timeout",
            takes: "a whole number of seconds from 1 to 604800",
            means: "End a job that takes longer, instead of after the site's `job-timeout`",
        },
        RuleKey {
            name: "retries",
            takes: "a whole number from 0 to 100",
            means: "How many times to retry a job, whether it failed or its process died, instead of the site's `failed-retries` and `job-retries`",
        },
        RuleKey {
            name: "memory",
            takes: "a whole number of megabytes from 16 to 1048576",
            means: "How much memory the job's process may use",
        },
        RuleKey {
            name: "reuse",
            takes: "a whole number from 1 to 100000",
            means: "How many jobs may follow each other in one process, instead of the site's `reuse`",
        },
    ];

    /// The key whose value is out of range, if there is one.
    pub fn out_of_range(&self) -> Option<&'static str> {
        let is_name =
            (1..=200).contains(&self.pattern.len()) && !self.pattern.chars().any(char::is_control);
        let within =
            |value: Option<u64>, low, high| value.is_none_or(|it| (low..=high).contains(&it));
        let checks = [
            ("match", is_name),
            (
                "concurrency",
                within(self.concurrency.map(u64::from), 1, 512),
            ),
            ("rate", within(self.rate.map(u64::from), 1, 60_000)),
            ("timeout", within(self.timeout.map(|it| it.0), 1, 604_800)),
            ("retries", within(self.retries.map(u64::from), 0, 100)),
            ("memory", within(self.memory, 16, 1_048_576)),
            ("reuse", within(self.reuse.map(u64::from), 1, 100_000)),
        ];
        checks.iter().find(|(_, ok)| !ok).map(|(key, _)| *key)
    }
}

/// A rule in force.
#[derive(Debug)]
pub struct Rule {
    pub of: HookRule,
    /// Stands for it in names of files.
    pub key: String,
    names: WildMatch,
}

impl Rule {
    pub fn new(of: HookRule) -> Rule {
        Rule {
            key: checksum::short(of.pattern.as_bytes(), 16),
            names: WildMatch::new(&of.pattern),
            of,
        }
    }

    /// Whether its jobs may have to wait.
    pub fn limits(&self) -> bool {
        self.of.concurrency.is_some() || self.of.rate.is_some()
    }
}

/// A limit of the time that a job may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeLimit<'a> {
    pub after: Duration,
    /// The rule that sets it, if it is not the site's.
    pub rule: Option<&'a str>,
}

impl std::fmt::Display for TimeLimit<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.after.as_secs();
        match self.rule {
            Some(rule) => write!(f, "{seconds} s (timeout of the hook rule {rule:?})"),
            None => write!(f, "{seconds} s"),
        }
    }
}

/// How often jobs are retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryLimits {
    /// Those whose process died.
    pub died: u32,
    /// Those that failed.
    pub failed: u32,
}

/// The rules of a site, in their order.
#[derive(Debug, Default)]
pub struct Rules(Vec<Arc<Rule>>);

impl Rules {
    pub fn new(rules: &[HookRule]) -> Rules {
        let rules = rules.iter().take(MAX_RULES).cloned();
        Rules(rules.map(|rule| Arc::new(Rule::new(rule))).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether jobs may have to wait.
    pub fn limit(&self) -> bool {
        self.0.iter().any(|rule| rule.limits())
    }

    /// The rule for a hook: the first that matches.
    pub fn of(&self, hook: &str) -> Option<&Arc<Rule>> {
        self.0.iter().find(|rule| rule.names.matches(hook))
    }

    pub fn with_key(&self, key: &str) -> Option<&Rule> {
        self.0.iter().find(|rule| rule.key == key).map(|it| &**it)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_matches_wins() {
        let rules = Rules::new(&[
            HookRule::matching("import_small"),
            HookRule::matching("import_*"),
            HookRule::matching("?x"),
            HookRule::matching("*"),
        ]);
        for (hook, pattern) in [
            ("import_small", "import_small"),
            ("import_", "import_*"),
            ("import_a_b", "import_*"),
            ("ax", "?x"),
            ("my_import_a", "*"),
            ("Import_a", "*"),
            ("[a]{b}\\", "*"),
        ] {
            assert_eq!(rules.of(hook).unwrap().of.pattern, pattern, "{hook}");
        }
        assert!(Rules::new(&[HookRule::matching("a")]).of("b").is_none());
        let key = &rules.of("ax").unwrap().key;
        assert_eq!(rules.with_key(key).unwrap().of.pattern, "?x");
    }

    #[test]
    fn values_have_ranges() {
        assert_eq!(HookRule::matching("a*").out_of_range(), None);
        assert_eq!(HookRule::matching("").out_of_range(), Some("match"));
        assert_eq!(HookRule::matching("a\n").out_of_range(), Some("match"));
        let none = HookRule {
            concurrency: Some(0),
            ..HookRule::matching("a")
        };
        assert_eq!(none.out_of_range(), Some("concurrency"));
        for key in HookRule::KEYS.map(|key| key.name) {
            let one = format!("match = \"a\"\n{key} = 3000000");
            let read = toml::from_str::<HookRule>(&one);
            assert_eq!(
                read.ok().and_then(|it| it.out_of_range()),
                match key {
                    "match" => None, // twice
                    key => Some(key),
                }
            );
        }
    }
}
