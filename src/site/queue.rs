//! Queries job servers about a site's jobs before setup changes the site:
//! whether other workers already run them (those of the site's other hosts, or of a
//! copy of the site, which has the same salt and servers), and whether a new salt would strand queued jobs.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use anyhow::Result;

use crate::base::problem::Problem;
use crate::base::text::printable;
use crate::gearman::binary::Client;
use crate::gearman::many;
use crate::gearman::server::Server;
use crate::gearman::text::{Admin, Connection, FunctionStatus};
use crate::host::this_name;
use crate::site::plugins;
use crate::worker::badge::Badge;

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

    /// The other hosts whose workers run the site's jobs, if they use the site's database,
    /// which `ask` asks the site for: they and this host are a fleet. Otherwise one of them
    /// has a copy of the site, and this one is refused. A server that does not answer counts
    /// as having no workers.
    pub fn others_of_fleet(
        &self,
        dir: &str,
        salt: &str,
        servers: &[String],
        own: &[Badge],
        ask: impl FnOnce() -> Result<String>,
    ) -> Result<BTreeSet<String>> {
        let functions = plugins::functions(Some(salt));
        let answers = servers.iter().filter_map(|name| self.answer(name));
        let workers = answers.flat_map(|answer| &answer.workers);
        let others: Vec<Other> = workers
            .filter(|worker| worker.functions.iter().any(|it| functions.contains(it)))
            .map(Other::of)
            .filter(|it| {
                !own.iter()
                    .any(|own| it.badge.as_ref().is_some_and(|b| b.is_of(own)))
            })
            .collect();
        let what = format!("set up {dir}");
        let Some(first) = others.first() else {
            return Ok(BTreeSet::new());
        };
        let salts = "if this site is a copy, remove WP_ASYNC_TASK_SALT from its wp-config.php or set another with --salt";
        if let Some(unknown) = others.iter().find(|it| it.elsewhere().is_none()) {
            let why = format!(
                "other workers already run its jobs ({unknown}), and which database they use is unknown: another site may have the same salt, perhaps because one is a copy of the other"
            );
            return Err(Problem::new(what, why)
                .help(format!("{salts}; if those are this site's own workers on another host, run 'wp-gears setup' and 'wp-gears reload' there, then try again"))
                .into());
        }
        let database = ask().map_err(|error| {
            let why = format!(
                "other workers already run its jobs ({first}), and whether they use its database is unknown: {error:#}"
            );
            Problem::new(&what, why).help(format!("make WordPress load; {salts}"))
        })?;
        let is_other = |it: &&Other| {
            let there = it.elsewhere().map(|(_, database)| database);
            database.is_empty() || there != Some(database.as_str())
        };
        if let Some(other) = others.iter().find(is_other) {
            let why = format!(
                "other workers already run its jobs, with another database ({other}): another site has the same salt, perhaps because one is a copy of the other"
            );
            return Err(Problem::new(what, why)
                .help(format!("{salts}; if both hosts use one database that has moved, run 'wp-gears reload' there, then try again"))
                .into());
        }
        let hosts = others.iter().filter_map(Other::elsewhere);
        Ok(hosts.map(|(host, _)| host.to_owned()).collect())
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

/// A worker that is not this host's own, as far as it says who it is.
struct Other {
    badge: Option<Badge>,
    shown: String,
}

impl Other {
    fn of(worker: &Connection) -> Other {
        Other {
            badge: Badge::read(&worker.id),
            shown: match worker.id.as_str() {
                "" | "-" => format!("from {}", worker.address),
                id => printable(id),
            },
        }
    }

    /// Its host, if that is another, and its database, if it says that.
    fn elsewhere(&self) -> Option<(&str, &str)> {
        let badge = self.badge.as_ref()?;
        let database = badge.mark.as_ref()?.database.as_str();
        (badge.host != this_name() && !database.is_empty()).then_some((&badge.host, database))
    }
}

impl std::fmt::Display for Other {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FUNCTION: &str = "s:WP_Async_Task";

    fn judged(ids: &[&str], own: &[Badge], database: &str) -> Result<BTreeSet<String>> {
        let workers = ids.iter().map(|id| Connection {
            address: "10.0.0.2".into(),
            id: (*id).to_owned(),
            functions: vec![FUNCTION.into()],
        });
        let answer = Answer {
            queues: Vec::new(),
            workers: workers.collect(),
        };
        let answers = Answers([("a:1".to_owned(), Ok(answer))].into());
        let ask = || Ok(database.to_owned());
        answers.others_of_fleet("/site", "s", &["a:1".into()], own, ask)
    }

    #[test]
    fn hosts_with_the_same_database_are_a_fleet() {
        assert!(judged(&[], &[], "").unwrap().is_empty());
        let two = [
            "w1/site/7/abcd..1",
            "w2/site/7/abcd..1",
            "w2/site/8/abcd..1",
        ];
        let hosts = judged(&two, &[], "abcd").unwrap();
        assert_eq!(hosts, ["w1".to_owned(), "w2".to_owned()].into());
    }

    #[test]
    fn copies_are_refused_and_what_might_be_one() {
        let own = Badge::new("site", 7, None, 1);
        let here = format!("{}/site/8/abcd..1", this_name());
        for (id, database) in [
            ("w1/site/7/abcd..1", "ef01"),
            ("w1/site/7/abcd..1", ""),
            ("w1/site/7/..1", ""),
            ("w1/site/7", "abcd"), // of an earlier version
            ("-", "abcd"),
            (here.as_str(), "abcd"), // another folder of this host
        ] {
            let own = std::slice::from_ref(&own);
            assert!(judged(&[id], own, database).is_err(), "{id} {database}");
            assert!(judged(&["w2/site/7/abcd..1", id], own, database).is_err());
        }
        let left = own.to_string();
        assert!(judged(&[&left], &[own], "").unwrap().is_empty());
    }
}
