//! Changes to files, always through `walk`. A file is
//! replaced as a whole or not at all: a temporary file is flushed and renamed,
//! and its folder is flushed.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;

use crate::host::Host;
use crate::host::files::{Attributes, Meta};
use crate::host::walk::{dir_of, flush, stat_in};

pub(super) const TEMPORARY: &str = ".wp-gears-";

impl Host {
    /// Replaces a file, or creates it. `seen` is what was read before: if
    /// something else is there now, nothing is written. An existing file keeps
    /// its extended attributes, and its owner and mode unless `attributes` are given.
    pub fn write(
        &self,
        path: &Path,
        bytes: &[u8],
        attributes: Option<Attributes>,
        seen: Option<&Meta>,
    ) -> Result<()> {
        self.write_at(path, bytes, attributes, seen)
            .with_context(|| format!("write {}", path.display()))
    }

    fn write_at(
        &self,
        path: &Path,
        bytes: &[u8],
        attributes: Option<Attributes>,
        seen: Option<&Meta>,
    ) -> Result<()> {
        let (stack, name) = self.leaf(path, true)?;
        let dir = dir_of(&stack);
        let before = stat_in(&stack, &name)?;
        unchanged(before.as_ref(), seen)?;
        let attributes = attributes.unwrap_or_else(|| match &before {
            Some(stat) => Attributes {
                uid: stat.st_uid,
                gid: stat.st_gid,
                mode: stat.st_mode & 0o7777,
            },
            None => Attributes::root(0o644),
        });
        self.sweep(&stack);
        let temporary = temporary_name()?;
        let written = (|| -> Result<()> {
            self.act(&format!("create {}", path.display()))?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(dir, &temporary, flags, Mode::RUSR | Mode::WUSR)?;
            let mut file = File::from(fd);
            self.act(&format!("write {}", path.display()))?;
            file.write_all(bytes)?;
            self.act(&format!("own {}", path.display()))?;
            self.own(file.as_fd(), attributes)?;
            if before.is_some() {
                self.copy_attributes(dir, &name, file.as_fd())?;
            }
            rustix::fs::fchmod(&file, Mode::from_raw_mode(attributes.mode))?;
            self.act(&format!("flush {}", path.display()))?;
            file.sync_all()?;
            unchanged(stat_in(&stack, &name)?.as_ref(), seen)?;
            self.act(&format!("rename {}", path.display()))?;
            match rustix::fs::renameat(dir, &temporary, dir, &name) {
                // A file that is mounted by itself cannot be renamed over.
                Err(Errno::BUSY) => {
                    self.overwrite(dir, &name, seen, bytes)?;
                    rustix::fs::unlinkat(dir, &temporary, AtFlags::empty())?;
                }
                other => other?,
            }
            Ok(())
        })();
        if written.is_err() {
            let _ = rustix::fs::unlinkat(dir, &temporary, AtFlags::empty());
        }
        written?;
        self.act(&format!("flush the folder of {}", path.display()))?;
        flush(dir)
    }

    fn overwrite(
        &self,
        dir: &OwnedFd,
        name: &OsStr,
        seen: Option<&Meta>,
        bytes: &[u8],
    ) -> Result<()> {
        self.act("write in place")?;
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let mut file = File::from(rustix::fs::openat(dir, name, flags, Mode::empty())?);
        unchanged(Some(&rustix::fs::fstat(&file)?), seen)?;
        file.write_all(bytes)?;
        file.set_len(bytes.len() as u64)?;
        file.sync_all()?;
        Ok(())
    }

    /// Appends lines and flushes them, with those before. What a crash left of an
    /// earlier line is removed first, so that it does not become part of these.
    pub fn append(&self, path: &Path, line: &[u8]) -> Result<()> {
        self.add(path, line, true)
    }

    /// Appends a line that a power failure may take away until the file is flushed.
    pub fn append_unflushed(&self, path: &Path, line: &[u8]) -> Result<()> {
        self.add(path, line, false)
    }

    fn add(&self, path: &Path, line: &[u8], flushed: bool) -> Result<()> {
        let doing = || format!("append to {}", path.display());
        let (stack, name) = self.leaf(path, false).with_context(doing)?;
        let dir = dir_of(&stack);
        let fresh = stat_in(&stack, &name)?.is_none();
        self.act(&doing())?;
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd =
            rustix::fs::openat(dir, &name, flags, Mode::RUSR | Mode::WUSR).with_context(doing)?;
        let mut file = File::from(fd);
        remove_partial_line(&mut file).with_context(doing)?;
        file.write_all(line).with_context(doing)?;
        if flushed || fresh {
            file.sync_all().with_context(doing)?;
        }
        if fresh {
            flush(dir)?;
        }
        Ok(())
    }

    /// Flushes what was appended to a file.
    pub fn flush_file(&self, path: &Path) -> Result<()> {
        let doing = || format!("flush {}", path.display());
        let (stack, name) = self.leaf(path, false).with_context(doing)?;
        self.act(&doing())?;
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = rustix::fs::openat(dir_of(&stack), &name, flags, Mode::empty());
        rustix::fs::fsync(fd.with_context(doing)?).with_context(doing)
    }

    /// Under `--root`, a user other than root can only create files of its own.
    pub(super) fn own(&self, fd: std::os::fd::BorrowedFd<'_>, to: Attributes) -> Result<()> {
        let owner = (Uid::from_raw(to.uid), Gid::from_raw(to.gid));
        match rustix::fs::fchown(fd, Some(owner.0), Some(owner.1)) {
            Err(Errno::PERM) if !rustix::process::geteuid().is_root() => Ok(()),
            other => Ok(other?),
        }
    }

