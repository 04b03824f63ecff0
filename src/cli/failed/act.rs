//! Retries and deletes failed jobs.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::base::clock::now_ms;
use crate::base::problem::Problem;
use crate::cli::common::{DONE, FAILED};
use crate::cli::failed::{Filter, Kept, Opened, Which, find};
use crate::gearman::binary::Client;
use crate::gearman::server::Server;
use crate::report::Ui;
use crate::worker::store::{JobRecord, REFUSED};
use crate::worker::{crew_status, function_of, heartbeat, is_function};

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

/// A chosen job. Of many, no more than this is kept in memory.
struct Chosen {
    site: usize,
    id: String,
    waits: bool,
}

pub(super) fn retry(
    ui: Ui,
    stores: &[Opened],
    which: &Which,
    filter: &Filter,
    servers: &[Server],
) -> Result<u8> {
    let mut retry = Retry {
        named: servers,
        open: BTreeMap::new(),
        on_disk: BTreeSet::new(),
    };
    let code = each(ui, stores, which, filter, &RETRIED, |opened, chosen| {
        retry.one(opened, chosen)
    })?;
    let of_them = |opened: &&Opened| retry.on_disk.contains(&opened.site.name);
    let notes = stores.iter().filter(of_them).filter_map(|opened| {
        let workers = heartbeat::read(&opened.paths.run).unwrap_or_default();
        let name = &opened.site.name;
        (heartbeat::count(&workers) == 0).then(|| {
            format!("{name}: no worker of it runs on this host; the jobs wait until one does")
        })
    });
    ui.notes(&notes.collect::<Vec<_>>());
    Ok(code)
}

pub(super) fn forget(ui: Ui, stores: &[Opened], which: &Which, filter: &Filter) -> Result<u8> {
    each(ui, stores, which, filter, &FORGOTTEN, forget_one)
}

/// Acts on each chosen job, continuing if one fails.
fn each(
    ui: Ui,
    stores: &[Opened],
    which: &Which,
    filter: &Filter,
    done: &Done,
    mut act: impl FnMut(&Opened, &Chosen) -> Result<()>,
) -> Result<u8> {
    let mut chosen = Vec::new();
    let mut code = DONE;
    for id in &which.ids {
        let Kept { site, due, .. } = find(stores, id)?;
        chosen.push(Chosen {
            site,
            id: id.clone(),
            waits: due.is_some(),
        });
    }
    if which.ids.is_empty() {
        for (site, opened) in stores.iter().enumerate() {
            let mut add = |record: JobRecord, due: Option<u64>| {
                if due.is_none() && filter.takes(&record) {
                    chosen.push(Chosen {
                        site,
                        id: record.id,
                        waits: false,
                    });
                }
            };
            if let Err(problem) = opened.list(&mut add) {
                ui.error("", &problem.into());
                code = FAILED;
            }
        }
    }
    let mut document = Vec::new();
    for chosen in &chosen {
        let opened = &stores[chosen.site];
        let error = act(opened, chosen).err();
        match &error {
            None => ui.line(&format!("{}: {}", chosen.id, done.text)),
            Some(error) => {
                ui.error("", error);
                code = FAILED;
            }
        }
        if ui.json {
            document.push(serde_json::json!({
                "id": chosen.id,
                "site": opened.site.name,
                "error": error.map(|e| e.to_string()),
            }));
        }
    }
    let sites: BTreeSet<usize> = chosen.iter().map(|chosen| chosen.site).collect();
    for site in sites {
        wake(&stores[site].paths.run);
    }
    if chosen.is_empty() {
        ui.line("No failed jobs.");
    }
    if ui.json {
        ui.document(&serde_json::json!({ done.key: document }));
    }
    Ok(code)
}

/// Has the workers look at the jobs on disk. What the crew publishes of them is no longer
/// true, either.
fn wake(run: &Path) {
    crew_status::wake(run);
    for seen in heartbeat::read(run).unwrap_or_default() {
        heartbeat::wake(&seen);
    }
}

