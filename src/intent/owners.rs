//! Gives each owner a job server of their own (`isolation = "owner"`), or their sites
//! the shared one back.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::base::problem::Problem;
use crate::gearman::instance::{self, JobServer};
use crate::host::Host;
use crate::host::platform::{Init, Platform};
use crate::intent::exposure::{self, Reach};
use crate::intent::options::{Isolation, OwnerPort, Role};
use crate::intent::resolve_site::LazyServers;
use crate::intent::resolved::{HostResolved, SiteResolved};
use crate::site::config::Want;
use crate::supervisor::programs::ProgramSection;
use crate::worker;

/// Where to look for free ports.
const PORTS: std::ops::RangeInclusive<u16> = 4731..=9999;

/// Refuses what an owner's job server cannot be had with, or on.
///
/// # Errors
/// Names what is missing.
pub fn refuse(
    host: &Host,
    platform: &Platform,
    resolved: &HostResolved,
    servers: Option<&[String]>,
) -> Result<(), Problem> {
    if resolved.isolation == Isolation::None {
        return Ok(());
    }
    let what = "give each owner a job server (--isolation owner)";
    if servers.is_some() {
        return Err(Problem::usage(what, "--servers names other job servers")
            .help("omit --servers, or use --isolation none"));
    }
    let all = [Role::Server, Role::Worker, Role::Web];
    if !all.iter().all(|role| resolved.roles.contains(role)) {
        let why = "pages, workers and job servers have to be on one host, where the kernel knows the user of each connection";
        return Err(Problem::usage(what, why)
            .help("use --isolation none, or give each owner's sites hosts of their own"));
    }
    if exposure::reach(&resolved.listen) != Reach::Machine {
        let why = format!(
            "the job server listens on {} for other hosts",
            resolved.listen
        );
        return Err(
            Problem::usage(what, why).help("add --listen 127.0.0.1, or use --isolation none")
        );
    }
    let folder = Path::new("/");
    let store = resolved.store.as_deref();
    if store.is_none_or(|store| store.wanted_in(folder).is_none()) {
        let why = format!(
            "all job servers with the queue '{}' would share one table and its password",
            resolved.queue.name()
        );
        return Err(Problem::usage(what, why).help("add --queue sqlite, or use --isolation none"));
    }
    if platform.init != Init::Systemd {
        let why = "systemd has to start the job servers, and it is not this host's init system";
        return Err(Problem::new(what, why).help("use --isolation none"));
    }
    if !host.live() {
        return Ok(());
    }
    let version = host.systemd_version().unwrap_or(0);
    if version < instance::SYSTEMD {
        let needs = instance::SYSTEMD;
        let why = format!("that needs systemd {needs} or newer, and this host has an older one");
        return Err(Problem::new(what, why).help("use --isolation none"));
    }
    if host.may_filter_packets() == Some(false) {
        let why = "nftables has to keep other users from their ports, and this container may not filter packets (it lacks CAP_NET_ADMIN)";
        return Err(Problem::new(what, why)
            .help("start the container with --cap-add NET_ADMIN, or use --isolation none"));
    }
    Ok(())
}

/// Assigns job servers to owners, and their addresses to sites. `recorded` are the
/// ports of earlier runs.
///
/// # Errors
/// Files of web servers that cannot be read; a name that no unit can have; no free port.
pub fn assign(
    host: &Host,
    web: &LazyServers,
    recorded: Vec<OwnerPort>,
    programs: &HashMap<PathBuf, ProgramSection>,
    resolved: &mut HostResolved,
    sites: &mut [SiteResolved],
) -> Result<()> {
    give(host, web, recorded, programs, resolved, sites)?;
    for site in sites {
        site.servers_left_behind = left_behind(resolved, site);
    }
    Ok(())
}

