//! The sites with workers on this host: by the folders that setup created for them, and
//! what root's files say of each. What lies in those folders belongs to the worker
//! user, so root does not ask it which site, or which job server, that is.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::base::paths::BASE;
use crate::base::problem::Problem;
use crate::gearman::server::Server;
use crate::host::Host;
use crate::supervisor::programs::{self, ProgramSection};
use crate::worker::{self, is_name};

/// A site with workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerSite {
    pub name: String,
    /// The WordPress root, if supervisor's program names it. Other users than root
    /// believe their own workers, too.
    pub dir: Option<PathBuf>,
    /// The job servers in the program.
    pub servers: Vec<Server>,
    /// Whoever asks is the worker user, who may believe what the site's files say.
    pub is_own: bool,
}

/// All sites, or those in `only`, named by folder or name.
pub fn find(host: &Host, state: &Path, only: &[PathBuf]) -> Result<Vec<WorkerSite>> {
    let all = all(&programs(host), state).map_err(|e| {
        let what = format!("look for sites in {}", state.join("run").display());
        Problem::new(what, e).help("set one up with 'wp-gears setup --site DIR'")
    })?;
    pick(all, only)
}

/// The programs of this host's supervisord; none without permission, or where there is
/// no supervisord.
pub fn programs(host: &Host) -> Vec<ProgramSection> {
    host.supervisor()
        .and_then(|supervisor| programs::all(host, supervisor))
        .unwrap_or_default()
}

/// All sites with a folder, sorted by name.
pub fn all(programs: &[ProgramSection], state: &Path) -> std::io::Result<Vec<WorkerSite>> {
    let mut all = Vec::new();
    let me = rustix::process::geteuid();
    for entry in std::fs::read_dir(state.join("run"))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(meta) = std::fs::symlink_metadata(entry.path()) else {
            continue;
        };
        if !is_name(&name) || !meta.is_dir() {
            continue;
        }
        let is_own = !me.is_root() && meta.uid() == me.as_raw();
        let mut site = WorkerSite {
            dir: None,
            servers: Vec::new(),
            is_own,
            name,
        };
        if let Some(program) = programs.iter().find(|it| runs(it, &site.name, state)) {
            site.tell(program);
        }
        if is_own {
            let dir = || worker::dir_of(&entry.path());
            site.dir = site.dir.or_else(dir);
        }
        all.push(site);
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

/// Whether the program runs the workers of this site.
fn runs(program: &ProgramSection, name: &str, state: &Path) -> bool {
    let of = program.option("--state");
    program.site().is_some()
        && program.option("--name").as_deref() == Some(name)
        && of.as_deref().map_or(Path::new(BASE), Path::new) == state
}

impl WorkerSite {
    /// The site of a program, if it is a worker of ours.
    pub fn of(program: &ProgramSection) -> Option<WorkerSite> {
        let mut site = WorkerSite {
            name: program.option("--name").filter(|name| is_name(name))?,
            dir: None,
            servers: Vec::new(),
            is_own: false,
        };
        site.tell(program);
        site.dir.is_some().then_some(site)
    }

    fn tell(&mut self, program: &ProgramSection) {
        self.dir = program.site();
        let servers = program.servers().unwrap_or_default();
        self.servers = servers.iter().filter_map(|it| it.parse().ok()).collect();
    }
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
                "supervisor runs no workers for this folder, and no site has this name",
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
