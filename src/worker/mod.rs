//! What supervisor runs: takes jobs from Gearman and hands each to PHP.

mod connection;
mod crew;
mod fresh;
mod job;
mod log;
mod message;
mod opcache;
pub mod options;
mod php;
pub mod presence;
mod serve;
mod signals;
mod site;
pub mod sites;
pub mod store;
mod verdict;

use std::path::{Path, PathBuf};

use crate::base::problem::Problem;
use crate::worker::options::WorkerArgs;

/// Where a site's worker keeps what.
#[derive(Debug, Clone)]
pub struct Paths {
    pub run: PathBuf,
    pub cache: PathBuf,
    pub failed: PathBuf,
    /// While this stands no worker of the site takes a job. In root's folder.
    pub paused: PathBuf,
    /// Its change makes every worker renew PHP before its next job. In root's folder.
    pub reload: PathBuf,
}

impl Paths {
    pub fn new(state: &Path, name: &str) -> Paths {
        Paths {
            run: state.join("run").join(name),
            cache: state.join("cache").join(name),
            failed: state.join("failed").join(name),
            paused: state.join("run").join(format!("{name}.paused")),
            reload: state.join("run").join(format!("{name}.reload")),
        }
    }
}

/// Names of sites are names of files, and never a way out of their folder.
pub fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 100
        && !name.starts_with(['.', '-'])
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// The function that the site's workers serve, as far as one has found out.
pub fn function_of(run: &Path) -> Option<String> {
    site::known(run).map(|known| known.function)
}

/// The WordPress root that these workers are for.
pub fn dir_of(run: &Path) -> Option<PathBuf> {
    site::known(run).map(|known| known.stamps.site)
}

pub fn run(args: &WorkerArgs) -> anyhow::Result<()> {
    if !is_name(&args.name) {
        return Err(Problem::usage(
            format!("start a worker named {:?}", args.name),
            "a name has letters, digits, dots, dashes and underscores only",
        )
        .into());
    }
    if rustix::process::geteuid().is_root() {
        return Err(Problem::new(
            format!("start a worker for {}", args.site.display()),
            "root never runs a site's code",
        )
        .help("run it as the user that the site's PHP runs as")
        .into());
    }
    let paths = Paths::new(&args.state, &args.name);
    for dir in [&paths.run, &paths.cache, &paths.failed] {
        make(dir)?;
    }
    let first = rustix::process::getpid().is_init();
    if (args.workers > 1 || first) && !args.one {
        return crew::watch(args);
    }
    serve::serve(args)
}

/// setup makes these; a container's image may have no setup.
fn make(dir: &Path) -> Result<(), Problem> {
    use std::os::unix::fs::DirBuilderExt;
    if dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().unwrap_or(dir);
    std::fs::create_dir_all(parent)
        .and_then(|()| std::fs::DirBuilder::new().mode(0o700).create(dir))
        .or_else(|e| if dir.is_dir() { Ok(()) } else { Err(e) })
        .map_err(|e| {
            Problem::new(format!("make {}", dir.display()), e)
                .help("`wp-gears setup` makes it, for the user that workers run as")
        })
}
