//! Making folders, links and empty files, always through `walk`. In a folder of another
//! user, whatever that user swaps in meanwhile gets neither a new owner nor a new mode.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::as_owner::AsOwner;
use crate::host::files::Attributes;
use crate::host::walk::{Found, dir_of, flush, no_parent, others_write, reopen, some_names_of};
use crate::host::write::temporary_name;

/// How deep the folders below a folder of workers are looked for.
const GIVEN_DEPTH: usize = 4;
/// How many entries of one folder are given.
const GIVEN_MOST: usize = 100_000;

impl Host {
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
                // In a folder of another user it may be anything of theirs.
                let above = match stack.len() {
                    0 | 1 => None,
                    length => AsOwner::of(&stack[length - 2].0)?,
                };
                if above.is_some() && now.0 != attributes.uid {
                    let why = format!("it belongs to {}", self.user_name(now.0));
                    let wanted = self.user_name(attributes.uid);
                    let help = format!("give it to {wanted} (chown), then run again");
                    return Err(Problem::new(doing(), why).help(help).into());
                }
                self.act(&doing())?;
                let fd = reopen(dir_of(&stack))?;
                if above.is_none() {
                    self.own(fd.as_fd(), attributes)?;
                }
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
            let made = new_folder(dir, &temporary)?;
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

    /// Creates or replaces a symbolic link in one step. In a folder of another user,
    /// it belongs to that user from the start. Elsewhere it gets this owner.
    pub fn make_link(&self, path: &Path, to: &Path, owner: (u32, u32)) -> Result<()> {
        let doing = || format!("link {} to {}", path.display(), to.display());
        let (stack, name) = self.leaf(path, false).with_context(doing)?;
        let dir = dir_of(&stack);
        self.sweep(&stack);
        let temporary = temporary_name()?;
        self.act(&doing())?;
        let as_owner = AsOwner::of(dir).with_context(doing)?;
        rustix::fs::symlinkat(to, dir, &temporary).with_context(doing)?;
        let (uid, gid) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        let owned = match as_owner {
            Some(_) => Ok(()),
            None if others_write(&rustix::fs::fstat(dir)?) => Ok(()),
            // By name: nobody else can put something there.
            None => match rustix::fs::chownat(dir, &temporary, Some(uid), Some(gid), nofollow) {
                Err(Errno::PERM) if !rustix::process::geteuid().is_root() => Ok(()),
                other => other.map_err(anyhow::Error::from),
            },
        };
        drop(as_owner);
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
        let stat = rustix::fs::fstat(&fd)?;
        let alone =
            FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_nlink == 1;
        ensure!(alone, "{} is no file of its own", path.display());
        self.own(fd.as_fd(), attributes)?;
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(attributes.mode))?;
        flush(dir_of(&stack))
    }

    /// Changes the mode of a file or folder of this user.
    pub fn set_mode(&self, path: &Path, uid: u32, mode: u32) -> Result<()> {
        let doing = || format!("change the mode of {} to {mode:04o}", path.display());
        let (folder, fd) = match self.walk(path, false).with_context(doing)? {
            Found::Nowhere(missing) => return Err(no_parent(doing(), &missing)),
            Found::Directory(mut stack) => {
                let fd = reopen(dir_of(&stack)).with_context(doing)?;
                stack.pop();
                (stack, fd)
            }
            Found::Leaf(stack, name) => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
                let fd = rustix::fs::openat(dir_of(&stack), &name, flags, Mode::empty());
                (stack, fd.with_context(doing)?)
            }
        };
        let stat = rustix::fs::fstat(&fd).with_context(doing)?;
        // In a folder of its own, the user may have put another's file under this name.
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        let own = stat.st_uid == uid && !(is_file && stat.st_nlink != 1);
        ensure!(own, "{} is no longer what it was", path.display());
        self.act(&doing())?;
        let _as_owner = match folder.is_empty() {
            true => None,
            false => AsOwner::of(dir_of(&folder))?,
        };
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode)).with_context(doing)
    }

    /// Gives what is in a folder to a user: folders and files, except links and files
    /// with other names elsewhere. Nobody else may reach it meanwhile.
    pub fn give_contents(&self, folder: &Path, uid: u32, gid: u32) -> Result<()> {
        let Found::Directory(stack) = self.walk(folder, false)? else {
            return Ok(());
        };
        self.act(&format!("own what is in {}", folder.display()))?;
        let to = (Uid::from_raw(uid), Gid::from_raw(gid));
        give(dir_of(&stack), to, GIVEN_DEPTH, None)
            .with_context(|| format!("own what is in {}", folder.display()))
    }

    /// Gives a group some of the files that a user has in a folder, by their names. Files
    /// of others, which are there by accident, stay as they are.
    pub fn regroup_contents(
        &self,
        folder: &Path,
        (uid, gid): (u32, u32),
        names: fn(&str) -> bool,
    ) -> Result<()> {
        let Found::Directory(stack) = self.walk(folder, false)? else {
            return Ok(());
        };
        let doing = || format!("change the group of what is in {}", folder.display());
        self.act(&doing())?;
        let to = (Uid::from_raw(uid), Gid::from_raw(gid));
        give(dir_of(&stack), to, 0, Some((uid, names))).with_context(doing)
    }
}

