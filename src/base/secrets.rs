//! Masks secrets in what is shown, such as diffs.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex};

/// How much of a file's contents may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    /// Everything: the file holds no secrets.
    None,
    /// Everything but string literals in PHP code; harmless ones and these are shown.
    Php(&'static [&'static str]),
    /// Everything but the values of password options.
    Options,
    /// Nothing: the contents are binary, or long and of no interest.
    Hidden,
}

/// Replaces what is masked.
pub const MASK: &str = "••••";

/// String literals that are never secret.
const HARMLESS: [&str; 9] = [
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

// These patterns are constant: a test that uses them proves that they compile.
static STRINGS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|['"].*$"#).expect("a constant pattern")
});
static SERVER: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^[A-Za-z0-9.\-\[\]:]*:[0-9]{1,5}$").expect("a constant pattern"));
static PASSWORDS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)(--[a-z0-9-]*(?:password|secret)[a-z0-9-]*[= ])(\S*[^\s\\])")
        .expect("a constant pattern")
});

/// Masks the secrets in a unified diff. An added line that now looks like the
/// line it replaces is marked as changed.
pub fn diff(text: &str, secrets: Secrets) -> String {
    let mut shown = String::new();
    let mut removed: Vec<String> = Vec::new();
    for line in text.lines() {
        let line = match secrets {
            Secrets::None | Secrets::Hidden => Cow::Borrowed(line),
            Secrets::Php(words) => php(line, words),
            Secrets::Options => PASSWORDS.replace_all(line, format!("$1{MASK}")),
        };
        shown.push_str(&line);
        if let Some(old) = line.strip_prefix('-') {
            removed.push(old.to_owned());
        } else if let Some(new) = line.strip_prefix('+')
            && new.contains(MASK)
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

/// Masks every string literal that is not known to be harmless, and the rest
/// of the line after an unclosed quote.
fn php<'l>(line: &'l str, words: &[&str]) -> Cow<'l, str> {
    STRINGS.replace_all(line, |found: &Captures| {
        let whole = &found[0];
        let inside = found.get(1).or(found.get(2)).map(|m| m.as_str());
        match inside {
            Some(text)
                if HARMLESS.contains(&text) || words.contains(&text) || SERVER.is_match(text) =>
            {
                whole.to_owned()
            }
            _ => {
                let quote = &whole[..1];
                format!("{quote}{MASK}{quote}")
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_strings_are_shown() {
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
        for password in ["geheim", "a\\b'c\"d$e`f;g#h"] {
            let line = format!("+ --mysql-password={password} \\\n");
            let shown = diff(&line, Secrets::Options);
            assert_eq!(shown, format!("+ --mysql-password={MASK} \\\n"));
        }
    }
}
