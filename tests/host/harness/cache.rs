//! A cache of things that are expensive to build, each built once and completely.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

pub fn folder() -> PathBuf {
    std::env::var_os("WP_GEARS_TEST_CACHE")
        .map_or_else(|| PathBuf::from("/var/cache/wp-gears-tests"), PathBuf::from)
}

/// The entry `name`, built by `build` unless it exists. `made_of` contains everything
/// that determines the result: another text means another entry.
pub fn entry(
    name: &str,
    made_of: &str,
    build: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let path = folder().join(format!("{name}-{}", &sha256(made_of)[..10]));
    fs::create_dir_all(folder()).with_context(|| format!("making {}", folder().display()))?;
    let lock = File::create(path.with_extension("lock"))?;
    lock.lock()?; // somebody else may be building it: then wait and take theirs
    lock.set_modified(SystemTime::now())?; // tells how long nobody wanted it
    if path.exists() {
        return Ok(path);
    }
    remove_old();
    let began = std::time::Instant::now();
    eprintln!("building {name} in {} …", folder().display());
    let half = path.with_extension("half");
    if half.exists() {
        fs::remove_dir_all(&half)?;
    }
    fs::create_dir(&half)?;
    build(&half).with_context(|| format!("building {name}"))?;
    fs::rename(&half, &path)?;
    eprintln!("built {name} in {:.0?}", began.elapsed());
    Ok(path)
}

/// Removes entries from earlier recipes that were not used for a week.
fn remove_old() {
    let week = Duration::from_secs(7 * 24 * 3600);
    for entry in fs::read_dir(folder()).into_iter().flatten().flatten() {
        let used = entry.metadata().and_then(|meta| meta.modified());
        let unused = used.is_ok_and(|used| used.elapsed().is_ok_and(|age| age > week));
        if unused
            && entry
                .path()
                .extension()
                .is_some_and(|extension| extension == "lock")
        {
            for what in ["half", ""] {
                let _ = fs::remove_dir_all(entry.path().with_extension(what));
            }
            let _ = fs::remove_file(entry.path());
        }
    }
}

pub fn sha256(bytes: impl AsRef<[u8]>) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
