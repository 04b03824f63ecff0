//! Removing files and folders, always through `walk`, by descriptors and without
//! following links.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::walk::{Found, Stack, dir_of, flush, some_names_of};
use crate::host::write::{TEMPORARY, temporary_name};

/// How long emptying a folder may take: its owner may still be filling it.
const LIMIT: Duration = Duration::from_secs(120);
/// How many names are held at a time.
const BATCH: usize = 10_000;

impl Host {
    /// Removes a folder of our own with everything in it; follows no link.
    pub fn remove_tree(&self, path: &Path) -> Result<()> {
        let Found::Directory(stack) = self.walk(path, false)? else {
            return Ok(());
        };
        self.act(&format!("empty the folder {}", path.display()))?;
        empty(dir_of(&stack)).with_context(|| format!("empty {}", path.display()))?;
        self.remove_dir(path).map(|_| ())
    }

    /// Removes everything in a folder; follows no link.
    pub fn empty_dir(&self, path: &Path) -> Result<()> {
        let Found::Directory(stack) = self.walk(path, false)? else {
            return Ok(());
        };
        self.act(&format!("empty the folder {}", path.display()))?;
        empty(dir_of(&stack)).with_context(|| format!("empty {}", path.display()))?;
        flush(dir_of(&stack))
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

    /// Removes what a run that was cut off left in a folder.
    pub fn tidy(&self, folder: &Path) -> Result<()> {
        if let Found::Directory(stack) = self.walk(folder, true)? {
            self.sweep(&stack);
        }
        Ok(())
    }

    /// Only the first time, before anything of this run is there: it takes long where
    /// there are many names, and sites are worked on at the same time.
    pub(super) fn sweep(&self, stack: &Stack) {
        let Ok(stat) = rustix::fs::fstat(dir_of(stack)) else {
            return;
        };
        // Held until it is clean: nobody else makes something there until then.
        let mut swept = self.swept.lock().unwrap_or_else(|held| held.into_inner());
        if !swept.insert((stat.st_dev, stat.st_ino)) {
            return;
        }
        for name in some_names_of(dir_of(stack), BATCH).unwrap_or_default() {
            let bytes = name.as_bytes();
            if bytes.starts_with(TEMPORARY.as_bytes()) && bytes.ends_with(b".tmp") {
                let dir = dir_of(stack);
                let _ = rustix::fs::unlinkat(dir, &name, AtFlags::empty())
                    .or_else(|_| rustix::fs::unlinkat(dir, &name, AtFlags::REMOVEDIR));
            }
        }
    }
}

/// Removes everything in a folder. Folders come out of the folders that they are in
/// before they are emptied, so that no depth is too deep.
fn empty(dir: &OwnedFd) -> Result<()> {
    let start = Instant::now();
    loop {
        let names = some_names_of(dir, BATCH)?;
        if names.is_empty() {
            return Ok(());
        }
        for name in &names {
            ensure!(
                start.elapsed() < LIMIT,
                "it is filled as fast as it is emptied"
            );
            match remove_or_open(dir, name)? {
                Some(below) => raise(&below, dir, name)?,
                None => continue,
            }
        }
    }
}

/// Removes a file. A folder is opened instead.
fn remove_or_open(dir: &OwnedFd, name: &OsStr) -> Result<Option<OwnedFd>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(dir, name, flags, Mode::empty()) {
        Ok(below) => return Ok(Some(below)),
        Err(Errno::NOTDIR | Errno::LOOP) => {}
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Removes the folder `below`, which is in `dir` under this name, after its files.
/// The folders in it move to `dir`.
fn raise(below: &OwnedFd, dir: &OwnedFd, name: &OsStr) -> Result<()> {
    for inner in some_names_of(below, BATCH)? {
        if remove_or_open(below, &inner)?.is_some() {
            rustix::fs::renameat(below, &inner, dir, temporary_name()?)?;
        }
    }
    match rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
        // Its owner put something there, or took it away: the next round sees.
        Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::NOTDIR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::scratch;

    #[test]
    fn a_folder_of_any_depth_is_removed_and_links_are_not_followed() {
        let (dir, host) = scratch();
        std::fs::create_dir(dir.path().join("kept")).unwrap();
        std::fs::write(dir.path().join("kept/file"), "x").unwrap();
        std::fs::create_dir(dir.path().join("deep")).unwrap();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top = rustix::fs::open(dir.path().join("deep"), flags, Mode::empty()).unwrap();
        let mut at = top;
        for _ in 0..3000 {
            rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
            rustix::fs::symlinkat("../../kept", &at, "l").unwrap();
            rustix::fs::symlinkat("/kept", &at, "m").unwrap();
            at = rustix::fs::openat(&at, "d", flags, Mode::empty()).unwrap();
        }
        host.remove_tree(Path::new("/deep")).unwrap();
        assert!(!dir.path().join("deep").exists());
        assert!(dir.path().join("kept/file").exists());
    }
}
