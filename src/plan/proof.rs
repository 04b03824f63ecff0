//! The test job: submitted through WordPress itself, as the worker user.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::base::paths::{BASE, LOGS};
use crate::base::problem::Problem;
use crate::host::Host;
use crate::intent::options::{Role, WorkerMode};
use crate::intent::resolve::SiteResolved;
use crate::site::ask::Proof;

/// How long a job may wait for a worker that has just started.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether this host both submits jobs and runs them.
pub fn applies(roles: &[Role]) -> bool {
    roles.contains(&Role::Worker) && roles.contains(&Role::Web)
}

/// Submits one job and waits until a worker has run it.
pub fn run(host: &Host, site: &SiteResolved) -> Result<Proof> {
    let run = Path::new(BASE).join("run").join(&site.name);
    let control = host.supervisor()?.control;
    site.target().prove(host, &run, PATIENCE).map_err(|error| {
        let help = format!(
            "see {LOGS}/{}.log and '{control} status {}:*'; all other steps succeeded",
            site.name, site.program
        );
        match error.downcast::<Problem>() {
            Ok(problem) if problem.help.is_empty() => problem.help(help).into(),
            Ok(problem) => problem.into(),
            Err(error) => error,
        }
    })
}

pub fn sentence(site: &SiteResolved, proof: &Proof) -> String {
    let mut text = format!(
        "✓ ran a test job through WordPress [{}]: submitted after {} ms, started after {} ms, finished after {} ms",
        site.name, proof.add_ms, proof.started_ms, proof.done_ms
    );
    if site.worker.worker_mode == WorkerMode::Fork && !proof.forked {
        text.push_str(&format!(
            "\nEach job gets its own PHP process (spawn); {LOGS}/{}.log says why forking is not safe here.",
            site.name
        ));
    }
    text
}

pub fn document(site: &str, proof: &Proof) -> Value {
    json!({
        "site": site,
        "function": proof.function.split_once(':').map_or("", |(_, name)| name),
        "added_ms": proof.add_ms,
        "started_ms": proof.started_ms,
        "done_ms": proof.done_ms,
        "forked": proof.forked,
    })
}
