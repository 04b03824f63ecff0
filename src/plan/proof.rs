//! The proof: one job through WordPress itself, as the worker user.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::base::paths::{BASE, LIB, LOGS};
use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::commands::{Command, explain};
use crate::intent::options::WorkerMode;
use crate::intent::resolve::SiteResolved;
use crate::site::ask::{Proof, Request};

/// How long a job may wait for a worker that has just started.
const PATIENCE_SECONDS: u64 = 30;

/// Sends one job and waits until a worker ran it.
pub fn run(host: &Host, site: &SiteResolved) -> Result<Proof> {
    let run = Path::new(BASE).join("run").join(&site.name);
    let request = Request::prove(
        &site.dir.to_string_lossy(),
        &run.to_string_lossy(),
        PATIENCE_SECONDS,
    )?;
    let user = host.need_user(&site.user)?;
    let control = host.supervisor()?.control;
    let output = host.run(
        &Command::new(&site.php.path)
            .args(["-d", "display_errors=stderr", "-d", "memory_limit=512M"])
            .args([Path::new(LIB).join("ask.php")])
            .stdin(request.to_json()?)
            .user(&user)
            .limit(Duration::from_secs(PATIENCE_SECONDS + 30)),
    )?;
    request.read_proof(&output.stdout).map_err(|problem| {
        let mut why = problem.why.clone();
        if !output.stderr.is_empty() || !output.success() {
            why = format!("{why}\nPHP ended with {}", explain(&output));
        }
        Problem::new(problem.what, why)
            .help(format!(
                "see {LOGS}/{}.log and '{control} status {}:*'; all other steps are done",
                site.name, site.program
            ))
            .into()
    })
}

pub fn sentence(site: &SiteResolved, proof: &Proof) -> String {
    let mut text = format!(
        "✓ a job went through WordPress [{}]: handed in after {} ms, started after {} ms, done after {} ms",
        site.name, proof.add_ms, proof.started_ms, proof.done_ms
    );
    if site.worker.worker_mode == WorkerMode::Fork && !proof.forked {
        text.push_str(&format!(
            "\neach job gets a PHP of its own (spawn): {LOGS}/{}.log says why a fork is not safe here",
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