    /// Copies ACLs, labels and other attributes from the file that is replaced.
    fn copy_attributes(
        &self,
        dir: &OwnedFd,
        name: &OsStr,
        to: std::os::fd::BorrowedFd<'_>,
    ) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let from = rustix::fs::openat(dir, name, flags, Mode::empty())?;
        let mut list = vec![0u8; 64 << 10];
        let size = match rustix::fs::flistxattr(&from, &mut list) {
            Ok(size) => size,
            Err(Errno::NOTSUP) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for attribute in list[..size].split(|b| *b == 0).filter(|a| !a.is_empty()) {
            let attribute = OsStr::from_bytes(attribute);
            let mut value = vec![0u8; 64 << 10];
            let size = rustix::fs::fgetxattr(&from, attribute, &mut value)?;
            let set = rustix::fs::fsetxattr(
                to,
                attribute,
                &value[..size],
                rustix::fs::XattrFlags::empty(),
            );
            match set {
                Err(Errno::PERM) if !rustix::process::geteuid().is_root() => {}
                Err(Errno::NOTSUP) => {}
                other => other?,
            }
        }
        Ok(())
    }
}

/// Cuts a file off after its last complete line.
fn remove_partial_line(file: &mut File) -> std::io::Result<()> {
    let size = file.metadata()?.len();
    let mut last = [0];
    if size == 0 {
        return Ok(());
    }
    file.read_exact_at(&mut last, size - 1)?;
    if last == *b"\n" {
        return Ok(());
    }
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    let end = text.iter().rposition(|byte| *byte == b'\n');
    file.set_len(end.map_or(0, |at| at as u64 + 1))
}

fn unchanged(now: Option<&Stat>, seen: Option<&Meta>) -> Result<()> {
    if let Some(stat) = now
        && FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile
    {
        anyhow::bail!("it is not a regular file");
    }
    let same = match (now, seen) {
        (None, None) => true,
        (Some(stat), Some(meta)) => meta.same_as(stat),
        _ => false,
    };
    anyhow::ensure!(
        same,
        "it was changed in the meantime; nothing was written, run again"
    );
    Ok(())
}

pub(super) fn temporary_name() -> Result<OsString> {
    let mut random = [0u8; 8];
    getrandom::fill(&mut random).map_err(|e| anyhow::anyhow!("no random numbers: {e}"))?;
    let number = u64::from_ne_bytes(random);
    Ok(format!("{TEMPORARY}{number:016x}.tmp").into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::scratch;

    #[test]
    fn a_file_swapped_since_it_was_read_is_not_written() {
        let (dir, host) = scratch();
        let path = Path::new("/f");
        std::fs::write(dir.path().join("f"), "one").unwrap();
        let seen = host.read(path).unwrap().unwrap().meta;
        std::fs::write(dir.path().join("g"), "two").unwrap();
        std::fs::rename(dir.path().join("g"), dir.path().join("f")).unwrap();
        assert!(host.write(path, b"three", None, Some(&seen)).is_err());
        assert_eq!(std::fs::read(dir.path().join("f")).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_line_that_a_crash_cut_off_is_gone_before_the_next() {
        let (dir, host) = scratch();
        let real = dir.path().join("f");
        for (before, after) in [
            ("one\n", "one\ntwo\n"),
            ("one\ntw", "one\ntwo\n"),
            ("on", "two\n"),
            ("", "two\n"),
        ] {
            std::fs::write(&real, before).unwrap();
            host.append(Path::new("/f"), b"two\n").unwrap();
            assert_eq!(std::fs::read_to_string(&real).unwrap(), after, "{before:?}");
        }
    }

    #[test]
    fn owner_mode_and_attributes_stay() {
        let (dir, host) = scratch();
        let real = dir.path().join("f");
        std::fs::write(&real, "one").unwrap();
        rustix::fs::chmod(&real, Mode::from_raw_mode(0o640)).unwrap();
        let flags = rustix::fs::XattrFlags::empty();
        // Not every file system stores them.
        let holds = rustix::fs::setxattr(&real, "user.note", b"kept", flags).is_ok();
        let seen = host.read(Path::new("/f")).unwrap().unwrap().meta;
        host.write(Path::new("/f"), b"two", None, Some(&seen))
            .unwrap();
        let now = host.read(Path::new("/f")).unwrap().unwrap();
        assert_eq!(
            (now.bytes.as_slice(), now.meta.mode),
            (b"two".as_slice(), 0o640)
        );
        if holds {
            let mut value = [0u8; 16];
            let size = rustix::fs::getxattr(&real, "user.note", &mut value).unwrap();
            assert_eq!(&value[..size], b"kept");
        }
    }

    #[test]
    fn a_link_is_written_through_and_stays_a_link() {
        let (dir, host) = scratch();
        std::fs::write(dir.path().join("real"), "one").unwrap();
        std::os::unix::fs::symlink("real", dir.path().join("link")).unwrap();
        let path = Path::new("/link");
        let seen = host.read(path).unwrap().unwrap().meta;
        host.write(path, b"two", None, Some(&seen)).unwrap();
        assert_eq!(std::fs::read(dir.path().join("real")).unwrap(), b"two");
        assert!(dir.path().join("link").is_symlink());
    }
}
