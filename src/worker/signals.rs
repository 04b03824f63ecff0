//! Signals as something to poll for.

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::base::problem::Problem;

pub struct Signals(SignalFd);

impl Signals {
    /// From now on these come through the descriptor only.
    pub fn take() -> Result<Signals, Problem> {
        let set: SigSet = [
            Signal::SIGTERM,
            Signal::SIGINT,
            Signal::SIGUSR1,
            Signal::SIGCHLD,
        ]
        .into_iter()
        .collect();
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

    /// Run between fork and exec: programs begin with no signal blocked.
    pub fn unblock_all() -> std::io::Result<()> {
        SigSet::empty().thread_set_mask().map_err(Into::into)
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
