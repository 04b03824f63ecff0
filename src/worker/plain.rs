//! Files in folders that belong to the worker user, who may put anything there: no link is
//! followed, nothing that is not a regular file is opened, and nobody waits for the other
//! end of a pipe. Workers replace theirs as a whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};

use crate::base::clock::now_ms;

pub fn open(path: &Path) -> io::Result<File> {
    open_in(CWD, path)
}

/// Opens a file in an open folder.
pub fn open_in(dir: impl AsFd, name: impl AsRef<Path>) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(dir, name.as_ref(), flags, Mode::empty())?;
    match FileType::from_raw_mode(fstat(&file)?.st_mode) {
        FileType::RegularFile => Ok(file.into()),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        )),
    }
}

/// Puts a file into a run folder, in place of one with that name. Whoever reads sees the one
/// or the other. A worker sweeps what one that was killed leaves of this.
pub fn put(run: &Path, name: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let new = run.join(format!("new-{name}-{}-{}", std::process::id(), now_ms()));
    let put = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&new)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| fs::rename(&new, run.join(name)));
    if put.is_err() {
        let _ = fs::remove_file(&new);
    }
    put
}
