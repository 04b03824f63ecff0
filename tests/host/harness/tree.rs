//! The exact contents of folders, and the differences between two states.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::cache::sha256;

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    kind: &'static str,
    mode: u32,
    owner: (u32, u32),
    /// The hash and length of a file, or the target of a link.
    content: String,
    modified: (i64, i64),
    inode: u64,
}

/// Entries by path, as the host sees them.
#[derive(Clone, Default)]
pub struct Tree(BTreeMap<PathBuf, Entry>);

impl Tree {
    /// Reads `folders` below `root`. No link is followed.
    pub fn read(root: &Path, folders: &[&str]) -> Tree {
        let mut tree = Tree::default();
        for folder in folders {
            tree.add(root, Path::new(folder));
        }
        tree
    }

    fn add(&mut self, root: &Path, path: &Path) {
        let real = root.join(path.strip_prefix("/").unwrap_or(path));
        let Ok(meta) = fs::symlink_metadata(&real) else {
            return;
        };
        let kind = meta.file_type();
        let (kind, content) = if kind.is_dir() {
            ("folder", String::new())
        } else if kind.is_symlink() {
            let target = fs::read_link(&real).unwrap_or_default();
            ("link", target.to_string_lossy().into_owned())
        } else if kind.is_file() {
            let content = match fs::read(&real) {
                Ok(bytes) if is_shadow(path) => sha256(without_days(&bytes)),
                Ok(bytes) => format!("{} ({} bytes)", sha256(&bytes), bytes.len()),
                Err(error) => format!("unreadable: {error}"),
            };
            ("file", content)
        } else if kind.is_socket() {
            ("socket", String::new())
        } else {
            ("special file", String::new())
        };
        let entry = Entry {
            kind,
            mode: meta.mode() & 0o7777,
            owner: (meta.uid(), meta.gid()),
            content,
            modified: (meta.mtime(), meta.mtime_nsec()),
            inode: meta.ino(),
        };
        self.0.insert(path.to_owned(), entry);
        if kind == "folder" {
            let Ok(entries) = fs::read_dir(&real) else {
                return;
            };
            for entry in entries.flatten() {
                self.add(root, &path.join(entry.file_name()));
            }
        }
    }

    /// Excludes a path and everything below it.
    pub fn without(mut self, prefix: &str) -> Tree {
        self.0.retain(|path, _| !path.starts_with(prefix));
        self
    }

    /// A line for each path that was created, removed, or changed in its contents, mode,
    /// owner or target.
    pub fn changes_to(&self, later: &Tree) -> Vec<String> {
        self.differences(later, false)
    }

    /// The same, but touched and replaced files count as well.
    pub fn touches_to(&self, later: &Tree) -> Vec<String> {
        self.differences(later, true)
    }

    fn differences(&self, later: &Tree, touched: bool) -> Vec<String> {
        let mut lines = vec![];
        let paths: std::collections::BTreeSet<_> = self.0.keys().chain(later.0.keys()).collect();
        for path in paths {
            let path_shown = path.display();
            match (self.0.get(path), later.0.get(path)) {
                (None, Some(new)) => lines.push(format!("+ {path_shown} ({})", new.kind)),
                (Some(old), None) => lines.push(format!("- {path_shown} ({})", old.kind)),
                (Some(old), Some(new)) => {
                    let what = old.difference(new, touched);
                    if !what.is_empty() {
                        lines.push(format!("~ {path_shown}: {}", what.join(", ")));
                    }
                }
                (None, None) => {}
            }
        }
        lines
    }
}

impl Entry {
    fn difference(&self, new: &Entry, touched: bool) -> Vec<String> {
        let mut what = vec![];
        if self.kind != new.kind {
            what.push(format!("{} → {}", self.kind, new.kind));
        }
        if self.content != new.content {
            what.push(format!("{} → {}", self.content, new.content));
        }
        if self.mode != new.mode {
            what.push(format!("mode {:o} → {:o}", self.mode, new.mode));
        }
        if self.owner != new.owner {
            what.push(format!("owner {:?} → {:?}", self.owner, new.owner));
        }
        if touched && self.modified != new.modified {
            what.push("modified".into());
        }
        if touched && self.inode != new.inode {
            what.push("replaced".into());
        }
        what
    }
}

fn is_shadow(path: &Path) -> bool {
    path == Path::new("/etc/shadow") || path == Path::new("/etc/shadow-")
}

/// The file without the days on which passwords changed: a package's new user gets the
/// present one, and images may be of the day before.
fn without_days(shadow: &[u8]) -> String {
    let text = String::from_utf8_lossy(shadow);
    let line = |line: &str| {
        let mut fields: Vec<&str> = line.split(':').collect();
        if let Some(day) = fields.get_mut(2) {
            *day = "";
        }
        fields.join(":")
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}
