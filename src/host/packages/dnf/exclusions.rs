//! The packages that dnf's and yum's settings keep from a host.

use regex::Regex;

/// The patterns in 'exclude' and 'excludepkgs'. Lines that start with a blank
/// continue a value.
pub fn parse(text: &str) -> Vec<Regex> {
    let mut patterns = Vec::new();
    let mut key = "";
    for line in text.lines() {
        let value = match line.split_once('=') {
            _ if line.starts_with([' ', '\t']) => line,
            Some((name, value)) => {
                key = name.trim();
                value
            }
            None => {
                key = "";
                continue;
            }
        };
        if !matches!(key, "exclude" | "excludepkgs") {
            continue;
        }
        for word in value
            .split([' ', '\t', ','])
            .filter(|word| !word.is_empty())
        {
            let pattern = regex::escape(word).replace("\\*", ".*").replace("\\?", ".");
            patterns.extend(Regex::new(&format!("^{pattern}$")));
        }
    }
    patterns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exclusions_are_words_with_stars_over_several_lines() {
        let patterns = parse(
            "[main]\nexclude=gearman* kernel, php-?ecl\n  more.+\n# exclude=no\nbest=True\n also\nexcludepkgs = last\n",
        );
        let fits = |name: &str| patterns.iter().any(|pattern| pattern.is_match(name));
        for name in ["gearmand", "kernel", "php-pecl", "more.+", "last"] {
            assert!(fits(name), "{name}");
        }
        for name in [
            "libgearman",
            "kernel-core",
            "php-ppecl",
            "more.",
            "no",
            "also",
        ] {
            assert!(!fits(name), "{name}");
        }
    }
}
