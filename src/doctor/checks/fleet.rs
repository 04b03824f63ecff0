//! Whether the hosts whose workers run a site's jobs agree about the site, as far as job
//! servers tell: each worker says its host, and hashes of what has to be the same.

use std::collections::{BTreeMap, BTreeSet};

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding, or_ok};
use crate::host::this_name;
use crate::intent::options::Role;
use crate::intent::resolve::SiteResolved;
use crate::worker::badge::{Badge, Mark};

pub const CHECK: Check = Check {
    name: "fleet",
    describes: "whether hosts that run the same site's jobs agree about it",
    vital: false,
    run,
};

/// Whoever reaches a job server can make up hosts.
const MOST: usize = 20;

/// A worker of another host, as one job server sees it.
struct Worker<'a> {
    server: &'a str,
    badge: Badge,
    functions: &'a [String],
}

fn run(context: &Context) -> Vec<Finding> {
    if context.resolved.sites.is_empty() {
        return vec![Finding::skipped("no site has workers here")];
    }
    if let Some(skipped) = context.needs_root() {
        return vec![skipped];
    }
    context.each_site(|site| of_site(context, site))
}

fn of_site(context: &Context, site: &SiteResolved) -> Vec<Finding> {
    let servers = site.effective_servers();
    let answers: Vec<_> = servers
        .iter()
        .filter_map(|server| Some((server.as_str(), context.look(server).ok()?)))
        .collect();
    let here = this_name();
    let others: Vec<Worker> = answers
        .iter()
        .flat_map(|(server, answer)| answer.workers.iter().map(move |it| (*server, it)))
        .filter(|(_, it)| !it.functions.is_empty())
        .filter_map(|(server, it)| {
            Some(Worker {
                server,
                badge: Badge::read(&it.id)?,
                functions: &it.functions,
            })
        })
        .filter(|it| it.badge.host != here)
        .collect();
    if others.is_empty() {
        return vec![Finding::ok("no other host runs jobs here")];
    }
    let Ok(facts) = context.facts(site) else {
        return vec![Finding::skipped(
            "WordPress does not load (see 'wordpress')",
        )];
    };
    let own = Mark::new(&facts.identity.database, &facts.key);
    let function = facts.function.clone().unwrap_or_default();
    let runs = |it: &Worker| it.functions.contains(&function);
    let mut problems: BTreeMap<(String, &str), Finding> = BTreeMap::new();
    let mut hosts: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for it in &others {
        if runs(it) {
            let seen_by = hosts.entry(&it.badge.host).or_default();
            seen_by.insert(it.server);
        }
        let count = context.has_role(Role::Worker).then_some(servers.len());
        if let Some((what, finding)) = differs(it, &own, runs(it), count) {
            problems
                .entry((it.badge.host.clone(), what))
                .or_insert(finding);
        }
    }
    for (host, seen_by) in &hosts {
        let missing = answers.iter().find(|(server, _)| !seen_by.contains(server));
        if let Some((server, _)) = missing {
            let message = format!("the workers on {host} are not connected to {server}");
            let help = "give all hosts of the site the same --servers, and let them reach each";
            let host = (*host).to_owned();
            let finding = Finding::warning(message, help);
            problems.entry((host, "servers")).or_insert(finding);
        }
    }
    let problems = problems.into_values().take(MOST).collect();
    or_ok(problems, || match hosts.len() {
        0 => "no other host runs this site's jobs".to_owned(),
        _ => {
            let names: Vec<&str> = hosts.into_keys().take(MOST).collect();
            format!(
                "jobs run on {} too, and they agree with this host",
                names.join(", ")
            )
        }
    })
}

/// In what another host's worker differs from this host, if both know it.
fn differs(
    it: &Worker,
    own: &Mark,
    runs: bool,
    servers: Option<usize>,
) -> Option<(&'static str, Finding)> {
    let (host, mark) = (&it.badge.host, it.badge.mark.as_ref()?);
    let known = |text: &str| !text.is_empty();
    let same_database = known(&own.database) && mark.database == own.database;
    if same_database && !runs {
        let message = format!(
            "workers on {host} use this site's database, and serve another function: another salt or another plugin"
        );
        let help = "set the same WP_ASYNC_TASK_SALT on both hosts, with --salt";
        return Some(("function", Finding::failed(message, help)));
    }
    if !runs {
        return None; // those of another site
    }
    if known(&own.database) && known(&mark.database) && !same_database {
        let message = format!(
            "workers on {host} run this site's jobs with another database: one of the hosts has a copy of the site"
        );
        let help = format!(
            "give the copy another salt, with --salt; if the database has moved, run 'wp-gears reload' on {host}"
        );
        return Some(("database", Finding::failed(message, help)));
    }
    if known(&own.key) && known(&mark.key) && own.key != mark.key {
        let message = format!(
            "workers on {host} have other secret keys than this host, so they refuse jobs that are sealed here"
        );
        let help = "give wp-config.php the same AUTH_KEY, SECURE_AUTH_KEY and so on, on all hosts";
        return Some(("key", Finding::failed(message, help)));
    }
    let there = it.badge.servers;
    let other = servers.filter(|here| there != 0 && there != *here)?;
    let message =
        format!("workers on {host} have {there} job server(s), and those of this host {other}");
    let help = "give all hosts of the site the same --servers";
    Some(("servers", Finding::warning(message, help)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;

    fn judged(id: &str, runs: bool) -> Option<(&'static str, Status)> {
        let it = Worker {
            server: "a:1",
            badge: Badge::read(id).unwrap(),
            functions: &[],
        };
        let own = Mark::new("ab", "cd");
        let (what, finding) = differs(&it, &own, runs, Some(2))?;
        Some((what, finding.status))
    }

    #[test]
    fn what_another_host_has_is_compared_with_this_one() {
        let failed = |what| Some((what, Status::Failed));
        assert_eq!(judged("w/s/7/ab.cd.2", true), None);
        assert_eq!(
            judged("w/s/7/ab.cd.1", true),
            Some(("servers", Status::Warning))
        );
        assert_eq!(judged("w/s/7/ab.ef.2", true), failed("key"));
        assert_eq!(judged("w/s/7/ef.cd.2", true), failed("database"));
        assert_eq!(judged("w/s/7/ab.cd.2", false), failed("function"));
        assert_eq!(judged("w/s/7/ef.cd.2", false), None);
        for unknown in ["w/s/7", "w/s/7/..2", "w/s/7/ab..2"] {
            assert_eq!(judged(unknown, true), None, "{unknown}");
        }
    }
}
