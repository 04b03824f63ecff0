//! One run at a time on a host: a lock that ends with its holder.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::fs::OFlags;

use crate::base::clock;
use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::process::{self, Process};

const PATH: &str = "/run/wp-gears.lock";
const PATIENCE: Duration = Duration::from_secs(10);

/// Held until it is dropped.
pub struct Lock {
    _file: File,
}

impl Host {
    /// Locks the host for this run; waits a moment for another run to end.
    pub fn lock(&self) -> Result<Lock> {
        // Under --root, the folder itself is locked: no file is left in it.
        let (path, flags) = match self.live() {
            true => (Path::new(PATH), OFlags::NOFOLLOW),
            false => (self.root(), OFlags::DIRECTORY),
        };
        let what = || format!("lock {}", path.display());
        let file = OpenOptions::new()
            .read(true)
            .write(self.live())
            .create(self.live())
            .truncate(false)
            .mode(0o600)
            .custom_flags(flags.bits() as i32)
            .open(path)
            .with_context(what)?;
        let begun = Instant::now();
        while file.try_lock().is_err() {
            if begun.elapsed() > PATIENCE {
                let why = match holder(&file) {
                    Some(holder) => format!("another run holds this host: {}", describe(&holder)),
                    None => "another run holds this host".into(),
                };
                return Err(Problem::new("begin", why)
                    .help("wait for it to end, then run again")
                    .into());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(Lock { _file: file })
    }
}

/// The process that holds the lock, by the kernel's own list.
fn holder(file: &File) -> Option<Process> {
    let stat = rustix::fs::fstat(file).ok()?;
    let (major, minor) = (
        rustix::fs::major(stat.st_dev),
        rustix::fs::minor(stat.st_dev),
    );
    let ours = format!("{major:02x}:{minor:02x}:{}", stat.st_ino);
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    // "1: FLOCK  ADVISORY  WRITE 4711 00:1a:5678 0 EOF"; a waiting process has "->" before FLOCK.
    let held = locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_ours = words.get(1) == Some(&"FLOCK") && words.get(5) == Some(&ours.as_str());
        is_ours.then(|| words.get(4)?.parse().ok()).flatten()
    })?;
    process::look(held)
}

/// Its command, without arguments that may be secret, and when it started.
fn describe(holder: &Process) -> String {
    let program = holder.args.first().map(Path::new).and_then(Path::file_name);
    let words = program.map(|name| name.to_string_lossy()).into_iter();
    let verb = holder.args.get(1).filter(|word| !word.starts_with('-'));
    let words: Vec<_> = words.chain(verb.map(|verb| verb.into())).collect();
    let since = clock::utc(clock::millis(holder.started));
    format!(
        "process {} ({}), since {since}",
        holder.pid,
        words.join(" ")
    )
}
