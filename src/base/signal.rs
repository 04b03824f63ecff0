//! Signals to a process that was looked at, and to no other that got its number since.

use std::io;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

/// Signals the process if it is the right one. It is looked at after it is held, so that
/// its number cannot pass to another.
///
/// # Errors
/// It is not, or it has ended.
pub fn signal_if(pid: Pid, signal: Signal, is_it: impl FnOnce() -> bool) -> io::Result<()> {
    let handle = pidfd_open(pid, PidfdFlags::empty());
    if !is_it() {
        return Err(Errno::SRCH.into());
    }
    let sent = match handle {
        Ok(handle) => pidfd_send_signal(handle, signal),
        // Kernels before 5.3.
        Err(Errno::NOSYS) => kill_process(pid, signal),
        Err(error) => Err(error),
    };
    Ok(sent?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::old_kernel;

    fn ends_by_a_signal() {
        let mut child = std::process::Command::new("sleep")
            .arg("100")
            .spawn()
            .unwrap();
        let pid = Pid::from_child(&child);
        assert!(signal_if(pid, Signal::TERM, || false).is_err());
        assert!(child.try_wait().unwrap().is_none());
        signal_if(pid, Signal::TERM, || true).unwrap();
        assert!(!child.wait().unwrap().success());
    }

    #[test]
    fn the_right_process_gets_it_on_each_kernel() {
        ends_by_a_signal();
        old_kernel::on_one(ends_by_a_signal);
    }
}