fn give(
    host: &Host,
    web: &LazyServers,
    recorded: Vec<OwnerPort>,
    programs: &HashMap<PathBuf, ProgramSection>,
    resolved: &mut HostResolved,
    sites: &mut [SiteResolved],
) -> Result<()> {
    let address = |port: u16| format!("{}:{port}", instance::LISTEN);
    resolved.owner_ports = recorded;
    if resolved.isolation == Isolation::None {
        // Sites that had one get the shared one back.
        let own = resolved.own_server();
        let former = |it: &String| {
            let mut ports = resolved.owner_ports.iter();
            ports.any(|one| *it == address(one.port))
        };
        for site in sites {
            let servers = site.effective_servers();
            if servers.iter().any(former) {
                let mut next: Vec<String> = Vec::new();
                for server in servers {
                    let server = if former(&server) { own.clone() } else { server };
                    if !next.contains(&server) {
                        next.push(server);
                    }
                }
                site.servers = Want::Exactly(next);
            }
        }
        return Ok(());
    }
    refuse_twice(resolved)?;
    let mut owners: BTreeMap<String, BTreeSet<PathBuf>> = BTreeMap::new();
    for site in sites.iter() {
        let dirs = owners.entry(site.user.clone()).or_default();
        dirs.insert(site.dir.clone());
    }
    for (dir, program) in programs {
        let is_here = sites.iter().any(|site| site.dir == *dir);
        if let Some(user) = program.get("user").filter(|_| !is_here) {
            owners
                .entry(user.to_owned())
                .or_default()
                .insert(dir.clone());
        }
    }
    for (owner, dirs) in owners {
        if !worker::is_name(&owner) {
            let what = format!("give {owner} a job server");
            let why = "systemd's units cannot have the name of this user";
            return Err(Problem::new(what, why).help("use --isolation none").into());
        }
        let port = port_of(host, resolved, &owner)?;
        let mut admits = BTreeSet::new();
        let mut users: BTreeSet<String> = [owner.clone()].into();
        for dir in &dirs {
            users.extend(web.served(host, dir)?.users().map(str::to_owned));
        }
        for name in users {
            admits.extend(host.user(&name)?.map(|user| user.uid));
        }
        for site in sites.iter_mut().filter(|site| site.user == owner) {
            site.servers = Want::Exactly(vec![address(port)]);
            site.is_shared = false;
        }
        resolved.owners.push(JobServer {
            owner,
            port,
            admits,
        });
    }
    Ok(())
}

/// The servers that a site's pages and workers use, and will not. The shared one at a new
/// address keeps its queue.
fn left_behind(resolved: &HostResolved, site: &SiteResolved) -> Vec<String> {
    let own = resolved.own_server();
    let next = site.effective_servers();
    let of_pages = site
        .found
        .servers
        .clone()
        .filter(|_| !site.found.on.is_empty());
    let of_workers = site.existing.as_ref().and_then(ProgramSection::servers);
    let mut all = [of_pages, of_workers]
        .into_iter()
        .flatten()
        .flatten()
        .collect::<Vec<_>>();
    all.retain(|it| !next.contains(it) && (*it != resolved.former_server || *it == own));
    all.sort();
    all.dedup();
    all
}

/// Refuses a port for two job servers.
fn refuse_twice(resolved: &HostResolved) -> Result<(), Problem> {
    let mut taken = BTreeMap::from([(resolved.port, "the shared job server")]);
    for it in &resolved.owner_ports {
        if let Some(other) = taken.insert(it.port, &it.owner) {
            let what = format!("use the port {} for the jobs of {}", it.port, it.owner);
            return Err(Problem::usage(what, format!("{other} has it"))
                .help("change owner-ports, or --port"));
        }
    }
    Ok(())
}

/// The port that the owner has, or one that nobody has.
fn port_of(host: &Host, resolved: &mut HostResolved, owner: &str) -> Result<u16> {
    let known = &mut resolved.owner_ports;
    if let Some(it) = known.iter().find(|it| it.owner == owner) {
        return Ok(it.port);
    }
    let taken = |port: &u16| {
        *port == resolved.port
            || known.iter().any(|it| it.port == *port)
            || !host.listeners(*port).is_empty()
    };
    let mut ports = PORTS;
    let port = ports.find(|port| !taken(port)).ok_or_else(|| {
        let what = format!("give {owner} a job server");
        let why = format!(
            "all ports from {} to {} are taken",
            PORTS.start(),
            PORTS.end()
        );
        Problem::new(what, why).help("name a free port with --owner-ports USER:PORT")
    })?;
    known.push(OwnerPort {
        owner: owner.to_owned(),
        port,
    });
    Ok(port)
}
