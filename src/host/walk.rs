//! Walking to a file by descriptors: no name is looked up twice, so nobody can
//! swap what is behind it. A link is worth as much as the least trusted user that can
//! have put it there: if that is not root or this user, they must own its target.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::base::problem::Problem;
use crate::host::Host;

const LINKS_LIMIT: usize = 40;
/// A walk holds a descriptor for each folder, and the process has about a thousand.
const FOLDERS_LIMIT: usize = 120;

const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// What a walk has come across.
#[derive(Default)]
struct Steps {
    links: usize,
    folders: usize,
}

/// The root, folders on the way to one, and that one, each with its path from the one before. Unless a walk has seen
/// them all, the last one and the folder that it is in.
pub(super) type Stack = Vec<(Rc<OwnedFd>, OsString)>;

pub(super) enum Found {
    Directory(Stack),
    /// A name in the last folder that is not a folder, or not there.
    Leaf(Stack, OsString),
    /// A folder on the way is missing.
    Nowhere(PathBuf),
}

impl Host {
    pub(super) fn leaf(&self, path: &Path, follow: bool) -> Result<(Stack, OsString)> {
        match self.walk(path, follow)? {
            Found::Leaf(stack, name) => Ok((stack, name)),
            Found::Directory(_) => {
                Err(Problem::new(format!("use {}", path.display()), "it is a folder").into())
            }
            Found::Nowhere(missing) => Err(no_parent(format!("use {}", path.display()), &missing)),
        }
    }

    pub(super) fn walk(&self, path: &Path, follow: bool) -> Result<Found> {
        let root = self.start()?;
        match straight(root.clone(), path, follow) {
            Some(found) => Ok(found),
            None => self.descend(root, path, follow, &mut Steps::default()),
        }
    }

    /// A walk that has seen each folder.
    pub(super) fn walk_all(&self, path: &Path, follow: bool) -> Result<Found> {
        self.descend(self.start()?, path, follow, &mut Steps::default())
    }

    fn start(&self) -> Result<Stack> {
        let root = rustix::fs::open(self.root(), FOLDER, Mode::empty())?;
        Ok(vec![(Rc::new(root), OsString::new())])
    }

