//! Turns an intent into a plan: resolves and inspects it, and refuses before the
//! first change what cannot be done.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::base::problem::Problem;
use crate::gearman::daemon;
use crate::host::Host;
use crate::intent::exposure;
use crate::intent::options::{Role, Spec};
use crate::intent::record::Intent;
use crate::intent::resolve::{self, Resolved, SiteResolved};
use crate::plan::journal::Scope;
use crate::plan::make::make;
use crate::plan::{Item, Plan, Refused, Run, Step, preflight, recipe};
use crate::resource::Resource;
use crate::resource::check::Condition;
use crate::resource::file::{Edit, File};
use crate::resource::intent::IntentFile;
use crate::resource::{ResourceId, State};
use crate::site::extension::{self, PhpInfo};
use crate::site::php_settings::{self, IniSettings};
use crate::site::php_user;
use crate::site::{php, queue};
use crate::supervisor::programs;
use crate::worker;

/// Everything resolved and inspected; nothing is changed yet.
pub struct Prepared {
    pub resolved: Resolved,
    pub plan: Plan,
}

pub fn prepare(host: &Host, spec: &Spec, run: Run) -> Result<Prepared> {
    let mut resolved = resolve::resolve(host, spec)?;
    let without_sites = resolved.sites.is_empty() && resolved.refused.is_empty();
    let mut items = recipe::setup(host, &resolved, run)?;
    items.retain(|item| host.live() || !is_pending(host, item));
    let mut plan = make(host, items)?;
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
        if run.start && !resolved.host.roles.contains(&Role::Server) {
            servers_answer(&resolved)?;
        }
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
        let mut bad = unparsable(host, &resolved, &plan)?;
        bad.extend(refused_by_queues(host, &resolved));
        bad.extend(unfit_phps(host, &resolved, &plan)?);
        for (scope, error) in bad {
            plan.refuse(scope, error);
        }
        if !without_sites {
            only_refusal(&resolved, &mut plan)?;
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
        sites: Vec::new(),
    };
    for site in resolved.sites.iter().filter(|site| !is_refused(&site.name)) {
        let wish = spec.sites.iter().find(|wish| wish.dir == site.dir);
        let given = wish.map(|wish| wish.options.clone()).unwrap_or_default();
        intent
            .sites
            .push((site.dir.clone(), given.over(site.adopted.clone())));
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

/// Refuses sites whose jobs are served elsewhere, or whose queued jobs a new salt
/// would strand.
fn refused_by_queues(host: &Host, resolved: &Resolved) -> Vec<(Scope, anyhow::Error)> {
    let mut bad = Vec::new();
    for site in &resolved.sites {
        let dir = site.dir.to_string_lossy();
        let servers = site.effective_servers();
        let copy = match site.effective_salt() {
            Some(salt) if site.existing.is_none() => {
                queue::refuse_copy(&dir, salt, &servers, &workers_of(host, site))
            }
            _ => Ok(()),
        };
        let old_names = site.names_left_behind();
        if let Err(problem) = copy.and_then(|()| queue::refuse_stranded(&dir, &old_names, &servers))
        {
            bad.push((Scope::Site(site.name.clone()), problem.into()));
        }
    }
    bad
}

/// Workers of the site that still run although their program file is gone, by
/// the ids that they have at job servers.
fn workers_of(host: &Host, site: &SiteResolved) -> Vec<String> {
    let mut processes = host.processes();
    processes.retain(|it| programs::site_of(&it.args).as_ref() == Some(&site.dir));
    let pids = processes.iter().map(|it| it.pid);
    pids.map(|pid| worker::client_id(&site.name, pid)).collect()
}

/// A host without its own job server depends on others, which must be reachable.
fn servers_answer(resolved: &Resolved) -> Result<()> {
    let named: BTreeSet<String> = resolved
        .sites
        .iter()
        .flat_map(|site| site.effective_servers())
        .collect();
    for server in named {
        daemon::ask_version(&server).map_err(|error| {
            Problem::new(format!("use the job server {server}"), format!("{error:#}")).help(
                "start it and make it reachable from this host, or pass another with --servers",
            )
        })?;
    }
    Ok(())
}

/// PHPs that cannot run jobs; checked only if something changes.
fn unfit_phps(
    host: &Host,
    resolved: &Resolved,
    plan: &Plan,
) -> Result<Vec<(Scope, anyhow::Error)>> {
    let mut bad = Vec::new();
    if !plan.changes() {
        return Ok(bad);
    }
    let mut checked: Vec<(&Path, PhpInfo)> = Vec::new();
    for site in &resolved.sites {
        let php = site.php.path.as_path();
        if !checked.iter().any(|(path, _)| *path == php) {
            checked.push((
                php,
                extension::ask(host, &site.php, &host.need_user(&site.user)?)?,
            ));
        }
        let Some((_, facts)) = checked.iter().find(|(path, _)| *path == php) else {
            continue; // it was added just now
        };
        let (what, why, help) = if facts.is_too_old() {
            let why = format!("is PHP {}, but workers need 7.1 or newer", facts.version);
            ("run jobs", why, "pass a newer PHP with --php")
        } else if facts.lacks_json {
            let help = "install and enable PHP's json extension, then run again";
            (
                "run jobs",
                "has no json extension, which jobs are encoded with".into(),
                help,
            )
        } else if facts.libgearman.is_none() && !host.is_own_program(php) {
            let why = "has no gearman extension, and setup gives it only to a PHP that is root's";
            let help = "install the extension in it; or give the program and the folders that it is in to root";
            ("run jobs", why.into(), help)
        } else if facts.lacks_pcntl && site.must_fork {
            let help = "enable PHP's pcntl extension, or omit --worker-mode to start a PHP process for each job (spawn)";
            (
                "fork for jobs (--worker-mode fork)",
                "has no pcntl extension".into(),
                help,
            )
        } else {
            let settings = IniSettings::read(host, &facts.ini_files)?;
            let user = host.need_user(&site.user)?;
            let unfit = php_settings::unfit(host, php, &user, &settings, &site.places())?;
            if !unfit.is_empty() {
                let problem = php_settings::refusal(&site.dir, php, &unfit);
                bad.push((Scope::Site(site.name.clone()), problem.into()));
            }
            continue;
        };
        let what = format!("{what} of {}", site.dir.display());
        let problem = Problem::new(what, format!("{} {why}", php.display()));
        let scope = Scope::Site(site.name.clone());
        bad.push((scope, problem.help(help).into()));
    }
    Ok(bad)
}

/// Every new wp-config.php has to parse with the site's own PHP.
fn unparsable(
    host: &Host,
    resolved: &Resolved,
    plan: &Plan,
) -> Result<Vec<(Scope, anyhow::Error)>> {
    let mut files: Vec<(&Scope, &File)> = Vec::new();
    for step in &plan.steps {
        if let (Some(file), State::Differs(_)) = (step.item.resource.as_file(), &step.state)
            && file.edit == Edit::WpConfig
        {
            files.push((&step.item.scope, file));
        }
    }
    let mut bad = Vec::new();
    for site in &resolved.sites {
        let scope = Scope::Site(site.name.clone());
        // Sites that share a PHP and a user share a process.
        let first = resolved
            .sites
            .iter()
            .find(|other| other.php == site.php && other.user == site.user);
        if first.is_none_or(|first| first.name != site.name) {
            continue;
        }
        let mine: Vec<&(&Scope, &File)> = files
            .iter()
            .filter(|(scope, _)| {
                resolved.sites.iter().any(|other| {
                    **scope == Scope::Site(other.name.clone())
                        && other.php == site.php
                        && other.user == site.user
                })
            })
            .collect();
        if mine.is_empty() {
            continue;
        }
        let mut texts = Vec::new();
        for (_, file) in &mine {
            texts.push(file.texts(host)?.1.bytes.unwrap_or_default());
        }
        let slices: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
        let user = host.need_user(&site.user)?;
        let parsed = php_user::asker(host, &site.php, &user)
            .and_then(|asker| php::check(host, &site.php, &asker, &slices));
        let answers = match parsed {
            Ok(answers) => answers,
            Err(error) => {
                bad.push((scope, error));
                continue;
            }
        };
        for ((scope, file), answer) in mine.iter().zip(answers) {
            if let Some(why) = answer {
                let what = format!("edit {}", file.path.display());
                let why = format!("PHP cannot parse the edited file ({why})");
                let problem = Problem::new(what, why)
                    .help("nothing was written; please report this with an outline of the file");
                bad.push(((*scope).clone(), problem.into()));
            }
        }
    }
    Ok(bad)
}

/// The folder of each site by its name.
pub fn folders(resolved: &Resolved) -> BTreeMap<String, PathBuf> {
    resolved
        .sites
        .iter()
        .map(|site| (site.name.clone(), site.dir.clone()))
        .collect()
}
