//! The folder of PHP's opcode cache: whether it can be trusted, and its size.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::worker::Paths;
use crate::worker::log::SiteLog;

/// The size in bytes at which the cache is emptied, as deployments into new folders
/// leave the code of old ones behind.
const MAX_SIZE: u64 = 512 << 20;

/// How often the size is checked.
const TRIM: Duration = Duration::from_secs(86_400);

pub struct OpcodeCache {
    paths: Paths,
    /// That of PHP's last start.
    now: PathBuf,
    /// Why it could not be used when last checked.
    unusable: Option<String>,
    trim_at: Instant,
    /// What it holds was compiled with other settings, such as disable_functions, with
    /// which PHP may crash, or from a file that has changed although its time has not,
    /// which PHP would not notice.
    is_stale: bool,
}

impl OpcodeCache {
    pub fn new(paths: &Paths) -> OpcodeCache {
        OpcodeCache {
            paths: paths.clone(),
            now: PathBuf::new(),
            unusable: None,
            trim_at: Instant::now(),
            is_stale: false,
        }
    }

    /// To be emptied before PHP uses it again.
    pub fn distrust(&mut self) {
        self.is_stale = true;
    }

    /// The folder for the next PHP, if it can be used. It is checked each time, as PHP
    /// would not even start with a folder of another owner.
    pub fn usable(&mut self, now: Instant, log: &SiteLog) -> Option<&Path> {
        self.now = self.paths.opcodes();
        let shown = self.paths.cache.display();
        let why = check(&self.paths.cache)
            .and_then(|()| begin(&self.paths, &self.now))
            .and_then(|()| check(&self.now))
            .err();
        if why != self.unusable {
            match &why {
                Some(why) => log.line(&format!("not using the opcode cache in {shown}: {why}")),
                None => log.line(&format!("using the opcode cache in {shown} again")),
            }
            self.unusable = why;
        }
        if self.unusable.is_some() {
            return None;
        }
        if std::mem::take(&mut self.is_stale) && empty(&self.now).is_ok() {
            log.line("emptied the opcode cache, which may be outdated");
        }
        if now >= self.trim_at {
            self.trim_at = now + TRIM;
            match trim(&self.now) {
                Ok(true) => log.line("emptied the opcode cache, which had grown too large"),
                Ok(false) => {}
                Err(e) => log.line(&format!(
                    "cannot check the size of the opcode cache in {shown}: {e}"
                )),
            }
        }
        Some(&self.now)
    }
}

/// Creates the folder of a new generation, and removes those before.
fn begin(paths: &Paths, now: &Path) -> Result<(), String> {
    match fs::DirBuilder::new().mode(0o700).create(now) {
        // A PHP that had not ended yet may have put something back into an old one. A
        // reload that came meanwhile is for the next start.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            if paths.opcodes() != now {
                return Ok(());
            }
        }
        created => created.map_err(|e| e.to_string())?,
    }
    // What cannot be removed takes space, but is not used.
    let _ = empty_but(&paths.cache, Some(now));
    Ok(())
}

/// Refuses a folder to which others may write: they could run code as the worker
/// user.
fn check(dir: &Path) -> Result<(), String> {
    let meta = fs::symlink_metadata(dir).map_err(|e| e.to_string())?;
    if !meta.is_dir() {
        Err("it is not a folder".into())
    } else if meta.uid() != rustix::process::geteuid().as_raw() {
        Err("it belongs to another user".into())
    } else if meta.mode() & 0o077 != 0 {
        Err(format!(
            "other users can access it (mode {:o})",
            meta.mode() & 0o777
        ))
    } else {
        Ok(())
    }
}

/// Empties the folder if it is too large. True if it was.
fn trim(dir: &Path) -> io::Result<bool> {
    if size(dir)? <= MAX_SIZE {
        return Ok(false);
    }
    empty(dir)?;
    Ok(true)
}

fn empty(dir: &Path) -> io::Result<()> {
    empty_but(dir, None)
}

