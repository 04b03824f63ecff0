//! The job server in the recipe: its queue store, options and service.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::base::secrets::Secrets;
use crate::gearman::password::{self, Secret};
use crate::gearman::{daemon, options, sandbox};
use crate::host::Host;
use crate::host::files::Node;
use crate::host::platform::{Gearmand, Init, Platform};
use crate::host::services::DROP_IN;
use crate::intent::queue::WaitingJobs;
use crate::intent::resolve::HostResolved;
use crate::plan::recipe::{Recipe, Text, drop_ins};
use crate::queue::confined;
use crate::queue::mysql::MysqlStore;
use crate::queue::running::{self, definition};
use crate::queue::{Store, passwords};
use crate::resource::ResourceId;
use crate::resource::check::{Check, Condition, When};
use crate::resource::database::Database;
use crate::resource::directory::Directory;
use crate::resource::drained::{Drained, Purpose};
use crate::resource::file::Edit;
use crate::resource::file::{File, Owner};
use crate::resource::private::Private;
use crate::resource::service::{self, Service};

/// The packages that are missing for the queue.
pub fn packages(host: &Host, platform: &Platform, resolved: &HostResolved) -> Vec<String> {
    let store = resolved.store.as_ref();
    store.map_or_else(Vec::new, |it| it.packages(host, platform.family))
}

pub fn resources(
    host: &Host,
    items: &mut Recipe,
    platform: &Platform,
    resolved: &HostResolved,
    waiting: WaitingJobs,
    live: bool,
) -> Result<()> {
    let family = platform.family;
    let gearmand = &family.gearmand;
    let wanted = resolved.options_of_gearmand();
    let store = resolved.store.as_deref();
    let secret = match store.and_then(Store::secret) {
        Some(secret) => Some(secret),
        None => exposed_secret(host, gearmand)?,
    };
    if let Some(secret) = secret.clone() {
        items.host(File {
            make: Box::new(move |_, now| {
                Ok(Some(password::write(now.unwrap_or_default(), &secret)).into())
            }),
            ..File::whole(password::CONFIG, Vec::new(), 0o640)
                .edit(Edit::Arguments)
                .owner(Owner::Group(gearmand.user.into()))
                .secrets(Secrets::Options)
        });
    }
    let database = store.and_then(Store::database);
    if let Some(mysql) = database.cloned().filter(|_| host.live()) {
        let stale = running::staleness(family, wanted.clone(), secret.clone());
        let supervisor = resolved.supervisor.unit;
        items.host(Database {
            mysql,
            in_use: Box::new(move |host| {
                let unit = host.unit(gearmand.unit, &[supervisor])?;
                Ok(unit.active && stale(host, &unit)?.is_none())
            }),
        });
    }
    items.host(options_file(gearmand, wanted.clone()));
    let folder = store.and_then(Store::folder);
    if host.live() {
        let for_words = wanted.clone();
        // Before its folder is closed, or nobody would see that a file is open to all.
        items.host(Private {
            gearmand,
            words: Box::new(move |host| running::planned_words(host, family, &for_words)),
            apart_from: folder.clone(),
        });
    }
    if let Some(folder) = folder.filter(|_| host.live()) {
        items.host(Directory {
            mode: mode_of_queue(host, &folder)?,
            path: folder,
            owner: Owner::User(gearmand.user.into()),
            shared: false,
        });
    }
    if platform.init == Init::Systemd {
        let for_unit = wanted.clone();
        let database_here = database.is_some_and(MysqlStore::is_local);
        let text = move |host: &Host| -> Result<String> {
            let exec_start = definition(host, &for_unit)?.exec_start;
            daemon::drop_in(gearmand, exec_start.as_deref(), database_here)
        };
        let (for_sandbox, supervisor) = (wanted.clone(), resolved.supervisor.unit);
        let sandbox = move |host: &Host| -> Result<String> {
            let unit = host.unit(gearmand.unit, &[supervisor])?;
            let options = running::planned_words(host, family, &for_sandbox)?;
            let options =
                options.unwrap_or_else(|| for_sandbox.iter().map(options::spell).collect());
            Ok(confined::drop_in(host, family, &unit, &options))
        };
        let all: [(_, Box<Text>); 2] = [
            (sandbox::FILE, Box::new(sandbox)),
            (DROP_IN, Box::new(text)),
        ];
        drop_ins(items, gearmand.unit, all);
    }
    if !live {
        return Ok(());
    }
    let stale = running::staleness(family, wanted.clone(), secret.clone());
    let (planned, unit, supervisor) = (wanted.clone(), gearmand.unit, resolved.supervisor.unit);
    items.host(Drained {
        purpose: Purpose::RestartJobServer(None),
        waiting: Box::new(move |host| {
            let unit = host.unit(unit, &[supervisor])?;
            match stale(host, &unit)? {
                Some(_) => {
                    let planned = running::planned_words(host, family, &planned)?;
                    // Count running jobs too: a gearmand that stops takes a job from
                    // the worker it disconnects first and gives it to the next one.
                    running::would_lose(
                        host,
                        gearmand.unit,
                        &planned.unwrap_or_default(),
                        |queue| queue.jobs,
                    )
                }
                None => Ok(0),
            }
        }),
        wish: waiting,
        runs: false,
        busy: false,
    });
    items.host(Service {
        unit: gearmand.unit.into(),
        enabled: Some(true),
        active: Some(true),
        stale: service::of_gearmand(family, wanted, secret),
        also: vec![resolved.supervisor.unit],
        installed_by: ResourceId::Packages,
    });
    items.host(answers(&resolved.own_server(), gearmand.unit));
    Ok(())
}

