//! The owners' own job servers in the recipe: for each its rules, queue, unit and
//! service. What they share is the folder of the rules, and a drop-in that loads them again.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::gearman::instance::{self, FIREWALL_UNIT, JobServer, RULES};
use crate::gearman::port_rules;
use crate::host::Host;
use crate::host::files::FileData;
use crate::host::platform::{Gearmand, Platform};
use crate::host::services::{DROP_IN, Unit, drop_in_folder};
use crate::intent::queue::WaitingJobs;
use crate::intent::resolve::{HostResolved, SiteResolved};
use crate::plan::recipe::{Recipe, job_server};
use crate::plan::waiting;
use crate::queue::running::{self, Stale};
use crate::resource::ResourceId;
use crate::resource::directory::Directory;
use crate::resource::drained::{Drained, Purpose};
use crate::resource::file::{File, Next, Owner};
use crate::resource::rules::{NoRules, Rules};
use crate::resource::service::{self, Service};

/// The job servers of all owners.
pub fn resources(
    host: &Host,
    items: &mut Recipe,
    platform: &Platform,
    resolved: &HostResolved,
    waiting: WaitingJobs,
    live: bool,
) -> Result<()> {
    if resolved.owners.is_empty() {
        return Ok(());
    }
    let gearmand = &platform.family.gearmand;
    // One question to systemd about all of them.
    let units: Vec<String> = resolved.owners.iter().map(JobServer::unit).collect();
    let units: Vec<&str> = units.iter().map(String::as_str).collect();
    if let (Some(first), true) = (units.first(), live) {
        host.unit(first, &units)?;
    }
    for server in &resolved.owners {
        of_owner(host, items, gearmand, resolved, server, waiting, live)?;
    }
    Ok(())
}

/// What the rules of owners and those of the port share: their folder, and what loads them
/// again after the host's own.
pub fn shared(items: &mut Recipe, resolved: &HostResolved) {
    if !resolved.has_rules() {
        return;
    }
    items.host(Directory {
        path: RULES.into(),
        owner: Owner::Root,
        mode: 0o755,
        shared: true,
    });
    let folder = drop_in_folder(FIREWALL_UNIT);
    items.host(Directory {
        path: folder,
        owner: Owner::Root,
        mode: 0o755,
        shared: true,
    });
    items.host(File {
        then: Some(Box::new(read_units)),
        ..File::whole(
            firewall_drop_in(),
            instance::firewall_drop_in().as_bytes(),
            0o644,
        )
    });
}

fn firewall_drop_in() -> PathBuf {
    drop_in_folder(FIREWALL_UNIT).join(DROP_IN)
}

/// No service of ours is started after that, which would do it.
fn read_units(host: &Host) {
    if host.live() {
        // A later start of the unit needs it, and nothing before that.
        let _ = host.reload_units();
    }
}

fn of_owner(
    host: &Host,
    items: &mut Recipe,
    gearmand: &'static Gearmand,
    resolved: &HostResolved,
    server: &JobServer,
    wish: WaitingJobs,
    live: bool,
) -> Result<()> {
    let folder = server.folder(gearmand);
    let store = resolved.store.as_deref();
    let keeps_files = store.is_some_and(|store| store.folder().is_some());
    let queue = store.and_then(|store| resolved.queue.wanted_in(store, &folder));
    let words = server.words(gearmand, queue.unwrap_or_default());
    let (unit, unit_file) = (server.unit(), instance::unit_file(&server.unit()));
    let rules = server.rules(gearmand.user)?;
    let file = File::whole(server.rules_file(), rules.clone().into_bytes(), 0o644);
    items.of_owner(&server.owner, file);
    if live {
        let rules = Rules {
            table: server.table(),
            hook: instance::HOOK,
            file: server.rules_file(),
            text: rules,
        };
        items.of_owner(&server.owner, rules);
    }
    if keeps_files && host.live() {
        let folder = Directory {
            path: folder,
            owner: Owner::User(gearmand.user.into()),
            mode: 0o750,
            shared: false,
        };
        items.of_owner(&server.owner, folder);
    }
    let planned = Planned {
        text: server.unit_text(
            gearmand,
            words.clone(),
            keeps_files,
            host.systemd_version().or(Some(instance::SYSTEMD)),
            host.can_make_mount_namespaces(),
        )?,
        words,
        file: unit_file.clone(),
    };
    let text = planned.text.clone().into_bytes();
    items.of_owner(&server.owner, File::whole(unit_file.clone(), text, 0o644));
    if !live {
        return Ok(());
    }
    let also = [gearmand.unit, resolved.supervisor.unit];
    let (name, next) = (unit.clone(), planned.clone());
    let lost = move |host: &Host| match next.staleness(host, &host.unit(&name, &also)?)? {
        Some(_) => running::would_lose(host, &name, &next.words, |queue| queue.jobs),
        None => Ok(0),
    };
    items.of_owner(
        &server.owner,
        Drained {
            purpose: Purpose::RestartJobServer(Some(server.owner.clone())),
            waiting: Box::new(lost),
            wish,
            runs: false,
            busy: false,
        },
    );
    items.of_owner(
        &server.owner,
        Service {
            unit,
            enabled: Some(true),
            active: Some(true),
            stale: Box::new(move |host, unit| planned.staleness(host, unit)),
            also: also.to_vec(),
            installed_by: ResourceId::File(unit_file),
        },
    );
    Ok(())
}

