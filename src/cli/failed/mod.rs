//! `wp-gears failed`: lists, shows, retries and deletes failed jobs.

mod act;
mod filter;
mod list;

use std::path::PathBuf;

use anyhow::Result;

use crate::base::clock::utc;
use crate::base::problem::Problem;
use crate::base::text::printable;
use crate::cli::common::{DONE, FAILED};
use crate::cli::failed::filter::{Filter, FilterArgs};
use crate::cli::sites::{self, WorkerSite};
use crate::gearman::server::Server;
use crate::host::Host;
use crate::report::Ui;
use crate::worker::Paths;
use crate::worker::seal::SEALED;
use crate::worker::store::{JobRecord, JobStore};

#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  wp-gears failed
  wp-gears failed --hook 'import_*' --since 1h
  wp-gears failed --group
  wp-gears failed show 1795572183914-d2f254af
  wp-gears failed retry 1795572183914-d2f254af
  wp-gears failed retry --hook 'import_*' --error 'timed out'
  wp-gears failed forget --all --site /var/www/site")]
pub struct FailedArgs {
    #[command(subcommand)]
    pub action: Option<Action>,
    /// WordPress folder; repeat for several sites [default: all sites of this host]
    #[arg(long = "site", value_name = "DIR", global = true)]
    pub sites: Vec<PathBuf>,
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Count failed jobs by hook and error instead of listing each
    #[arg(long, global = true)]
    pub group: bool,
    /// Print one JSON document to standard output
    #[arg(long, global = true)]
    pub json: bool,
    /// Print only errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    #[arg(long, value_name = "DIR", default_value = crate::base::paths::BASE, hide = true, global = true)]
    pub state: PathBuf,
}

#[derive(Debug, Clone, clap::Subcommand)]
pub enum Action {
    /// List failed jobs, one per line (the default)
    List,
    /// Show a job in full, including its arguments
    Show {
        /// ID of the job, as 'wp-gears failed' lists it
        id: String,
    },
    /// Have the workers run jobs again: by ID, all, or those that --hook, --error and
    /// --since match
    Retry {
        #[command(flatten)]
        which: Which,
        /// Job servers to queue refused jobs at [default: those of the site's workers]
        #[arg(
            long,
            value_name = "HOST:PORT",
            value_delimiter = ',',
            env = "WP_GEARS_SERVERS"
        )]
        servers: Vec<Server>,
    },
    /// Delete jobs: by ID, all, or those that --hook, --error and --since match
    Forget(Which),
}

#[derive(Debug, Clone, clap::Args)]
pub struct Which {
    /// IDs of jobs, as 'wp-gears failed' lists them
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    /// All failed jobs of the chosen sites
    #[arg(long, conflicts_with = "ids")]
    pub all: bool,
}

/// The rest of a longer payload is not shown, in bytes.
const MAX_SHOWN: usize = 4 << 20;

pub fn run(args: &FailedArgs) -> Result<u8> {
    let ui = Ui::new(args.json, args.quiet, false);
    let action = args.action.as_ref().unwrap_or(&Action::List);
    let filter = args.filter.filter();
    check(action, args)?;
    let (stores, opened) = open(ui, args)?;
    let code = match action {
        Action::List if args.group => list::group(ui, &stores, &filter),
        Action::List => list::list(ui, &stores, &filter),
        Action::Show { id } => show(ui, &stores, id),
        Action::Retry { which, servers } => act::retry(ui, &stores, which, &filter, servers),
        Action::Forget(which) => act::forget(ui, &stores, which, &filter),
    }?;
    Ok(code.max(opened))
}

/// Options that contradict each other, or that the action has no use for.
fn check(action: &Action, args: &FailedArgs) -> Result<(), Problem> {
    let is_filtered = args.filter.is_given();
    let (what, which) = match action {
        Action::List => return Ok(()),
        Action::Show { .. } => ("show a failed job", None),
        Action::Retry { which, .. } => ("queue failed jobs again", Some(which)),
        Action::Forget(which) => ("delete failed jobs", Some(which)),
    };
    if args.group {
        let why = "--group is for the list";
        return Err(Problem::usage(what, why).help("run 'wp-gears failed --group'"));
    }
    let Some(which) = which else {
        return match is_filtered {
            false => Ok(()),
            true => {
                let why = "--hook, --error and --since are for several jobs, and it shows one";
                Err(Problem::usage(what, why).help("list them with 'wp-gears failed'"))
            }
        };
    };
    let chosen = [!which.ids.is_empty(), which.all, is_filtered];
    match chosen.iter().filter(|it| **it).count() {
        1 => Ok(()),
        0 => Err(Problem::usage(what, "no jobs are chosen").help(
            "name their IDs, or choose them with --hook, --error and --since, or pass --all",
        )),
        _ => {
            let why = "IDs, --all and --hook, --error or --since are three ways to choose them";
            Err(Problem::usage(what, why).help("use one of them"))
        }
    }
}

/// A stored job. `due` is when it will be retried; `None` once it has failed.
struct Kept {
    site: usize,
    record: JobRecord,
    due: Option<u64>,
}

