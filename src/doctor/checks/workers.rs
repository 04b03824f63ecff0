//! What the site's workers report about themselves.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::base::text::printable;
use crate::doctor::context::Context;
use crate::doctor::{Check, Finding, or_ok};
use crate::host::files::Node;
use crate::intent::options::Role;
use crate::intent::resolve::SiteResolved;
use crate::site::maintenance;
use crate::site::plugins::shown_function;
use crate::worker;
use crate::worker::heartbeat::{self, Activity, WorkerStatus};

pub const CHECK: Check = Check {
    name: "workers",
    describes: "whether workers are paused, unable to run jobs, or busy with one job for hours",
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
        let statuses = match heartbeat::read(&paths.run) {
            Ok(statuses) => statuses,
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                return vec![Finding::skipped("it requires root")];
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return vec![Finding::skipped("no worker of the site has run yet")];
            }
            Err(error) => {
                let message = format!("cannot read {}: {error}", paths.run.display());
                return vec![Finding::failed(message, "")];
            }
        };
        let count = heartbeat::count(&statuses);
        let mut problems = Vec::new();
        if matches!(context.host.look(&paths.paused), Ok(Node::File(_))) {
            let help = format!("run 'wp-gears resume --site {}'", site.dir.display());
            problems.push(Finding::warning(
                "its workers are paused, so no jobs run",
                help,
            ));
        }
        if statuses
            .iter()
            .any(|worker| worker.activity == Activity::Maintenance)
        {
            problems.push(Finding::warning(
                maintenance::SENTENCE,
                maintenance::help(&site.dir),
            ));
        }
        let log = format!("{}/{}.log", crate::base::paths::LOGS, site.name);
        let broken: Vec<&WorkerStatus> = statuses
            .iter()
            .filter(|worker| worker.activity == Activity::Broken)
            .collect();
        if let Some(first) = broken.first() {
            let help = format!("see {log} for more; they retry within 30 s");
            let broken = broken.len();
            let mut what = format!("{broken} of {count} workers cannot run jobs");
            if let Some(why) = &first.why {
                what.push_str(&format!(": {}", printable(why)));
            }
            problems.push(match broken == count {
                true => Finding::failed(what, help),
                false => Finding::warning(what, help),
            });
        }
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis() as u64;
        for worker in statuses
            .iter()
            .filter(|worker| worker.activity == Activity::Busy)
        {
            let hours = now.saturating_sub(worker.since) / 3_600_000;
            if hours >= LONG_HOURS && site.worker.job_timeout.is_none() {
                let message = format!(
                    "process {} has been running one job for {hours} h",
                    worker.pid
                );
                problems.push(Finding::warning(
                    message,
                    "if that is too long, set a limit with 'wp-gears setup --job-timeout SECONDS'",
                ));
            }
        }
        problems.extend(other_function(context, site));
        if let Some(finding) = fewer(context, site.workers.min, count) {
            problems.push(finding);
        }
        or_ok(problems, || {
            let jobs: u64 = statuses.iter().map(|worker| worker.jobs).sum();
            format!(
                "{} workers, {jobs} jobs completed since they started",
                count
            )
        })
    })
}

/// Jobs that the site submits under a name that its workers do not serve.
fn other_function(context: &Context, site: &SiteResolved) -> Option<Finding> {
    let served = worker::function_of(&context.paths(site).run)?;
    let submitted = context.facts(site).as_ref().ok()?.function.clone()?;
    (served != submitted).then(|| {
        Finding::failed(
            format!(
                "WordPress submits jobs as {}, but its workers serve {}",
                shown_function(&submitted, true),
                shown_function(&served, true)
            ),
            format!(
                "run 'wp-gears reload --site {}'; if that does not help, find the plugin that changes the function's name only in some requests",
                site.dir.display()
            ),
        )
    })
}

/// Processes that run but have not reported. 'programs' checks those that do not run.
fn fewer(context: &Context, wanted: u32, reported: usize) -> Option<Finding> {
    let all_run = context
        .programs()
        .as_ref()
        .is_ok_and(|all| all.iter().all(|process| process.state == "RUNNING"));
    (all_run && (reported as u64) < u64::from(wanted)).then(|| {
        Finding::warning(
            format!("{reported} of {wanted} workers have reported"),
            format!(
                "check again in a moment; if that does not help, see '{}'",
                context.supervisorctl("status")
            ),
        )
    })
}
