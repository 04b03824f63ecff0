//! Signals as a file descriptor to poll, and the poll itself.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, Timespec, poll};

use crate::base::problem::Problem;

/// Tells a worker to finish its job, however long that takes, and exit.
pub const LEAVE: rustix::process::Signal = rustix::process::Signal::USR2;

pub struct Signals(SignalFd);

impl Signals {
    /// From now on, these signals only arrive through the descriptor.
    pub fn take() -> Result<Signals, Problem> {
        let set = awaited();
        set.thread_block()
            .and_then(|()| {
                SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
            })
            .map(Signals)
            .map_err(|e| Problem::new("wait for signals", e))
    }

    pub fn next(&self) -> Option<Signal> {
        let info = self.0.read_signal().ok().flatten()?;
        Signal::try_from(info.ssi_signo as i32).ok()
    }

    /// For use between fork and exec: programs start with no signal blocked.
    pub fn unblock_all() -> std::io::Result<()> {
        SigSet::empty().thread_set_mask().map_err(Into::into)
    }

    /// For use between fork and exec, for a program that takes them: one that came before
    /// that would kill it.
    pub fn block() -> std::io::Result<()> {
        awaited().thread_block().map_err(Into::into)
    }
}

fn awaited() -> SigSet {
    [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGCHLD,
    ]
    .into_iter()
    .collect()
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Sleeps until one of the descriptors is ready or the time is over.
pub fn wait_for(fds: &mut [PollFd<'_>], limit: Option<Duration>) {
    // Rounded up, as a poll that ends just too early would have to be repeated.
    let timeout = limit
        .map(|limit| limit + Duration::from_millis(1))
        .map(|limit| Timespec {
            tv_sec: limit.as_secs() as i64,
            tv_nsec: i64::from(limit.subsec_nanos()),
        });
    // After an error, which is a signal, callers check again, as after an event.
    let _ = poll(fds, timeout.as_ref());
}
