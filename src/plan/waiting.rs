//! Keeps remove from stranding jobs that no worker would run.

use std::path::Path;

use anyhow::Result;

use crate::base::paths::BASE;
use crate::gearman::text::FunctionStatus;
use crate::gearman::{instance, options};
use crate::host::Host;
use crate::host::platform::Family;
use crate::intent::adopt::own_server;
use crate::intent::queue::WaitingJobs;
use crate::intent::resolve::SiteResolved;
use crate::intent::salts;
use crate::queue::running;
use crate::resource::drained::{Drained, Purpose};
use crate::resource::file::File;
use crate::site::{config, plugins, queue, settings};
use crate::worker::function_of;
use crate::worker::heartbeat::{self, Activity};
use crate::worker::store;

/// The jobs of a site whose workers are removed; `None` if it submits none. `salt` and
/// `servers` are those that wp-config.php has lost.
pub fn of_site(
    host: &Host,
    name: &str,
    dir: &Path,
    salt: Option<&str>,
    servers: Option<Vec<String>>,
    wish: WaitingJobs,
) -> Result<Option<Drained>> {
    // Read now: these settings are removed before the jobs are counted again.
    let found = settings::locate(host, dir, None)
        .and_then(|path| Ok((host.read(&path)?, path)))
        .ok()
        .and_then(|(file, path)| {
            config::scan(&file?.bytes, &settings::includes(host, dir, &path)).ok()
        });
    let Some(found) = found.filter(|_| host.live()) else {
        return Ok(None);
    };
    let salt = salt.or(found.salt.as_deref());
    let mut functions = salt.map_or_else(Vec::new, |salt| plugins::functions(Some(salt)));
    // That of a run that failed.
    functions
        .extend(salts::kept(host, name).map_or_else(Vec::new, |it| plugins::functions(Some(&it))));
    let run = Path::new(BASE).join("run").join(name);
    functions.extend(function_of(&run));
    let servers = servers
        .or(found.servers)
        .unwrap_or_else(|| own_server(host).into_iter().collect());
    let failed = Path::new(BASE).join("failed").join(name);
    Ok(Some(Drained {
        purpose: Purpose::StopWorkers(dir.to_owned()),
        // Nobody can run the jobs of a server that does not answer.
        waiting: Box::new(move |_| Ok(queue::waiting(&functions, &servers) + put_aside(&failed))),
        wish,
        runs: run_jobs(&run),
        busy: false,
    }))
}

/// The jobs on disk that rules for their hooks do not let run yet.
fn put_aside(failed: &Path) -> u64 {
    store::count(failed).map_or(0, |counts| counts.limited as u64)
}

/// Whether a worker runs that can take jobs.
fn run_jobs(run: &Path) -> bool {
    let workers = heartbeat::read(run).unwrap_or_default();
    workers
        .iter()
        .any(|it| matches!(it.activity, Activity::Idle | Activity::Busy))
}

/// The jobs of a site that wait at the job servers that it leaves. Its workers run them
/// before they leave, too.
pub fn at_former_servers(site: &SiteResolved, wish: WaitingJobs) -> Drained {
    let run = Path::new(BASE).join("run").join(&site.name);
    let mut functions = plugins::functions(site.found.salt.as_deref());
    functions.extend(function_of(&run));
    let servers = site.servers_left_behind.clone();
    let named = site.found.servers.as_deref().unwrap_or_default();
    Drained {
        purpose: Purpose::ChangeServers(site.dir.clone()),
        busy: servers.iter().any(|it| named.contains(it)),
        waiting: Box::new(move |_| Ok(queue::waiting(&functions, &servers))),
        wish,
        runs: run_jobs(&run),
    }
}

/// All jobs of an owner's job server that goes.
pub fn of_owner(host: &Host, owner: &str, wish: WaitingJobs) -> Result<Drained> {
    let unit = instance::unit(owner);
    Ok(Drained {
        purpose: Purpose::StopJobServer(Some(owner.to_owned())),
        waiting: Box::new(move |host| {
            running::would_lose(host, &unit, &[], FunctionStatus::waiting)
        }),
        wish,
        runs: some_run_jobs(host)?,
        busy: false,
    })
}

fn some_run_jobs(host: &Host) -> Result<bool> {
    let folder = Path::new(BASE).join("run");
    let names = host.list(&folder)?;
    Ok(names.iter().any(|name| run_jobs(&folder.join(name))))
}

/// All jobs of a job server that stops, or that gets its old `options` back
/// and with them another queue.
pub fn of_job_server(
    host: &Host,
    family: &'static Family,
    options: Option<&File>,
    wish: WaitingJobs,
) -> Result<Drained> {
    let variable = family.gearmand.options_variable;
    let to_be = match options {
        Some(file) => {
            let text = file.texts(host)?.1.bytes.unwrap_or_default();
            options::all_words(&text, variable)
        }
        None => Vec::new(),
    };
    Ok(Drained {
        purpose: Purpose::StopJobServer(None),
        waiting: Box::new(move |host| {
            running::would_lose(host, family.gearmand.unit, &to_be, FunctionStatus::waiting)
        }),
        wish,
        runs: some_run_jobs(host)?,
        busy: false,
    })
}
