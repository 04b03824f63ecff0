//! Several workers below one process, which may be the first of a container:
//! starts them, starts them again, passes TERM on, and waits for orphans.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal as Received;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::worker::connection::pause;
use crate::worker::log::Log;
use crate::worker::options::WorkerArgs;
use crate::worker::signals::Signals;

/// A worker that lives so long was no failure.
const SOUND: Duration = Duration::from_secs(10);

struct Slot {
    pid: Option<Pid>,
    started: Instant,
    failures: u32,
}

pub(super) fn watch(args: &WorkerArgs) -> anyhow::Result<()> {
    let signals = Signals::take()?;
    let mut log = Log::open(&args.log(), "crew".into());
    let now = Instant::now();
    let mut slots: Vec<Slot> = (0..args.workers.max(1))
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
                    // A little more than a worker gives its job.
                    let limit = stop_timeout + Duration::from_secs(10);
                    stopping.get_or_insert(Instant::now() + limit);
                    tell(&slots, Signal::TERM);
                }
                Received::SIGUSR1 => tell(&slots, Signal::USR1),
                _ => {}
            }
        }
        while let Ok(Some((pid, status))) = waitpid(None, WaitOptions::NOHANG) {
            let Some(slot) = slots.iter_mut().find(|slot| slot.pid == Some(pid)) else {
                continue; // An orphan of somebody's.
            };
            slot.pid = None;
            if stopping.is_some() {
                continue;
            }
            slot.failures = match slot.started.elapsed() {
                lived if lived >= SOUND => 0,
                _ => slot.failures + 1,
            };
            let wait = match slot.failures {
                0 => Duration::ZERO,
                n => pause(n - 1, Duration::from_secs(1), Duration::from_secs(30)),
            };
            log.line(&format!(
                "worker {} ended ({status:?}); another in {} ms",
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
                tell(&slots, Signal::KILL);
            }
        } else {
            for slot in slots.iter_mut().filter(|slot| slot.pid.is_none()) {
                if now < slot.started {
                    continue;
                }
                match start(&args.log()) {
                    Ok(pid) => slot.pid = Some(pid),
                    Err(e) => log.line(&format!("start a worker: {e}")),
                }
                slot.started = match slot.pid {
                    Some(_) => now,
                    None => now + SOUND,
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
            .map(|at| at.saturating_duration_since(now) + Duration::from_millis(1));
        let timeout = wait.map(|wait| Timespec {
            tv_sec: wait.as_secs() as i64,
            tv_nsec: i64::from(wait.subsec_nanos()),
        });
        // An error only means to look again.
        let _ = poll(
            &mut [PollFd::new(&signals, PollFlags::IN)],
            timeout.as_ref(),
        );
    }
}

/// Ourselves once more, with the same words.
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
            // Without us they finish their jobs and end.
            rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
            if rustix::process::getppid() != Some(me) {
                return Err(std::io::ErrorKind::BrokenPipe.into());
            }
            Ok(())
        });
    }
    Ok(Pid::from_child(&command.spawn()?))
}

fn tell(slots: &[Slot], signal: Signal) {
    for pid in slots.iter().filter_map(|slot| slot.pid) {
        // One that is gone needs to be told nothing.
        let _ = kill_process(pid, signal);
    }
}
