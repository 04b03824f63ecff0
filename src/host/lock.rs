//! One run at a time on a host: a lock that ends with its holder.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, Mode, OFlags};

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
    /// Waits a moment for another run to end.
    pub fn lock(&self) -> Result<Lock> {
        // A folder that stands for a machine is its own lock: nothing is left in it.
        let (path, flags) = if self.live() {
            (
                Path::new(PATH),
                OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW,
            )
        } else {
            (self.root(), OFlags::RDONLY | OFlags::DIRECTORY)
        };
        let what = || format!("lock {}", path.display());
        let fd = rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR)
            .with_context(what)?;
        let file = File::from(fd);
        let begun = Instant::now();
        while rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            if begun.elapsed() > PATIENCE {
                let why = match holder(&file) {
                    Some(holder) => format!("another run holds this host: {}", who(&holder)),
                    None => "another run holds this host".into(),
                };
                return Err(Problem::new("begin", why)
                    .help("let it end, then run again")
                    .into());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(Lock { _file: file })
    }
}

/// The process that holds the lock, as the kernel knows it; nothing that a
/// crash could leave behind.
fn holder(file: &File) -> Option<Process> {
    let stat = rustix::fs::fstat(file).ok()?;
    let (major, minor) = (
        rustix::fs::major(stat.st_dev),
        rustix::fs::minor(stat.st_dev),
    );
    let ours = format!("{major:02x}:{minor:02x}:{}", stat.st_ino);
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    // "1: FLOCK  ADVISORY  WRITE 4711 00:1a:5678 0 EOF"; who waits has "->" before its kind.
    let held = locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_ours = words.get(1) == Some(&"FLOCK") && words.get(5) == Some(&ours.as_str());
        is_ours.then(|| words.get(4)?.parse().ok()).flatten()
    })?;
    process::look(held)
}

/// Its command without what may be secret in it, and its start.
fn who(holder: &Process) -> String {
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