struct Opened {
    site: WorkerSite,
    paths: Paths,
    store: JobStore,
}

impl Opened {
    fn list(&self, see: &mut dyn FnMut(JobRecord, Option<u64>)) -> Result<usize, Problem> {
        let what = || format!("list {}", self.paths.failed.display());
        self.store.list(see).map_err(|e| Problem::new(what(), e))
    }
}

/// The jobs of the chosen sites. One whose folder cannot be read keeps nobody from the
/// others: it is named, and the exit code tells.
fn open(ui: Ui, args: &FailedArgs) -> Result<(Vec<Opened>, u8)> {
    let mut stores = Vec::new();
    let mut code = DONE;
    let sites = sites::find(&Host::new(None)?, &args.state, &args.sites)?;
    let is_one = sites.len() == 1;
    for site in sites {
        let paths = Paths::new(&args.state, &site.name);
        match JobStore::open_existing(&paths.failed) {
            Ok(store) => stores.push(Opened { site, paths, store }),
            // No worker of this site has run yet.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => {
                let what = format!("open {}", paths.failed.display());
                let help = "run it as root or as the site's worker user";
                let error = Problem::new(what, e).help(help).into();
                if is_one {
                    return Err(error);
                }
                ui.error("", &error);
                code = FAILED;
            }
        }
    }
    Ok((stores, code))
}

fn show(ui: Ui, stores: &[Opened], id: &str) -> Result<u8> {
    let kept = find(stores, id)?;
    let opened = &stores[kept.site];
    let record = &kept.record;
    let mut payload = match kept.due {
        None => opened
            .store
            .read(id)
            .map(|(_, payload)| payload)
            .unwrap_or_default(),
        Some(_) => Vec::new(),
    };
    payload.truncate(MAX_SHOWN);
    let text = String::from_utf8_lossy(&payload);
    let is_sealed = payload.starts_with(SEALED);
    let parsed: Option<serde_json::Value> = serde_json::from_slice(&payload).ok();
    let told = record.arguments.as_deref();
    let told: Option<serde_json::Value> = told.and_then(|text| serde_json::from_str(text).ok());
    let arguments = parsed
        .as_ref()
        .and_then(|value| value.get("args"))
        .or(told.as_ref());
    if ui.json {
        let is_unknown = parsed.is_none() && !is_sealed;
        ui.document(&serde_json::json!({
            "site": opened.site.name, "due": kept.due, "job": record, "args": arguments,
            "payload": is_unknown.then_some(&text),
        }));
        return Ok(DONE);
    }
    let line = |name: &str, value: &str| ui.line(&format!("{name:<10} {}", printable(value)));
    line("id", &record.id);
    line("site", &format!("{} ({})", opened.site.name, record.site));
    line("hook", record.hook.as_deref().unwrap_or("-"));
    if let Some(blog) = record.blog {
        line("blog", &blog.to_string());
    }
    line("function", &record.function);
    line("handle", &format!("{} at {}", record.handle, record.server));
    if let Some(submitted) = record.submitted {
        line("submitted", &utc(submitted));
    }
    line("received", &utc(record.taken));
    if let Some(due) = kept.due {
        line("retry at", &utc(due));
    }
    match arguments {
        Some(arguments) => line("arguments", &arguments.to_string()),
        None if is_sealed => line("payload", &format!("{} bytes, sealed", record.size)),
        None if record.whole => line("payload", &format!("{} bytes: {text}", record.size)),
        None => line(
            "payload",
            &format!("{} bytes, too large to store", record.size),
        ),
    }
    for attempt in &record.tries {
        line(
            "attempt",
            &format!("{}, {} ms: {}", utc(attempt.at), attempt.ms, attempt.error),
        );
        for output in attempt.output.lines() {
            line("", output);
        }
    }
    Ok(DONE)
}

/// An ID is a file's name in a folder of the worker user, so it may be another site's, too.
fn find(stores: &[Opened], id: &str) -> Result<Kept> {
    let what = || format!("find job {id}");
    let mut found = Vec::new();
    let mut unread = None;
    for (site, opened) in stores.iter().enumerate() {
        match opened.store.find(id) {
            Ok(job) => found.extend(job.map(|(record, due)| Kept { site, record, due })),
            Err(e) => unread = Some(format!("{}: {e}", opened.paths.failed.display())),
        }
    }
    match (found.len(), unread) {
        (0, Some(why)) => Err(Problem::new(what(), why).into()),
        (0, None) => Err(
            Problem::usage(what(), "no site has a failed job with this ID")
                .help("run 'wp-gears failed' to list the failed jobs")
                .into(),
        ),
        (1, _) => Ok(found.remove(0)),
        _ => {
            let name = |kept: &Kept| stores[kept.site].site.name.clone();
            let names: Vec<String> = found.iter().map(name).collect();
            let why = format!("several sites have it: {}", names.join(", "));
            Err(Problem::usage(what(), why)
                .help("choose one with --site")
                .into())
        }
    }
}