    fn descend(
        &self,
        mut stack: Stack,
        path: &Path,
        follow: bool,
        steps: &mut Steps,
    ) -> Result<Found> {
        let mut parts = path
            .components()
            .filter(|part| !matches!(part, Component::RootDir | Component::CurDir))
            .peekable();
        while let Some(part) = parts.next() {
            let name = match part {
                Component::ParentDir => {
                    if stack.len() > 1 {
                        stack.pop();
                    }
                    continue;
                }
                other => other.as_os_str(),
            };
            let last = parts.peek().is_none();
            let here = path_of(&stack).join(name);
            let Some(stat) = stat_in(&stack, name)? else {
                return Ok(if last {
                    Found::Leaf(stack, name.to_owned())
                } else {
                    Found::Nowhere(here)
                });
            };
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    steps.folders += 1;
                    if steps.folders > FOLDERS_LIMIT {
                        let what = format!("use {}", shortened(path));
                        let why = format!("it leads through more than {FOLDERS_LIMIT} folders");
                        return Err(Problem::new(what, why).into());
                    }
                    let flags = FOLDER.union(OFlags::NOFOLLOW);
                    let fd = rustix::fs::openat(dir_of(&stack), name, flags, Mode::empty())?;
                    stack.push((Rc::new(fd), name.to_owned()));
                }
                FileType::Symlink if !last || follow => {
                    match self.follow(&stack, name, &stat, steps)? {
                        Found::Directory(there) => stack = there,
                        found if last => return Ok(found),
                        Found::Nowhere(missing) => return Ok(Found::Nowhere(missing)),
                        Found::Leaf(..) => return Ok(Found::Nowhere(here)),
                    }
                }
                _ if last => return Ok(Found::Leaf(stack, name.to_owned())),
                _ => {
                    let what = format!("use {}", path.display());
                    let why = format!("{} is not a folder", here.display());
                    return Err(Problem::new(what, why).into());
                }
            }
        }
        Ok(Found::Directory(stack))
    }

    fn follow(&self, stack: &Stack, name: &OsStr, link: &Stat, steps: &mut Steps) -> Result<Found> {
        let here = path_of(stack).join(name);
        steps.links += 1;
        if steps.links > LINKS_LIMIT {
            let what = format!("follow the link {}", here.display());
            return Err(Problem::new(what, "it leads to itself in a loop").into());
        }
        let to = rustix::fs::readlinkat(dir_of(stack), name, Vec::new())?;
        let to = Path::new(OsStr::from_bytes(to.to_bytes())).to_owned();
        let from = if to.is_absolute() {
            stack[..1].to_vec()
        } else {
            stack.clone()
        };
        let found = self.descend(from, &to, true, steps)?;
        let Some(namers) = namers(stack, link)? else {
            let why = "others can rename the links in its folder";
            return Err(
                Problem::new(format!("follow the link {}", here.display()), why)
                    .help("take the folder's group and others the right to write there (chmod go-w), or set its sticky bit")
                    .into(),
            );
        };
        let owner = match &found {
            _ if namers.is_empty() => return Ok(found),
            Found::Directory(there) => Some(rustix::fs::fstat(dir_of(there))?.st_uid),
            Found::Leaf(there, leaf) => stat_in(there, leaf)?.map(|stat| stat.st_uid),
            Found::Nowhere(_) => None,
        };
        let Some(stranger) = namers.iter().find(|namer| owner != Some(**namer)) else {
            return Ok(found);
        };
        let by = self.user_name(*stranger);
        let why = match owner {
            Some(owner) => format!(
                "the user {by} can put links there, but its target ({}) belongs to {}",
                to.display(),
                self.user_name(owner)
            ),
            None => format!(
                "the user {by} can put links there, and it has no target ({})",
                to.display()
            ),
        };
        Err(
            Problem::new(format!("follow the link {}", here.display()), why)
                .help("if it is intended, give the target to that user, or the link and the folders that it is in to root")
                .into(),
        )
    }
}

/// Has the kernel walk, which takes it one call, if no link is on the way. If there is one or anything else is
/// unusual, or the kernel cannot (before Linux 5.6), `None`.
fn straight(mut stack: Stack, path: &Path, follow: bool) -> Option<Found> {
    let mut names = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => names.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    let last = names.pop()?;
    if names.len() >= FOLDERS_LIMIT {
        return None;
    }
    if !names.is_empty() {
        let above: PathBuf = names.into_iter().collect();
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let fd =
            rustix::fs::openat2(dir_of(&stack), &above, FOLDER, Mode::empty(), resolve).ok()?;
        stack.push((Rc::new(fd), above.into_os_string()));
    }
    let Some(stat) = stat_in(&stack, last).ok()? else {
        return Some(Found::Leaf(stack, last.to_owned()));
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            let flags = FOLDER.union(OFlags::NOFOLLOW);
            let fd = rustix::fs::openat(dir_of(&stack), last, flags, Mode::empty()).ok()?;
            stack.push((Rc::new(fd), last.to_owned()));
            Some(Found::Directory(stack))
        }
        FileType::Symlink if follow => None,
        _ => Some(Found::Leaf(stack, last.to_owned())),
    }
}

/// The users, other than root and this one, that can have put a link there: its owner
/// and those of the folders on the way to it. `None` if it may have been anybody.
fn namers(stack: &Stack, link: &Stat) -> Result<Option<BTreeSet<u32>>> {
    let ours = rustix::process::geteuid().as_raw();
    let trusted = |uid: u32| uid == 0 || uid == ours;
    let mut namers = BTreeSet::new();
    let mut by_others = false;
    for (dir, _) in stack {
        let stat = rustix::fs::fstat(dir)?;
        if !trusted(stat.st_uid) {
            namers.insert(stat.st_uid);
        } else if others_write(&stat) {
            by_others = true;
        }
    }
    if !trusted(link.st_uid) {
        namers.insert(link.st_uid);
    } else if by_others {
        return Ok(None);
    }
    Ok(Some(namers))
}

