//! Handles Ctrl-C. During a prompt it restores the terminal and reports that
//! nothing was changed; during changes it lets the current step finish.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::report::Ui;
use anyhow::Result;
use nix::sys::signal::{SigSet, Signal};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

const ASKING: u8 = 0;
const CHANGING: u8 = 1;
const STOPPING: u8 = 2;

/// The user ended the run before anything was changed. It is an error only to
/// unwind the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// By answering no.
    Declined,
    /// By Ctrl-C.
    Interrupted,
}

impl Cancelled {
    /// The exit code; for Ctrl-C, the one that a shell reports.
    pub fn code(self) -> u8 {
        match self {
            Cancelled::Declined => 1,
            Cancelled::Interrupted => INTERRUPTED,
        }
    }
}

pub const INTERRUPTED: u8 = 130;

impl std::fmt::Display for Cancelled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Nothing was changed.")
    }
}

impl std::error::Error for Cancelled {}

/// Handles the signals that end a program, until the process ends.
#[derive(Debug, Clone)]
pub struct Interrupts(Arc<AtomicU8>);

impl Interrupts {
    /// Call it before starting threads, which inherit the blocked signals.
    pub fn take(ui: Ui) -> Result<Interrupts> {
        let set: SigSet = [
            Signal::SIGINT,
            Signal::SIGTERM,
            Signal::SIGHUP,
            Signal::SIGQUIT,
        ]
        .into_iter()
        .collect();
        let before = tcgetattr(io::stdin())?;
        set.thread_block()?;
        let state = Arc::new(AtomicU8::new(ASKING));
        let seen = state.clone();
        std::thread::spawn(move || {
            while let Ok(signal) = set.wait() {
                match seen.load(Ordering::SeqCst) {
                    CHANGING => {
                        seen.store(STOPPING, Ordering::SeqCst);
                        let _ = writeln!(
                            io::stderr(),
                            "\nStopping after this step; press Ctrl-C again to stop immediately."
                        );
                    }
                    ASKING => {
                        restore(ui, &before);
                        let _ = writeln!(io::stdout(), "\n{}", Cancelled::Interrupted);
                        std::process::exit(128 + signal as i32);
                    }
                    _ => {
                        restore(ui, &before);
                        std::process::exit(128 + signal as i32);
                    }
                }
            }
        });
        Ok(Interrupts(state))
    }

    /// Marks the start of changes: from now on, a step is finished first.
    pub fn begin_changes(&self) {
        self.0.store(CHANGING, Ordering::SeqCst);
    }

    /// From now on a signal ends the process immediately.
    pub fn release(&self) {
        self.0.store(STOPPING, Ordering::SeqCst);
    }

    /// Whether the user asked to stop.
    pub fn interrupted(&self) -> bool {
        self.0.load(Ordering::SeqCst) == STOPPING
    }
}

/// Restores the terminal's modes, and the cursor, which lists hide.
fn restore(ui: Ui, before: &Termios) {
    let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
    if !ui.plain {
        let _ = console::Term::stdout().show_cursor();
    }
}
