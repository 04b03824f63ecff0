//! Whether there is room in a folder, who may write there, and whether anybody may.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{AtFlags, CWD, StatVfsMountFlags, StatxAttributes, StatxFlags};

use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::files::{Meta, Node};
use crate::host::users::User;

/// What the file system of a folder has left, for those who are not root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    pub bytes: u64,
    /// `None` where files are not counted.
    pub files: Option<u64>,
    pub read_only: bool,
    /// What tells one file system from another.
    pub disk: u64,
    for_root: u64,
}

impl Room {
    /// Root may use what is kept back for it.
    pub fn bytes_for_us(&self) -> u64 {
        match rustix::process::geteuid().is_root() {
            true => self.for_root,
            false => self.bytes,
        }
    }
}

impl Host {
    pub fn room(&self, folder: &Path) -> Result<Room> {
        let below = folder.strip_prefix("/").unwrap_or(folder);
        let at = self.root().join(below);
        let doing = || format!("look at the room in {}", folder.display());
        let stat = rustix::fs::statvfs(&at).with_context(doing)?;
        Ok(Room {
            bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
            files: (stat.f_files > 0).then_some(stat.f_favail),
            read_only: stat.f_flag.contains(StatVfsMountFlags::RDONLY),
            disk: rustix::fs::stat(&at).with_context(doing)?.st_dev,
            for_root: stat.f_bfree.saturating_mul(stat.f_frsize),
        })
    }

    /// The folder itself, or the nearest above it that is there.
    pub fn existing_folder(&self, path: &Path) -> PathBuf {
        let is_there = |folder: &&Path| self.is_dir(folder);
        let folder = path.ancestors().find(is_there);
        folder.unwrap_or(Path::new("/")).to_owned()
    }

    /// What keeps anybody, root too, from making, replacing or removing what
    /// stands at a path: it or its folder is read-only, or immutable.
    pub fn barred(&self, path: &Path, follow: bool) -> Result<Option<Problem>> {
        let node = match follow {
            true => self.look_through(path),
            false => self.look(path),
        };
        let mut looked_at = Vec::new();
        // Where a link led, it is the file there that is replaced.
        let path = match node {
            Ok(Node::File(meta)) => {
                looked_at.push(meta.path.clone());
                meta.path
            }
            _ => path.to_owned(),
        };
        looked_at.extend(path.parent().map(|above| self.existing_folder(above)));
        for at in looked_at {
            let what = format!("write {}", path.display());
            if let Some(attribute) = self.frozen(&at) {
                let why = format!("{} is {attribute}", at.display());
                return Ok(Some(Problem::new(what, why).help(format!(
                    "'lsattr -d {0}' shows it; 'chattr -ia {0}', then run again",
                    at.display()
                ))));
            }
            if self.room(&at)?.read_only {
                let why = format!("{} is on a read-only file system", at.display());
                return Ok(Some(
                    Problem::new(what, why).help("mount it writable, then run again"),
                ));
            }
        }
        Ok(None)
    }

    /// The attribute by which nobody may replace it; not every system tells.
    fn frozen(&self, path: &Path) -> Option<&'static str> {
        let below = path.strip_prefix("/").unwrap_or(path);
        let at = self.root().join(below);
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let stat = rustix::fs::statx(CWD, at, flags, StatxFlags::TYPE).ok()?;
        if stat.stx_attributes.contains(StatxAttributes::IMMUTABLE) {
            Some("immutable")
        } else if stat.stx_attributes.contains(StatxAttributes::APPEND) {
            Some("append-only")
        } else {
            None
        }
    }

    /// Why the user may not make files in a folder, by its owner and mode;
    /// `None` where it may.
    pub fn cannot_write_in(&self, folder: &Path, user: &User) -> Result<Option<String>> {
        let Node::Directory(meta) = self.look_through(folder)? else {
            return Ok(Some(format!("there is no folder {}", folder.display())));
        };
        if user.uid == 0 || granted(&meta, user, 0o3) {
            return Ok(None);
        }
        Ok(Some(format!(
            "{} may not write in {} (owner {}, mode {:04o})",
            user.name,
            folder.display(),
            self.name_of(meta.uid),
            meta.mode
        )))
    }

    /// The user's name, or the number where it has none.
    pub fn name_of(&self, uid: u32) -> String {
        match self.user_by_id(uid) {
            Ok(Some(user)) => user.name,
            _ => uid.to_string(),
        }
    }

    /// The first bytes of a file, and its size.
    pub fn head(&self, path: &Path, bytes: usize) -> Result<(Vec<u8>, u64)> {
        use std::io::Read;
        use std::os::unix::fs::OpenOptionsExt;
        let below = path.strip_prefix("/").unwrap_or(path);
        // Not blocking, not followed: what stands there may be anything.
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let file = std::fs::OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits() as i32)
            .open(self.root().join(below))
            .with_context(|| format!("read {}", path.display()))?;
        let size = file.metadata()?.len();
        let mut head = Vec::with_capacity(bytes);
        file.take(bytes as u64).read_to_end(&mut head)?;
        Ok((head, size))
    }
}

/// Whether owner, group and mode grant all of these rights (as in 0o7).
fn granted(meta: &Meta, user: &User, rights: u32) -> bool {
    let bits = if meta.uid == user.uid {
        meta.mode >> 6
    } else if user.groups.contains(&meta.gid) {
        meta.mode >> 3
    } else {
        meta.mode
    };
    bits & rights == rights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_class_that_fits_decides() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::new(Some(dir.path())).unwrap();
        let Node::Directory(mut meta) = host.look(Path::new("/")).unwrap() else {
            panic!("a folder");
        };
        (meta.uid, meta.gid, meta.mode) = (7, 8, 0o573);
        let user = |uid, group| User {
            name: "u".into(),
            uid,
            gid: group,
            groups: vec![group],
            home: "/".into(),
        };
        assert!(!granted(&meta, &user(7, 8), 0o3)); // its owner may not write
        assert!(granted(&meta, &user(9, 8), 0o3));
        assert!(granted(&meta, &user(9, 9), 0o3));
    }
}
