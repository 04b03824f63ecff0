//! `wp-gears failed`: lists, shows, retries and deletes failed jobs.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::base::clock::utc;
use crate::base::problem::Problem;
use crate::base::text::printable;
use crate::cli::common::{DONE, FAILED};
use crate::cli::sites::{self, WorkerSite};
use crate::gearman::binary::Client;
use crate::gearman::server::Server;
use crate::host::Host;
use crate::report::Ui;
use crate::worker::crew_status;
use crate::worker::seal::SEALED;
use crate::worker::store::{JobRecord, JobStore};
use crate::worker::{Paths, function_of, is_function};

#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  wp-gears failed
  wp-gears failed show 1795572183914-d2f254af
  wp-gears failed retry 1795572183914-d2f254af
  wp-gears failed forget --all --site /var/www/site")]
pub struct FailedArgs {
    #[command(subcommand)]
    pub action: Option<Action>,
    /// WordPress folder; repeat for several sites [default: all sites of this host]
    #[arg(long = "site", value_name = "DIR", global = true)]
    pub sites: Vec<PathBuf>,
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
    Show { id: String },
    /// Queue jobs again
    Retry {
        #[command(flatten)]
        which: Which,
        /// Job servers to queue them at [default: those of the site's workers]
        #[arg(
            long,
            value_name = "HOST:PORT",
            value_delimiter = ',',
            env = "WP_GEARS_SERVERS"
        )]
        servers: Vec<Server>,
    },
    /// Delete jobs
    Forget(Which),
}

#[derive(Debug, Clone, clap::Args)]
#[group(required = true)]
pub struct Which {
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    /// All failed jobs of the chosen sites
    #[arg(long, conflicts_with = "ids")]
    pub all: bool,
}

/// Longer errors are cut off in the list, in characters.
const LONGEST_ERROR: usize = 400;

/// The rest of a longer payload is not shown, in bytes.
const MAX_SHOWN: usize = 4 << 20;

/// A stored job. `due` is when it will be retried; `None` once it has failed.
struct Kept {
    site: usize,
    record: JobRecord,
    due: Option<u64>,
}

pub fn run(args: &FailedArgs) -> Result<u8> {
    let ui = Ui::new(args.json, args.quiet, false);
    let (stores, opened) = open(ui, args)?;
    let code = match args.action.as_ref().unwrap_or(&Action::List) {
        Action::List => list(ui, &stores),
        Action::Show { id } => show(ui, &stores, id),
        Action::Retry { which, servers } => {
            let act = |opened: &Opened, kept: &Kept| retry(opened, kept, servers);
            each(ui, &stores, which, &RETRIED, act)
        }
        Action::Forget(which) => each(ui, &stores, which, &FORGOTTEN, forget),
    }?;
    Ok(code.max(opened))
}

/// What happened to each chosen job: in text, and as a key of the document.
struct Done {
    text: &'static str,
    key: &'static str,
}

const RETRIED: Done = Done {
    text: "queued again",
    key: "sent_again",
};
const FORGOTTEN: Done = Done {
    text: "deleted",
    key: "forgotten",
};

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

/// The list in JSON.
#[derive(Serialize)]
struct Document<'a> {
    failed: Vec<Listed<'a>>,
    dropped: u64,
}

#[derive(Serialize)]
struct Listed<'a> {
    site: &'a str,
    due: Option<u64>,
    job: JobRecord,
}

fn list(ui: Ui, stores: &[Opened]) -> Result<u8> {
    let mut failed = Vec::new();
    let (mut found, mut hidden, mut code) = (0, 0, DONE);
    for opened in stores {
        let site = opened.site.name.as_str();
        let listed = opened.list(&mut |record, due| {
            found += 1;
            line(ui, site, &record, due);
            if ui.json {
                let job = record;
                failed.push(Listed { site, due, job });
            }
        });
        match listed {
            Ok(0) => {}
            Ok(unread) => {
                hidden += unread;
                ui.line(&format!(
                    "{site}: {unread} files are not listed, as they are no jobs, or too many"
                ));
            }
            // The other sites' jobs are listed all the same.
            Err(problem) => {
                ui.error("", &problem.into());
                code = FAILED;
            }
        }
    }
    let dropped = stores.iter().map(|opened| opened.store.dropped());
    let dropped = dropped.fold(0, u64::saturating_add);
    if found + hidden == 0 && code == DONE {
        ui.line("No failed jobs.");
    }
    if dropped > 0 {
        ui.line(&format!(
            "{dropped} older failed job(s) were dropped to save space."
        ));
    }
    if ui.json {
        ui.document(&Document { failed, dropped });
    }
    Ok(code)
}

