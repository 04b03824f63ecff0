//! The process of a command: what it inherits, whose rights it has, and the process
//! that watches it. The watcher is a fork of this program and the subreaper of what a
//! user's command starts, so it finds and ends all of it, whatever session it is in,
//! when the command is over, when it has to end, and when this program ends.

use std::ffi::CString;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use duct::{Expression, Handle};
use nix::libc;
use nix::sys::signal::{SigHandler, SigSet, Signal as NixSignal, signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::ForkResult;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Gid, Pid, Resource, Rlimit, Signal, Uid, WaitOptions};

use crate::host::users::User;

/// How long the watcher tries to end what a user's command has left behind.
const PATIENCE: Duration = Duration::from_secs(3);

/// A command that was started.
pub(super) struct Running {
    watcher: Handle,
    /// The watcher sends how the command ended, and then closes it.
    line: UnixStream,
}

impl Running {
    /// Starts a command with this user's rights, or with our own.
    pub fn start(command: Expression, dir: CString, user: Option<User>) -> io::Result<Running> {
        let (line, theirs) = UnixStream::pair()?;
        let end = theirs.as_raw_fd();
        let fork = move |dir: &CString, user: Option<&User>| -> io::Result<()> {
            // No signal ends the watcher, and it misses no end of a process.
            SigSet::all().thread_set_mask()?;
            // SAFETY: the default is no function of ours.
            unsafe { signal(NixSignal::SIGCHLD, SigHandler::SigDfl) }?;
            if user.is_some() {
                rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
            }
            // SAFETY: this is a child with one thread, and both sides only do system
            // calls, on data made before.
            match unsafe { nix::unistd::fork() }? {
                ForkResult::Parent { child } => {
                    let child = Pid::from_raw(child.as_raw()).ok_or(Errno::SRCH)?;
                    watch(child, end, user.is_some())
                }
                ForkResult::Child => become_child(user, dir),
            }
        };
        let watcher = command.unchecked().before_spawn(move |child| {
            let (dir, user) = (dir.clone(), user.clone());
            // SAFETY: only system calls between fork and exec.
            unsafe { child.pre_exec(move || fork(&dir, user.as_ref())) };
            Ok(())
        });
        let watcher = watcher.start()?;
        Ok(Running { watcher, line })
    }

    /// How it ended; `None` if it is still running after this time.
    pub fn wait(&mut self, limit: Duration) -> io::Result<Option<ExitStatus>> {
        let until = Instant::now() + limit;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let left = left.try_into().map_err(|_| Errno::INVAL)?;
            let mut fds = [PollFd::new(&self.line, PollFlags::IN)];
            match poll(&mut fds, Some(&left)) {
                Ok(0) => return Ok(None),
                Ok(_) => break,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
        }
        let mut status = [0; 4];
        let told = self.line.read_exact(&mut status);
        let own = self.watcher.wait();
        Ok(Some(match told {
            Ok(()) => ExitStatus::from_raw(i32::from_ne_bytes(status)),
            Err(_) => own?.status,
        }))
    }

    /// Ends it and what it has started.
    pub fn kill(&mut self) -> io::Result<()> {
        // The watcher may be gone already.
        let _ = self.line.write_all(b"k");
        let _ = self.line.shutdown(Shutdown::Write);
        self.wait(PATIENCE * 2).map(drop)
    }
}

/// Marks all descriptors from this one on to be closed by exec, or closes them.
fn close_from(first: RawFd, by_exec: bool) {
    let flags = if by_exec {
        libc::CLOSE_RANGE_CLOEXEC
    } else {
        0
    };
    // SAFETY: a system call on numbers.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, flags) };
    if done == 0 {
        return;
    }
    // A kernel before Linux 5.11.
    let limit = rustix::process::getrlimit(Resource::Nofile).current;
    let last = limit.unwrap_or(u64::MAX).clamp(1 << 16, 1 << 20) as RawFd;
    for fd in first..last {
        // SAFETY: system calls on numbers; nothing uses the descriptors any more.
        unsafe {
            match by_exec {
                true => libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC),
                false => libc::close(fd),
            };
        }
    }
}

/// In the child: a session of its own (no terminal to read from, one group to kill),
/// nothing that the caller has open, and only the user's rights.
fn become_child(user: Option<&User>, dir: &CString) -> io::Result<()> {
    rustix::process::setsid()?;
    close_from(3, true);
    // As the caller's is, files for everybody might be readable by root only.
    rustix::process::umask(Mode::from_raw_mode(0o022));
    if let Some(user) = user {
        become_user(user)?;
    }
    // By the user's rights.
    rustix::process::chdir(dir.as_c_str())?;
    // We block signals during prompts. A daemon that inherits that could
    // not be stopped.
    SigSet::empty().thread_set_mask()?;
    Ok(())
}

