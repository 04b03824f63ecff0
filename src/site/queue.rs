//! What job servers say about a site's jobs before setup changes the site:
//! whether other workers serve them (a copy of a site has the same salt and
//! servers), and whether a new salt would leave queued jobs behind.

use std::time::Duration;

use crate::base::problem::Problem;
use crate::gearman::server::Server;
use crate::gearman::text::{Admin, Queue};
use crate::site::plugins;

const LIMIT: Duration = Duration::from_secs(2);

/// Refuses a site whose functions other workers serve already. A server that
/// does not answer is taken to have no workers.
pub fn refuse_copy(dir: &str, salt: &str, servers: &[String]) -> Result<(), Problem> {
    let functions = plugins::functions(Some(salt));
    for name in servers {
        let Some(served_by) = worker_of(name, &functions) else {
            continue;
        };
        let what = format!("set up {dir}");
        let why = format!(
            "workers serve its jobs already ({served_by} on {name}): it has the salt of another site, as a copy has"
        );
        return Err(Problem::new(what, why).help(
            "if it is a copy, take WP_ASYNC_TASK_SALT out of its wp-config.php, or give it another with --salt; \
             if those are its own workers on another host, leave that host to them",
        ));
    }
    Ok(())
}

/// Refuses a new salt while jobs are queued under the old function names. A
/// server that does not answer is taken to have no jobs.
pub fn refuse_stranded(dir: &str, functions: &[String], servers: &[String]) -> Result<(), Problem> {
    for name in servers {
        let waiting: u64 = queues_of(name)
            .unwrap_or_default()
            .iter()
            .filter(|queue| functions.contains(&queue.function))
            .map(|queue| queue.jobs)
            .sum();
        if waiting > 0 {
            let what = format!("give {dir} another WP_ASYNC_TASK_SALT");
            let why = format!(
                "{waiting} job(s) wait on {name} under the name that it has now, and nobody would run them"
            );
            return Err(Problem::new(what, why)
                .help("let the workers that are there finish them, then run again"));
        }
    }
    Ok(())
}

fn queues_of(server: &str) -> Option<Vec<Queue>> {
    let server: Server = server.parse().ok()?;
    Admin::connect(&server, LIMIT).ok()?.status().ok()
}

/// A worker that serves one of the functions, in words.
fn worker_of(server: &str, functions: &[String]) -> Option<String> {
    let server: Server = server.parse().ok()?;
    let mut admin = Admin::connect(&server, LIMIT).ok()?;
    let workers = admin.workers().ok()?;
    let one = workers
        .into_iter()
        .find(|worker| worker.functions.iter().any(|it| functions.contains(it)))?;
    Some(match one.id.as_str() {
        "" | "-" => format!("from {}", one.address),
        id => id.to_owned(),
    })
}
