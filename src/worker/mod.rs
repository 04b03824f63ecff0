//! What supervisor runs: takes jobs from Gearman and hands each to PHP.

mod backoff;
mod connection;
pub(crate) mod heartbeat;
mod job;
mod log;
mod machine;
mod memory;
mod message;
mod opcache;
pub mod options;
mod outcome;
mod output;
mod php;
mod pool;
mod retries;
mod runtime;
mod serve;
mod servers;
mod signals;
mod site;
pub(crate) mod sites;
mod staleness;
pub(crate) mod store;

use std::path::{Path, PathBuf};

use crate::base::problem::Problem;
use crate::worker::memory::SiteMemory;
use crate::worker::options::WorkerArgs;

/// Where a site's workers keep their files. The folders are the worker user's.
#[derive(Debug, Clone)]
pub struct Paths {
    pub run: PathBuf,
    pub cache: PathBuf,
    pub failed: PathBuf,
    /// While this file exists no worker of the site takes a job. In root's folder.
    pub paused: PathBuf,
    /// When this file changes every worker renews PHP before its next job. In
    /// root's folder.
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

/// Names of sites become names of files, and must not lead out of their folder.
pub fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 100
        && !name.starts_with(['.', '-'])
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// How a worker on this host identifies itself to job servers.
pub fn client_id(name: &str, pid: u32) -> String {
    let system = rustix::system::uname();
    format!("{}/{name}/{pid}", system.nodename().to_string_lossy())
}

/// The function that the site's workers serve, if one has found out.
pub fn function_of(run: &Path) -> Option<String> {
    SiteMemory::read(run).map(|memory| memory.function)
}

/// The WordPress root of the site, if one of its workers has loaded it.
pub fn dir_of(run: &Path) -> Option<PathBuf> {
    SiteMemory::read(run).map(|memory| memory.stamps.site)
}

pub fn run(args: &WorkerArgs) -> anyhow::Result<()> {
    if !is_name(&args.name) {
        return Err(Problem::usage(
            format!("start a worker named {:?}", args.name),
            "a name consists of letters, digits, dots, dashes and underscores",
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
        create(dir)?;
    }
    let first = rustix::process::getpid().is_init();
    if (args.workers > 1 || first) && !args.one {
        return pool::run(args);
    }
    serve::serve(args)
}

/// Setup creates these folders, but a container's image may have had no setup.
fn create(dir: &Path) -> Result<(), Problem> {
    use std::os::unix::fs::DirBuilderExt;
    if dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().unwrap_or(dir);
    std::fs::create_dir_all(parent)
        .and_then(|()| std::fs::DirBuilder::new().mode(0o700).create(dir))
        .or_else(|e| if dir.is_dir() { Ok(()) } else { Err(e) })
        .map_err(|e| {
            Problem::new(format!("create {}", dir.display()), e)
                .help("`wp-gears setup` creates it, for the worker user")
        })
}
