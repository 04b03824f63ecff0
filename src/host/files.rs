//! Reads files, links and folders, always through `walk`; `write` changes them.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::base::checksum::sha256_of;
use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::walk::{Found, dir_of, path_of, some_names_of, stat_in};

/// How large a file may be that is parsed as text: configuration, code, lists.
const TEXT_LIMIT: u64 = 16 << 20;
/// How large a file of root's may be that is only kept: our program, journals, originals.
const WHOLE_LIMIT: u64 = 512 << 20;
/// How many entries of a folder are listed.
const LIST_LIMIT: usize = 100_000;

/// How much of a file is compared at a time.
const CHUNK: usize = 128 << 10;

/// What is known of a file besides its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    pub uid: u32,
    pub gid: u32,
    /// Permission bits, as in 0o644.
    pub mode: u32,
    pub size: u64,
    /// Its real path, if links were followed.
    pub path: PathBuf,
    mtime: (i64, i64),
    inode: (u64, u64),
}

impl Meta {
    pub fn mtime(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::new(self.mtime.0.max(0) as u64, self.mtime.1 as u32)
    }

    fn of(stat: &Stat, path: PathBuf) -> Meta {
        Meta {
            uid: stat.st_uid,
            gid: stat.st_gid,
            mode: stat.st_mode & 0o7777,
            size: stat.st_size as u64,
            path,
            mtime: (stat.st_mtime, stat.st_mtime_nsec as i64),
            inode: (stat.st_dev, stat.st_ino),
        }
    }

    pub(super) fn same_as(&self, stat: &Stat) -> bool {
        self.inode == (stat.st_dev, stat.st_ino)
            && self.mtime == (stat.st_mtime, stat.st_mtime_nsec as i64)
            && self.size == stat.st_size as u64
    }
}

#[derive(Debug, Clone)]
pub struct FileData {
    pub bytes: Vec<u8>,
    pub meta: Meta,
}

/// What is at a path.
#[derive(Debug, Clone)]
pub enum Node {
    Absent,
    File(Meta),
    Directory(Meta),
    Link {
        to: PathBuf,
        meta: Meta,
    },
    /// A pipe, socket or device.
    Other(Meta),
}

/// Owner, group and mode of a file to create.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
}

impl Attributes {
    pub const fn root(mode: u32) -> Self {
        Attributes {
            uid: 0,
            gid: 0,
            mode,
        }
    }
}

impl Host {
    /// What is at the path itself, a link too.
    pub fn look(&self, path: &Path) -> Result<Node> {
        self.look_at(path, false)
    }

    /// What the path leads to, through links that it is safe to follow.
    pub fn look_through(&self, path: &Path) -> Result<Node> {
        self.look_at(path, true)
    }

