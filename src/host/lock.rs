//! One run at a time on a host: a lock that ends with its holder.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, Mode, OFlags};

use super::Host;
use crate::problem::Problem;

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
        let mut file = File::from(fd);
        let begun = Instant::now();
        while rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            if begun.elapsed() > PATIENCE {
                let mut holder = String::new();
                if self.live() {
                    file.read_to_string(&mut holder)?;
                }
                let why = match holder.trim().split_once(' ') {
                    Some((pid, since)) => {
                        format!("another run holds it: process {pid}, since {since} (Unix time)")
                    }
                    None => "another run holds it".into(),
                };
                return Err(Problem::new("begin", why)
                    .advice("let it end, then run again")
                    .into());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        if self.live() {
            let since = std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(0, |since| since.as_secs());
            let text = format!("{} {since}\n", std::process::id());
            file.set_len(0)?;
            rustix::io::pwrite(&file, text.as_bytes(), 0).with_context(what)?;
        }
        Ok(Lock { _file: file })
    }
}
