//! Turns an intent into a plan: resolves and inspects it, and refuses before the
//! first change what cannot be done.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use anyhow::Result;

use crate::base::problem::{Problem, SiteError, SiteResult};
use crate::host::Host;
use crate::intent::exposure;
use crate::intent::options::{Role, Spec};
use crate::intent::record::Intent;
use crate::intent::resolve::{self, Resolved, SiteResolved};
use crate::plan::journal::Scope;
use crate::plan::make::make;
use crate::plan::recipe::{self, Recipe};
use crate::plan::{Item, Plan, Refused, Run, Step, fit, preflight};
use crate::resource::Resource;
use crate::resource::ResourceId;
use crate::resource::check::Condition;
use crate::resource::intent::IntentFile;
use crate::site::queue::Answers;
use crate::supervisor::programs;
use crate::worker::badge::Badge;

/// Everything resolved and inspected; nothing is changed yet.
pub struct Prepared {
    pub resolved: Resolved,
    pub plan: Plan,
}

pub fn prepare(host: &Host, spec: &Spec, run: Run) -> Result<Prepared> {
    let mut resolved = resolve::resolve(host, spec)?;
    let without_sites = resolved.sites.is_empty() && resolved.refused.is_empty();
    if host.live() {
        fit::leave_out_silent_phps(host, &mut resolved);
    }
    let Recipe { mut list, refused } = recipe::setup(host, &resolved, run)?;
    list.retain(|item| host.live() || !is_pending(host, item));
    let mut plan = make(host, list)?;
    for (scope, error) in refused {
        plan.refuse(scope, error.into_error());
    }
    for (dir, error) in resolved.refused.drain(..) {
        plan.refused.push(Refused::unnamed(dir, error));
    }
    if !without_sites {
        only_refusal(&resolved, &mut plan)?;
    }
    if plan.changes() {
        let notes = exposure::notes(host, &resolved);
        resolved.notes.extend(notes);
    }
    if host.live() {
        let own = resolved.host.own_server();
        port_is_free(host, resolved.host.port, &own, &plan)?;
        if let Some(store) = &resolved.host.store {
            store.check(host)?;
            if plan.changes() {
                resolved.notes.extend(store.notes(host));
            }
        }
        if plan.changes() {
            let sites = resolved.sites.iter();
            let notes: Vec<_> = sites.filter_map(|it| host_of_jobs(host, it)).collect();
            resolved.notes.extend(notes);
        }
        let mut bad = fit::unparsable(host, &resolved, &plan);
        for server in &resolved.host.owners {
            let Err(error) = port_is_free(host, server.port, &server.address(), &plan) else {
                continue;
            };
            let problem = error
                .downcast::<Problem>()?
                .help("stop that program, or choose another port with --owner-ports USER:PORT");
            plan.refuse(Scope::Owner(server.owner.clone()), problem.clone().into());
            let sites = resolved.sites.iter().filter(|it| it.user == server.owner);
            bad.extend(sites.map(|it| (Scope::Site(it.name.clone()), problem.clone().into())));
        }
        let depends = run.start && !resolved.host.roles.contains(&Role::Server);
        let asks = |site: &&SiteResolved| {
            depends || site.existing.is_none() || !site.names_left_behind().is_empty()
        };
        let asking = resolved.sites.iter().filter(asks);
        let answers = Answers::of(asking.map(SiteResolved::effective_servers));
        if depends {
            bad.extend(without_servers(&resolved, &answers));
        }
        let (fleets, refused) = judged_by_queues(host, &resolved, &answers);
        resolved.notes.extend(fleets);
        bad.extend(refused);
        bad.extend(fit::unfit_phps(host, &resolved, &plan));
        for (scope, error) in bad {
            plan.refuse(scope, error.into_error());
        }
        if !without_sites {
            only_refusal(&resolved, &mut plan)?;
        }
    }
    if !host.live() {
        for (scope, error) in fit::unparsable_here(host, &mut resolved, &plan)? {
            plan.refuse(scope, error.into_error());
        }
    }
    record_intent(host, spec, &resolved, &mut plan)?;
    Ok(Prepared { resolved, plan })
}