/// Makes a folder, which nobody can have swapped for another one: it belongs to the
/// owner of the folder that it is in, or to root if that folder is root's.
fn new_folder(dir: &OwnedFd, name: &OsStr) -> Result<OwnedFd> {
    let _as_owner = AsOwner::of(dir)?;
    rustix::fs::mkdirat(dir, name, Mode::RWXU)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    let (stat, above) = (rustix::fs::fstat(&made)?, rustix::fs::fstat(dir)?);
    let us = rustix::process::geteuid();
    let owner = if us.is_root() {
        above.st_uid
    } else {
        us.as_raw()
    };
    let new = stat.st_uid == owner
        && stat.st_mode & 0o777 == 0o700
        && some_names_of(&made, 1)?.is_empty();
    ensure!(new, "somebody replaced it while it was made");
    Ok(made)
}

/// The owner and the names of what is given.
type Only = Option<(u32, fn(&str) -> bool)>;

fn give(dir: &OwnedFd, to: (Uid, Gid), depth: usize, only: Only) -> Result<()> {
    for name in some_names_of(dir, GIVEN_MOST)? {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let node = rustix::fs::openat(dir, &name, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&node)?;
        let gives = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => stat.st_nlink == 1,
            FileType::Directory if depth > 0 => {
                give(&node, to, depth - 1, only)?;
                true
            }
            _ => false,
        };
        let is_meant =
            only.is_none_or(|(uid, names)| uid == stat.st_uid && name.to_str().is_some_and(names));
        if gives && is_meant {
            let empty = AtFlags::EMPTY_PATH;
            rustix::fs::chownat(&node, "", Some(to.0), Some(to.1), empty)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::host::write::TEMPORARY;

    /// A user who puts another file behind every new name, as fast as a core can.
    fn attack(folder: &Path, act: impl Fn(&Host)) -> (usize, usize) {
        use nix::unistd::{Gid, Uid, setfsgid, setfsuid};
        use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
        const ALICE: u32 = 4001;
        std::os::unix::fs::chown(folder, Some(ALICE), Some(ALICE)).unwrap();
        let host = Host::new(Some(folder.parent().unwrap())).unwrap();
        let (over, swaps) = (AtomicBool::new(false), AtomicUsize::new(0));
        let stolen = std::thread::scope(|scope| {
            scope.spawn(|| {
                setfsgid(Gid::from_raw(ALICE));
                setfsuid(Uid::from_raw(ALICE));
                while !over.load(Ordering::Relaxed) {
                    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                        let name = entry.file_name();
                        if name.as_bytes().starts_with(TEMPORARY.as_bytes()) {
                            let _ = std::fs::remove_dir(entry.path());
                            let swapped = std::fs::rename(folder.join("roots"), entry.path());
                            swaps.fetch_add(usize::from(swapped.is_ok()), Ordering::Relaxed);
                        }
                    }
                }
            });
            let mut stolen = 0;
            for _ in 0..200 {
                for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                    let path = entry.path();
                    let _ = std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir(&path));
                }
                let _ = std::fs::write(folder.join("roots"), "secret");
                act(&host);
                let metas = std::fs::read_dir(folder).into_iter().flatten().flatten();
                let metas = metas.filter_map(|entry| entry.metadata().ok());
                stolen += metas
                    .filter(|meta| meta.is_file() && meta.uid() == ALICE)
                    .count();
            }
            over.store(true, Ordering::Relaxed);
            stolen
        });
        (stolen, swaps.into_inner())
    }

    #[test]
    fn nothing_of_roots_becomes_the_users_who_swaps_it_in() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("alice");
        std::fs::create_dir(&folder).unwrap();
        let (stolen, swaps) = attack(&folder, |host| {
            let _ = host.make_link(Path::new("/alice/link"), Path::new("x"), (4001, 4001));
        });
        println!("links: {swaps} swaps, {stolen} stolen");
        assert_eq!(stolen, 0);
        let owned = Attributes {
            uid: 4001,
            gid: 4001,
            mode: 0o755,
        };
        let (stolen, swaps) = attack(&folder, |host| {
            let _ = host.make_dir(Path::new("/alice/folder"), owned);
        });
        println!("folders: {swaps} swaps, {stolen} stolen");
        assert_eq!(stolen, 0);
    }
}
