//! `wp-gears worker --health`, for the probes of containers: whether this host's workers
//! of the site run, load it, and are known to a job server.

use std::time::Duration;

use crate::base::problem::Problem;
use crate::gearman::many;
use crate::gearman::server::Server;
use crate::gearman::text::Admin;
use crate::worker::Paths;
use crate::worker::badge::Badge;
use crate::worker::crew_status::{self, CrewStatus};
use crate::worker::heartbeat::{self, Activity, WorkerStatus};
use crate::worker::options::WorkerArgs;

/// How long a job server may take for its answer.
const LIMIT: Duration = Duration::from_secs(2);

/// Prints one line and returns if all is well.
///
/// # Errors
/// Why no job could run now.
pub(super) fn run(args: &WorkerArgs, paths: &Paths) -> anyhow::Result<()> {
    let what = || format!("use the workers of {}", args.name);
    let workers = heartbeat::read(&paths.run).map_err(|e| Problem::new(what(), e))?;
    let crews = crew_status::read(&paths.run).map_err(|e| Problem::new(what(), e))?;
    if let Some(why) = why_not(&workers, &crews) {
        return Err(Problem::new(what(), why)
            .help("the worker's log has the reason")
            .into());
    }
    if paths.paused.exists() {
        println!("{}: paused", args.name);
        return Ok(());
    }
    let asked = many::each(&args.servers, |server| knows(server, &args.name));
    let known = asked.iter().filter(|answer| answer.is_ok()).count();
    if known == 0 {
        let why: Vec<String> = args
            .servers
            .iter()
            .zip(asked)
            .filter_map(|(server, answer)| Some(format!("{server}: {}", answer.err()?)))
            .collect();
        return Err(Problem::new(what(), why.join("; "))
            .help("check that a job server runs there and can be reached from here")
            .into());
    }
    println!(
        "{}: {} workers, known to {known} of {} job servers",
        args.name,
        heartbeat::count(&workers),
        args.servers.len()
    );
    Ok(())
}

/// Why these workers could not run a job, if so.
fn why_not(workers: &[WorkerStatus], crews: &[CrewStatus]) -> Option<String> {
    if crew_status::keeps_ending(crews).is_some() {
        return Some("they end soon after they start".into());
    }
    let broken = |one: &&WorkerStatus| one.activity == Activity::Broken;
    if let Some(one) = workers.iter().find(broken) {
        let why = one.why.as_deref();
        return Some(why.unwrap_or("PHP cannot load the site").to_owned());
    }
    (workers.is_empty() && crews.is_empty()).then(|| "none runs".into())
}

/// Whether the job server knows a worker of the site on this host.
fn knows(server: &Server, name: &str) -> Result<(), String> {
    let workers = Admin::connect(server, LIMIT)
        .and_then(|mut admin| admin.workers())
        .map_err(|e| e.to_string())?;
    workers
        .iter()
        .filter(|one| !one.functions.is_empty())
        .filter_map(|one| Badge::read(&one.id))
        .any(|badge| badge.is_here(name))
        .then_some(())
        .ok_or_else(|| "no worker of this host is known there".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::workers::Workers;

    fn worker(activity: Activity, why: Option<&str>) -> WorkerStatus {
        let mut status: WorkerStatus = serde_json::from_str(
            r#"{"pid":2,"activity":"idle","since":0,"started":0,"jobs":0,"failed":0,"mode":null,"php":null}"#,
        )
        .unwrap();
        status.activity = activity;
        status.why = why.map(String::from);
        status
    }

    #[test]
    fn the_reason_is_that_of_the_worker_that_cannot() {
        let crew = |failures| CrewStatus {
            empty_at: None,
            pid: 2,
            settings: None,
            wanted: 1,
            asleep: false,
            range: Workers::fixed(1),
            held_by: None,
            failures,
        };
        let idle = worker(Activity::Idle, None);
        assert_eq!(why_not(std::slice::from_ref(&idle), &[crew(0)]), None);
        // A crew that starts has no members yet.
        assert_eq!(why_not(&[], &[crew(0)]), None);
        assert_eq!(why_not(&[], &[]).unwrap(), "none runs");
        let broken = worker(Activity::Broken, Some("no database"));
        let why = why_not(&[idle, broken], &[crew(2)]);
        assert_eq!(why.unwrap(), "no database");
        assert!(why_not(&[], &[crew(3)]).unwrap().contains("end soon"));
    }
}
