//! The processes of a crew: starts them, replaces those that end, lets some of them go.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process, set_parent_process_death_signal, waitpid,
};

use crate::worker::backoff::pause;
use crate::worker::heartbeat::{Activity, WorkerStatus};
use crate::worker::log::SiteLog;
use crate::worker::signals::{LEAVE, Signals};

/// A member that ran this long did not fail to start.
const STABLE: Duration = Duration::from_secs(10);

/// The longest pause before another member is started.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Where a crew that goes on as another program finds its members.
const MEMBERS: &str = "WP_GEARS_MEMBERS";

/// The place of one member.
struct Slot {
    pid: Option<Pid>,
    /// When it was, or will be, started.
    started: Instant,
    failures: u32,
    /// It finishes its job and exits.
    leaves: bool,
}

pub struct Members {
    slots: Vec<Slot>,
    /// Their log, where they would choose another one than a container's first process.
    log: Option<PathBuf>,
}

impl Members {
    /// Those that the program had which this process ran before, and none otherwise.
    pub fn inherited(log: Option<PathBuf>) -> Members {
        let text = std::env::var(MEMBERS).unwrap_or_default();
        let slots = text.split(',').filter_map(|word| {
            let (word, leaves) = match word.strip_suffix('-') {
                Some(word) => (word, true),
                None => (word, false),
            };
            let pid = Pid::from_raw(word.parse().ok()?)?;
            // One that has ended meanwhile is reaped here; another process is none of ours.
            let runs = matches!(waitpid(Some(pid), WaitOptions::NOHANG), Ok(None));
            runs.then(|| Slot {
                pid: Some(pid),
                started: Instant::now(),
                failures: 0,
                leaves,
            })
        });
        Members {
            slots: slots.collect(),
            log,
        }
    }

    /// What `inherited` needs: a variable and its value.
    pub fn bequest(&self) -> (&'static str, String) {
        let words = self.slots.iter().filter_map(|slot| {
            let pid = slot.pid?.as_raw_nonzero();
            Some(format!("{pid}{}", if slot.leaves { "-" } else { "" }))
        });
        (MEMBERS, words.collect::<Vec<_>>().join(","))
    }

    /// Whether no process is left.
    pub fn are_gone(&self) -> bool {
        self.slots.iter().all(|slot| slot.pid.is_none())
    }

    /// How many processes there are.
    pub fn running(&self) -> usize {
        self.slots.iter().filter(|slot| slot.pid.is_some()).count()
    }

    pub fn is_member(&self, pid: i32) -> bool {
        let pid = Pid::from_raw(pid);
        self.slots.iter().any(|slot| slot.pid == pid)
    }

    /// Forgets pauses, as something has changed that may have been the cause.
    pub fn retry_now(&mut self, now: Instant) {
        for slot in self.slots.iter_mut().filter(|slot| slot.pid.is_none()) {
            slot.started = now;
            slot.failures = 0;
        }
    }

    /// Makes it this many, in time: one that runs a job finishes it first. No more are
    /// started while those that leave still run. `seen`: what they are doing.
    pub fn adjust(&mut self, number: usize, seen: impl FnOnce() -> Vec<WorkerStatus>) {
        let stay = self.slots.iter().filter(|slot| !slot.leaves).count();
        if stay < number {
            let free = number.saturating_sub(self.slots.len());
            for _ in 0..free {
                self.slots.push(Slot {
                    pid: None,
                    started: Instant::now(),
                    failures: 0,
                    leaves: false,
                });
            }
            return;
        }
        let mut excess = stay - number;
        if excess == 0 {
            return;
        }
        self.slots.retain(|slot| {
            let goes = excess > 0 && slot.pid.is_none();
            excess -= usize::from(goes);
            !goes
        });
        let seen = seen();
        let is_busy = |slot: &Slot| {
            let pid = slot.pid.map_or(0, |pid| pid.as_raw_nonzero().get());
            let status = seen.iter().find(|status| status.pid == pid);
            status.is_some_and(|status| status.activity == Activity::Busy)
        };
        // Idle ones first, and of these the youngest.
        let mut order: Vec<usize> = (0..self.slots.len())
            .filter(|at| !self.slots[*at].leaves)
            .collect();
        order.sort_by_key(|at| (is_busy(&self.slots[*at]), usize::MAX - at));
        for at in order.into_iter().take(excess) {
            let slot = &mut self.slots[at];
            slot.leaves = true;
            signal(slot.pid, LEAVE);
        }
    }

