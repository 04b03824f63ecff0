//! Prompts: lists driven by keys, or plain lines for screen readers and dumb
//! terminals.

use std::io::{BufRead, ErrorKind, Write};

use anyhow::Result;
use console::{Key, Style, Term, truncate_str};
use dialoguer::theme::Theme;
use dialoguer::{MultiSelect, Select};

use crate::base::text::printable;
use crate::report::Ui;
use crate::report::interrupt::Cancelled;
use crate::report::sink::safe;
use crate::report::width::lines;

/// The answer to a request for consent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Yes,
    No,
    /// Show the folded details, then ask again.
    Details,
}

/// Validates an answer; the error says what is wrong with it.
pub type Check<'a> = dyn Fn(&str) -> Result<(), String> + 'a;

impl Ui {
    /// Asks for one of the items.
    pub fn one(&self, question: &str, items: &[String], default: usize) -> Result<usize> {
        if self.plain {
            self.line(question);
            self.numbered(items);
            let ask = format!("Number from 1 to {} [{}]: ", items.len(), default + 1);
            let index = |text: &str| number(text, items.len());
            let text = self.read(&ask, &|text| match text {
                "" => Ok(()),
                text => index(text).map(drop),
            })?;
            return Ok(match text.is_empty() {
                true => default,
                false => index(&text).unwrap_or(default),
            });
        }
        let items = self.fit(items, 2);
        let chosen = Select::with_theme(&Look)
            .with_prompt(question)
            .max_length(page(&items))
            .items(items)
            .default(default)
            .report(false)
            .interact_on_opt(&Term::stdout());
        chosen
            .map_err(ended)?
            .ok_or_else(|| Cancelled::Interrupted.into())
    }

    /// Asks for any number of the items; `on` says which ones are preselected.
    pub fn some(&self, question: &str, items: &[String], on: &[bool]) -> Result<Vec<usize>> {
        if self.plain {
            self.line(question);
            self.numbered(items);
            let defaults: Vec<usize> = (0..items.len()).filter(|at| on[*at]).collect();
            let shown: Vec<String> = defaults.iter().map(|at| (at + 1).to_string()).collect();
            let ask = format!("Numbers, separated by spaces [{}]: ", shown.join(" "));
            let words = |text: &str| -> Result<Vec<usize>, String> {
                let words = text.split([' ', ',']).filter(|word| !word.is_empty());
                words.map(|word| number(word, items.len())).collect()
            };
            let text = self.read(&ask, &|text| words(text).map(drop))?;
            return Ok(match text.is_empty() {
                true => defaults,
                false => words(&text).unwrap_or(defaults),
            });
        }
        let items = self.fit(items, 6);
        let room = page(&items);
        let chosen = MultiSelect::with_theme(&Look)
            .with_prompt(question)
            .items(items)
            .defaults(on)
            .max_length(room)
            .report(false)
            .interact_on_opt(&Term::stdout());
        chosen
            .map_err(ended)?
            .ok_or_else(|| Cancelled::Interrupted.into())
    }

    /// Asks for a word or a number on a line that the terminal edits. An empty
    /// answer is the default.
    pub fn text(&self, question: &str, default: Option<&str>, check: &Check) -> Result<String> {
        let question = self.style().bold().apply_to(question);
        let ask = match default {
            Some(default) => format!("{question} [{default}]: "),
            None => format!("{question}: "),
        };
        let text = self.read(&ask, &|text| match (text, default) {
            ("", Some(_)) => Ok(()),
            ("", None) => Err("an answer is required".into()),
            _ => check(text),
        })?;
        Ok(match (text.as_str(), default) {
            ("", Some(default)) => default.to_owned(),
            _ => text,
        })
    }

    /// Asks for a text, which may be empty, without echoing it.
    pub fn secret(&self, question: &str, check: &Check) -> Result<String> {
        let term = Term::stdout();
        loop {
            let ask = format!("{}: ", self.style().bold().apply_to(question));
            term.write_str(&safe(&ask))?;
            let text = term.read_secure_line()?;
            match check(&text) {
                Ok(()) => return Ok(text),
                Err(why) => self.reject(&why),
            }
        }
    }

    /// Asks for consent by a single key. If `folded`, `d` shows the details.
    pub fn consents(&self, folded: bool, default: bool) -> Result<Answer> {
        let choices = match (default, folded) {
            (true, false) => "[Y/n]",
            (false, false) => "[y/N]",
            (true, true) => "[Y/n, d: details]",
            (false, true) => "[y/N, d: details]",
        };
        let default = match default {
            true => Answer::Yes,
            false => Answer::No,
        };
        let ask = format!("Apply these changes? {choices} ");
        let of = |text: &str| match text.to_ascii_lowercase().as_str() {
            "" => Ok(default),
            "y" | "yes" => Ok(Answer::Yes),
            "n" | "no" => Ok(Answer::No),
            "d" if folded => Ok(Answer::Details),
            _ => Err("expected y or n".to_owned()),
        };
        if self.plain {
            let text = self.read(&ask, &|text| of(text).map(drop))?;
            return Ok(of(&text).unwrap_or(default));
        }
        let term = Term::stdout();
        term.write_str(&ask)?;
        loop {
            let answer = match term.read_key().map_err(|e| ended(e.into()))? {
                Key::Enter => default,
                Key::Escape => Answer::No,
                Key::Char(c) => match of(&c.to_string()) {
                    Ok(answer) => answer,
                    Err(_) => continue,
                },
                _ => continue,
            };
            let word = match answer {
                Answer::Yes => "yes",
                Answer::No => "no",
                Answer::Details => "details",
            };
            term.write_line(word)?;
            return Ok(answer);
        }
    }

