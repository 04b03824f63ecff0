//! Ctrl-C while a person is asked: the terminal is given back as it was, and it
//! is said that nothing was changed. While something is changed, the step at
//! hand is finished first.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::report::Ui;
use anyhow::Result;
use nix::sys::signal::{SigSet, Signal};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

const ASKING: u8 = 0;
const WORKING: u8 = 1;
const STOPPING: u8 = 2;

/// The person ended it before anything was changed: an error only in that
/// nothing comes after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// By an answer.
    Answered,
    /// By a key.
    Interrupted,
}

impl Cancelled {
    /// For the exit: a key is as a shell tells of a program that Ctrl-C ended.
    pub fn code(self) -> u8 {
        match self {
            Cancelled::Answered => 1,
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

/// Takes the signals that end a program until the process ends.
#[derive(Debug, Clone)]
pub struct Interrupts(Arc<AtomicU8>);

impl Interrupts {
    /// To be called before any other thread is made: they inherit what is blocked.
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
                    WORKING => {
                        seen.store(STOPPING, Ordering::SeqCst);
                        let _ = writeln!(
                            io::stderr(),
                            "\nStopping after this step; Ctrl-C again stops at once."
                        );
                    }
                    ASKING => {
                        give_back(ui, &before);
                        let _ = writeln!(io::stdout(), "\n{}", Cancelled::Interrupted);
                        std::process::exit(128 + signal as i32);
                    }
                    _ => {
                        give_back(ui, &before);
                        std::process::exit(128 + signal as i32);
                    }
                }
            }
        });
        Ok(Interrupts(state))
    }

    /// From here on something is changed.
    pub fn works(&self) {
        self.0.store(WORKING, Ordering::SeqCst);
    }

    /// From here on a signal ends all at once, as without us.
    pub fn lets_go(&self) {
        self.0.store(STOPPING, Ordering::SeqCst);
    }

    /// Whether the person wants an end.
    pub fn stops(&self) -> bool {
        self.0.load(Ordering::SeqCst) == STOPPING
    }
}

/// Echo and lines as they were, and the cursor, which a list of choices hides.
fn give_back(ui: Ui, before: &Termios) {
    let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
    if !ui.plain {
        let _ = console::Term::stdout().show_cursor();
    }
}
