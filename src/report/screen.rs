//! A full-screen terminal view that is drawn in place and reads single keys. The
//! terminal is restored at the end, unless SIGKILL ends the process.

use crate::report::sink::safe;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};

/// What the screen waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Key(u8),
    /// The time is up, or the size of the terminal changed.
    Redraw,
    /// A signal asks to quit, or the terminal is gone.
    Quit,
}

pub struct Screen {
    before: Termios,
    signals: SignalFd,
}

/// Whether there is an interactive terminal with cursor control.
pub fn is_available() -> bool {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty());
    io::stdin().is_terminal() && io::stdout().is_terminal() && !dumb
}

impl Screen {
    pub fn take() -> io::Result<Screen> {
        let set: SigSet = [
            Signal::SIGINT,
            Signal::SIGTERM,
            Signal::SIGHUP,
            Signal::SIGQUIT,
            Signal::SIGTSTP,
            Signal::SIGWINCH,
        ]
        .into_iter()
        .collect();
        set.thread_block()?;
        let signals = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        let screen = Screen {
            before: tcgetattr(io::stdin())?,
            signals,
        };
        screen.begin()?;
        Ok(screen)
    }

    fn begin(&self) -> io::Result<()> {
        let mut modes = self.before.clone();
        modes.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        modes.special_codes[SpecialCodeIndex::VMIN] = 1;
        modes.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(io::stdin(), OptionalActions::Now, &modes)?;
        // The alternate screen, without a cursor.
        write("\x1b[?1049h\x1b[?25l")
    }

    fn restore(&self) {
        let _ = write("\x1b[?25h\x1b[?1049l");
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }

    /// The size in columns and lines.
    pub fn size(&self) -> (usize, usize) {
        match tcgetwinsize(io::stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
                (size.ws_col.into(), size.ws_row.into())
            }
            _ => (80, 24),
        }
    }

    /// Draws exactly these lines, each of which must fit.
    pub fn draw(&self, lines: &[String]) -> io::Result<()> {
        let mut text = String::from("\x1b[H");
        for (at, line) in lines.iter().enumerate() {
            if at > 0 {
                text.push_str("\r\n");
            }
            text.push_str(&safe(line));
            text.push_str("\x1b[K");
        }
        text.push_str("\x1b[J");
        write(&text)
    }

    /// Waits for the next event, at most until `until`.
    pub fn wait(&self, until: Instant) -> io::Result<Event> {
        loop {
            let left = until.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            let timeout = Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: i64::from(left.subsec_nanos()),
            };
            let stdin = io::stdin();
            let mut fds = [
                PollFd::new(&self.signals, PollFlags::IN),
                PollFd::new(&stdin, PollFlags::IN),
            ];
            match poll(&mut fds, Some(&timeout)) {
                Ok(0) => return Ok(Event::Redraw),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
            let typed = !fds[1].revents().is_empty();
            if let Some(info) = self.signals.read_signal()? {
                match Signal::try_from(info.ssi_signo as i32) {
                    Ok(Signal::SIGWINCH) => return Ok(Event::Redraw),
                    Ok(Signal::SIGTSTP) => {
                        self.restore();
                        raise(Signal::SIGSTOP)?;
                        self.begin()?;
                        return Ok(Event::Redraw);
                    }
                    _ => return Ok(Event::Quit),
                }
            }
            if typed {
                let mut key = [0];
                // Bypasses the buffer of the standard library, which poll cannot see.
                return Ok(match rustix::io::read(stdin.as_fd(), &mut key) {
                    Ok(1) => Event::Key(key[0]),
                    _ => Event::Quit, // The terminal is gone.
                });
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.restore();
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout();
    out.write_all(text.as_bytes())?;
    out.flush()
}