/// What an owner's unit will be.
#[derive(Clone)]
struct Planned {
    words: Vec<String>,
    text: String,
    file: PathBuf,
}

impl Planned {
    /// Why the running gearmand does not match it.
    fn staleness(&self, host: &Host, unit: &Unit) -> Result<Option<String>> {
        let Some(process) = host.process(unit.main_pid) else {
            return Ok(None);
        };
        let deleted = |exe: &PathBuf| exe.to_string_lossy().ends_with(" (deleted)");
        if process.exe.as_ref().is_some_and(deleted) {
            return Ok(Some("its program was replaced after it started".into()));
        }
        if process.args != self.words {
            return Ok(Some("its command line differs from its unit".into()));
        }
        let file = host.read(&self.file)?;
        let stands = |file: FileData| {
            file.bytes == self.text.as_bytes() && file.meta.mtime() <= process.started
        };
        if !file.is_some_and(stands) {
            return Ok(Some("its unit changed after it started".into()));
        }
        let gone = running::has_lost_its_file(host, &process);
        Ok(gone.then(|| Stale::FileGone.to_string()))
    }
}

/// The site's own job server answers, or the site is left out.
pub fn answers(items: &mut Recipe, resolved: &HostResolved, site: &SiteResolved) {
    if let Some(server) = resolved.server_of(&site.user) {
        items.site(site, job_server::answers(&server.address(), &server.unit()));
    }
}

/// Takes away the job servers of owners who have no site here any more, or share one
/// again.
pub fn retire(
    host: &Host,
    items: &mut Recipe,
    resolved: &HostResolved,
    wish: WaitingJobs,
    live: bool,
) -> Result<()> {
    let units = Path::new("/etc/systemd/system");
    let mut found = host.exists(&port_rules::file());
    for name in host.list(units)? {
        let name = name.to_string_lossy().into_owned();
        let Some(unit) = name.strip_suffix(".service") else {
            continue;
        };
        let Some(owner) = instance::owner_of(unit) else {
            continue;
        };
        found = true;
        if resolved.server_of(owner).is_some() {
            continue;
        }
        if live {
            items.of_owner(owner, waiting::of_owner(host, owner, wish)?);
            items.of_owner(owner, stopped(unit));
        }
        items.of_owner(owner, absent(instance::unit_file(unit)));
        if live {
            let table = instance::table(owner);
            items.of_owner(owner, NoRules { table });
        }
        items.of_owner(owner, absent(instance::rules_file(owner)));
    }
    if found && !resolved.has_rules() {
        items.host(File {
            then: Some(Box::new(read_units)),
            ..absent(firewall_drop_in())
        });
    }
    Ok(())
}

pub fn stopped(unit: &str) -> Service {
    Service {
        unit: unit.to_owned(),
        enabled: Some(false),
        active: Some(false),
        stale: service::never(),
        also: Vec::new(),
        installed_by: ResourceId::Packages,
    }
}

pub fn absent(path: PathBuf) -> File {
    File {
        make: Box::new(|_, _| Ok(Next::default())),
        ..File::whole(path, Vec::new(), 0o644)
    }
}