/// The mode of the queue's folder: nothing for other users, who could read arguments
/// of jobs there.
fn mode_of_queue(host: &Host, folder: &Path) -> Result<u32> {
    const PRIVATE: u32 = 0o750;
    Ok(match host.look(folder)? {
        Node::Directory(meta) => meta.mode & PRIVATE | 0o700,
        _ => PRIVATE,
    })
}

/// A password among the arguments of a gearmand whose queue needs none. It
/// moves to the configuration file, where only gearmand sees it.
fn exposed_secret(host: &Host, gearmand: &Gearmand) -> Result<Option<Secret>> {
    for option in passwords().map(|it| it.gearmand_option) {
        if let Some(password) = password::in_options(host, gearmand, option)? {
            return Ok(Some(Secret { option, password }));
        }
    }
    Ok(None)
}

fn options_file(gearmand: &'static Gearmand, wanted: Vec<options::Wanted>) -> File {
    File {
        path: gearmand.options_file.into(),
        edit: Edit::Options,
        // The unit's own options are known only after the package is installed.
        make: Box::new(move |host, now| {
            let now = now.unwrap_or_default();
            let planned = definition(host, &wanted)?;
            let variable = gearmand.options_variable;
            let text = options::merge(now, variable, &planned.for_file, &planned.unwanted)?;
            Ok(Some(text).into())
        }),
        owner: Owner::Root,
        mode: 0o644,
        package: Some(gearmand.package),
        secrets: Secrets::Options,
        source: None,
        then: None,
    }
}

pub fn answers(server: &str, unit: &str) -> Check {
    let (server, unit) = (server.to_owned(), unit.to_owned());
    Check {
        condition: Condition::JobServerAnswers(server.clone()),
        after: ResourceId::Service(unit.clone()),
        patience: Duration::from_secs(10),
        when: When::Always,
        probe: Box::new(move |host| {
            daemon::ask_version(&server).map(|_| ()).with_context(|| {
                let log = host.service_log(&unit);
                match log.is_empty() {
                    true => format!("query the job server on {server}"),
                    false => format!("query the job server on {server}; its log ends with:\n{log}"),
                }
            })
        }),
    }
}
