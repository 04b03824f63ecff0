//! Queries job servers about a site's jobs before setup changes the site:
//! whether other workers already run them (a copy of a site has the same salt
//! and servers), and whether a new salt would strand queued jobs.

use std::collections::HashMap;
use std::time::Duration;

use crate::base::problem::Problem;
use crate::gearman::binary::Client;
use crate::gearman::many;
use crate::gearman::server::Server;
use crate::gearman::text::{Admin, Connection, FunctionStatus};
use crate::site::plugins;

const LIMIT: Duration = Duration::from_secs(2);

/// What job servers said, each asked once.
#[derive(Default)]
pub struct Answers(HashMap<String, Result<Answer, String>>);

struct Answer {
    queues: Vec<FunctionStatus>,
    workers: Vec<Connection>,
}

impl Answers {
    /// Asks the servers in these lists, one list for each site.
    pub fn of(lists: impl IntoIterator<Item = Vec<String>>) -> Answers {
        let servers = many::in_turn(lists);
        let answers = many::each(&servers, |name| {
            let server: Server = name.parse()?;
            let ask = || -> std::io::Result<Answer> {
                let mut admin = Admin::connect(&server, LIMIT)?;
                Ok(Answer {
                    queues: admin.status()?,
                    workers: admin.workers()?,
                })
            };
            ask().map_err(|error| format!("it does not answer ({error})"))
        });
        Answers(servers.into_iter().zip(answers).collect())
    }

    fn answer(&self, server: &str) -> Option<&Answer> {
        self.0.get(server)?.as_ref().ok()
    }

    /// Why a server did not answer.
    pub fn silent(&self, server: &str) -> Option<&str> {
        self.0.get(server)?.as_ref().err().map(String::as_str)
    }

    /// Refuses a site if workers other than its `own`, given by their ids, already
    /// run its jobs. A server that does not answer counts as having no workers.
    pub fn refuse_copy(
        &self,
        dir: &str,
        salt: &str,
        servers: &[String],
        own: &[String],
    ) -> Result<(), Problem> {
        let functions = plugins::functions(Some(salt));
        let busy = servers.iter().find_map(|name| {
            let worker = worker_of(self.answer(name)?, &functions, own)?;
            Some((name, worker))
        });
        let Some((name, worker)) = busy else {
            return Ok(());
        };
        let what = format!("set up {dir}");
        let why = format!(
            "other workers already run its jobs ({worker} on {name}): another site has the same salt, perhaps because one is a copy of the other"
        );
        Err(Problem::new(what, why).help(
            "if this site is a copy, remove WP_ASYNC_TASK_SALT from its wp-config.php or set another with --salt; \
            if those are this site's own workers on another host, let that host run its jobs",
        ))
    }

    /// Refuses a new salt while jobs are queued under the old function names. A
    /// server that does not answer counts as having no jobs.
    pub fn refuse_stranded(
        &self,
        dir: &str,
        functions: &[String],
        servers: &[String],
    ) -> Result<(), Problem> {
        let queued = servers.iter().find_map(|name| {
            let queues = self.answer(name)?.queues.iter();
            let mine = queues.filter(|queue| functions.contains(&queue.function));
            let jobs: u64 = mine.map(|queue| queue.jobs).sum();
            (jobs > 0).then_some((name, jobs))
        });
        let Some((name, jobs)) = queued else {
            return Ok(());
        };
        let what = format!("change WP_ASYNC_TASK_SALT of {dir}");
        let jobs = match jobs {
            1 => "1 job is".to_owned(),
            jobs => format!("{jobs} jobs are"),
        };
        let why =
            format!("{jobs} queued on {name} under the current salt, and no worker would run them");
        Err(Problem::new(what, why).help(
            "wait until the current workers have finished them, then run again; if there are no workers, \
            run the plugin's own runner once for each job",
        ))
    }
}

/// How many jobs of these functions wait. A server that does not answer counts as having
/// none.
pub fn waiting(functions: &[String], servers: &[String]) -> u64 {
    of_functions(functions, servers)
        .map(|it| it.waiting())
        .sum()
}

/// How many workers are registered for these functions. A server that does not answer
/// counts as having none.
pub fn workers(functions: &[String], servers: &[String]) -> u64 {
    of_functions(functions, servers).map(|it| it.workers).sum()
}

fn of_functions(functions: &[String], servers: &[String]) -> impl Iterator<Item = FunctionStatus> {
    let queues = many::each(servers, |name| queues_of(name).ok_or_else(String::new));
    let queues = queues.into_iter().flatten().flatten();
    queues.filter(|queue| functions.contains(&queue.function))
}

/// Takes a job out of its queue if no other waits there.
pub fn withdraw(functions: &[String], server: &str, handle: &str) {
    let queues = queues_of(server).unwrap_or_default();
    let alone = queues
        .iter()
        .find(|queue| functions.contains(&queue.function) && queue.waiting() == 1);
    if let Some(queue) = alone
        && let Ok(server) = server.parse()
        && let Ok(mut client) = Client::connect(&server, LIMIT)
    {
        // What is left of it is only one job that does nothing.
        let _ = client.withdraw(queue.function.as_bytes(), handle);
    }
}

fn queues_of(server: &str) -> Option<Vec<FunctionStatus>> {
    let server: Server = server.parse().ok()?;
    Admin::connect(&server, LIMIT).ok()?.status().ok()
}

/// Describes a worker, other than `own`, that runs jobs of one of the functions.
fn worker_of(answer: &Answer, functions: &[String], own: &[String]) -> Option<String> {
    let one = answer.workers.iter().find(|worker| {
        worker.functions.iter().any(|it| functions.contains(it)) && !own.contains(&worker.id)
    })?;
    Some(match one.id.as_str() {
        "" | "-" => format!("from {}", one.address),
        id => id.to_owned(),
    })
}
