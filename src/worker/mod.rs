//! The worker, which supervisor runs: gets jobs from Gearman and has PHP run them.

mod backoff;
pub mod badge;
pub(crate) mod binary;
pub(crate) mod bulletin;
pub(crate) mod check;
mod connection;
mod crew;
pub(crate) mod crew_status;
pub mod events;
pub mod figures;
mod gate;
pub(crate) mod generation;
mod health;
pub(crate) mod heartbeat;
mod job;
mod log;
mod machine;
pub(crate) mod maintenance;
mod memory;
pub(crate) mod message;
mod opcache;
pub mod options;
mod outcome;
mod output;
mod php;
mod plain;
pub mod rest;
mod retries;
pub mod rules;
mod runtime;
pub(crate) mod scale;
mod scale_watch;
pub mod seal;
mod serve;
mod servers;
pub mod settings;
mod signals;
mod site;
mod staleness;
mod status_file;
pub(crate) mod store;
pub(crate) mod tally;
mod unseal;
pub mod workers;

use std::path::{Path, PathBuf};

use crate::base::problem::Problem;
use crate::worker::crew_status::CrewStatus;
use crate::worker::generation::Generation;
use crate::worker::heartbeat::WorkerStatus;
use crate::worker::options::WorkerArgs;
use crate::worker::settings::Adopted;
use crate::worker::status_file::Status;

/// The files of a site's workers. The folders belong to the worker user.
#[derive(Debug, Clone)]
pub struct Paths {
    pub run: PathBuf,
    pub cache: PathBuf,
    pub failed: PathBuf,
    /// While this file exists, no worker of the site takes a job. In root's folder.
    pub paused: PathBuf,
    /// Until wp-config.php is another file than this one describes, no worker loads the
    /// site. In root's folder.
    pub unswitched: PathBuf,
    /// While remove drains the queue: the settings that wp-config.php no longer has, as
    /// `Predefined`. The worker user's alone, in root's folder.
    pub leaving: PathBuf,
    /// When this file's text changes, every worker restarts PHP before its next job, with
    /// nothing of what was kept for it. In root's folder.
    pub reload: PathBuf,
    /// What the site's crew runs with, see `settings`. In root's folder.
    pub settings: PathBuf,
}

impl Paths {
    pub fn new(state: &Path, name: &str) -> Paths {
        Paths {
            run: state.join("run").join(name),
            cache: state.join("cache").join(name),
            failed: state.join("failed").join(name),
            paused: state.join("run").join(format!("{name}.paused")),
            unswitched: state.join("run").join(format!("{name}.unswitched")),
            leaving: state.join("run").join(format!("{name}.leaving")),
            reload: state.join("run").join(format!("{name}.reload")),
            settings: state.join("run").join(format!("{name}.settings.toml")),
        }
    }

    /// The folder of compiled code that PHP uses until the next reload.
    pub fn opcodes(&self) -> PathBuf {
        self.cache.join(Generation::of(&self.reload).name())
    }
}

/// Whether a site's name is valid. It becomes a file name, so it must not lead out
/// of a folder.
pub fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 100
        && !name.starts_with(['.', '-'])
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// Whether a file of this name in a run folder is for others who may look into the folder:
/// it has the mode for that, and nothing in it is secret.
pub fn is_published(name: &str) -> bool {
    let begin = [WorkerStatus::PREFIX, CrewStatus::PREFIX, figures::FILES];
    let whole = [
        bulletin::FILE,
        events::FILE,
        tally::RETIRED,
        tally::UNCONFIRMED,
    ];
    begin.iter().any(|it| name.starts_with(it)) || whole.contains(&name)
}

/// The function that the site's workers serve, if one of them has determined it. Like
/// all that the run folder says, that is the worker user's word.
pub fn function_of(run: &Path) -> Option<String> {
    let told = memory::told(run)?.function;
    is_function(&told).then_some(told)
}

/// Whether job servers accept it as a name.
pub fn is_function(name: &str) -> bool {
    (1..=512).contains(&name.len()) && !name.contains('\0')
}

/// The URL of the site's home, if one of its workers has learned it.
pub fn home_of(run: &Path) -> Option<String> {
    let told = memory::told(run)?.home;
    (told.len() <= 2048).then_some(told)
}

/// The WordPress root of the site, if one of its workers has loaded it. For the worker
/// user: others cannot know whether it is true.
pub fn dir_of(run: &Path) -> Option<PathBuf> {
    memory::told(run).map(|told| told.stamps.site)
}

/// Runs a worker, or a crew of them, until it is stopped.
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
        .help("run it as the user that runs the site's PHP")
        .into());
    }
    let paths = Paths::new(&args.state, &args.name);
    if args.health {
        return health::run(args, &paths);
    }
    for dir in [&paths.run, &paths.cache, &paths.failed] {
        create(dir)?;
    }
    if args.check {
        return check::run(args);
    }
    let adopted = args.settings.as_deref().map(Adopted::read).transpose()?;
    let first = rustix::process::getpid().is_init();
    if (args.workers.max > 1 || first || adopted.is_some()) && !args.one {
        return crew::run(args, adopted);
    }
    let settings = adopted.as_ref().map(|adopted| &adopted.settings);
    serve::serve(&settings::args(args, settings), adopted)
}

/// Creates a folder. Setup does this too, but a container image may lack it.
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
                .help("run 'wp-gears setup', which creates it for the worker user")
        })
}
