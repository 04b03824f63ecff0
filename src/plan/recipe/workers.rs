//! The workers in the recipe: supervisord and the program of each site.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::base::paths::{BASE, LOGS};
use crate::base::problem::{Problem, SiteResult};
use crate::host::Host;
use crate::host::platform::{Init, Platform};
use crate::host::services::DROP_IN;
use crate::host::supervisor::Supervisord;
use crate::intent::dashboard;
use crate::intent::resolve::{HostResolved, SiteResolved};
use crate::plan::Item;
use crate::plan::journal::Scope;
use crate::plan::recipe::{Recipe, drop_ins};
use crate::plan::recipe::{pip as own_supervisor, program as definition};
use crate::resource::ResourceId;
use crate::resource::check::{Check, Condition, When};
use crate::resource::log::Log;
use crate::resource::program::{Ensure, Program};
use crate::resource::service::{self, Service};
use crate::resource::worker_folder::{Contents, WorkerFolder};
use crate::supervisor::rpc::SupervisorClient;
use crate::worker::{Paths, crew_status, heartbeat};

/// supervisord, which has to run before any site depends on it.
pub fn supervisor(
    items: &mut Recipe,
    platform: &Platform,
    supervisor: &'static Supervisord,
    is_host: bool,
    live: bool,
) -> Result<()> {
    let own = supervisor.package.is_none();
    if own {
        for resource in own_supervisor::resources(platform, is_host)? {
            items.list.push(Item {
                scope: Scope::Host,
                resource,
            });
        }
    }
    if supervisor.lacks_restart && platform.init == Init::Systemd {
        let text = include_str!("../../../templates/supervisord.dropin.tera");
        drop_ins(
            items,
            supervisor.unit,
            [(DROP_IN, Box::new(|_| Ok(text.to_owned())))],
        );
    }
    if live {
        items.host(Service {
            unit: supervisor.unit.into(),
            enabled: Some(true),
            active: Some(true),
            stale: match own {
                true => Box::new(own_supervisor::is_stale),
                false => service::never(),
            },
            also: vec![],
            installed_by: match own {
                true => ResourceId::Environment,
                false => ResourceId::Packages,
            },
        });
        let (socket, unit) = (supervisor.socket, supervisor.unit);
        items.host(Check {
            condition: Condition::SupervisordAnswers,
            after: ResourceId::Service(supervisor.unit.into()),
            patience: Duration::from_secs(10),
            when: When::Always,
            probe: Box::new(move |host| {
                let running = SupervisorClient::new(Path::new(socket));
                let Err(error) = running.processes() else {
                    return Ok(());
                };
                let log = host.service_log(unit);
                let why = match log.is_empty() {
                    true => error.to_string(),
                    false => format!("{error}; its log ends with:\n{log}"),
                };
                let help = "fix what it reports, then run again";
                Err(Problem::new("query supervisord", why).help(help).into())
            }),
        });
    }
    Ok(())
}

/// The folders and the log of a site's workers.
pub fn folders(items: &mut Recipe, site: &SiteResolved, resolved: &HostResolved) {
    let shown = resolved.dashboard.as_ref().map(|_| dashboard::USER);
    for (folder, contents, group) in [
        // Workers publish their status there.
        ("run", Contents::Removed, shown),
        ("cache", Contents::Removed, None),
        ("failed", Contents::Given, None),
    ] {
        let path = Path::new(BASE).join(folder).join(&site.name);
        let folder = WorkerFolder::new(&path, &site.user, contents);
        items.site(site, folder.shown_to(group));
    }
    // The worker rotates its log by copying, so both files have to exist.
    for ending in ["log", "log.1"] {
        items.site(
            site,
            Log {
                path: Path::new(LOGS).join(format!("{}.{ending}", site.name)),
                owner: site.user.clone(),
            },
        );
    }
}

/// The definition of a site's workers, and the workers.
pub fn program(
    host: &Host,
    items: &mut Recipe,
    supervisor: &'static Supervisord,
    site: &SiteResolved,
    live: bool,
) -> SiteResult<()> {
    let file = definition::file(host, supervisor, site)?;
    let patience = Duration::from(site.worker.stop_timeout) + Duration::from_secs(30);
    let group = |name: &str, ensure| Program::new(name, ensure, supervisor, patience);
    let workers = group(&site.program, Ensure::Running).defined_in(&file);
    let (settings, hash) = definition::settings_file(site)?;
    let adopted = adopted(site, settings.path.clone(), hash, patience);
    items.site(site, settings);
    items.site(site, file);
    if !live {
        return Ok(());
    }
    if let Some(old) = &site.existing
        && old.name != site.program
    {
        items.site(site, group(&old.name, Ensure::Absent));
    }
    items.site(site, workers);
    items.site(site, adopted);
    Ok(())
}

/// The running crew has adopted its settings. Its members do so once their jobs are over;
/// that is waited for where they would lose their job server.
fn adopted(site: &SiteResolved, path: PathBuf, wanted: String, patience: Duration) -> Check {
    let run = Paths::new(Path::new(BASE), &site.name).run;
    let dir = site.dir.clone();
    let moves = !site.servers_left_behind.is_empty();
    let of_member = definition::settings(site).member_hash();
    Check {
        condition: Condition::SettingsAdopted(dir.clone()),
        after: ResourceId::File(path.clone()),
        patience: match moves {
            true => patience,
            false => Duration::from_secs(10),
        },
        when: When::Always,
        probe: Box::new(move |_| {
            let crews = crew_status::read(&run).unwrap_or_default();
            let has = crews
                .iter()
                .find(|it| it.settings.as_ref() == Some(&wanted));
            let why = match has {
                None if crews.is_empty() => "their crew has not reported".into(),
                None => "their crew still has other settings".into(),
                Some(crew) => {
                    let members = heartbeat::read(&run).unwrap_or_default();
                    let late = members
                        .iter()
                        .find(|it| it.crew == Some(crew.pid) && it.settings != of_member);
                    match late.filter(|_| moves) {
                        None => return Ok(()),
                        Some(late) => format!(
                            "process {} still runs a job of a former job server",
                            late.pid
                        ),
                    }
                }
            };
            let what = format!(
                "have the workers of {} adopt {}",
                dir.display(),
                path.display()
            );
            Err(Problem::new(what, why)
                .help("see the site's log, then run again")
                .into())
        }),
    }
}