    fn reject(&self, why: &str) {
        self.invalid(&format!("Invalid answer: {why}"));
    }

    /// Prints what is wrong with an answer.
    pub fn invalid(&self, text: &str) {
        let text = lines(text, 2, self.columns());
        self.line(&Style::new().red().apply_to(text).to_string());
    }

    /// Prints a question and its answer in place of the list, which was cleared.
    pub fn answered(&self, question: &str, answer: &str) {
        if !self.plain {
            let room = self.columns().unwrap_or(usize::MAX);
            let text = format!(
                "{question} {}",
                Style::new().cyan().apply_to(printable(answer))
            );
            self.line(&truncate_str(&text, room, "…"));
        }
        self.line("");
    }

    fn numbered(&self, items: &[String]) {
        let width = items.len().to_string().len();
        let indent = format!("\n{:indent$}", "", indent = width + 3);
        for (at, item) in items.iter().enumerate() {
            self.line(&format!(
                "  {:>width$} {}",
                at + 1,
                item.replace('\n', &indent)
            ));
        }
    }

    /// Fits items to the terminal, as redrawing wrapped lines would leave
    /// remains: single lines are truncated, others are wrapped into more lines.
    fn fit(&self, items: &[String], marks: usize) -> Vec<String> {
        let columns = self.columns().unwrap_or(usize::MAX);
        let room = columns.saturating_sub(marks + 1);
        let fit = |item: &String| match item.contains('\n') {
            true => lines(item, 0, Some(room)),
            false => truncate_str(&printable(item), room, "…").into_owned(),
        };
        items.iter().map(fit).collect()
    }

    /// Reads lines that the terminal edits, until one is valid.
    fn read(&self, ask: &str, check: &Check) -> Result<String> {
        loop {
            let mut out = std::io::stdout();
            out.write_all(safe(ask).as_bytes())?;
            out.flush()?;
            let mut line = String::new();
            if std::io::stdin().lock().read_line(&mut line)? == 0 {
                let _ = writeln!(out);
                return Err(Cancelled::Interrupted.into());
            }
            match check(line.trim()) {
                Ok(()) => return Ok(line.trim().to_owned()),
                Err(why) => self.reject(&why),
            }
        }
    }
}

/// The number of items that fit on the screen below the question.
fn page(items: &[String]) -> usize {
    let height = items.iter().map(|item| item.lines().count()).max();
    let room = usize::from(Term::stdout().size().0).saturating_sub(3);
    (room / height.unwrap_or(1).max(1)).max(1)
}

fn number(text: &str, count: usize) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|number| (1..=count).contains(number))
        .map(|number: usize| number - 1)
        .ok_or_else(|| format!("expected a number from 1 to {count}"))
}

/// Converts an interrupted read, which is Ctrl-C, to `Cancelled`.
fn ended(error: dialoguer::Error) -> anyhow::Error {
    let dialoguer::Error::IO(error) = error;
    if error.kind() == ErrorKind::Interrupted {
        let term = Term::stdout();
        let _ = term.show_cursor();
        let _ = term.write_line("");
        return Cancelled::Interrupted.into();
    }
    error.into()
}

/// The look of lists: as narrow as possible.
struct Look;

type Out<'a> = &'a mut dyn std::fmt::Write;

impl Theme for Look {
    fn format_prompt(&self, f: Out, prompt: &str) -> std::fmt::Result {
        write!(f, "{}", Style::new().bold().apply_to(safe(prompt)))
    }

    fn format_select_prompt_item(&self, f: Out, text: &str, active: bool) -> std::fmt::Result {
        item(f, "", text, active)
    }

    fn format_multi_select_prompt_item(
        &self,
        f: Out,
        text: &str,
        checked: bool,
        active: bool,
    ) -> std::fmt::Result {
        item(f, if checked { "[x] " } else { "[ ] " }, text, active)
    }
}

fn item(f: Out, check: &str, text: &str, active: bool) -> std::fmt::Result {
    let mark = if active { ">" } else { " " };
    let indent = format!("\n  {}", " ".repeat(check.len()));
    let text = format!("{mark} {check}{}", text.replace('\n', &indent));
    match active {
        true => write!(f, "{}", Style::new().cyan().apply_to(safe(&text))),
        false => f.write_str(&safe(&text)),
    }
}