/// Puts the intent file right after the packages, so that it is recorded
/// whatever happens later. A package manager that fails leaves no trace.
fn record_intent(host: &Host, spec: &Spec, resolved: &Resolved, plan: &mut Plan) -> Result<()> {
    if spec.config.is_some() || (plan.steps.is_empty() && !plan.refused.is_empty()) {
        return Ok(());
    }
    let is_refused = |name: &str| {
        let scope = Scope::Site(name.to_owned());
        plan.refused.iter().any(|refused| refused.is_of(&scope))
    };
    let mut intent = Intent {
        host: spec.host.clone().over(resolved.host.adopted.clone()),
        ..Intent::default()
    };
    let wishes = spec.sites.iter().map(|wish| (&wish.dir, &wish.options));
    let wishes: HashMap<_, _> = wishes.rev().collect();
    for site in resolved.sites.iter().filter(|site| !is_refused(&site.name)) {
        let given = wishes.get(&site.dir).copied().cloned().unwrap_or_default();
        intent
            .sites
            .push((site.dir.clone(), given.over(site.adopted.clone())));
        if !site.hooks.is_empty() {
            intent.hooks.insert(site.dir.clone(), site.hooks.clone());
        }
    }
    if !resolved.host.owner_ports.is_empty() {
        intent.host.owner_ports = Some(resolved.host.owner_ports.clone());
    }
    intent.sites.extend(resolved.others.iter().cloned());
    let file = IntentFile::with(intent, spec.past.recorded);
    let state = file.inspect(host)?;
    let item = Item {
        scope: Scope::Host,
        resource: Box::new(file),
    };
    let mut alone = Plan {
        steps: vec![Step { item, state }],
        ..Plan::default()
    };
    if let Some((_, error)) = preflight::check(host, &alone)?.pop() {
        return Err(error);
    }
    let is_packages = |step: &Step| step.item.resource.id() == ResourceId::Packages;
    let packages = plan.steps.iter().rposition(is_packages);
    let after = packages.map_or(0, |at| at + 1);
    plan.steps.splice(after..after, alone.steps.drain(..));
    Ok(())
}

/// If no site is left, nothing is done for the host either. If there was only one
/// site, its error is that of the whole run.
fn only_refusal(resolved: &Resolved, plan: &mut Plan) -> Result<()> {
    let is_refused = |name: &String| {
        let scope = Scope::Site(name.clone());
        plan.refused.iter().any(|refused| refused.is_of(&scope))
    };
    if !resolved.sites.iter().all(|site| is_refused(&site.name)) {
        return Ok(());
    }
    plan.steps.clear();
    match (plan.refused.pop(), plan.refused.is_empty()) {
        (Some(only), true) => Err(only.error),
        (last, _) => {
            plan.refused.extend(last);
            Ok(())
        }
    }
}

/// The host that jobs of a network get whose wp-config.php leaves that to the request.
fn host_of_jobs(host: &Host, site: &SiteResolved) -> Option<String> {
    if !site.found.domain_from_request {
        return None;
    }
    let dir = site.dir.display();
    let as_requests = format!("jobs of {dir} run as requests to");
    if let Some(named) = &site.worker_options.host {
        return Some(format!("{as_requests} {named}, as --host says"));
    }
    match site.target().facts(host, &[]) {
        Ok(facts) if !facts.identity.network => None,
        Ok(facts) if facts.has_host() => Some(format!(
            "{as_requests} {}, the network's main site (--host names another)",
            facts.home
        )),
        Ok(_) => Some(format!(
            "the network in {dir} does not say its host, which jobs need: name it with --host"
        )),
        Err(error) => Some(format!(
            "the host that jobs of {dir} get is not known yet: {error:#} (--host names one)"
        )),
    }
}

