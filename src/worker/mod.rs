//! What supervisor runs: takes jobs from Gearman and hands each to PHP.

mod connection;
mod crew;
mod fresh;
mod job;
mod log;
mod message;
mod opcache;
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
use crate::gearman::server::Server;

/// Options of `wp-gears worker`.
#[derive(clap::Args, Clone, Debug)]
pub struct WorkerArgs {
    /// The WordPress root.
    #[arg(long, value_name = "DIR", env = "WP_GEARS_SITE")]
    pub site: PathBuf,
    /// The site's name: of its log and its folders.
    #[arg(long, env = "WP_GEARS_NAME")]
    pub name: String,
    /// Job servers.
    #[arg(
        long,
        value_name = "HOST:PORT",
        value_delimiter = ',',
        env = "WP_GEARS_SERVERS",
        default_value = "127.0.0.1:4730"
    )]
    pub servers: Vec<Server>,
    /// PHP's command line program; found in PATH if not given.
    #[arg(long, value_name = "PATH", env = "WP_GEARS_PHP")]
    pub php: Option<PathBuf>,
    /// fork: WordPress is loaded once and each job runs in a child; spawn: a
    /// PHP of its own for each job. Where a fork would not be safe: spawn.
    #[arg(long, value_enum, default_value = "fork", env = "WP_GEARS_WORKER_MODE")]
    pub worker_mode: Mode,
    /// Ends a job that runs longer, and tries it again. 0: no limit.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 0,
        env = "WP_GEARS_JOB_TIMEOUT"
    )]
    pub job_timeout: u64,
    /// How often a job is tried again whose process died.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 3,
        env = "WP_GEARS_JOB_RETRIES"
    )]
    pub job_retries: u32,
    /// How long a job at hand may take after TERM.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 60,
        env = "WP_GEARS_STOP_TIMEOUT"
    )]
    pub stop_timeout: u64,
    /// PHP ends when no job came for so long.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 300,
        env = "WP_GEARS_IDLE_TIMEOUT"
    )]
    pub idle_timeout: u64,
    /// PHP is renewed when it is older (fork).
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 3600,
        env = "WP_GEARS_MAX_AGE"
    )]
    pub max_age: u64,
    /// PHP is renewed after so many jobs (fork).
    #[arg(
        long,
        value_name = "N",
        default_value_t = 5000,
        env = "WP_GEARS_MAX_JOBS"
    )]
    pub max_jobs: u64,
    /// PHP is renewed when it holds more (fork).
    #[arg(
        long,
        value_name = "MB",
        default_value_t = 256,
        env = "WP_GEARS_MAX_MEMORY"
    )]
    pub max_memory: u64,
    /// Workers; with more than one this process starts and watches them.
    #[arg(long, value_name = "N", default_value_t = 1, env = "WP_GEARS_WORKERS")]
    pub workers: u32,
    /// The runner.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/usr/local/lib/wp-gears/runner.php",
        env = "WP_GEARS_RUNNER"
    )]
    pub runner: PathBuf,
    /// Folder of what workers keep; run/NAME, cache/NAME and failed/NAME below it are the worker user's.
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/var/lib/wp-gears",
        env = "WP_GEARS_STATE"
    )]
    pub state: PathBuf,
    /// Log; `-` for standard error. /var/log/wp-gears/NAME.log if not given.
    #[arg(long, value_name = "FILE", env = "WP_GEARS_LOG")]
    pub log: Option<PathBuf>,
    /// The pause before a job is tried again; five times as long each time.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, hide = true)]
    pub retry_pause: u64,
    /// One of those that a worker with --workers started.
    #[arg(long, hide = true)]
    pub one: bool,
}

impl WorkerArgs {
    /// Standard error in a container, where this is the first process.
    fn log(&self) -> PathBuf {
        match &self.log {
            Some(path) => path.clone(),
            None if rustix::process::getpid().is_init() => PathBuf::from("-"),
            None => PathBuf::from(format!("/var/log/wp-gears/{}.log", self.name)),
        }
    }
}

/// How a job gets its process.
#[derive(
    clap::ValueEnum, serde::Serialize, serde::Deserialize, Clone, Copy, Debug, PartialEq, Eq,
)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// WordPress starts once; each job is a fork of it
    Fork,
    /// A PHP process for each job, started before the job comes
    Spawn,
}

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
