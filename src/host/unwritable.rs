//! What keeps a path from being written: for everybody, or for one user.

use std::path::Path;

use anyhow::Result;
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags};

use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::files::{Meta, Node};
use crate::host::users::User;

impl Host {
    /// Why nobody, not even root, can create, replace or remove what is at a
    /// path: it or its folder is immutable or on a read-only file system.
    /// `None` if nothing is in the way.
    pub fn unwritable(&self, path: &Path, follow: bool) -> Result<Option<Problem>> {
        let node = match follow {
            true => self.look_through(path),
            false => self.look(path),
        };
        let mut checked = Vec::new();
        // Where a link leads, the file there is replaced.
        let path = match node {
            Ok(Node::File(meta)) => {
                checked.push(meta.path.clone());
                meta.path
            }
            _ => path.to_owned(),
        };
        checked.extend(path.parent().map(|above| self.existing_folder(above)));
        for at in checked {
            let what = format!("write {}", path.display());
            if let Some(attribute) = self.immutable(&at) {
                let why = format!("{} is {attribute}", at.display());
                return Ok(Some(Problem::new(what, why).help(format!(
                    "'lsattr -d {0}' shows it; run 'chattr -ia {0}', then run again",
                    at.display()
                ))));
            }
            if self.space(&at)?.read_only {
                let why = format!("{} is on a read-only file system", at.display());
                return Ok(Some(
                    Problem::new(what, why).help("mount it writable, then run again"),
                ));
            }
        }
        Ok(None)
    }

    /// The attribute that keeps a file from being replaced; not every file
    /// system reports it.
    fn immutable(&self, path: &Path) -> Option<&'static str> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let stat = rustix::fs::statx(CWD, self.on_machine(path), flags, StatxFlags::TYPE).ok()?;
        if stat.stx_attributes.contains(StatxAttributes::IMMUTABLE) {
            Some("immutable")
        } else if stat.stx_attributes.contains(StatxAttributes::APPEND) {
            Some("append-only")
        } else {
            None
        }
    }

    /// Why the user cannot create files in a folder, by its owner and mode;
    /// `None` if they can.
    pub fn cannot_write_in(&self, folder: &Path, user: &User) -> Result<Option<String>> {
        let Node::Directory(meta) = self.look_through(folder)? else {
            return Ok(Some(format!("there is no folder {}", folder.display())));
        };
        if user.uid == 0 || granted(&meta, user, 0o3) {
            return Ok(None);
        }
        Ok(Some(format!(
            "{} cannot write in {} (owner {}, mode {:04o})",
            user.name,
            folder.display(),
            self.user_name(meta.uid),
            meta.mode
        )))
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
    fn the_first_class_that_matches_decides() {
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
