//! Wraps text to the width of the terminal.

use console::measure_text_width;

use crate::report::Ui;

impl Ui {
    /// Prints a paragraph, wrapped between words.
    pub fn wrapped(&self, text: &str) {
        self.line(&lines(text, 0, self.columns()));
    }

    /// Like `wrapped`, with continuation lines indented by two columns.
    pub fn hanging(&self, text: &str) {
        self.line(&lines(text, 2, self.columns()));
    }

    /// Prints a command line that can be pasted into a shell.
    pub fn command(&self, command: &str, words: &[String]) {
        let room = self.columns().unwrap_or(usize::MAX);
        let mut line = format!("  {command}");
        for word in words.iter().map(|word| crate::base::text::printable(word)) {
            if measure_text_width(&line) + measure_text_width(&word) + 3 > room {
                self.line(&format!("{line} \\"));
                line = format!("    {word}");
            } else {
                line.push_str(&format!(" {word}"));
            }
        }
        self.line(&line);
    }

    /// The width of the terminal; `None` if the output is not a terminal.
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

/// Wraps text between words; continuation lines are indented by `indent`.
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
            let word = crate::base::text::printable(word);
            let mut rest = word.as_str();
            while let Some(at) = break_at(rest, room) {
                rows.push(rest[..at].to_owned());
                rest = &rest[at..];
            }
            row.push_str(rest);
        }
        rows.push(row);
    }
    rows.join(&format!("\n{:indent$}", ""))
}

/// Where to break a word that is wider than a line: before a slash, if it has one.
fn break_at(word: &str, room: usize) -> Option<usize> {
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
    fn lines_wrap_between_words_without_control_characters() {
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
