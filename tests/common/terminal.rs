//! A program on a pseudo-terminal, and the screen that a user would see.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigHandler, Signal, signal};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

pub struct Terminal {
    pub pty: Pty,
    /// Held open, so that the terminal survives the program.
    slave: OwnedFd,
    child: Child,
    bytes: Arc<Mutex<Vec<u8>>>,
    /// How long the screen may take to show what a test expects.
    pub patience: Duration,
}

/// The side of the terminal that a user sees and types on.
pub struct Pty {
    master: File,
    screen: Arc<Mutex<vt100::Parser>>,
}

impl Pty {
    pub fn resize(&self, columns: u16, lines: u16) {
        self.parser()
            .screen_mut()
            .set_size(some(lines), some(columns));
        let size = Winsize {
            ws_row: lines,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&self.master, size).unwrap();
    }

    /// The screen with its colors, locked.
    pub fn parser(&self) -> MutexGuard<'_, vt100::Parser> {
        self.screen.lock().unwrap()
    }
}

impl Terminal {
    /// Runs the command in its own session, with this terminal.
    pub fn run(mut command: Command, columns: u16, lines: u16) -> Terminal {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let slave = ioctl_tiocgptpeer(&master, flags).unwrap();
        let pty = Pty {
            master: File::from(master),
            screen: Arc::default(),
        };
        pty.resize(columns, lines);
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
                // Like after a login: background jobs of a shell inherit it ignored.
                signal(Signal::SIGINT, SigHandler::SigDfl)?;
                Ok(())
            });
        }
        let child = command.spawn().unwrap();
        let (screen, mut master) = (pty.screen.clone(), pty.master.try_clone().unwrap());
        let sent = Arc::new(Mutex::new(Vec::new()));
        let all = sent.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = master.read(&mut bytes) {
                all.lock().unwrap().extend(&bytes[..count]);
                screen.lock().unwrap().process(&bytes[..count]);
            }
        });
        Terminal {
            pty,
            slave,
            child,
            bytes: sent,
            patience: Duration::from_secs(15),
        }
    }

    pub fn keys(&mut self, keys: &str) {
        self.pty.master.write_all(keys.as_bytes()).unwrap();
    }

    pub fn screen(&self) -> String {
        self.pty.parser().screen().contents()
    }

    /// Everything that the program has sent so far.
    pub fn sent(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }

    /// The screen, once it satisfies the condition.
    #[track_caller]
    pub fn wait_until(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let began = Instant::now();
        loop {
            let screen = self.screen();
            if wanted(&screen) {
                return screen;
            }
            let late = began.elapsed() > self.patience;
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

    /// The program's exit status; the terminal must be in its original state.
    #[track_caller]
    pub fn ends(mut self) -> ExitStatus {
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            let late = began.elapsed() > Duration::from_secs(10);
            let pid = self.pid();
            assert!(!late, "process {pid} does not end:\n{}", self.screen());
            std::thread::sleep(Duration::from_millis(20));
        };
        std::thread::sleep(Duration::from_millis(100)); // the last bytes are read
        let sent = self.sent();
        let modes = tcgetattr(&self.slave).unwrap().local_modes;
        let usual = modes.contains(LocalModes::ICANON | LocalModes::ECHO);
        assert!(usual, "{modes:?} after {sent:?}");
        let parser = self.pty.parser();
        let screen = parser.screen();
        assert!(!screen.alternate_screen(), "on the other screen: {sent:?}");
        assert!(!screen.hide_cursor(), "the cursor is hidden: {sent:?}");
        drop(parser);
        status
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The value of the test, otherwise a default.
fn command_term(command: &Command) -> String {
    command
        .get_envs()
        .find(|(name, _)| *name == "TERM")
        .and_then(|(_, value)| value?.to_str())
        .unwrap_or("xterm-256color")
        .to_owned()
}

fn some(number: u16) -> std::num::NonZero<u16> {
    std::num::NonZero::new(number).unwrap()
}
