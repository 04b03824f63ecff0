//! Secrets stay out of what is shown: in diffs they are dots.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex};

/// What of a file may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    /// Nothing in it is secret.
    None,
    /// Strings of PHP code are masked, except plain words and these.
    Php(&'static [&'static str]),
    /// Values of password options are masked.
    Options,
    /// Not shown: no text, or long and of no interest.
    Hidden,
}

/// Stands for what is not shown.
pub const DOTS: &str = "••••";

/// Strings of PHP code that are never secret.
const PLAIN: [&str; 9] = [
    "wp-gears remove",
    "HTTP_HOST",
    "DOMAIN_CURRENT_SITE",
    "gearman_servers",
    "MULTISITE",
    "ABSPATH",
    "cli",
    "true",
    "",
];

// The patterns are constants: they compile or the first test fails.
static STRINGS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|['"].*$"#).expect("a constant pattern")
});
static SERVER: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^[A-Za-z0-9.\-\[\]:]*:[0-9]{1,5}$").expect("a constant pattern"));
static PASSWORDS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)(--[a-z0-9-]*(?:password|secret)[a-z0-9-]*[= ])([^\s\\]+)")
        .expect("a constant pattern")
});

/// A unified diff with what is secret in it masked. Where a line looks the
/// same then as the one that it replaces, it says that the secret changes.
pub fn diff(text: &str, secrets: Secrets) -> String {
    let mut shown = String::new();
    let mut removed: Vec<String> = Vec::new();
    for line in text.lines() {
        let line = match secrets {
            Secrets::None | Secrets::Hidden => Cow::Borrowed(line),
            Secrets::Php(words) => php(line, words),
            Secrets::Options => PASSWORDS.replace_all(line, format!("$1{DOTS}")),
        };
        shown.push_str(&line);
        if let Some(old) = line.strip_prefix('-') {
            removed.push(old.to_owned());
        } else if let Some(new) = line.strip_prefix('+')
            && new.contains(DOTS)
            && removed.iter().any(|old| old == new)
        {
            shown.push_str("  (changed)");
        } else if line.starts_with("@@") {
            removed.clear();
        }
        shown.push('\n');
    }
    shown
}

/// Others' words, without what would steer a terminal.
pub fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// Masks every string literal that is not a plain word, and the rest of the
/// line from a quote that is not closed.
fn php<'l>(line: &'l str, words: &[&str]) -> Cow<'l, str> {
    STRINGS.replace_all(line, |found: &Captures| {
        let whole = &found[0];
        let inside = found.get(1).or(found.get(2)).map(|m| m.as_str());
        match inside {
            Some(text)
                if PLAIN.contains(&text) || words.contains(&text) || SERVER.is_match(text) =>
            {
                whole.to_owned()
            }
            _ => {
                let quote = &whole[..1];
                format!("{quote}{DOTS}{quote}")
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_words_are_shown() {
        let shown = diff(
            "+define( 'WP_ASYNC_TASK_SALT', 'abc' ); define('DB_PASSWORD', \"x'y\");\n+$gearman_servers = array( '127.0.0.1:4730' );\n-'open\n",
            Secrets::Php(&["WP_ASYNC_TASK_SALT"]),
        );
        assert!(!shown.contains("abc") && !shown.contains("x'y") && !shown.contains("open"));
        assert!(shown.contains("'WP_ASYNC_TASK_SALT'") && shown.contains("127.0.0.1:4730"));
        let shown = diff(
            "-define('A', 'x');\n+define('A', 'y');\n",
            Secrets::Php(&[]),
        );
        assert!(
            shown.ends_with("+define('••••', '••••');  (changed)\n"),
            "{shown}"
        );
        let shown = diff("+ --mysql-password=geheim \\\n", Secrets::Options);
        assert!(!shown.contains("geheim"));
    }
}