    /// Takes note of members that have ended. Reaps orphans, too: this may be a
    /// container's first process.
    pub fn reap(&mut self, is_stopping: bool, log: &SiteLog) {
        while let Ok(Some((pid, status))) = waitpid(None, WaitOptions::NOHANG) {
            let Some(at) = self.slots.iter().position(|slot| slot.pid == Some(pid)) else {
                continue; // an orphan
            };
            if self.slots[at].leaves {
                self.slots.remove(at);
                continue;
            }
            let slot = &mut self.slots[at];
            slot.pid = None;
            if is_stopping {
                continue;
            }
            slot.failures = match slot.started.elapsed() {
                lived if lived >= STABLE => 0,
                _ => slot.failures + 1,
            };
            let wait = match slot.failures {
                0 => Duration::ZERO,
                n => pause(n - 1, Duration::from_secs(1), LONGEST_PAUSE),
            };
            log.line(&format!(
                "worker {} exited ({status:?}); starting another in {} ms",
                pid.as_raw_nonzero(),
                wait.as_millis()
            ));
            slot.started = Instant::now() + wait;
        }
    }

    /// Starts those that are due, as long as there are fewer than `most`.
    pub fn start_due(&mut self, most: usize, now: Instant, log: &SiteLog) {
        let mut running = self.running();
        for slot in self.slots.iter_mut().filter(|slot| slot.pid.is_none()) {
            if now < slot.started || running >= most {
                continue;
            }
            match start(self.log.as_deref()) {
                Ok(pid) => {
                    slot.pid = Some(pid);
                    slot.started = now;
                    running += 1;
                }
                Err(e) => {
                    log.line(&format!("cannot start a worker: {e}"));
                    slot.started = now + STABLE;
                }
            }
        }
    }

    /// How often in a row one of them has ended soon after its start. One that has run
    /// for a while counts no more.
    pub fn failures(&self, now: Instant) -> u32 {
        let unstable = |slot: &&Slot| slot.pid.is_none() || now < slot.started + STABLE;
        let all = self.slots.iter().filter(unstable);
        all.map(|slot| slot.failures).max().unwrap_or(0)
    }

    /// When one that has failed to start before may count as stable.
    pub fn next_stable(&self, now: Instant) -> Option<Instant> {
        let failed = |slot: &&Slot| slot.pid.is_some() && slot.failures > 0;
        let all = self.slots.iter().filter(failed);
        all.map(|slot| slot.started + STABLE)
            .filter(|at| *at > now)
            .min()
    }

    /// When the next one is due.
    pub fn next_start(&self) -> Option<Instant> {
        let free = self.slots.iter().filter(|slot| slot.pid.is_none());
        free.map(|slot| slot.started).min()
    }

    pub fn signal_all(&self, what: Signal) {
        for slot in &self.slots {
            signal(slot.pid, what);
        }
    }
}

fn signal(pid: Option<Pid>, what: Signal) {
    if let Some(pid) = pid {
        // This fails only for a member that has just exited.
        let _ = kill_process(pid, what);
    }
}

/// Starts this program again, with the same arguments.
fn start(log: Option<&Path>) -> std::io::Result<Pid> {
    let me = getpid();
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("wp-gears")
        .args(std::env::args_os().skip(1))
        .arg("--one")
        .envs(log.map(|log| ("WP_GEARS_LOG", log)))
        .env_remove(MEMBERS);
    // SAFETY: only system calls between fork and exec.
    unsafe {
        command.pre_exec(move || {
            Signals::block()?;
            // If this process dies, its members finish their jobs and exit.
            set_parent_process_death_signal(Some(LEAVE))?;
            if rustix::process::getppid() != Some(me) {
                return Err(std::io::ErrorKind::BrokenPipe.into());
            }
            Ok(())
        });
    }
    Ok(Pid::from_child(&command.spawn()?))
}
