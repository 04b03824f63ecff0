//! Several workers under one process, which may be a container's first: starts
//! them, replaces those that exit, forwards signals, and reaps orphans.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal as Received;
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::worker::backoff::pause;
use crate::worker::log::SiteLog;
use crate::worker::options::WorkerArgs;
use crate::worker::signals::{self, Signals};

/// A worker that ran this long did not fail to start.
const STABLE: Duration = Duration::from_secs(10);

/// The slot of one worker.
struct Slot {
    pid: Option<Pid>,
    /// When it was, or will be, started.
    started: Instant,
    failures: u32,
}

pub(super) fn run(args: &WorkerArgs) -> anyhow::Result<()> {
    let signals = Signals::take()?;
    let log = SiteLog::open(&args.log(), "pool".into());
    let now = Instant::now();
    let mut slots: Vec<Slot> = (0..args.workers.min)
        .map(|_| Slot {
            pid: None,
            started: now,
            failures: 0,
        })
        .collect();
    let stop_timeout = Duration::from(args.options.clone().settings().stop_timeout);
    let mut stopping: Option<Instant> = None;
    loop {
        while let Some(signal) = signals.next() {
            match signal {
                Received::SIGTERM | Received::SIGINT => {
                    // A little longer than a worker gives its job.
                    let limit = stop_timeout + Duration::from_secs(10);
                    stopping.get_or_insert(Instant::now() + limit);
                    signal_all(&slots, Signal::TERM);
                }
                Received::SIGUSR1 => signal_all(&slots, Signal::USR1),
                _ => {}
            }
        }
        while let Ok(Some((pid, status))) = waitpid(None, WaitOptions::NOHANG) {
            let Some(slot) = slots.iter_mut().find(|slot| slot.pid == Some(pid)) else {
                continue; // an orphan
            };
            slot.pid = None;
            if stopping.is_some() {
                continue;
            }
            slot.failures = match slot.started.elapsed() {
                lived if lived >= STABLE => 0,
                _ => slot.failures + 1,
            };
            let wait = match slot.failures {
                0 => Duration::ZERO,
                n => pause(n - 1, Duration::from_secs(1), Duration::from_secs(30)),
            };
            log.line(&format!(
                "worker {} exited ({status:?}); starting another in {} ms",
                pid.as_raw_nonzero(),
                wait.as_millis()
            ));
            slot.started = Instant::now() + wait;
        }
        let now = Instant::now();
        if let Some(until) = stopping {
            if slots.iter().all(|slot| slot.pid.is_none()) {
                return Ok(());
            }
            if now >= until {
                signal_all(&slots, Signal::KILL);
            }
        } else {
            for slot in slots.iter_mut().filter(|slot| slot.pid.is_none()) {
                if now < slot.started {
                    continue;
                }
                match start(&args.log()) {
                    Ok(pid) => slot.pid = Some(pid),
                    Err(e) => log.line(&format!("cannot start a worker: {e}")),
                }
                slot.started = match slot.pid {
                    Some(_) => now,
                    None => now + STABLE,
                };
            }
        }
        let next = slots
            .iter()
            .filter(|slot| slot.pid.is_none())
            .map(|slot| slot.started);
        let wait = next
            .chain(stopping)
            .min()
            .map(|at| at.saturating_duration_since(now));
        signals::wait_for(&mut [PollFd::new(&signals, PollFlags::IN)], wait);
    }
}

/// Starts this program again, with the same arguments.
fn start(log: &std::path::Path) -> std::io::Result<Pid> {
    let me = rustix::process::getpid();
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("wp-gears")
        .args(std::env::args_os().skip(1))
        .arg("--one")
        .env("WP_GEARS_LOG", log);
    // SAFETY: only system calls between fork and exec.
    unsafe {
        command.pre_exec(move || {
            Signals::unblock_all()?;
            // If this process dies, its workers finish their jobs and exit.
            rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
            if rustix::process::getppid() != Some(me) {
                return Err(std::io::ErrorKind::BrokenPipe.into());
            }
            Ok(())
        });
    }
    Ok(Pid::from_child(&command.spawn()?))
}

fn signal_all(slots: &[Slot], signal: Signal) {
    for pid in slots.iter().filter_map(|slot| slot.pid) {
        // This fails only for a worker that has just exited.
        let _ = kill_process(pid, signal);
    }
}
