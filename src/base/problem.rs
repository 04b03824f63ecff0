//! Errors for users: what was attempted, what came back, what to do; and whether they
//! concern the whole host or leave out one site.

use std::fmt;

/// An error that the user reads as `cannot WHAT: WHY`, with the help on a line
/// of its own.
#[derive(Debug, Clone)]
pub struct Problem {
    /// The failed action and its object, such as "read /etc/wp-gears.toml".
    pub what: String,
    /// The reason, verbatim where another program reported it. May have several
    /// lines.
    pub why: String,
    /// What the user can do about it; empty if there is no advice.
    pub help: String,
    /// Whether the user passed invalid input (exit code 2 instead of 1).
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

    /// Invalid input on the command line, in the environment or in the config file.
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

/// A system error without the error number that Rust appends.
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

/// What went wrong with one site. It is no `Error`, so `?` never makes it an error of the
/// host: whoever goes through the sites has to leave this one out.
#[derive(Debug)]
pub struct SiteError(anyhow::Error);

pub type SiteResult<T> = Result<T, SiteError>;

impl SiteError {
    /// To report it as that of its site.
    pub fn into_error(self) -> anyhow::Error {
        self.0
    }
}

impl From<anyhow::Error> for SiteError {
    fn from(error: anyhow::Error) -> Self {
        SiteError(error)
    }
}

impl From<Problem> for SiteError {
    fn from(problem: Problem) -> Self {
        SiteError(problem.into())
    }
}
