//! Resolves every option: what was given, or what the host already has, or the
//! default. Reads the host and changes nothing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::platform::Platform;
use crate::host::supervisor::{PIP, Supervisord};
use crate::intent::adopt::by_site;
use crate::intent::adopt::{self};
use crate::intent::dashboard;
use crate::intent::exposure;
use crate::intent::options::{HostOptions, HostSettings, Role, SiteOptions, Spec, SupervisorFrom};
use crate::intent::owners;
use crate::intent::queue;
use crate::intent::resolve_site::{LazyServers, resolve_site, without_found};
pub use crate::intent::resolved::{HostResolved, Resolved, SiteResolved};
use crate::intent::salts::{refuse_shared_configs, refuse_shared_salts, settings_of};
use crate::site::find;
use crate::supervisor::programs::{self, ProgramSection};
use crate::worker::workers::Workers;

pub fn resolve(host: &Host, spec: &Spec) -> Result<Resolved> {
    let platform = host.platform()?;
    let on_host = adopt::host_options(host, platform)?;
    let former_server = adopt::server_of(&on_host);
    let listens_now = on_host.listen.clone();
    let there = host.supervisor()?;
    let programs = programs::all(host, there)?;
    let adopted = match spec.past.recorded {
        true => HostOptions::default(),
        false => adopted_host(host, spec, on_host, &programs),
    };
    let options = spec.host.clone().over(adopted.clone());
    let explicit_servers = options.servers.clone();
    let HostSettings {
        role: roles,
        queue,
        listen,
        port,
        isolation,
        dashboard,
        dashboard_token_file,
        ..
    } = options.clone().settings();
    let serves = roles.contains(&Role::Server);
    let store = match serves {
        true => Some(queue::open(host, spec, &options)?),
        false => None,
    };
    let mut resolved = HostResolved {
        supervisor: match roles.contains(&Role::Worker) {
            true => {
                let in_use = !programs.is_empty();
                choose_supervisor(host, platform, options.supervisor, in_use)?
            }
            false => there,
        },
        dashboard: dashboard::resolve(dashboard, dashboard_token_file, &roles)?,
        roles,
        extension_archive: options.extension_archive,
        queue,
        store,
        listen,
        port,
        former_server,
        allow_upgrades: options.allow_upgrades.unwrap_or(false),
        expose: options.expose.unwrap_or(false),
        firewall: match serves {
            true => options.firewall.unwrap_or_default(),
            false => Vec::new(),
        },
        isolation,
        owners: Vec::new(),
        owner_ports: Vec::new(),
        worker_budget: options.worker_budget,
        alerts: spec.alert.is_some(),
        adopted: adopted.changed_from(&HostOptions::defaults()),
    };
    if let Some(site) = spec.sites.first()
        && resolved.roles == [Role::Server]
    {
        let what = format!("set up {}", site.dir.display());
        let why = "this host has only the role 'server', which no site can use";
        return Err(Problem::usage(what, why)
            .help("add the roles that the site needs, for example --role server,worker,web")
            .into());
    }
    exposure::refuse(&resolved, listens_now.as_deref())?;
    exposure::refuse_firewall(host, platform, &resolved)?;
    owners::refuse(host, platform, &resolved, explicit_servers.as_deref())?;
    let programs = by_site(match resolved.supervisor == there {
        true => programs,
        false => programs::all(host, resolved.supervisor)?,
    });
    let mut sites: Vec<SiteResolved> = Vec::new();
    let mut refused = Vec::new();
    let mut names: BTreeMap<String, PathBuf> = programs
        .iter()
        .filter_map(|(dir, program)| Some((program.option("--name")?, dir.clone())))
        .collect();
    names.extend(spec.sites.iter().filter_map(|site| {
        let name = site.options.name.clone()?;
        Some((name, site.dir.clone()))
    }));
    let servers = LazyServers::default();
    for wish in &spec.sites {
        match resolve_site(
            host,
            platform,
            &servers,
            &resolved,
            &programs,
            &mut names,
            wish,
            &explicit_servers,
        ) {
            Ok(site) => sites.push(site),
            Err(error) => refused.push((wish.dir.clone(), error.into_error())),
        }
    }
    let ports = options.owner_ports.unwrap_or_default();
    owners::assign(host, &servers, ports, &programs, &mut resolved, &mut sites)?;
    let others = others(host, platform, spec, &programs, &servers);
    refuse_shared_configs(&mut sites, &mut refused);
    refuse_shared_salts(host, &programs, &mut sites, &mut refused);
    let notes = share_budget(host, &resolved, &programs, &mut sites);
    Ok(Resolved {
        host: resolved,
        sites,
        others,
        refused,
        notes,
    })
}

