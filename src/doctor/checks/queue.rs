//! What waits in the job servers: jobs that nobody serves, and queues that stand still.

use std::time::Duration;

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding, or_ok};
use crate::gearman::text::FunctionStatus;
use crate::host::files::Node;
use crate::intent::resolve::SiteResolved;
use crate::site::plugins;

pub const CHECK: Check = Check {
    name: "queue",
    describes: "waiting jobs, jobs that no worker serves, queues that stand still between two looks",
    vital: false,
    run,
};

/// Between the two looks at a queue that may stand still: a worker that is
/// free takes the next job in some milliseconds.
const PAUSE: Duration = Duration::from_millis(700);

fn run(context: &Context) -> Vec<Finding> {
    let mut findings = Vec::new();
    for server in context.servers() {
        let Ok(looked) = context.look(server) else {
            findings.push(Finding::skipped(format!(
                "the job server {server} does not answer"
            )));
            continue;
        };
        let problems = look(context, server, &looked.queues);
        findings.extend(or_ok(problems, || {
            let waiting: u64 = looked.queues.iter().map(FunctionStatus::waiting).sum();
            let running: u64 = looked.queues.iter().map(|it| it.running).sum();
            format!("{waiting} waiting, {running} running on {server}")
        }));
    }
    if findings.is_empty() {
        findings.push(Finding::skipped("no job server is used here"));
    }
    findings
}

fn look(context: &Context, server: &str, queues: &[FunctionStatus]) -> Vec<Finding> {
    let mut problems = Vec::new();
    for queue in queues
        .iter()
        .filter(|queue| queue.jobs > 0 && queue.workers == 0)
    {
        let site = owner(context, queue);
        let seen = format!(
            "{} of {} on {server}, and no worker serves them",
            jobs(queue.jobs),
            name(queue, site)
        );
        problems.push(match site {
            Some(site) if paused(context, site) => {
                Finding::warning(seen, format!("wp-gears resume --site {}", site.dir.display()))
            }
            Some(site) => Finding::failed(seen, format!("start the workers: {}", context.supervisorctl(&format!("start {}:*", site.program)))),
            None => Finding::failed(
                seen,
                "start the worker that they are for; 'gearadmin --show-jobs' and '--cancel-job' take them out",
            ),
        });
    }
    let still: Vec<&FunctionStatus> = queues.iter().filter(|queue| stands(queue)).collect();
    if still.is_empty() {
        return problems;
    }
    std::thread::sleep(PAUSE);
    let later = context
        .admin(server)
        .ok()
        .and_then(|mut admin| admin.status().ok())
        .unwrap_or_default();
    for queue in still {
        let same = later.iter().find(|other| other.function == queue.function);
        if same.is_some_and(|now| stands(now) && now.jobs >= queue.jobs) {
            let site = owner(context, queue);
            let seen = format!(
                "{} of {} on {server}: {} workers are there and take none",
                jobs(queue.jobs),
                name(queue, site),
                queue.workers
            );
            let todo = match site {
                Some(site) => format!(
                    "see {}/{}.log; {}",
                    crate::base::paths::LOGS,
                    site.name,
                    context.supervisorctl(&format!("restart {}:*", site.program))
                ),
                None => "see what its workers wait for".into(),
            };
            problems.push(Finding::failed(seen, todo));
        }
    }
    problems
}

/// Jobs wait, workers are there, and none runs one.
fn stands(queue: &FunctionStatus) -> bool {
    queue.jobs > 0 && queue.workers > 0 && queue.running == 0
}

fn jobs(count: u64) -> String {
    format!(
        "{count} job{} wait{}",
        if count == 1 { "" } else { "s" },
        if count == 1 { "s" } else { "" }
    )
}

fn owner<'c>(context: &'c Context, queue: &FunctionStatus) -> Option<&'c SiteResolved> {
    context.resolved.sites.iter().find(|site| {
        let named = crate::worker::function_of(&context.paths(site).run);
        let salted = site
            .effective_salt()
            .map(|salt| plugins::functions(Some(salt)));
        named
            .into_iter()
            .chain(salted.into_iter().flatten())
            .any(|function| function == queue.function)
    })
}

fn paused(context: &Context, site: &SiteResolved) -> bool {
    matches!(
        context.host.look(&context.paths(site).paused),
        Ok(Node::File(_))
    )
}

/// A function's name without the salt in it.
fn name(queue: &FunctionStatus, site: Option<&SiteResolved>) -> String {
    match site {
        Some(site) => format!("the site {}", site.name),
        None => format!(
            "the function {}",
            plugins::shown_function(&queue.function, false)
        ),
    }
}