    fn look_at(&self, path: &Path, follow: bool) -> Result<Node> {
        let (stack, name) = match self.walk(path, follow)? {
            Found::Nowhere(_) => return Ok(Node::Absent),
            Found::Directory(stack) => {
                let here = path_of(&stack);
                let stat = rustix::fs::fstat(dir_of(&stack))?;
                return Ok(Node::Directory(Meta::of(&stat, here)));
            }
            Found::Leaf(stack, name) => (stack, name),
        };
        let here = path_of(&stack).join(&name);
        let Some(stat) = stat_in(&stack, &name)? else {
            return Ok(Node::Absent);
        };
        let meta = Meta::of(&stat, here);
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Node::File(meta),
            FileType::Directory => Node::Directory(meta),
            FileType::Symlink => {
                let to = rustix::fs::readlinkat(dir_of(&stack), &name, Vec::new())?;
                Node::Link {
                    to: PathBuf::from(OsStr::from_bytes(to.to_bytes())),
                    meta,
                }
            }
            _ => Node::Other(meta),
        })
    }

    pub fn exists(&self, path: &Path) -> bool {
        !matches!(self.look_through(path), Ok(Node::Absent) | Err(_))
    }

    pub fn is_dir(&self, path: &Path) -> bool {
        matches!(self.look_through(path), Ok(Node::Directory(_)))
    }

    /// A whole file of text; `None` if there is none.
    pub fn read(&self, path: &Path) -> Result<Option<FileData>> {
        self.read_up_to(path, TEXT_LIMIT)
    }

    /// A whole file in a folder of root's, which may be large.
    pub fn read_large(&self, path: &Path) -> Result<Option<FileData>> {
        self.read_up_to(path, WHOLE_LIMIT)
    }

    fn read_up_to(&self, path: &Path, limit: u64) -> Result<Option<FileData>> {
        let doing = || format!("read {}", path.display());
        let Some((file, meta)) = self.open(path)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        if meta.size <= limit {
            bytes.reserve(meta.size as usize);
            // It may grow meanwhile.
            file.take(limit + 1)
                .read_to_end(&mut bytes)
                .with_context(doing)?;
        }
        if meta.size.max(bytes.len() as u64) > limit {
            let why = format!("it is larger than {} MB", limit >> 20);
            let help = "move it away, or make it smaller, then run again";
            return Err(Problem::new(doing(), why).help(help).into());
        }
        Ok(Some(FileData { bytes, meta }))
    }

    /// The first bytes of a file, with the size of the whole; `None` if there is none.
    pub fn read_head(&self, path: &Path, length: usize) -> Result<Option<FileData>> {
        let Some((file, meta)) = self.open(path)? else {
            return Ok(None);
        };
        let mut bytes = Vec::with_capacity(length);
        file.take(length as u64)
            .read_to_end(&mut bytes)
            .with_context(|| format!("read {}", path.display()))?;
        Ok(Some(FileData { bytes, meta }))
    }

    /// Compares a file with another one of any size, holding neither in memory.
    /// Returns what is known of the file if their bytes are equal.
    pub fn equals(&self, path: &Path, other: &mut File) -> Result<Option<Meta>> {
        let doing = || format!("read {}", path.display());
        let Some((mut file, meta)) = self.open(path)? else {
            return Ok(None);
        };
        if other.metadata().with_context(doing)?.len() != meta.size {
            return Ok(None);
        }
        let (mut left, mut one, mut two) = (meta.size, vec![0; CHUNK], vec![0; CHUNK]);
        while left > 0 {
            let length = CHUNK.min(usize::try_from(left).unwrap_or(CHUNK));
            file.read_exact(&mut one[..length]).with_context(doing)?;
            other.read_exact(&mut two[..length]).with_context(doing)?;
            if one[..length] != two[..length] {
                return Ok(None);
            }
            left -= length as u64;
        }
        Ok(Some(meta))
    }

    /// The SHA-256 of a file of any size; `None` if there is none.
    pub fn sha256(&self, path: &Path) -> Result<Option<String>> {
        let Some((file, _)) = self.open(path)? else {
            return Ok(None);
        };
        let sum = sha256_of(file).with_context(|| format!("read {}", path.display()))?;
        Ok(Some(sum))
    }

    /// Opens a regular file for reading; `None` if there is nothing.
    fn open(&self, path: &Path) -> Result<Option<(File, Meta)>> {
        let doing = || format!("read {}", path.display());
        let (stack, name) = match self.walk(path, true).with_context(doing)? {
            Found::Nowhere(_) => return Ok(None),
            Found::Directory(_) => {
                return Err(Problem::new(doing(), "it is a folder, not a file")
                    .help("move it away, or name the right file, then run again")
                    .into());
            }
            Found::Leaf(stack, name) => (stack, name),
        };
        // Not blocking: someone may have put a pipe there.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = match rustix::fs::openat(dir_of(&stack), &name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::NXIO) => return Err(irregular(doing())), // a socket
            Err(error) => return Err(error).with_context(doing),
        };
        let stat = rustix::fs::fstat(&fd)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(irregular(doing()));
        }
        let meta = Meta::of(&stat, path_of(&stack).join(name));
        Ok(Some((File::from(fd), meta)))
    }

    /// The folder itself, or the nearest one above it that exists.
    pub fn existing_folder(&self, path: &Path) -> PathBuf {
        let exists = |folder: &&Path| self.is_dir(folder);
        let folder = path.ancestors().find(exists);
        folder.unwrap_or(Path::new("/")).to_owned()
    }

    /// The names in a folder, sorted; none if there is no such folder.
    pub fn list(&self, path: &Path) -> Result<Vec<OsString>> {
        let Found::Directory(stack) = self.walk(path, true)? else {
            return Ok(Vec::new());
        };
        let doing = || format!("list {}", path.display());
        let names = some_names_of(dir_of(&stack), LIST_LIMIT + 1).with_context(doing)?;
        if names.len() > LIST_LIMIT {
            let why = format!("it has more than {LIST_LIMIT} entries");
            return Err(Problem::new(doing(), why)
                .help("remove what it does not need, then run again")
                .into());
        }
        Ok(names)
    }

    /// Whether a folder contains anything but folders, this many levels deep. Not counted
    /// is what folders of the name `but` contain.
    pub fn has_files(&self, path: &Path, levels: usize, but: &str) -> Result<bool> {
        for name in self.list(path)? {
            let below = path.join(&name);
            match self.look(&below)? {
                Node::Directory(_) if levels <= 1 || name == but => {}
                Node::Directory(_) if !self.has_files(&below, levels - 1, but)? => {}
                Node::Absent => {}
                _ => return Ok(true),
            }
        }
        Ok(false)
    }
}

fn irregular(what: String) -> anyhow::Error {
    Problem::new(what, "it is not a regular file")
        .help("move it away, then run again")
        .into()
}
