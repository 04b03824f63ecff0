//! Numbers in the site's run folder that outlive the workers which counted.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use crate::worker::plain;

/// The jobs that workers finished before they exited.
pub const RETIRED: &str = "retired";
/// The jobs whose outcome no job server confirmed, so that they may have run twice.
pub const UNCONFIRMED: &str = "unconfirmed";

const MODE: u32 = 0o640;

/// A number that this process alone can change now.
pub struct Tally(File);

impl Tally {
    pub fn lock(run: &Path, name: &str) -> io::Result<Tally> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(MODE)
            .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32)
            .open(run.join(name))?;
        file.lock()?;
        Ok(Tally(file))
    }

    pub fn add(&self, more: u64) -> io::Result<()> {
        let text = format!("{}\n", number(&self.0)?.saturating_add(more));
        self.0.write_all_at(text.as_bytes(), 0)?;
        self.0.set_len(text.len() as u64)
    }
}

/// Lets the group of the folder read those that an earlier version made for the user alone.
pub fn show(run: &Path) {
    for name in [RETIRED, UNCONFIRMED] {
        if let Ok(file) = plain::open(&run.join(name)) {
            let _ = file.set_permissions(Permissions::from_mode(MODE));
        }
    }
}

/// The number as it is now; 0 if nobody has counted yet.
pub fn read(run: &Path, name: &str) -> io::Result<u64> {
    match plain::open(&run.join(name)) {
        Ok(file) => number(&file),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(e) if e.kind() == io::ErrorKind::InvalidInput => {
            Err(io::Error::other(format!("{name} is {e}")))
        }
        Err(e) => Err(e),
    }
}

fn number(file: &File) -> io::Result<u64> {
    let mut text = [0; 32];
    let length = file.read_at(&mut text, 0)?;
    let text = String::from_utf8_lossy(&text[..length]);
    Ok(text.trim().parse().unwrap_or(0))
}
