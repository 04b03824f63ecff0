//! A pseudo-terminal with a program on it, and the screen that a person would see.
#![allow(dead_code)]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigHandler, Signal, signal};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

pub struct Terminal {
    master: File,
    /// Held open, so that the terminal outlives the program.
    slave: OwnedFd,
    child: Child,
    screen: Arc<Mutex<vt100::Parser>>,
    bytes: Arc<Mutex<Vec<u8>>>,
}

/// One place of the screen.
#[derive(Debug, Clone, Default)]
pub struct Cell {
    pub text: String,
    pub color: vt100::Color,
    pub bold: bool,
    pub dim: bool,
}

impl Terminal {
    /// Runs it in a session of its own, with the terminal as its own.
    pub fn run(mut command: Command, columns: u16, lines: u16) -> Terminal {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let slave = ioctl_tiocgptpeer(&master, flags).unwrap();
        command
            .env("TERM", command_term(&command))
            .stdin(slave.try_clone().unwrap())
            .stdout(slave.try_clone().unwrap())
            .stderr(slave.try_clone().unwrap());
        // SAFETY: only system calls between fork and exec.
        unsafe {
            command.pre_exec(|| {
                rustix::process::setsid()?;
                rustix::process::ioctl_tiocsctty(std::io::stdin())?;
                // As at a login: a shell's background jobs inherit it ignored.
                signal(Signal::SIGINT, SigHandler::SigDfl)?;
                Ok(())
            });
        }
        let master = File::from(master);
        let screen = Arc::new(Mutex::new(vt100::Parser::new(
            some(lines),
            some(columns),
            0,
        )));
        set_size(&master, columns, lines);
        let child = command.spawn().unwrap();
        let (seen, mut from) = (screen.clone(), master.try_clone().unwrap());
        let kept = Arc::new(Mutex::new(Vec::new()));
        let all = kept.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut bytes) {
                all.lock().unwrap().extend(&bytes[..count]);
                seen.lock().unwrap().process(&bytes[..count]);
            }
        });
        Terminal {
            master,
            slave,
            child,
            screen,
            bytes: kept,
        }
    }

    pub fn keys(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    pub fn resize(&self, columns: u16, lines: u16) {
        self.screen
            .lock()
            .unwrap()
            .screen_mut()
            .set_size(some(lines), some(columns));
        set_size(&self.master, columns, lines);
    }

    pub fn screen(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    /// The screen with its colours.
    pub fn cells(&self) -> Vec<Vec<Cell>> {
        let parser = self.screen.lock().unwrap();
        let screen = parser.screen();
        let (lines, columns) = screen.size();
        let cell = |line, column| {
            let cell = screen.cell(line, column);
            let text = cell.map(|it| it.contents()).filter(|text| !text.is_empty());
            Cell {
                text: text.unwrap_or(" ").to_owned(),
                color: cell.map(|it| it.fgcolor()).unwrap_or_default(),
                bold: cell.is_some_and(|it| it.bold()),
                dim: cell.is_some_and(|it| it.dim()),
            }
        };
        (0..lines.get())
            .map(|line| {
                (0..columns.get())
                    .map(|column| cell(line, column))
                    .collect()
            })
            .collect()
    }

    /// All that the program sent so far.
    pub fn sent(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }

    /// The screen once it is as wanted.
    #[track_caller]
    pub fn wait_until(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        self.wait_long(Duration::from_secs(15), what, wanted)
    }

    #[track_caller]
    pub fn wait_long(&self, limit: Duration, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let began = Instant::now();
        loop {
            let screen = self.screen();
            if wanted(&screen) {
                return screen;
            }
            let late = began.elapsed() > limit;
            assert!(!late, "the screen never shows {what}:\n{screen}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[track_caller]
    pub fn wait_for(&self, text: &str) -> String {
        self.wait_until(&format!("{text:?}"), |screen| screen.contains(text))
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// How it ended; the terminal must be as it was before.
    #[track_caller]
    pub fn ends(mut self) -> ExitStatus {
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            let late = began.elapsed() > Duration::from_secs(10);
            assert!(!late, "it does not end:\n{}", self.screen());
            std::thread::sleep(Duration::from_millis(20));
        };
        let modes = tcgetattr(&self.slave).unwrap().local_modes;
        assert!(
            modes.contains(LocalModes::ICANON | LocalModes::ECHO),
            "{modes:?}"
        );
        std::thread::sleep(Duration::from_millis(100)); // the last bytes are read
        let screen = self.screen.lock().unwrap();
        assert!(!screen.screen().alternate_screen(), "on the other screen");
        assert!(!screen.screen().hide_cursor(), "the cursor is hidden");
        status
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the test asked for, else a usual one.
fn command_term(command: &Command) -> String {
    command
        .get_envs()
        .find(|(name, _)| *name == "TERM")
        .and_then(|(_, value)| value?.to_str())
        .unwrap_or("xterm-256color")
        .to_owned()
}

fn set_size(master: &File, columns: u16, lines: u16) {
    let size = Winsize {
        ws_row: lines,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(master, size).unwrap();
}

fn some(number: u16) -> std::num::NonZero<u16> {
    std::num::NonZero::new(number).unwrap()
}