/// Keeps the present supervisor, or chooses the package or, without one, our own.
fn choose_supervisor(
    host: &Host,
    platform: &Platform,
    wish: Option<SupervisorFrom>,
    in_use: bool,
) -> Result<&'static Supervisord> {
    let there = host.supervisor()?;
    let package = &platform.family.supervisor;
    let chosen = match wish {
        Some(SupervisorFrom::Package) => package,
        Some(SupervisorFrom::Pip) => &PIP,
        None if there.package.is_none() || in_use || !host.live() => there,
        None => {
            let names: Vec<String> = package.package.iter().map(|name| (*name).into()).collect();
            match host.is_withheld(&names)? {
                true => &PIP,
                false => package,
            }
        }
    };
    let changes = chosen != there && (in_use || there.package.is_none());
    if changes {
        let what = match chosen.package {
            Some(_) => "use the packaged supervisor (--supervisor package)",
            None => "use a supervisor installed with pip (--supervisor pip)",
        };
        let why = format!("the programs of this host already run under {}", there.unit);
        return Err(Problem::new(what, why)
            .help("run 'wp-gears remove' first, or omit --supervisor")
            .into());
    }
    Ok(chosen)
}

/// Sites of earlier runs that this run does not touch, with the options of their
/// programs.
fn others(
    host: &Host,
    platform: &Platform,
    spec: &Spec,
    programs: &HashMap<PathBuf, ProgramSection>,
    web: &LazyServers,
) -> Vec<(PathBuf, SiteOptions)> {
    let untouched = |dir: &&PathBuf| !spec.sites.iter().any(|site| site.dir == **dir);
    let of = |dir: &PathBuf| {
        let options = programs
            .get(dir)
            .map(adopt::site_options)
            .unwrap_or_default();
        let name = options.name.clone().unwrap_or_else(|| find::name(dir));
        let options = without_found(host, platform, dir, options, web).unwrap_or_default();
        let options = adopt::beyond_defaults(options, dir, &name);
        (dir.clone(), options)
    };
    let known = spec.past.sites.iter().filter(untouched);
    known.filter(|dir| host.is_dir(dir)).map(of).collect()
}

/// Gives sites without a requested number two workers each if the host has room,
/// otherwise one. Returns a note if there are too many.
fn share_budget(
    host: &Host,
    resolved: &HostResolved,
    programs: &HashMap<PathBuf, ProgramSection>,
    sites: &mut [SiteResolved],
) -> Vec<String> {
    let planned: HashSet<&Path> = sites.iter().map(|site| site.dir.as_path()).collect();
    let others: u32 = programs
        .iter()
        .filter(|(dir, _)| !planned.contains(dir.as_path()))
        .filter_map(|(_, program)| Some(program.workers()?.min))
        .sum();
    let requested: u32 = sites.iter().map(|site| site.workers.min).sum();
    let is_open = |site: &SiteResolved| site.workers == Workers::OPEN;
    let open = sites.iter().filter(|site| is_open(site)).count() as u32;
    let asked = resolved.worker_budget;
    let budget = asked.unwrap_or_else(|| host.worker_budget());
    let each = if others + requested + 2 * open <= budget.max(2) {
        2
    } else {
        1
    };
    for site in sites.iter_mut().filter(|site| is_open(site)) {
        site.workers = Workers::fixed(each);
    }
    let sum = others + sites.iter().map(|site| site.workers.min).sum::<u32>();
    if host.live() && sum > budget.max(2) {
        return vec![format!(
            "this host will have {sum} workers, but its cores and memory suit about {budget}"
        )];
    }
    Vec::new()
}

/// Options that an earlier version or a user set up here and no file records.
fn adopted_host(
    host: &Host,
    spec: &Spec,
    there: HostOptions,
    programs: &[ProgramSection],
) -> HostOptions {
    let role = spec.past.role();
    let is_server = role.as_ref().is_none_or(|it| it.contains(&Role::Server));
    let queue = spec.host.queue.or(there.queue).unwrap_or_default();
    HostOptions {
        servers: match is_server {
            true => None,
            false => servers_of_all(host, &spec.past.sites, programs),
        },
        role,
        store: queue.own(&there.store),
        ..there
    }
}

/// The job servers that all sites set up here use, from their programs or, where
/// no workers run, from wp-config.php. `None` if they differ: each keeps its own.
fn servers_of_all(
    host: &Host,
    sites: &[PathBuf],
    programs: &[ProgramSection],
) -> Option<Vec<String>> {
    let of_site = |dir: &PathBuf| {
        let program = programs.iter().find(|it| it.site().as_ref() == Some(dir));
        let of_program = program.and_then(|program| program.servers());
        of_program.or_else(|| settings_of(host, dir)?.servers)
    };
    let mut all = sites.iter().filter_map(of_site);
    let first: Vec<String> = all.next()?;
    all.all(|other| other == first).then_some(first)
}
