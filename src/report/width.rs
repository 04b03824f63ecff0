//! As wide as the terminal is, and no wider.

use console::measure_text_width;

use crate::report::Ui;

impl Ui {
    /// A paragraph, broken between words.
    pub fn wrapped(&self, text: &str) {
        self.line(&lines(text, 0, self.columns()));
    }

    /// As `wrapped`, what follows the first line two columns in.
    pub fn hung(&self, text: &str) {
        self.line(&lines(text, 2, self.columns()));
    }

    /// A command line, one that a shell takes as it stands.
    pub fn command(&self, command: &str, words: &[String]) {
        let room = self.columns().unwrap_or(usize::MAX);
        let mut line = format!("  {command}");
        for word in words
            .iter()
            .map(|word| crate::base::secrets::printable(word))
        {
            if measure_text_width(&line) + measure_text_width(&word) + 3 > room {
                self.line(&format!("{line} \\"));
                line = format!("    {word}");
            } else {
                line.push_str(&format!(" {word}"));
            }
        }
        self.line(&line);
    }

    /// The terminal's width; `None` where the text goes elsewhere.
    pub fn columns(&self) -> Option<usize> {
        let term = if self.json {
            console::Term::stderr()
        } else {
            console::Term::stdout()
        };
        term.is_term()
            .then(|| usize::from(term.size().1))
            .filter(|columns| *columns > 20)
    }
}

/// Text on lines of their own below each other, broken between words.
pub fn lines(text: &str, indent: usize, columns: Option<usize>) -> String {
    let room = columns.map_or(usize::MAX, |columns| columns.saturating_sub(indent).max(16));
    let mut rows: Vec<String> = Vec::new();
    for line in text.lines() {
        let mut row = String::new();
        for word in line.split_whitespace() {
            if !row.is_empty() && measure_text_width(&row) + 1 + measure_text_width(word) > room {
                rows.push(std::mem::take(&mut row));
            }
            if !row.is_empty() {
                row.push(' ');
            }
            let word = crate::base::secrets::printable(word);
            let mut rest = word.as_str();
            while let Some(at) = too_long(rest, room) {
                rows.push(rest[..at].to_owned());
                rest = &rest[at..];
            }
            row.push_str(rest);
        }
        rows.push(row);
    }
    rows.join(&format!("\n{:indent$}", ""))
}

/// Where a word is broken that fits on no line: a path before a slash.
fn too_long(word: &str, room: usize) -> Option<usize> {
    if measure_text_width(word) <= room {
        return None;
    }
    let fits = |at: &usize| *at > 0 && measure_text_width(&word[..*at]) <= room;
    let slash = word.match_indices('/').map(|(at, _)| at).rfind(fits);
    slash.or_else(|| word.char_indices().map(|(at, _)| at).rfind(fits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_and_hold_nothing_that_steers() {
        assert_eq!(
            lines("one two\u{1b}[31m three", 4, None),
            "one two\u{fffd}[31m three"
        );
        assert_eq!(
            lines("aaaaaaaa bbbbbbbb cc", 4, Some(22)),
            "aaaaaaaa bbbbbbbb\n    cc"
        );
        assert_eq!(lines("a\nb", 2, None), "a\n  b");
        assert_eq!(
            lines("at /aaaaaaaa/bbbbbbbbb/cc", 2, Some(18)),
            "at\n  /aaaaaaaa\n  /bbbbbbbbb/cc"
        );
        assert_eq!(
            lines("aaaaaaaaaaaaaaaaaaaa", 0, Some(16)),
            "aaaaaaaaaaaaaaaa\naaaa"
        );
    }
}