fn empty_but(dir: &Path, but: Option<&Path>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if but == Some(entry.path().as_path()) {
            continue;
        }
        let _ = match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            true => remove_with_others(&entry.path()),
            false => fs::remove_file(entry.path()),
        };
    }
    Ok(())
}

/// Other workers of the site may be doing the same, while their PHPs still write into it:
/// what one of them has added ends an attempt.
fn remove_with_others(dir: &Path) -> io::Result<()> {
    let mut tries = 0..100;
    loop {
        match fs::remove_dir_all(dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound && !dir.exists() => return Ok(()),
            Err(_) if tries.next().is_some() => {}
            done => return done,
        }
    }
}

fn size(dir: &Path) -> io::Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let Ok(meta) = entry.metadata() else { continue };
        total += match meta.is_dir() {
            true => size(&entry.path()).unwrap_or(0),
            false => meta.len(),
        };
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn only_a_private_folder_is_trusted() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(check(dir.path()), Ok(()));
        let link = dir.path().join("link");
        symlink(dir.path(), &link).unwrap();
        assert!(check(&link).is_err());
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o770)).unwrap();
        assert!(check(dir.path()).is_err());
    }

    #[test]
    fn a_reload_begins_with_an_empty_folder() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path(), "a");
        let private = |path: &Path| {
            fs::create_dir_all(path).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
        };
        private(&paths.run);
        private(&paths.cache);
        let log = SiteLog::open(Path::new("/dev/null"), "test".into());
        let (now, mut cache) = (Instant::now(), OpcodeCache::new(&paths));
        let first = cache.usable(now, &log).unwrap().to_owned();
        fs::write(first.join("planted.bin"), "").unwrap();
        fs::write(paths.cache.join("of-an-old-version"), "").unwrap();
        assert_eq!(cache.usable(now, &log), Some(first.as_path()));
        assert!(first.join("planted.bin").exists());
        fs::write(&paths.reload, "../x1").unwrap();
        let second = cache.usable(now, &log).unwrap().to_owned();
        assert_eq!(second, paths.cache.join("x1"));
        let left: Vec<_> = fs::read_dir(&paths.cache).unwrap().flatten().collect();
        assert_eq!(left.len(), 1, "{left:?}");
        assert_eq!(size(&second).unwrap(), 0);
        // A PHP of before ends late; the next worker finds what it wrote.
        fs::create_dir_all(first.join("a")).unwrap();
        fs::write(first.join("a/planted.bin"), "").unwrap();
        let mut other = OpcodeCache::new(&paths);
        assert_eq!(other.usable(now, &log), Some(second.as_path()));
        assert!(!first.exists());
        // A link in its place is none of ours.
        fs::write(&paths.reload, "x2").unwrap();
        symlink(dir.path(), paths.cache.join("x2")).unwrap();
        assert_eq!(cache.usable(now, &log), None);
    }

    #[test]
    fn workers_that_empty_it_at_the_same_time_leave_nothing() {
        let dir = tempfile::tempdir().unwrap();
        for round in 0..20 {
            for n in 0..20 {
                let folder = dir.path().join(format!("old/{n}/a"));
                fs::create_dir_all(&folder).unwrap();
                fs::write(folder.join("planted.bin"), "").unwrap();
            }
            let all_begin = std::sync::Barrier::new(3);
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        all_begin.wait();
                        let _ = empty_but(dir.path(), None);
                    });
                }
            });
            let left: Vec<_> = fs::read_dir(dir.path()).unwrap().flatten().collect();
            assert!(left.is_empty(), "{round}: {left:?}");
        }
    }

    #[test]
    fn a_large_cache_is_emptied() {
        let dir = tempfile::tempdir().unwrap();
        let sub = dir.path().join("a/b");
        fs::create_dir_all(&sub).unwrap();
        let file = fs::File::create(sub.join("c.bin")).unwrap();
        assert!(!trim(dir.path()).unwrap());
        file.set_len(MAX_SIZE + 1).unwrap();
        assert!(trim(dir.path()).unwrap());
        assert!(!dir.path().join("a").exists());
    }
}
