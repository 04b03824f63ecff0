//! `wp-gears pause`, `resume` and `reload`, for deployments. Marker files in a
//! folder of root's carry the request, so a lost signal only delays it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;

use crate::base::clock;
use crate::base::problem::Problem;
use crate::base::random;
use crate::cli::common::{DONE, FAILED};
use crate::cli::sites::{self, WorkerSite};
use crate::host::Host;
use crate::report::Ui;
use crate::worker::Paths;
use crate::worker::heartbeat::{self, Activity, WorkerStatus};

#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples, around a deployment:
  wp-gears pause --wait
  wp-gears resume
  wp-gears reload --wait --site /var/www/site")]
pub struct PauseArgs {
    /// WordPress folder; repeat for several sites [default: all sites of this host]
    #[arg(long = "site", value_name = "DIR")]
    pub sites: Vec<PathBuf>,
    /// Wait until the current jobs are finished
    #[arg(long)]
    pub wait: bool,
    /// Maximum time to wait
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    pub timeout: u64,
    /// Print one JSON document to standard output
    #[arg(long)]
    pub json: bool,
    /// Print only errors
    #[arg(short, long)]
    pub quiet: bool,
    #[arg(long, value_name = "DIR", default_value = crate::base::paths::BASE, hide = true)]
    pub state: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Pause,
    Resume,
    Reload,
}

impl Action {
    fn done(self) -> &'static str {
        match self {
            Action::Pause => "paused",
            Action::Resume => "resumed",
            Action::Reload => "reloaded",
        }
    }
}

pub fn run(action: Action, args: &PauseArgs) -> Result<u8> {
    let ui = Ui::new(args.json, args.quiet, false);
    let sites = sites::find(&Host::new(None)?, &args.state, &args.sites)?;
    let asked = clock::millis(SystemTime::now());
    let mut all = Vec::new();
    for site in &sites {
        let paths = Paths::new(&args.state, &site.name);
        mark(action, &paths)?;
        all.push((site, workers(&paths)));
    }
    for (_, workers) in &all {
        workers.iter().flatten().for_each(heartbeat::wake);
    }
    let until = Instant::now() + Duration::from_secs(args.timeout);
    let mut document = Vec::new();
    let mut code = DONE;
    for (site, workers) in &all {
        let paths = Paths::new(&args.state, &site.name);
        let busy = match workers {
            Ok(workers) if args.wait => wait(action, args, site, workers, asked, until),
            Ok(workers) => still_busy(&paths, workers, asked),
            Err(error) => Err(error.clone()),
        };
        let busy = match busy {
            Ok(busy) => busy,
            Err(problem) if all.len() == 1 => return Err(problem.into()),
            Err(problem) => {
                // The other sites are waited for all the same.
                ui.error("", &problem.into());
                code = FAILED;
                continue;
            }
        };
        let workers = workers.as_deref().unwrap_or_default();
        let jobs = match busy.len() {
            0 => String::new(),
            n => format!(", {n} still finishing a job"),
        };
        let count = heartbeat::count(workers);
        let plural = if count == 1 { "" } else { "s" };
        ui.line(&format!(
            "{}: {} ({count} worker{plural}{jobs})",
            site.name,
            action.done()
        ));
        document.push(serde_json::json!({
            "site": site.name,
            "dir": site.dir,
            "state": action.done(),
            "workers": count,
            "busy": busy.len(),
        }));
    }
    if args.json {
        ui.document(&serde_json::json!({ "sites": document }));
    }
    Ok(code)
}

fn mark(action: Action, paths: &Paths) -> Result<()> {
    let (what, path, done) = match action {
        Action::Pause => ("pause the workers", &paths.paused, put(&paths.paused, "")),
        Action::Reload => {
            // A name that nobody could prepare files for.
            let name = random::letters(32)?;
            (
                "reload the workers",
                &paths.reload,
                put(&paths.reload, &name),
            )
        }
        Action::Resume => ("resume the workers", &paths.paused, unlink(&paths.paused)),
    };
    done.map_err(|e| {
        let help = if e.kind() == std::io::ErrorKind::PermissionDenied {
            "run it as root, for example with sudo"
        } else {
            ""
        };
        Problem::new(format!("{what}: {}", path.display()), e).help(help)
    })?;
    Ok(())
}

fn put(path: &Path, text: &str) -> std::io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    fs::write(&new, text)?;
    fs::rename(&new, path)
}

fn unlink(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn workers(paths: &Paths) -> Result<Vec<WorkerStatus>, Problem> {
    heartbeat::read(&paths.run)
        .map_err(|e| Problem::new(format!("find workers in {}", paths.run.display()), e))
}

/// The workers that are still running the job they had at the time of the request.
fn still_busy(
    paths: &Paths,
    before: &[WorkerStatus],
    asked: u64,
) -> Result<Vec<WorkerStatus>, Problem> {
    let mut now = workers(paths)?;
    now.retain(|seen| {
        seen.activity == Activity::Busy
            && seen.since <= asked
            && before.iter().any(|was| was.pid == seen.pid)
    });
    Ok(now)
}

fn wait(
    action: Action,
    args: &PauseArgs,
    site: &WorkerSite,
    before: &[WorkerStatus],
    asked: u64,
    until: Instant,
) -> Result<Vec<WorkerStatus>, Problem> {
    let paths = Paths::new(&args.state, &site.name);
    loop {
        let busy = still_busy(&paths, before, asked)?;
        let Some(first) = busy.first() else {
            return Ok(busy);
        };
        if Instant::now() >= until {
            return Err(Problem::new(
                format!("wait for the current jobs of {}", site.name),
                format!(
                    "worker {} is still running one after {} s",
                    first.pid, args.timeout
                ),
            )
            .help(match action {
                Action::Pause => {
                    "the site stays paused; run it again to wait longer, or run 'wp-gears resume'"
                }
                _ => "run it again to wait longer",
            }));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
