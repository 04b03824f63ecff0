//! Changes to files, links and folders, always through `walk`. A file is
//! replaced as a whole or not at all: a temporary file is flushed and renamed,
//! and its folder is flushed.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;

use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::files::{Attributes, Meta};
use crate::host::walk::{
    Found, Stack, dir_of, flush, names_in, names_of, no_parent, reopen, stat_in,
};

const TEMPORARY: &str = ".wp-gears-";

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
            let mut file = std::fs::File::from(fd);
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
                    self.overwrite(dir, &name, bytes)?;
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

    fn overwrite(&self, dir: &OwnedFd, name: &OsStr, bytes: &[u8]) -> Result<()> {
        self.act("write in place")?;
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = std::fs::File::from(rustix::fs::openat(dir, name, flags, Mode::empty())?);
        file.write_all(bytes)?;
        file.set_len(bytes.len() as u64)?;
        file.sync_all()?;
        Ok(())
    }

    /// Appends a line and flushes it. What a crash left of an earlier line is
    /// removed first, so that it does not become part of this one.
    pub fn append(&self, path: &Path, line: &[u8]) -> Result<()> {
        let doing = || format!("append to {}", path.display());
        let (stack, name) = self.leaf(path, false).with_context(doing)?;
        let dir = dir_of(&stack);
        let fresh = stat_in(&stack, &name)?.is_none();
        self.act(&doing())?;
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd =
            rustix::fs::openat(dir, &name, flags, Mode::RUSR | Mode::WUSR).with_context(doing)?;
        let mut file = std::fs::File::from(fd);
        remove_partial_line(&mut file).with_context(doing)?;
        file.write_all(line).with_context(doing)?;
        file.sync_all().with_context(doing)?;
        if fresh {
            flush(dir)?;
        }
        Ok(())
    }

    /// Creates a folder in an existing one.
    pub fn make_dir(&self, path: &Path, attributes: Attributes) -> Result<()> {
        let doing = || format!("make the folder {}", path.display());
        let (stack, name) = match self.walk(path, false).with_context(doing)? {
            Found::Directory(stack) => {
                // It exists: only its owner and mode may differ.
                let stat = rustix::fs::fstat(dir_of(&stack))?;
                let now = (stat.st_uid, stat.st_gid, stat.st_mode & 0o7777);
                if now == (attributes.uid, attributes.gid, attributes.mode) {
                    return Ok(());
                }
                self.act(&doing())?;
                let fd = reopen(dir_of(&stack))?;
                self.own(fd.as_fd(), attributes)?;
                rustix::fs::fchmod(&fd, Mode::from_raw_mode(attributes.mode))?;
                return Ok(());
            }
            Found::Nowhere(missing) => return Err(no_parent(doing(), &missing)),
            Found::Leaf(stack, name) => (stack, name),
        };
        // It has another name until it has its owner and mode, so that a run that
        // is cut off here leaves no folder that looks complete.
        let dir = dir_of(&stack);
        self.sweep(&stack);
        let temporary = temporary_name()?;
        let made = (|| -> Result<()> {
            self.act(&doing())?;
            rustix::fs::mkdirat(dir, &temporary, Mode::RWXU)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let made = rustix::fs::openat(dir, &temporary, flags, Mode::empty())?;
            self.act(&format!("own {}", path.display()))?;
            self.own(made.as_fd(), attributes)?;
            rustix::fs::fchmod(&made, Mode::from_raw_mode(attributes.mode))?;
            self.act(&format!("rename {}", path.display()))?;
            Ok(rustix::fs::renameat(dir, &temporary, dir, &name)?)
        })();
        if made.is_err() {
            let _ = rustix::fs::unlinkat(dir, &temporary, AtFlags::REMOVEDIR);
        }
        made.with_context(doing)?;
        flush(dir)
    }

    /// Creates or replaces a symbolic link in one step. It gets its owner before
    /// its name: root's links are followed, and the folder's owner could rename
    /// one that root left there.
    pub fn make_link(&self, path: &Path, to: &Path, owner: (u32, u32)) -> Result<()> {
        let doing = || format!("link {} to {}", path.display(), to.display());
        let (stack, name) = self.leaf(path, false).with_context(doing)?;
        let dir = dir_of(&stack);
        self.sweep(&stack);
        let temporary = temporary_name()?;
        self.act(&doing())?;
        rustix::fs::symlinkat(to, dir, &temporary).with_context(doing)?;
        let (uid, gid) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        let owned = match rustix::fs::chownat(dir, &temporary, Some(uid), Some(gid), nofollow) {
            Err(Errno::PERM) if !rustix::process::geteuid().is_root() => Ok(()),
            other => other.map_err(anyhow::Error::from),
        };
        owned
            .and_then(|()| self.act(&format!("rename {}", path.display())))
            .and_then(|()| Ok(rustix::fs::renameat(dir, &temporary, dir, &name)?))
            .inspect_err(|_| {
                let _ = rustix::fs::unlinkat(dir, &temporary, AtFlags::empty());
            })
            .with_context(doing)?;
        flush(dir)
    }

    /// Creates an empty file, or gives an existing one its owner.
    pub fn make_file(&self, path: &Path, attributes: Attributes) -> Result<()> {
        let doing = || format!("make {}", path.display());
        let (stack, name) = self.leaf(path, false).with_context(doing)?;
        self.act(&doing())?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = rustix::fs::openat(dir_of(&stack), &name, flags, Mode::RUSR | Mode::WUSR)
            .with_context(doing)?;
        self.own(fd.as_fd(), attributes)?;
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(attributes.mode))?;
        flush(dir_of(&stack))
    }

    /// Removes a folder of our own with everything in it; follows no link.
    pub fn remove_tree(&self, path: &Path) -> Result<()> {
        let Found::Directory(stack) = self.walk(path, false)? else {
            return Ok(());
        };
        self.act(&format!("empty the folder {}", path.display()))?;
        empty(dir_of(&stack)).with_context(|| format!("empty {}", path.display()))?;
        self.remove_dir(path).map(|_| ())
    }

    /// Removes a file or link, if it exists.
    pub fn remove_file(&self, path: &Path) -> Result<()> {
        let doing = || format!("remove {}", path.display());
        let (stack, name) = match self.walk(path, false).with_context(doing)? {
            Found::Nowhere(_) => return Ok(()),
            Found::Directory(_) => return Err(Problem::new(doing(), "it is a folder").into()),
            Found::Leaf(stack, name) => (stack, name),
        };
        let dir = dir_of(&stack);
        self.sweep(&stack);
        self.act(&doing())?;
        match rustix::fs::unlinkat(dir, &name, AtFlags::empty()) {
            Ok(()) => flush(dir),
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error).with_context(doing),
        }
    }

    /// Removes a folder if it is empty. Returns whether it is gone.
    pub fn remove_dir(&self, path: &Path) -> Result<bool> {
        let doing = || format!("remove the folder {}", path.display());
        let Found::Directory(mut stack) = self.walk(path, false).with_context(doing)? else {
            return Ok(true);
        };
        let Some((_, name)) = stack.pop() else {
            return Ok(false);
        };
        if stack.is_empty() {
            return Ok(false);
        }
        self.act(&doing())?;
        match rustix::fs::unlinkat(dir_of(&stack), &name, AtFlags::REMOVEDIR) {
            Ok(()) => flush(dir_of(&stack)).map(|()| true),
            Err(Errno::NOENT) => Ok(true),
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::BUSY) => Ok(false),
            Err(error) => Err(error).with_context(doing),
        }
    }

    /// Under `--root`, a user other than root can only create files of its own.
    fn own(&self, fd: std::os::fd::BorrowedFd<'_>, to: Attributes) -> Result<()> {
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

    /// Removes what a run that was cut off left in a folder.
    pub fn tidy(&self, folder: &Path) -> Result<()> {
        if let Found::Directory(stack) = self.walk(folder, true)? {
            self.sweep(&stack);
        }
        Ok(())
    }

    fn sweep(&self, stack: &Stack) {
        for name in names_in(stack).unwrap_or_default() {
            let bytes = name.as_bytes();
            if bytes.starts_with(TEMPORARY.as_bytes()) && bytes.ends_with(b".tmp") {
                let dir = dir_of(stack);
                let _ = rustix::fs::unlinkat(dir, &name, AtFlags::empty())
                    .or_else(|_| rustix::fs::unlinkat(dir, &name, AtFlags::REMOVEDIR));
            }
        }
    }
}

/// Cuts a file off after its last complete line.
fn remove_partial_line(file: &mut std::fs::File) -> std::io::Result<()> {
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

fn empty(dir: &OwnedFd) -> Result<()> {
    for name in names_of(dir)? {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(dir, &name, flags, Mode::empty()) {
            Ok(below) => {
                empty(&below)?;
                rustix::fs::unlinkat(dir, &name, AtFlags::REMOVEDIR)?;
            }
            Err(_) => rustix::fs::unlinkat(dir, &name, AtFlags::empty())?,
        }
    }
    Ok(())
}

fn temporary_name() -> Result<OsString> {
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