/// Of several who retry or delete a job at the same time, one finds its file.
fn failure(what: String, error: &io::Error) -> Problem {
    match error.kind() {
        io::ErrorKind::NotFound => {
            Problem::new(what, "somebody else has just retried or deleted it")
        }
        _ => Problem::new(what, error),
    }
}

fn forget_one(opened: &Opened, chosen: &Chosen) -> Result<()> {
    let id = &chosen.id;
    let what = || format!("delete job {id}");
    let done = match chosen.waits {
        false => opened.store.forget(id).map(|()| true),
        true => opened.store.forget_waiting(id),
    };
    match done.map_err(|e| failure(what(), &e))? {
        true => Ok(()),
        false => Err(Problem::new(what(), "a worker is running it")
            .help("wait for its end, or run 'wp-gears pause --wait' first")
            .into()),
    }
}

struct Retry<'a> {
    named: &'a [Server],
    /// Connections to the servers so far, or why there is none: a silent one is waited
    /// for once.
    open: BTreeMap<String, Result<Client, String>>,
    /// The sites whose jobs wait on disk now.
    on_disk: BTreeSet<String>,
}

impl Retry<'_> {
    fn one(&mut self, opened: &Opened, chosen: &Chosen) -> Result<()> {
        let id = &chosen.id;
        let what = || format!("queue job {id} again");
        if chosen.waits {
            return Err(Problem::new(what(), "it is waiting for its next attempt")
                .help("once its last attempt fails, it can be retried")
                .into());
        }
        let stored = opened.store.failed(id).map_err(|e| failure(what(), &e))?;
        if !stored.whole {
            return Err(Problem::new(what(), "its payload was too large to store").into());
        }
        if stored.refused || id.ends_with(REFUSED) {
            return self.submit_one(opened, id);
        }
        // Other hosts, and administrators in WordPress, may retry it as well: before its
        // workers run it, they ask the site's database.
        let retried = opened.store.retry(id, now_ms());
        retried.map_err(|e| failure(what(), &e))?;
        self.on_disk.insert(opened.site.name.clone());
        Ok(())
    }

    /// A refused job has to be accepted first: submits it under the site's current
    /// function, then deletes its file.
    fn submit_one(&mut self, opened: &Opened, id: &str) -> Result<()> {
        let what = || format!("queue job {id} again");
        let held = opened.store.hold(id).map_err(|e| failure(what(), &e))?;
        let (_held, stored, payload) =
            held.ok_or_else(|| Problem::new(what(), "another command is doing that"))?;
        let server = server(opened, &stored, self.named).ok_or_else(|| {
            Problem::new(
                what(),
                "no supervisor program says which job server the site uses",
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
        let unique = format!("wp-gears-{id}");
        self.submit(&server, function.as_bytes(), unique.as_bytes(), &payload)
            .map_err(|why| {
                Problem::new(format!("{} on {server}", what()), why)
                    .help("start the job server and run it again; the job is still stored")
            })?;
        opened
            .store
            .forget(id)
            .map_err(|e| Problem::new(what(), e))?;
        Ok(())
    }

    fn submit(
        &mut self,
        server: &Server,
        function: &[u8],
        unique: &[u8],
        payload: &[u8],
    ) -> Result<(), String> {
        let connect =
            || Client::connect(server, Duration::from_secs(10)).map_err(|e| e.to_string());
        let entry = self.open.entry(server.to_string());
        let client = entry.or_insert_with(connect);
        let submitted = client
            .as_mut()
            .map_err(|why| why.clone())?
            .submit(function, unique, payload)
            .map_err(|e| e.to_string());
        if submitted.is_err() {
            // The next job gets another connection.
            self.open.remove(&server.to_string());
        }
        submitted.map(drop)
    }
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
