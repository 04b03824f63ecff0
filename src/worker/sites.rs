//! The sites with workers on this host, found by the folders that setup created for
//! them.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::base::problem::Problem;
use crate::worker::is_name;

/// A site with workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerSite {
    pub name: String,
    /// The WordPress root; unknown until one of its workers has loaded the site.
    pub dir: Option<PathBuf>,
}

/// All sites, or those in `only`, named by folder or name.
pub fn find(state: &Path, only: &[PathBuf]) -> Result<Vec<WorkerSite>> {
    let all = all(state).map_err(|e| {
        let what = format!("look for sites in {}", state.join("run").display());
        Problem::new(what, e).help("set one up with 'wp-gears setup --site DIR'")
    })?;
    pick(all, only)
}

/// All sites, sorted by name.
pub fn all(state: &Path) -> std::io::Result<Vec<WorkerSite>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(state.join("run"))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if is_name(&name) && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let dir = crate::worker::dir_of(&entry.path());
            all.push(WorkerSite { name, dir });
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

/// The sites in `only`, or all if that is empty.
pub fn pick(all: Vec<WorkerSite>, only: &[PathBuf]) -> Result<Vec<WorkerSite>> {
    if only.is_empty() {
        return Ok(all);
    }
    let mut chosen = Vec::new();
    for wanted in only {
        let absolute = std::path::absolute(wanted).unwrap_or_else(|_| wanted.clone());
        let found = all.iter().find(|site| {
            site.dir.as_ref() == Some(&absolute) || wanted.as_os_str() == site.name.as_str()
        });
        let site = found.ok_or_else(|| {
            let names: Vec<_> = all.iter().map(|site| site.name.as_str()).collect();
            Problem::usage(
                format!("find the site {}", wanted.display()),
                "it has no workers on this host",
            )
            .help(match names[..] {
                [] => "set one up with 'wp-gears setup --site DIR'".to_string(),
                _ => format!("these sites have workers: {}", names.join(", ")),
            })
        })?;
        if !chosen.contains(site) {
            chosen.push(site.clone());
        }
    }
    Ok(chosen)
}
