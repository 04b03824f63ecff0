//! A whole terminal for a while: drawn in place, keys one by one, and given
//! back as it was, whatever ends us but KILL.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Key(u8),
    /// The time is over, or the terminal's size is another.
    Look,
    /// The person, or a signal, wants an end.
    End,
}

pub struct Screen {
    before: Termios,
    signals: SignalFd,
}

/// Whether there is a terminal that can be drawn on and has keys.
pub fn is_there() -> bool {
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
        // The other screen, and no cursor on it.
        say("\x1b[?1049h\x1b[?25l")
    }

    fn give_back(&self) {
        let _ = say("\x1b[?25h\x1b[?1049l");
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }

    /// Columns and lines.
    pub fn size(&self) -> (usize, usize) {
        match tcgetwinsize(io::stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
                (size.ws_col.into(), size.ws_row.into())
            }
            _ => (80, 24),
        }
    }

    /// These lines and nothing else; each is to fit.
    pub fn draw(&self, lines: &[String]) -> io::Result<()> {
        let mut text = String::from("\x1b[H");
        for (at, line) in lines.iter().enumerate() {
            if at > 0 {
                text.push_str("\r\n");
            }
            text.push_str(line);
            text.push_str("\x1b[K");
        }
        text.push_str("\x1b[J");
        say(&text)
    }

    /// The next thing that happens until then.
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
                Ok(0) => return Ok(Event::Look),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
            let typed = !fds[1].revents().is_empty();
            if let Some(info) = self.signals.read_signal()? {
                match Signal::try_from(info.ssi_signo as i32) {
                    Ok(Signal::SIGWINCH) => return Ok(Event::Look),
                    Ok(Signal::SIGTSTP) => {
                        self.give_back();
                        raise(Signal::SIGSTOP)?;
                        self.begin()?;
                        return Ok(Event::Look);
                    }
                    _ => return Ok(Event::End),
                }
            }
            if typed {
                let mut key = [0];
                // Past the buffer of the standard library, which poll cannot see.
                return Ok(match rustix::io::read(stdin.as_fd(), &mut key) {
                    Ok(1) => Event::Key(key[0]),
                    _ => Event::End, // The terminal is gone.
                });
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.give_back();
    }
}

fn say(text: &str) -> io::Result<()> {
    let mut out = io::stdout();
    out.write_all(text.as_bytes())?;
    out.flush()
}