/// Below `--root`, a file that a package installs is skipped until it exists.
fn is_pending(host: &Host, item: &Item) -> bool {
    item.resource
        .as_file()
        .is_some_and(|file| file.is_pending(host))
}

/// Refuses a port that another program uses, as gearmand could not start.
fn port_is_free(host: &Host, port: u16, server: &str, plan: &Plan) -> Result<()> {
    let answers = ResourceId::Check(Condition::JobServerAnswers(server.to_owned()));
    if !plan
        .differing()
        .any(|(step, _, _)| step.item.resource.id() == answers)
    {
        return Ok(());
    }
    for listener in host.listeners(port) {
        let Some(holder) = host.holder(&listener) else {
            continue;
        };
        if !host.is_gearmand(&holder)? {
            let why = format!("{} already listens on port {port}", host.describe(&holder));
            return Err(
                Problem::new(format!("let the job server listen on {server}"), why)
                    .help("stop that program, or choose another port with --port")
                    .into(),
            );
        }
    }
    Ok(())
}

/// Refuses sites whose jobs are served by a copy of the site, or whose queued jobs a new
/// salt would strand. Notes name the other hosts of a site.
fn judged_by_queues(
    host: &Host,
    resolved: &Resolved,
    answers: &Answers,
) -> (Vec<String>, Vec<(Scope, SiteError)>) {
    let (mut notes, mut refused) = (Vec::new(), Vec::new());
    for site in &resolved.sites {
        match judged_by_queue(host, resolved, site, answers) {
            Ok(note) => notes.extend(note),
            Err(error) => refused.push((Scope::Site(site.name.clone()), error)),
        }
    }
    (notes, refused)
}

fn judged_by_queue(
    host: &Host,
    resolved: &Resolved,
    site: &SiteResolved,
    answers: &Answers,
) -> SiteResult<Option<String>> {
    let dir = site.dir.to_string_lossy();
    let servers = site.effective_servers();
    let mut note = None;
    // A host that has only pages is there for workers on others.
    let runs_jobs = resolved.host.roles.contains(&Role::Worker);
    if let (Some(salt), None, true) = (site.effective_salt(), &site.existing, runs_jobs) {
        let ask = || Ok(site.target().identify(host)?.database);
        let own = workers_of(host, site);
        let hosts = answers.others_of_fleet(&dir, salt, &servers, &own, ask)?;
        let hosts: Vec<String> = hosts.into_iter().collect();
        if !hosts.is_empty() {
            note = Some(format!(
                "jobs of {dir} already run on {}, with the same database: this host joins them",
                hosts.join(", ")
            ));
        }
    }
    answers.refuse_stranded(&dir, &site.names_left_behind(), &servers)?;
    Ok(note)
}

/// Workers of the site that still run although their program file is gone, as job
/// servers know them.
fn workers_of(host: &Host, site: &SiteResolved) -> Vec<Badge> {
    let mut processes = host.processes();
    processes.retain(|it| programs::site_of(&it.args).as_ref() == Some(&site.dir));
    let pids = processes.iter().map(|it| it.pid);
    pids.map(|pid| Badge::new(&site.name, pid, None, 0))
        .collect()
}

/// A host without its own job server depends on others, which must be reachable.
fn without_servers(resolved: &Resolved, answers: &Answers) -> Vec<(Scope, SiteError)> {
    let missing = resolved.sites.iter().filter_map(|site| {
        let servers = site.effective_servers();
        let silent = servers
            .iter()
            .find_map(|server| Some((server, answers.silent(server)?)));
        let (server, why) = silent?;
        let problem = Problem::new(format!("use the job server {server}"), why)
            .help("start it and make it reachable from this host, or pass another with --servers");
        Some((Scope::Site(site.name.clone()), problem.into()))
    });
    missing.collect()
}

/// The folder of each site by its name.
pub fn folders(resolved: &Resolved) -> BTreeMap<String, PathBuf> {
    resolved
        .sites
        .iter()
        .map(|site| (site.name.clone(), site.dir.clone()))
        .collect()
}
