//! All that is printed for people, and the JSON for programs.

pub mod ask;
pub mod doctor;
pub mod interrupt;
pub mod json;
mod plan;
pub mod progress;
pub mod prometheus;
pub mod screen;
pub mod status;
mod width;

use std::io::{ErrorKind, IsTerminal, Write};

use console::Style;

use crate::base::problem::{Problem, plainly};
use crate::plan::{Refused, SiteKey};

/// How to print: resolved once, from the options and the terminal.
#[derive(Debug, Clone, Copy)]
pub struct Ui {
    /// People's text goes to standard error, one document to standard output.
    pub json: bool,
    pub quiet: bool,
    pub verbose: bool,
    /// A person at a terminal can answer.
    pub asks: bool,
    /// Lines alone: nothing is drawn over, for dumb terminals and screen readers.
    pub plain: bool,
}

/// Whether the terminal can show lines alone.
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

    /// As the person asks for it: not one byte that steers a terminal.
    pub fn plainly(mut self, plain: bool) -> Self {
        if plain {
            self.plain = true;
            console::set_colors_enabled(false);
            console::set_colors_enabled_stderr(false);
        }
        self
    }

    /// A line of text. A reader that went away (`| head`) is no error.
    pub fn line(&self, text: &str) {
        if self.quiet {
            return;
        }
        if self.json {
            let _ = writeln!(std::io::stderr(), "{text}");
        } else {
            let _ = writeln!(std::io::stdout(), "{text}");
        }
    }

    /// As `line`; false where nobody reads any more.
    pub fn goes_on(&self, text: &str) -> bool {
        writeln!(std::io::stdout(), "{text}").is_ok()
    }

    pub fn document(&self, value: &serde_json::Value) {
        let text = serde_json::to_string_pretty(value).unwrap_or_default();
        let _ = writeln!(std::io::stdout(), "{text}");
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
            self.hung(&format!("note: {note}"));
        }
    }

    pub fn refused(&self, refused: &[Refused]) {
        for one in refused {
            let before = match &one.site {
                None => "host: ".to_owned(),
                // Most errors name the folder themselves.
                Some(site @ SiteKey::Unnamed(_))
                    if message(&one.error, false).contains(&site.to_string()) =>
                {
                    String::new()
                }
                Some(site) => format!("{site}: "),
            };
            self.error(&before, &one.error);
        }
    }

    /// An error, always shown, on standard error. The chain of causes is
    /// shown whole only where the last cause does not speak for itself.
    pub fn error(&self, before: &str, error: &anyhow::Error) {
        let head = Style::new().for_stderr().red().bold().apply_to("error:");
        let _ = writeln!(
            std::io::stderr(),
            "{head} {before}{}",
            message(error, self.verbose)
        );
    }
}

/// An error in the words of the innermost `Problem`, which says what to do;
/// else the chain of causes, from what was attempted to what came back.
pub fn message(error: &anyhow::Error, verbose: bool) -> String {
    let problem = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<Problem>())
        .last();
    match problem {
        Some(problem) if !verbose => format!("cannot {problem}"),
        Some(_) => format!("cannot {}", chain(error)),
        None if error.chain().len() > 1 => format!("cannot {}{}", chain(error), room(error)),
        None => chain(error),
    }
}

/// From what was attempted to what came back, nothing twice.
fn chain(error: &anyhow::Error) -> String {
    let mut causes: Vec<String> = error
        .chain()
        .map(|cause| plainly(cause.to_string()))
        .collect();
    causes.dedup();
    causes.join(": ")
}

/// What to do about a full disk or quota, which any act can meet.
fn room(error: &anyhow::Error) -> &'static str {
    let kind = |cause: &(dyn std::error::Error + 'static)| {
        let of_io = cause.downcast_ref::<std::io::Error>();
        let of_call = cause.downcast_ref::<rustix::io::Errno>();
        of_io
            .map(std::io::Error::kind)
            .or(of_call.map(|it| it.kind()))
    };
    match error.chain().find_map(kind) {
        Some(ErrorKind::StorageFull) => {
            "\n  help: make room, then run again: it goes on where it stopped"
        }
        Some(ErrorKind::QuotaExceeded) => {
            "\n  help: make room, or raise the quota of the file's owner, then run again: it goes on where it stopped"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn a_chain_says_nothing_twice_and_what_to_do_about_a_full_disk() {
        let full = std::io::Error::from_raw_os_error(28);
        let error = Err::<(), _>(full)
            .context("write /a")
            .context("write /a")
            .unwrap_err();
        assert_eq!(
            message(&error, false),
            "cannot write /a: No space left on device\n  help: make room, then run again: it goes on where it stopped"
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