fn become_user(user: &User) -> io::Result<()> {
    // A core dump could hold the site's secrets.
    no_core()?;
    leave_keyring()?;
    if rustix::process::geteuid().is_root() {
        let gid = Gid::from_raw(user.gid);
        // At most 64: nothing may be allocated after the fork.
        let mut groups = [gid; 64];
        let count = user.groups.len().min(64);
        for (slot, group) in groups.iter_mut().zip(&user.groups) {
            *slot = Gid::from_raw(*group);
        }
        let uid = Uid::from_raw(user.uid);
        rustix::thread::set_thread_groups(&groups[..count])?;
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid)?;
        rustix::thread::set_no_new_privs(true)?;
    }
    // If the watcher is killed, nobody waits for it any more. This comes after the
    // change of user, which would reset it.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(())
}

fn no_core() -> io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    Ok(rustix::process::setrlimit(Resource::Core, none)?)
}

/// Replaces the caller's session keyring, which exec keeps, by an empty one.
fn leave_keyring() -> io::Result<()> {
    // SAFETY: a system call on numbers.
    let joined = unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, 0) };
    if joined >= 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        // Containers lack keyrings, or may not use them.
        error if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => Ok(()),
        error => Err(error),
    }
}

/// The watcher: waits for the child, ends it if it is told to, and says how it ended.
/// It allocates nothing, because it is a fork of a process with threads.
fn watch(child: Pid, line: RawFd, of_user: bool) -> ! {
    // SAFETY: nothing of the program before the fork is used any more, so the
    // descriptors are ours.
    let line = unsafe {
        libc::dup2(line, 0);
        close_from(1, false);
        BorrowedFd::borrow_raw(0)
    };
    let _ = no_core();
    let status = watched(child, line, of_user).unwrap_or(None);
    if let Some(status) = status {
        let _ = rustix::io::write(line, &status.to_ne_bytes());
    }
    // SAFETY: it ends this process.
    unsafe { libc::_exit(1) }
}

fn watched(child: Pid, line: BorrowedFd, of_user: bool) -> io::Result<Option<i32>> {
    let mut ends = SigSet::empty();
    ends.add(NixSignal::SIGCHLD);
    let ends = SignalFd::with_flags(&ends, SfdFlags::SFD_NONBLOCK)?;
    let mut status = None;
    let mut listens = true;
    while reap(child, &mut status) && status.is_none() {
        let mut fds = [
            PollFd::new(&ends, PollFlags::IN),
            PollFd::from_borrowed_fd(line, PollFlags::IN),
        ];
        let count = if listens { 2 } else { 1 };
        poll(&mut fds[..count], None)?;
        if listens && !fds[1].revents().is_empty() {
            // At its end, the program has ended. Without it, only commands with its own
            // rights go on: a package manager must not be cut off.
            let killed = rustix::io::read(line, &mut [0; 1])? > 0;
            listens = false;
            if killed || of_user {
                let _ = rustix::process::kill_process_group(child, Signal::KILL);
                let _ = rustix::process::kill_process(child, Signal::KILL);
            }
            if of_user {
                break;
            }
        }
        let _ = ends.read_signal();
    }
    let until = Instant::now() + PATIENCE;
    while of_user && reap(child, &mut status) && Instant::now() < until {
        let _ = kill_children();
        let pause = rustix::time::Timespec {
            tv_sec: 0,
            tv_nsec: 5_000_000,
        };
        let mut fds = [PollFd::new(&ends, PollFlags::IN)];
        poll(&mut fds, Some(&pause))?;
        let _ = ends.read_signal();
    }
    Ok(status)
}

/// Takes note of the children that have ended. Whether others are left.
fn reap(child: Pid, status: &mut Option<i32>) -> bool {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, how))) if pid == child => *status = Some(how.as_raw()),
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

/// Kills this process's children. Theirs are this process's next.
fn kill_children() -> io::Result<()> {
    let path = c"/proc/thread-self/children";
    let list = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut text = [0; 4096];
    let (mut pid, mut read) = (0, 0);
    loop {
        let count = rustix::io::read(&list, &mut text)?;
        for byte in &text[..count] {
            match byte {
                b'0'..=b'9' => pid = pid * 10 + i32::from(byte - b'0'),
                _ => {
                    if let Some(child) = Pid::from_raw(std::mem::take(&mut pid)) {
                        let _ = rustix::process::kill_process(child, Signal::KILL);
                    }
                }
            }
        }
        read += count;
        if count == 0 || read > 1 << 20 {
            return Ok(());
        }
    }
}
