//! Progress of a run: a line a step with its time; on a terminal a spinner
//! with the last line of what is at work.

use std::cell::RefCell;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::Ui;
use crate::journal::Scope;
use crate::plan::Watch;

pub struct Progress {
    ui: Ui,
    bar: RefCell<Option<ProgressBar>>,
    spins: bool,
}

impl Progress {
    pub fn new(ui: Ui) -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Progress {
            ui,
            bar: RefCell::new(None),
            spins: std::io::stderr().is_terminal() && !ui.quiet && !dumb,
        }
    }

    /// A spinner for something that is no step of a plan.
    pub fn start(&self, text: &str) {
        if !self.spins {
            return;
        }
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {wide_msg:.dim}") {
            bar.set_style(style);
        }
        bar.set_prefix(text.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        self.bar.replace(Some(bar));
    }

    pub fn stop(&self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Watch for Progress {
    fn begin(&self, _scope: &Scope, name: &str, verb: &str) {
        self.start(&format!("{verb} {name}"));
    }

    fn progress(&self, line: &str) {
        if let Some(bar) = &*self.bar.borrow() {
            bar.set_message(line.trim().to_owned());
        }
    }

    fn end(
        &self,
        scope: &Scope,
        name: &str,
        verb: &str,
        took: Duration,
        error: Option<&anyhow::Error>,
    ) {
        self.stop();
        if error.is_some() {
            self.ui.line(&format!("✗ {name}"));
            return;
        }
        let site = match scope {
            Scope::Host => String::new(),
            Scope::Site(site) => format!(" [{site}]"),
        };
        self.ui
            .line(&format!("✓ {verb} {name}{site} ({})", seconds(took)));
    }
}

/// "0.3 s", "12 s".
pub fn seconds(took: Duration) -> String {
    match took.as_secs_f64() {
        short if short < 10.0 => format!("{short:.1} s"),
        long => format!("{long:.0} s"),
    }
}