fn line(ui: Ui, site: &str, record: &JobRecord, due: Option<u64>) {
    let last = record.tries.last();
    let error = last.map_or("", |attempt| attempt.error.as_str());
    let error: String = error.chars().take(LONGEST_ERROR).collect();
    let at = utc(last.map_or(record.taken, |attempt| attempt.at));
    let hook = record.hook.as_deref().unwrap_or("-");
    let waits = due.map_or(String::new(), |due| format!(" (retry at {})", utc(due)));
    let tries = record.tries.len();
    ui.line(&printable(&format!(
        "{}  {at}  {site}  {hook}  {tries} attempt{}  {error}{waits}",
        record.id,
        if tries == 1 { "" } else { "s" },
    )));
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

/// Acts on each chosen job, continuing if one fails.
fn each(
    ui: Ui,
    stores: &[Opened],
    which: &Which,
    done: &Done,
    act: impl Fn(&Opened, &Kept) -> Result<()>,
) -> Result<u8> {
    let mut chosen = Vec::new();
    let mut code = DONE;
    if which.all {
        for (site, opened) in stores.iter().enumerate() {
            let mut add = |record, due: Option<u64>| {
                if due.is_none() {
                    chosen.push(Kept { site, record, due });
                }
            };
            if let Err(problem) = opened.list(&mut add) {
                ui.error("", &problem.into());
                code = FAILED;
            }
        }
    } else {
        for id in &which.ids {
            let kept = find(stores, id)?;
            chosen.push(kept);
        }
    }
    let mut document = Vec::new();
    for kept in &chosen {
        let opened = &stores[kept.site];
        let error = act(opened, kept).err();
        match &error {
            None => ui.line(&format!("{}: {}", kept.record.id, done.text)),
            Some(error) => {
                ui.error("", error);
                code = FAILED;
            }
        }
        document.push(serde_json::json!({
            "id": kept.record.id,
            "site": opened.site.name,
            "error": error.map(|e| e.to_string()),
        }));
    }
    let sites: BTreeSet<usize> = chosen.iter().map(|kept| kept.site).collect();
    for site in sites {
        // What it publishes of the site's jobs is no longer true.
        crew_status::wake(&stores[site].paths.run);
    }
    if chosen.is_empty() {
        ui.line("No failed jobs.");
    }
    if ui.json {
        ui.document(&serde_json::json!({ done.key: document }));
    }
    Ok(code)
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

fn forget(opened: &Opened, kept: &Kept) -> Result<()> {
    let id = &kept.record.id;
    let what = || format!("delete job {id}");
    let done = match kept.due {
        None => opened.store.forget(id).map(|()| true),
        Some(_) => opened.store.forget_waiting(id),
    };
    match done.map_err(|e| Problem::new(what(), e))? {
        true => Ok(()),
        false => Err(Problem::new(what(), "a worker is running it")
            .help("wait for its end, or run 'wp-gears pause --wait' first")
            .into()),
    }
}

/// Submits the job under the site's current function, then deletes its file.
fn retry(opened: &Opened, kept: &Kept, named: &[Server]) -> Result<()> {
    let record = &kept.record;
    let what = || format!("queue job {} again", record.id);
    if kept.due.is_some() {
        return Err(Problem::new(what(), "it is waiting for its next attempt")
            .help("once its last attempt fails, it can be retried")
            .into());
    }
    let (stored, payload) = opened
        .store
        .read(&record.id)
        .map_err(|e| Problem::new(what(), e))?;
    if !stored.whole {
        return Err(Problem::new(what(), "its payload was too large to store").into());
    }
    let server = server(opened, &stored, named).ok_or_else(|| {
        Problem::new(
            what(),
            "no program of supervisor's says which job server is the site's",
        )
        .help("name it with --servers HOST:PORT")
    })?;
    // Which function that is, is for the site to say: its user can submit any job.
    let function = function_of(&opened.paths.run).unwrap_or(stored.function);
    if !is_function(&function) {
        let why = "the function that the site's files name is no name";
        return Err(Problem::new(what(), why).into());
    }
    // If we are interrupted before deleting the file, the job may be submitted
    // twice; the unique key makes that one job for the server.
    let unique = format!("wp-gears-{}", record.id);
    Client::connect(&server, Duration::from_secs(10))
        .and_then(|mut client| client.submit(function.as_bytes(), unique.as_bytes(), &payload))
        .map_err(|e| {
            Problem::new(format!("{} on {server}", what()), e)
                .help("start the job server and run it again; the job is still stored")
        })?;
    opened
        .store
        .forget(&record.id)
        .map_err(|e| Problem::new(what(), e))?;
    Ok(())
}

/// The server to submit the job to: the one that it came from, if that is one of the
/// site's. The record is a file of the worker user's, whom only they themselves believe.
fn server(opened: &Opened, stored: &JobRecord, named: &[Server]) -> Option<Server> {
    let from: Option<Server> = stored.server.parse().ok();
    let known = match named {
        [] => &opened.site.servers[..],
        named => named,
    };
    match from {
        Some(from) if known.contains(&from) => Some(from),
        from if known.is_empty() => from.filter(|_| opened.site.is_own),
        _ => known.first().cloned(),
    }
}
