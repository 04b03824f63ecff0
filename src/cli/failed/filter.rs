//! Which failed jobs a command is about: by hook, error and age.

use std::time::Duration;

use wildmatch::WildMatch;

use crate::base::clock::now_ms;
use crate::worker::store::JobRecord;

#[derive(Debug, Clone, clap::Args)]
pub struct FilterArgs {
    /// Only jobs of these hooks; `*` stands for any text, `?` for one character
    #[arg(long, value_name = "PATTERN", global = true)]
    pub hook: Option<String>,
    /// Only jobs whose last error contains this text, ignoring case
    #[arg(long, value_name = "TEXT", global = true)]
    pub error: Option<String>,
    /// Only jobs whose last attempt is not older than this: 90s, 30m, 1h, 7d
    #[arg(long, value_name = "AGE", value_parser = age, global = true)]
    pub since: Option<Duration>,
}

/// A number of seconds, or with a unit.
fn age(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => humantime::parse_duration(text)
            .map_err(|_| "expected an age such as 90s, 30m, 1h or 7d".into()),
    }
}

impl FilterArgs {
    pub fn is_given(&self) -> bool {
        self.hook.is_some() || self.error.is_some() || self.since.is_some()
    }

    /// As of now.
    pub fn filter(&self) -> Filter {
        let oldest = |age: Duration| now_ms().saturating_sub(age.as_millis() as u64);
        Filter {
            hook: self.hook.as_deref().map(WildMatch::new),
            error: self.error.as_deref().map(str::to_lowercase),
            oldest: self.since.map(oldest),
        }
    }
}

pub struct Filter {
    hook: Option<WildMatch>,
    /// In lower case.
    error: Option<String>,
    /// In milliseconds since 1970.
    oldest: Option<u64>,
}

impl Filter {
    pub fn takes(&self, record: &JobRecord) -> bool {
        let hook = record.hook.as_deref().unwrap_or_default();
        let error = || record.last_error().to_lowercase();
        self.oldest.is_none_or(|oldest| record.last_at() >= oldest)
            && self.hook.as_ref().is_none_or(|names| names.matches(hook))
            && self
                .error
                .as_ref()
                .is_none_or(|part| error().contains(part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_a_unit_or_is_in_seconds() {
        for (text, seconds) in [
            ("90", 90),
            ("90s", 90),
            ("30m", 1800),
            ("1h", 3600),
            ("1h 30m", 5400),
            ("7d", 604_800),
        ] {
            assert_eq!(age(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for wrong in ["", "h", "1 parsec", "-1", "yesterday"] {
            assert!(age(wrong).is_err(), "{wrong}");
        }
    }
}
