//! Whether the files that a PHP process loaded have changed since.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Modification time in nanoseconds, size and inode; zeros if there is no file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp(i128, u64, u64);

impl Stamp {
    fn of(path: &Path) -> Stamp {
        match fs::metadata(path) {
            Ok(m) => Stamp(
                i128::from(m.mtime()) * 1_000_000_000 + i128::from(m.mtime_nsec()),
                m.size(),
                m.ino(),
            ),
            Err(_) => Stamp(0, 0, 0),
        }
    }
}

/// The state of files at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamps {
    pub site: PathBuf,
    /// The resolved path of the site, as a deployment may change a link in it.
    real: Option<PathBuf>,
    files: Vec<(PathBuf, Stamp)>,
}

impl Stamps {
    pub fn take(site: &Path, files: impl IntoIterator<Item = PathBuf>) -> Stamps {
        Stamps {
            site: site.to_path_buf(),
            real: site.canonicalize().ok(),
            files: files
                .into_iter()
                .map(|path| {
                    let stamp = Stamp::of(&path);
                    (path, stamp)
                })
                .collect(),
        }
    }

    /// The first file that has changed.
    pub fn changed(&self) -> Option<&Path> {
        if self.site.canonicalize().ok() != self.real {
            return Some(&self.site);
        }
        let changed = self
            .files
            .iter()
            .find(|(path, was)| Stamp::of(path) != *was);
        changed.map(|(path, _)| path.as_path())
    }

    /// Whether the settings of PHP itself have changed.
    pub fn settings_changed(&self) -> bool {
        let is_ini = |path: &Path| {
            let folder_of_ini = path.file_name().is_some_and(|name| name == "conf.d");
            folder_of_ini || path.extension().is_some_and(|ending| ending == "ini")
        };
        let mut all = self.files.iter();
        all.any(|(path, was)| is_ini(path) && Stamp::of(path) != *was)
    }

    /// Whether a file is another one, but has the same time to the second, which is all
    /// that PHP's opcode cache compares.
    pub fn changed_unnoticed(&self) -> bool {
        let second = |stamp: &Stamp| stamp.0.div_euclid(1_000_000_000);
        let mut all = self.files.iter();
        all.any(|(path, was)| {
            let now = Stamp::of(path);
            now != *was && second(&now) == second(was)
        })
    }

    /// A file that was modified after `then`, by the file system's clock.
    pub fn newer_than(&self, then: SystemTime) -> Option<&Path> {
        let then = then
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_nanos() as i128);
        // The kernel uses the time of its last tick.
        let then = then - 10_000_000;
        let newer = self
            .files
            .iter()
            .find(|(_, Stamp(mtime, ..))| *mtime >= then);
        newer.map(|(path, _)| path.as_path())
    }

    /// The same without the files of WordPress itself.
    pub fn without_core(&self) -> Stamps {
        let core = |path: &Path| {
            let text = path.to_string_lossy();
            text.contains("/wp-includes/") || text.contains("/wp-admin/")
        };
        Stamps {
            files: self
                .files
                .iter()
                .filter(|(path, _)| !core(path))
                .cloned()
                .collect(),
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn sees_changes() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("wp-config.php");
        let gone = dir.path().join("not-there.php");
        fs::write(&file, "a").unwrap();
        let early = SystemTime::now() - std::time::Duration::from_secs(60);
        let stamps = Stamps::take(dir.path(), [file.clone(), gone.clone()]);
        assert_eq!(stamps.changed(), None);
        assert_eq!(stamps.newer_than(early), Some(file.as_path()));
        fs::write(&gone, "").unwrap();
        assert_eq!(stamps.changed(), Some(gone.as_path()));
        fs::remove_file(&gone).unwrap();
        fs::write(&file, "ab").unwrap();
        assert_eq!(stamps.changed(), Some(file.as_path()));
    }

    #[test]
    fn sees_what_the_opcode_cache_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.php");
        let write = |text: &str, seconds| {
            let new = dir.path().join("new");
            fs::write(&new, text).unwrap();
            let at = UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            File::open(&new).unwrap().set_modified(at).unwrap();
            fs::rename(&new, &file).unwrap();
        };
        write("a", 7);
        let stamps = Stamps::take(dir.path(), [file.clone()]);
        assert!(!stamps.changed_unnoticed());
        write("b", 7);
        assert!(stamps.changed().is_some() && stamps.changed_unnoticed());
        write("c", 8);
        assert!(stamps.changed().is_some() && !stamps.changed_unnoticed());
    }

    #[test]
    fn sees_a_turned_link() {
        let dir = tempfile::tempdir().unwrap();
        let current = dir.path().join("current");
        for release in ["1", "2"] {
            fs::create_dir(dir.path().join(release)).unwrap();
        }
        std::os::unix::fs::symlink("1", &current).unwrap();
        let stamps = Stamps::take(&current, []);
        assert_eq!(stamps.changed(), None);
        fs::remove_file(&current).unwrap();
        std::os::unix::fs::symlink("2", &current).unwrap();
        assert_eq!(stamps.changed(), Some(current.as_path()));
    }
}