/// Whether others than a folder's owner can rename what is in it.
pub(super) fn others_write(folder: &Stat) -> bool {
    folder.st_mode & 0o022 != 0 && folder.st_mode & 0o1000 == 0
}

/// The beginning of a path that may be thousands of folders deep.
fn shortened(path: &Path) -> String {
    let beginning: PathBuf = path.components().take(6).collect();
    format!("{}/…", beginning.display())
}

/// The last folder of the stack.
pub(super) fn dir_of(stack: &Stack) -> &OwnedFd {
    // A stack starts with the root, which is never popped.
    &stack.last().expect("a walk starts at the root").0
}

/// The path of that folder.
pub(super) fn path_of(stack: &Stack) -> PathBuf {
    let mut path = PathBuf::from("/");
    path.extend(stack.iter().skip(1).map(|(_, name)| name));
    path
}

pub(super) fn stat_in(stack: &Stack, name: &OsStr) -> Result<Option<Stat>> {
    match rustix::fs::statat(dir_of(stack), name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => {
            let here = path_of(stack).join(name);
            Err(error).with_context(|| format!("look at {}", here.display()))
        }
    }
}

/// Some of the names in a folder, sorted: its owner decides how many there are.
pub(super) fn some_names_of(dir: &OwnedFd, most: usize) -> Result<Vec<OsString>> {
    let fd = reopen(dir)?;
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(fd)? {
        if names.len() >= most {
            break;
        }
        let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
        if name != "." && name != ".." {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// A descriptor of the folder that can be read and flushed; those of a walk cannot.
pub(super) fn reopen(dir: &OwnedFd) -> std::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(dir, ".", flags, Mode::empty())?)
}

pub(super) fn flush(dir: &OwnedFd) -> Result<()> {
    Ok(rustix::fs::fsync(reopen(dir)?)?)
}

pub(super) fn no_parent(what: String, missing: &Path) -> anyhow::Error {
    Problem::new(what, format!("there is no {}", missing.display())).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::scratch;

    #[test]
    fn a_link_stays_below_the_root() {
        let (dir, host) = scratch();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::fs::write(dir.path().join("etc/a"), "inside").unwrap();
        std::os::unix::fs::symlink("/etc/a", dir.path().join("b")).unwrap();
        std::os::unix::fs::symlink("../../../../etc/a", dir.path().join("c")).unwrap();
        for name in ["/b", "/c"] {
            assert_eq!(
                host.read(Path::new(name)).unwrap().unwrap().bytes,
                b"inside"
            );
        }
    }

    /// The folder at the end, the rest of the path, and what kind of thing it is.
    fn told(found: Result<Found>) -> Result<(u8, PathBuf, u64, Option<OsString>), String> {
        match found.map_err(|error| format!("{error:#}"))? {
            Found::Directory(stack) => {
                let inode = rustix::fs::fstat(dir_of(&stack)).unwrap().st_ino;
                let above = &stack[stack.len().max(2) - 2].0;
                let above = rustix::fs::fstat(above).unwrap().st_ino;
                Ok((0, path_of(&stack), inode ^ (above << 32), None))
            }
            Found::Leaf(stack, name) => {
                let inode = rustix::fs::fstat(dir_of(&stack)).unwrap().st_ino;
                Ok((1, path_of(&stack), inode, Some(name)))
            }
            Found::Nowhere(path) => Ok((2, path, 0, None)),
        }
    }

    #[test]
    fn the_kernels_walk_leads_to_the_same() {
        let (dir, host) = scratch();
        for folder in ["a/b/c", "other"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        std::fs::write(dir.path().join("a/b/file"), "").unwrap();
        for (name, to) in [
            ("a/link", "b"),
            ("a/b/out", "/other"),
            ("a/up", "../a/b/file"),
        ] {
            std::os::unix::fs::symlink(to, dir.path().join(name)).unwrap();
        }
        let names = [
            "a", "b", "c", "..", ".", "link", "out", "up", "file", "none", "other",
        ];
        let mut straight_ones = 0;
        for one in names {
            for two in names {
                for three in names {
                    for four in ["", "c", "file", "out"] {
                        let path = PathBuf::from(format!("/{one}/{two}/{three}/{four}"));
                        for follow in [false, true] {
                            let fast = told(host.walk(&path, follow));
                            let slow = told(host.walk_all(&path, follow));
                            assert_eq!(fast, slow, "{} {follow}", path.display());
                            let root = host.start().unwrap();
                            straight_ones += usize::from(straight(root, &path, follow).is_some());
                        }
                    }
                }
            }
        }
        assert!(straight_ones > 20, "{straight_ones}");
        assert_eq!(
            told(host.walk(Path::new("/"), true)),
            told(host.walk_all(Path::new("/"), true))
        );
    }

    #[test]
    fn a_loop_is_reported() {
        let (dir, host) = scratch();
        std::os::unix::fs::symlink("b", dir.path().join("a")).unwrap();
        std::os::unix::fs::symlink("a", dir.path().join("b")).unwrap();
        let error = host.read(Path::new("/a")).unwrap_err();
        assert!(format!("{error:#}").contains("loop"));
    }

    /// A folder of another user in a scratch host. These tests need root.
    fn of_alice() -> (tempfile::TempDir, Host) {
        let (dir, host) = scratch();
        let home = dir.path().join("alice");
        std::fs::create_dir(&home).unwrap();
        for (name, uid) in [("mine", ALICE), ("bobs", BOB), ("roots", 0)] {
            std::fs::write(home.join(name), name).unwrap();
            std::os::unix::fs::chown(home.join(name), Some(uid), Some(uid)).unwrap();
        }
        std::os::unix::fs::chown(&home, Some(ALICE), Some(ALICE)).unwrap();
        (dir, host)
    }

    const ALICE: u32 = 4001;
    const BOB: u32 = 4002;

    fn reads(dir: &tempfile::TempDir, host: &Host, owner: u32, to: &str) -> bool {
        let link = dir.path().join("alice/link");
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(to, &link).unwrap();
        std::os::unix::fs::lchown(&link, Some(owner), Some(owner)).unwrap();
        host.read(Path::new("/alice/link")).is_ok()
    }

    #[test]
    fn a_link_is_worth_its_least_trusted_namer() {
        let (dir, host) = of_alice();
        // She may have renamed root's link, so it leads to her own files only.
        for link in [0, ALICE] {
            assert!(reads(&dir, &host, link, "mine"));
            assert!(!reads(&dir, &host, link, "bobs"));
            assert!(!reads(&dir, &host, link, "roots"));
            assert!(!reads(&dir, &host, link, "/alice/roots"));
            assert!(!reads(&dir, &host, link, "nothing"));
        }
        assert!(!reads(&dir, &host, BOB, "mine"));
    }

    #[test]
    fn roots_link_in_a_folder_that_others_can_write_is_not_followed() {
        let (dir, host) = of_alice();
        let home = dir.path().join("alice");
        std::os::unix::fs::chown(&home, Some(0), Some(0)).unwrap();
        for (mode, followed) in [
            (0o755, true),
            (0o777, false),
            (0o775, false),
            (0o1777, true),
        ] {
            rustix::fs::chmod(&home, Mode::from_raw_mode(mode)).unwrap();
            assert_eq!(reads(&dir, &host, 0, "roots"), followed, "{mode:o}");
        }
    }
}
