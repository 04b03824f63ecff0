//! The errors that people read: what was attempted, what came back, what to do.

use std::fmt;

/// An error written for the person who runs the program. Shown as
/// `cannot WHAT: WHY` and, on a line of its own, the help.
#[derive(Debug, Clone)]
pub struct Problem {
    /// What was attempted, and on what: "read /etc/wp-gears.toml".
    pub what: String,
    /// What came back, as it came (may have several lines).
    pub why: String,
    /// What the person can do about it; empty where there is nothing to say.
    pub help: String,
    /// Whether the person's own words were wrong (exit code 2, else 1).
    pub usage: bool,
}

impl Problem {
    pub fn new(what: impl Into<String>, why: impl fmt::Display) -> Self {
        let why = plainly(why.to_string());
        Problem {
            what: what.into(),
            why,
            help: String::new(),
            usage: false,
        }
    }

    /// Bad words on the command line, in the environment or in the file.
    pub fn usage(what: impl Into<String>, why: impl fmt::Display) -> Self {
        Problem {
            usage: true,
            ..Problem::new(what, why)
        }
    }

    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }
}

/// The system's own words, without its number for them.
pub fn plainly(mut why: String) -> String {
    if let Some(at) = why.rfind(" (os error ").filter(|_| why.ends_with(')')) {
        why.truncate(at);
    }
    why
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why.trim_end())?;
        if !self.help.is_empty() {
            write!(f, "\n  help: {}", self.help)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}
