//! Everything that is printed: text for users, and JSON for programs.

pub mod ask;
pub mod dashboard;
pub mod doctor;
pub mod interrupt;
pub mod json;
mod plan;
pub mod progress;
pub mod prometheus;
pub mod screen;
pub mod sink;
pub mod status;
pub mod status_document;
mod waits;
mod width;

use std::io::{ErrorKind, IsTerminal};

use console::Style;

use crate::base::problem::{Problem, plainly};
use crate::plan::{Refused, SiteKey};

/// How to print. Determined once from the options and the terminal.
#[derive(Debug, Clone, Copy)]
pub struct Ui {
    /// Text goes to standard error, and one document to standard output.
    pub json: bool,
    pub quiet: bool,
    pub verbose: bool,
    /// Prompts can be answered: there is a terminal, and no `--json`.
    pub asks: bool,
    /// Print lines only and redraw nothing, for dumb terminals and screen readers.
    pub plain: bool,
}

/// Whether the terminal can only print lines.
fn is_dumb() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty())
}

impl Ui {
    pub fn new(json: bool, quiet: bool, verbose: bool) -> Self {
        let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        Ui {
            json,
            quiet,
            verbose,
            asks: terminal && !json,
            plain: is_dumb(),
        }
    }

    /// Applies `--plain`: no escape sequences at all.
    pub fn plainly(mut self, plain: bool) -> Self {
        if plain {
            self.plain = true;
            console::set_colors_enabled(false);
            console::set_colors_enabled_stderr(false);
        }
        self
    }

    /// Prints a line of text. A closed pipe (`| head`) is not an error.
    pub fn line(&self, text: &str) {
        if self.quiet {
            return;
        }
        if self.json {
            sink::err(text);
        } else {
            let _ = sink::out(text);
        }
    }

    /// Prints a line of text; false if the pipe is closed.
    pub fn try_line(&self, text: &str) -> bool {
        sink::out(text).is_ok()
    }

    pub fn document(&self, value: &impl serde::Serialize) {
        let _ = sink::out(&sink::json(value));
    }

    /// The same of one that is too long to be kept in memory. A closed pipe ends it.
    pub fn long_document(&self, value: &impl serde::Serialize) {
        let _ = sink::stream_json(value);
    }

    fn style(&self) -> Style {
        if self.json {
            Style::new().for_stderr()
        } else {
            Style::new()
        }
    }

    pub fn notes(&self, notes: &[String]) {
        for note in notes {
            self.hanging(&format!("note: {note}"));
        }
    }

    pub fn refused(&self, refused: &[Refused]) {
        for one in refused {
            let prefix = match &one.site {
                None => "host: ".to_owned(),
                // Most errors already name the folder.
                Some(site @ SiteKey::Unnamed(_))
                    if message(&one.error, false).contains(&site.to_string()) =>
                {
                    String::new()
                }
                Some(site) => format!("{site}: "),
            };
            self.error(&prefix, &one.error);
        }
    }

    /// Prints an error on standard error, even with `--quiet`. The full chain of
    /// causes is printed only if it is needed to understand the error.
    pub fn error(&self, prefix: &str, error: &anyhow::Error) {
        let head = Style::new().for_stderr().red().bold().apply_to("error:");
        sink::err(&format!("{head} {prefix}{}", message(error, self.verbose)));
    }
}

/// The text of an error: that of the innermost `Problem`, which says what to do,
/// or if there is none, the chain of causes.
pub fn message(error: &anyhow::Error, verbose: bool) -> String {
    let problem = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<Problem>())
        .last();
    match problem {
        Some(problem) if !verbose => format!("cannot {problem}"),
        Some(_) => format!("cannot {}", chain(error)),
        None if error.chain().len() > 1 => {
            format!("cannot {}{}", chain(error), help_with_space(error))
        }
        None => chain(error),
    }
}

/// The causes from outermost to innermost, without repetitions.
fn chain(error: &anyhow::Error) -> String {
    let mut causes: Vec<String> = error
        .chain()
        .map(|cause| plainly(cause.to_string()))
        .collect();
    causes.dedup();
    causes.join(": ")
}

/// Help for a full disk or quota, which any change can run into.
fn help_with_space(error: &anyhow::Error) -> &'static str {
    let kind = |cause: &(dyn std::error::Error + 'static)| {
        let of_io = cause.downcast_ref::<std::io::Error>();
        let of_call = cause.downcast_ref::<rustix::io::Errno>();
        of_io
            .map(std::io::Error::kind)
            .or(of_call.map(|it| it.kind()))
    };
    match error.chain().find_map(kind) {
        Some(ErrorKind::StorageFull) => {
            "\n  help: free up disk space, then run it again to continue"
        }
        Some(ErrorKind::QuotaExceeded) => {
            "\n  help: free up disk space or raise the quota of the file's owner, then run it again to continue"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn a_chain_has_no_repetitions_and_helps_with_a_full_disk() {
        let full = std::io::Error::from_raw_os_error(28);
        let error = Err::<(), _>(full)
            .context("write /a")
            .context("write /a")
            .unwrap_err();
        assert_eq!(
            message(&error, false),
            "cannot write /a: No space left on device\n  help: free up disk space, then run it again to continue"
        );
        let quota = Err::<(), _>(rustix::io::Errno::DQUOT).context("own /a");
        let said = message(&quota.unwrap_err(), false);
        assert!(said.contains("raise the quota"), "{said}");
        let problem =
            anyhow::Error::new(Problem::new("read /a", "no").help("look")).context("set up");
        assert_eq!(message(&problem, false), "cannot read /a: no\n  help: look");
        assert!(message(&problem, true).starts_with("cannot set up: read /a: no"));
    }
}
