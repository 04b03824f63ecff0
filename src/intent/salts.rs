//! The salts of a host's sites: two sites with one salt would run each other's jobs.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::base::paths::STATE;
use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::files::Attributes;
use crate::host::supervisor::Supervisord;
use crate::intent::adopt::by_site;
use crate::intent::resolved::SiteResolved;
use crate::site::config::{self, Found};
use crate::site::settings;
use crate::supervisor::programs::{self, ProgramSection};

/// Two sites with one wp-config.php would share its salt. The first one gets it.
pub fn refuse_shared_configs(
    sites: &mut Vec<SiteResolved>,
    refused: &mut Vec<(PathBuf, anyhow::Error)>,
) {
    let mut by_file: HashMap<PathBuf, PathBuf> = HashMap::new();
    sites.retain(|site| {
        let first = by_file.entry(site.config.clone());
        let first = first.or_insert_with(|| site.dir.clone());
        if *first == site.dir || site.existing.is_some() || site.found.salt_computed {
            return true;
        }
        let what = format!("set up {}", site.dir.display());
        let why = format!(
            "its wp-config.php is that of {} ({}), so both would have the same WP_ASYNC_TASK_SALT and run each other's jobs",
            first.display(),
            site.config.display()
        );
        let problem = Problem::new(what, why).help(
            "give it a wp-config.php of its own, or a WP_ASYNC_TASK_SALT that is not the same for both",
        );
        refused.push((site.dir.clone(), problem.into()));
        false
    });
}

/// Two sites with the same salt would run each other's jobs. A site that was set
/// up earlier keeps it; new ones are refused.
pub fn refuse_shared_salts(
    host: &Host,
    programs: &HashMap<PathBuf, ProgramSection>,
    sites: &mut Vec<SiteResolved>,
    refused: &mut Vec<(PathBuf, anyhow::Error)>,
) {
    let mut with_salt: HashMap<String, Vec<PathBuf>> = HashMap::new();
    let planned: HashSet<&Path> = sites.iter().map(|site| site.dir.as_path()).collect();
    let others = programs
        .keys()
        .filter(|dir| !planned.contains(dir.as_path()));
    for (salt, dir) in others.filter_map(|dir| Some((salt_of(host, dir)?, dir))) {
        with_salt.entry(salt).or_default().push(dir.clone());
    }
    for site in sites.iter() {
        if let Some(salt) = site.effective_salt() {
            let dirs = with_salt.entry(salt.to_owned()).or_default();
            dirs.push(site.dir.clone());
        }
    }
    let mut bad: Vec<(PathBuf, PathBuf)> = Vec::new();
    for site in sites.iter().filter(|site| site.existing.is_none()) {
        let shared = site.effective_salt().and_then(|salt| with_salt.get(salt));
        let other = shared.and_then(|dirs| dirs.iter().find(|dir| **dir != site.dir));
        bad.extend(other.map(|other| (site.dir.clone(), other.clone())));
    }
    for (dir, other) in bad {
        sites.retain(|site| site.dir != dir);
        let what = format!("set up {}", dir.display());
        let why = format!(
            "it has the same WP_ASYNC_TASK_SALT as {}, so each would run the other's jobs",
            other.display()
        );
        let problem = Problem::new(what, why).help(
            "if it is a copy, delete the salt from its wp-config.php or set another with --salt",
        );
        refused.push((dir, problem.into()));
    }
}

/// A salt that setup generated, and that no wp-config.php has any more because the run
/// failed: jobs may wait under it, so the next run takes it again. Only root reads it.
fn place(name: &str) -> PathBuf {
    Path::new(STATE).join(format!("site-{name}.salt"))
}

/// The salt that is kept for a site; none for users who may not read it.
pub fn kept(host: &Host, name: &str) -> Option<String> {
    let file = host.read(&place(name)).ok()??;
    let salt = String::from_utf8(file.bytes).ok()?;
    Some(salt.trim().to_owned()).filter(|salt| !salt.is_empty())
}

pub fn keep(host: &Host, name: &str, salt: &str) -> Result<()> {
    let text = format!("{salt}\n");
    let path = place(name);
    let now = host.read(&path)?;
    let root = Attributes::root(0o600);
    host.write(
        &path,
        text.as_bytes(),
        Some(root),
        now.as_ref().map(|it| &it.meta),
    )
}

pub fn forget(host: &Host, name: &str) -> Result<()> {
    match host.exists(&place(name)) {
        true => host.remove_file(&place(name)),
        false => Ok(()),
    }
}

/// The folder and salt of these sites and of all others that have workers here.
pub fn salts(
    host: &Host,
    supervisor: &Supervisord,
    sites: &[SiteResolved],
) -> Vec<(PathBuf, String)> {
    let programs = programs::all(host, supervisor).unwrap_or_default();
    let mut dirs: Vec<PathBuf> = sites.iter().map(|site| site.dir.clone()).collect();
    dirs.extend(by_site(programs).into_keys());
    dirs.sort();
    dirs.dedup();
    dirs.into_iter()
        .filter_map(|dir| Some((dir.clone(), salt_of(host, &dir)?)))
        .collect()
}

fn salt_of(host: &Host, dir: &Path) -> Option<String> {
    settings_of(host, dir)?.salt
}

/// What the wp-config.php of a site defines, if it can be read.
pub fn settings_of(host: &Host, dir: &Path) -> Option<Found> {
    let path = settings::locate(host, dir, None).ok()?;
    let file = host.read(&path).ok()??;
    config::scan(&file.bytes, &settings::includes(host, dir, &path)).ok()
}
