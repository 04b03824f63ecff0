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
    /// The lines that have to be added to that.
    pub(super) lines: Lines,
}

/// Lines that the advice shows below its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lines {
    None,
    /// What the file lacks.
    Missing,
    /// One plain list of servers.
    Servers,
}

impl Refusal {
    pub(super) fn new(line: Option<usize>, reason: impl Into<String>) -> Self {
        Refusal {
            line,
            reason: reason.into(),
            by_hand: String::new(),
            lines: Lines::None,
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
        self.lines = Lines::Missing;
        self.by_hand(text)
    }

    /// What to do, with a plain list of servers below it.
    pub(super) fn by_hand_servers(mut self, text: impl Into<String>) -> Self {
        self.lines = Lines::Servers;
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

/// Where something is, for advice: "line 3", or "line 3 of jobs.php".
pub(super) fn place(file: Option<&str>, line: usize) -> String {
    match file {
        Some(file) => format!("line {line} of {file}"),
        None => format!("line {line}"),
    }
}

/// Words for several places: "line 3, line 5 and line 8".
pub(super) fn places(each: impl IntoIterator<Item = String>) -> String {
    let mut each: Vec<String> = each.into_iter().collect();
    each.dedup();
    match each.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}
