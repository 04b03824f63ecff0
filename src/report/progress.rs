//! Shows the progress of a run: one line per step with its duration and, on a
//! terminal, a spinner with the last line of output.

use std::cell::RefCell;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::base::text::printable;

use crate::plan::journal::Scope;
use crate::plan::outcome::{Done, Reporter, Stops};
use crate::report::Ui;
use crate::report::interrupt::Interrupts;
use crate::report::sink::safe;
use crate::report::width::lines;
use crate::resource::{ResourceId, Verb};

pub struct Progress {
    ui: Ui,
    bar: RefCell<Option<ProgressBar>>,
    spins: bool,
    interrupts: Option<Interrupts>,
}

impl Progress {
    pub fn new(ui: Ui) -> Self {
        Progress {
            ui,
            bar: RefCell::new(None),
            spins: std::io::stderr().is_terminal() && !ui.quiet && !ui.plain,
            interrupts: None,
        }
    }

    /// Stops after the current step once Ctrl-C was pressed.
    pub fn until(mut self, interrupts: Option<Interrupts>) -> Self {
        self.interrupts = interrupts;
        self
    }

    /// Starts a spinner.
    pub fn start(&self, text: &str) {
        if !self.spins {
            if self.ui.asks && self.ui.plain {
                self.ui.wrapped(&format!("{text} …"));
            }
            return;
        }
        let room = self.ui.columns().map_or(usize::MAX, |columns| columns - 3);
        let text = console::truncate_str(text, room, "…");
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {wide_msg:.dim}") {
            bar.set_style(style);
        }
        bar.set_prefix(safe(&text).into_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        self.bar.replace(Some(bar));
    }

    pub fn stop(&self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Reporter for Progress {
    fn begin(&self, id: &ResourceId, verb: Verb) {
        self.start(&format!("{verb} {id}"));
    }

    fn progress(&self, line: &str) {
        if let Some(bar) = &*self.bar.borrow() {
            bar.set_message(printable(line.trim()));
        }
    }

    fn end(&self, done: &Done) {
        self.stop();
        let site = match &done.scope {
            Scope::Host | Scope::Owner(_) => String::new(),
            Scope::Site(site) => format!(" [{site}]"),
        };
        let text = format!("{} {}{site} ({})", done.verb, done.id, seconds(done.took));
        self.ui
            .line(&format!("✓ {}", lines(&text, 2, self.ui.columns())));
    }

    fn failed(&self, id: &ResourceId) {
        self.stop();
        self.ui.wrapped(&format!("✗ {id}"));
    }

    fn stops(&self) -> Box<Stops> {
        match self.interrupts.clone() {
            Some(interrupts) => Box::new(move || interrupts.interrupted()),
            None => Box::new(|| false),
        }
    }
}

/// Formats a duration like "0.3 s" or "12 s".
pub fn seconds(took: Duration) -> String {
    match took.as_secs_f64() {
        short if short < 10.0 => format!("{short:.1} s"),
        long => format!("{long:.0} s"),
    }
}
