//! Why a file cannot be edited: the line, the reason, and the lines to add by hand.

use std::fmt;

/// An edit that is not possible. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The line, from 1, that prevents the edit, if there is one.
    pub line: Option<usize>,
    pub reason: String,
    /// What the user can do, after which the next run succeeds.
    pub by_hand: String,
    /// Whether the missing lines have to be added to that.
    pub(super) with_lines: bool,
}

impl Refusal {
    pub(super) fn new(line: Option<usize>, reason: impl Into<String>) -> Self {
        Refusal {
            line,
            reason: reason.into(),
            by_hand: String::new(),
            with_lines: false,
        }
    }

    /// A refusal because of a line of wp-config.php, or of a file that it includes.
    pub(super) fn at(file: Option<&str>, line: usize, reason: impl fmt::Display) -> Self {
        match file {
            Some(file) => Refusal::new(None, format!("{file}, line {line}: {reason}")),
            None => Refusal::new(Some(line), reason.to_string()),
        }
    }

    pub(super) fn by_hand(mut self, text: impl Into<String>) -> Self {
        self.by_hand = text.into();
        self
    }

    /// What to do, with the missing lines below it.
    pub(super) fn by_hand_lines(mut self, text: impl Into<String>) -> Self {
        self.with_lines = true;
        self.by_hand(text)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        f.write_str(&self.reason)?;
        if !self.by_hand.is_empty() {
            write!(f, "\n{}", self.by_hand)?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}
