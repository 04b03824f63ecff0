//! The queues of the job servers: jobs without workers, and stalled queues.

use std::time::Duration;

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding, or_ok};
use crate::gearman::many;
use crate::gearman::text::FunctionStatus;
use crate::host::files::Node;
use crate::intent::resolve::SiteResolved;
use crate::site::maintenance;
use crate::site::plugins;

pub const CHECK: Check = Check {
    name: "queue",
    describes: "queued jobs, jobs without workers, and stalled queues",
    vital: false,
    run,
};

/// The time between two looks at a queue that may have stalled. A free worker takes
/// the next job within milliseconds.
const PAUSE: Duration = Duration::from_millis(700);
/// A server that a site names may make up thousands of queues.
const MOST: usize = 20;

fn run(context: &Context) -> Vec<Finding> {
    let servers: Vec<&str> = context.servers().collect();
    let looked = many::each(&servers, |server| Ok(of_server(context, server)));
    let mut findings: Vec<Finding> = Vec::new();
    for found in looked {
        findings.extend(found.unwrap_or_else(|why| vec![Finding::skipped(why)]));
    }
    if findings.is_empty() {
        findings.push(Finding::skipped("no job server is used here"));
    }
    findings
}

fn of_server(context: &Context, server: &str) -> Vec<Finding> {
    let Ok(looked) = context.look(server) else {
        return vec![Finding::skipped(format!(
            "the job server {server} does not answer"
        ))];
    };
    let mut problems = look(context, server, &looked.queues);
    if problems.len() > MOST {
        let more = problems.len() - MOST;
        problems.truncate(MOST);
        let message = format!("{more} more queues on {server} have such problems");
        problems.push(Finding::warning(message, "see 'wp-gears status'"));
    }
    or_ok(problems, || {
        let waiting: u64 = looked.queues.iter().map(FunctionStatus::waiting).sum();
        let running: u64 = looked.queues.iter().map(|it| it.running).sum();
        format!("{waiting} waiting, {running} running on {server}")
    })
}

fn look(context: &Context, server: &str, queues: &[FunctionStatus]) -> Vec<Finding> {
    let mut problems = Vec::new();
    for queue in queues
        .iter()
        .filter(|queue| queue.jobs > 0 && queue.workers == 0)
    {
        let site = owner(context, queue);
        let message = format!(
            "{} for {} on {server}, but no worker serves them",
            jobs(queue.jobs),
            name(queue, site)
        );
        problems.push(match site {
            Some(site) if paused(context, site) => {
                Finding::warning(message, format!("run 'wp-gears resume --site {}'", site.dir.display()))
            }
            Some(site) if maintenance::is_on(context.host, &site.dir) => {
                Finding::warning(message, maintenance::help(&site.dir))
            }
            Some(site) => Finding::failed(message, format!("start the workers with '{}'", context.supervisorctl(&format!("start {}:*", site.program)))),
            None => Finding::failed(
                message,
                "start a worker for them, or remove them with 'gearadmin --show-jobs' and 'gearadmin --cancel-job'",
            ),
        });
    }
    let stalled: Vec<&FunctionStatus> = queues.iter().filter(|queue| is_stalled(queue)).collect();
    if stalled.is_empty() {
        return problems;
    }
    std::thread::sleep(PAUSE);
    let later = context
        .admin(server)
        .ok()
        .and_then(|mut admin| admin.status().ok())
        .unwrap_or_default();
    for queue in stalled {
        let same = later.iter().find(|other| other.function == queue.function);
        if same.is_some_and(|now| is_stalled(now) && now.jobs >= queue.jobs) {
            let site = owner(context, queue);
            let message = format!(
                "{} for {} on {server}, but none of its {} workers takes one",
                jobs(queue.jobs),
                name(queue, site),
                queue.workers
            );
            let help = match site {
                Some(site) => format!(
                    "see {}/{}.log, then run '{}'",
                    crate::base::paths::LOGS,
                    site.name,
                    context.supervisorctl(&format!("restart {}:*", site.program))
                ),
                None => "find out what its workers are waiting for".into(),
            };
            problems.push(Finding::failed(message, help));
        }
    }
    problems
}

/// Jobs are queued and workers are connected, but none runs a job.
fn is_stalled(queue: &FunctionStatus) -> bool {
    queue.jobs > 0 && queue.workers > 0 && queue.running == 0
}

fn jobs(count: u64) -> String {
    let (jobs, are) = match count {
        1 => ("job", "is"),
        _ => ("jobs", "are"),
    };
    format!("{count} {jobs} {are} queued")
}

fn owner<'c>(context: &'c Context, queue: &FunctionStatus) -> Option<&'c SiteResolved> {
    let salted = |site: &&SiteResolved| {
        let salt = site.effective_salt();
        salt.is_some_and(|salt| plugins::functions(Some(salt)).contains(&queue.function))
    };
    // What workers say comes second: they can claim another site's function.
    let named = |site: &&SiteResolved| {
        let named = crate::worker::function_of(&context.paths(site).run);
        named.as_ref() == Some(&queue.function)
    };
    let mut sites = context.resolved.sites.iter();
    sites
        .clone()
        .find(salted)
        .or_else(|| sites.find(|site| named(site)))
}

fn paused(context: &Context, site: &SiteResolved) -> bool {
    matches!(
        context.host.look(&context.paths(site).paused),
        Ok(Node::File(_))
    )
}

/// The site, or the name of the function without a salt.
fn name(queue: &FunctionStatus, site: Option<&SiteResolved>) -> String {
    match site {
        Some(site) => format!("the site {}", site.name),
        None => format!(
            "the function {}",
            plugins::shown_function(&queue.function, false)
        ),
    }
}
