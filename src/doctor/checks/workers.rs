//! What the site's workers say of themselves.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding, or_ok};
use crate::host::files::Node;
use crate::intent::options::Role;
use crate::worker::heartbeat::{self, Activity};

pub const CHECK: Check = Check {
    name: "workers",
    describes: "what the workers are at: paused, unable to run jobs, hours at one job",
    vital: false,
    run,
};

const LONG_HOURS: u64 = 1;

fn run(context: &Context) -> Vec<Finding> {
    if !context.has_role(Role::Worker) {
        return vec![Finding::skipped("no workers run here")];
    }
    context.each_site(|site| {
        let paths = context.paths(site);
        let seen = match heartbeat::read(&paths.run) {
            Ok(seen) => seen,
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                return vec![Finding::skipped("that needs root")];
            }
            Err(_) => return vec![Finding::skipped("no worker of the site ran yet")],
        };
        let mut problems = Vec::new();
        if matches!(context.host.look(&paths.paused), Ok(Node::File(_))) {
            let todo = format!("wp-gears resume --site {}", site.dir.display());
            problems.push(Finding::warning(
                "its workers are paused: no job runs",
                todo,
            ));
        }
        let log = format!("{}/{}.log", crate::base::paths::LOGS, site.name);
        let broken = seen
            .iter()
            .filter(|worker| worker.activity == Activity::Broken)
            .count();
        if broken > 0 {
            let todo = format!("{log} says why; they try again within 30 s");
            let what = format!("{broken} of {} workers cannot run jobs for now", seen.len());
            problems.push(match broken == seen.len() {
                true => Finding::failed(what, todo),
                false => Finding::warning(what, todo),
            });
        }
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis() as u64;
        for worker in seen
            .iter()
            .filter(|worker| worker.activity == Activity::Busy)
        {
            let hours = now.saturating_sub(worker.since) / 3_600_000;
            if hours >= LONG_HOURS && site.worker.job_limit().is_none() {
                let seen = format!("process {} has been at one job for {hours} h", worker.pid);
                problems.push(Finding::warning(
                    seen,
                    "if that is too long: wp-gears setup --job-timeout SECONDS",
                ));
            }
        }
        if let Some(finding) = fewer(context, site.workers, seen.len()) {
            problems.push(finding);
        }
        or_ok(problems, || {
            let jobs: u64 = seen.iter().map(|worker| worker.jobs).sum();
            format!(
                "{} workers, {jobs} jobs done since they started",
                seen.len()
            )
        })
    })
}

/// Supervisor's check tells what does not run; this one what runs and is not a worker of ours.
fn fewer(context: &Context, wanted: u32, seen: usize) -> Option<Finding> {
    let all_run = context
        .programs()
        .as_ref()
        .is_ok_and(|all| all.iter().all(|process| process.state == "RUNNING"));
    (all_run && (seen as u64) < u64::from(wanted)).then(|| {
        Finding::warning(
            format!("{seen} of {wanted} workers have reported"),
            format!(
                "look again in a moment; if that does not help, {}",
                context.supervisorctl("status")
            ),
        )
    })
}
