//! Opens files in folders that belong to the worker user, who may put anything there: no
//! link is followed, nothing that is not a regular file is opened, and nobody waits for
//! the other end of a pipe.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};

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
