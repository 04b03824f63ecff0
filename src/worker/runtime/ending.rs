//! Ends PHP and the processes of its jobs: they are asked, reaped, and killed if they take
//! too long.

use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitOptions, waitpid};

use crate::worker::heartbeat::Heartbeat;
use crate::worker::message::Ended;
use crate::worker::php::kill_tree;
use crate::worker::runtime::PhpRuntime;

/// How long a process that has run several jobs may take for what these do at its end.
const FAREWELL: Duration = Duration::from_secs(60);

/// How long a process may take to exit by itself.
const GRACE: Duration = Duration::from_secs(5);

impl PhpRuntime<'_> {
    /// No job follows soon, so that no process waits for one.
    pub fn dismiss(&mut self) {
        if let Some(php) = &mut self.process {
            // If the pipe is broken, PHP is about to be replaced.
            let _ = php.dismiss();
        }
    }

    /// Asks PHP to exit, by closing its pipe.
    pub fn end(&mut self, heartbeat: &mut Heartbeat) {
        let Some(mut php) = self.process.take() else {
            return;
        };
        php.output.read(|line| self.log.php(line));
        if !php.gone {
            if php.ready.is_none() {
                // It does not notice while it is loading the site.
                kill_tree(php.pid);
            }
            self.leaving.push((php.pid, Instant::now() + GRACE));
        }
        heartbeat.set_mode(None);
    }

    pub fn kill(&mut self) {
        if let Some(php) = self.process.take() {
            kill_tree(php.pid);
        }
    }

    /// Reaps a child that has exited, if there is one: PHP, or a job that outlived it.
    pub fn reap(&mut self) -> Option<Ended> {
        let (pid, status) = waitpid(None, WaitOptions::NOHANG).ok().flatten()?;
        self.leaving.retain(|(leaving, _)| *leaving != pid);
        if let Some(php) = self.process.as_mut().filter(|php| php.pid == pid) {
            php.gone = true;
        }
        Some(Ended {
            pid: pid.as_raw_nonzero().get(),
            code: status.exit_status(),
            signal: status.terminating_signal(),
        })
    }

    /// Kills processes that have not exited in time.
    pub fn kill_overdue(&mut self, now: Instant) {
        for (pid, until) in &mut self.leaving {
            if now >= *until {
                kill_tree(*pid);
                *until = now + GRACE;
            }
        }
        if let Some((pid, until)) = self.farewell()
            && now >= until
        {
            kill_tree(pid);
        }
    }

    /// The process that was asked to make way for another, and when it will be killed.
    pub(super) fn farewell(&self) -> Option<(Pid, Instant)> {
        let kept = self.process.as_ref()?.kept?;
        Some((kept.pid, kept.dismissed? + FAREWELL))
    }
}
