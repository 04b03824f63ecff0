//! How much space a file system has left.

use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::StatVfsMountFlags;

use crate::host::Host;

/// What is left of a file system, for those who are not root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    pub bytes: u64,
    /// How many files can be created; `None` if the file system does not count them.
    pub files: Option<u64>,
    pub read_only: bool,
    /// The device number, which identifies the file system.
    pub device: u64,
    for_root: u64,
}

impl Space {
    /// The bytes that this process may use: root may use what is reserved for it.
    pub fn usable_bytes(&self) -> u64 {
        match rustix::process::geteuid().is_root() {
            true => self.for_root,
            false => self.bytes,
        }
    }
}

impl Host {
    /// The space left in an existing file or folder's file system.
    pub fn space(&self, path: &Path) -> Result<Space> {
        let at = self.on_machine(path);
        let doing = || format!("measure the free space in {}", path.display());
        let stat = rustix::fs::statvfs(&at).with_context(doing)?;
        Ok(Space {
            bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
            files: (stat.f_files > 0).then_some(stat.f_favail),
            read_only: stat.f_flag.contains(StatVfsMountFlags::RDONLY),
            device: rustix::fs::stat(&at).with_context(doing)?.st_dev,
            for_root: stat.f_bfree.saturating_mul(stat.f_frsize),
        })
    }
}
