//! The wp-config.php of a site on a host: which file it is, what it includes,
//! and its refusals in words for people.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::config::Refusal;
use crate::host::Host;
use crate::problem::Problem;

/// The file that WordPress loads for this site.
pub fn locate(host: &Host, dir: &Path) -> Result<PathBuf> {
    let _ = host;
    Ok(dir.join("wp-config.php"))
}

/// The files that the config includes by a literal path, read once.
pub fn included(_host: &Host, _config: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    BTreeMap::new()
}

/// A reader of included files, for a look at one config.
pub fn includes<'a>(_host: &'a Host, _config: &Path) -> impl Fn(&[u8]) -> Option<Vec<u8>> + 'a {
    |_| None
}

pub fn explain(path: &Path, refusal: Refusal) -> Problem {
    let place = match refusal.line {
        Some(line) => format!("{}, line {line}", path.display()),
        None => path.display().to_string(),
    };
    Problem::new(format!("edit {place}"), refusal.reason)
        .advice(format!("add by hand:\n{}", refusal.by_hand))
}
