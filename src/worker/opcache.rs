//! The folder of PHP's opcode cache: whether it can be trusted, and that it
//! does not grow for ever.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Deployments into new folders leave the code of the old ones behind: past
/// this size all of it goes, and the next PHP fills it anew.
const LARGEST: u64 = 512 << 20;

/// Whether code may be cached there: who can write it can run code as us.
pub fn check(dir: &Path) -> Result<(), String> {
    let meta = fs::symlink_metadata(dir).map_err(|e| e.to_string())?;
    if !meta.is_dir() {
        Err("it is not a folder".into())
    } else if meta.uid() != rustix::process::geteuid().as_raw() {
        Err("it is another user's".into())
    } else if meta.mode() & 0o077 != 0 {
        Err(format!(
            "others can enter it (mode {:o})",
            meta.mode() & 0o777
        ))
    } else {
        Ok(())
    }
}

/// Empties the folder if it holds too much. True where it did.
pub fn trim(dir: &Path) -> io::Result<bool> {
    if size(dir)? <= LARGEST {
        return Ok(false);
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        // Another worker of the site may be at it too.
        let _ = match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path()),
            false => fs::remove_file(entry.path()),
        };
    }
    Ok(true)
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
    fn trusts_only_what_is_ours_alone() {
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
    fn empties_what_has_grown() {
        let dir = tempfile::tempdir().unwrap();
        let sub = dir.path().join("a/b");
        fs::create_dir_all(&sub).unwrap();
        let file = fs::File::create(sub.join("c.bin")).unwrap();
        assert!(!trim(dir.path()).unwrap());
        file.set_len(LARGEST + 1).unwrap();
        assert!(trim(dir.path()).unwrap());
        assert!(!dir.path().join("a").exists());
    }
}
