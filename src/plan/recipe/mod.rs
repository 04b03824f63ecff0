//! The recipe: the resources of a resolved intent, in order. remove goes through
//! the journal backwards instead (`plan/remove.rs`).

mod alert;
mod dashboard;
mod extension;
mod firewall;
mod job_server;
mod owners;
mod pip;
pub mod program;
pub mod switch;
mod workers;

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;

use crate::base::paths::{BASE, LIB, LOGS, binary, runner};
use crate::base::problem::{Problem, SiteError, SiteResult};
use crate::base::secrets::Secrets;
use crate::host::Host;
use crate::host::packet_filter::PACKAGE;
use crate::host::platform::{Family, Platform};
use crate::host::services::drop_in_folder;
use crate::intent::adopt;
use crate::intent::options::{Role, WorkerMode};
use crate::intent::resolve::{Resolved, SiteResolved};
use crate::plan::journal::Scope;
use crate::plan::{Item, Run, leave, trial, waiting};
use crate::resource::Resource;
use crate::resource::boolean::Boolean;
use crate::resource::directory::Directory;
use crate::resource::file::{File, Owner};
use crate::resource::link::Link;
use crate::resource::package::Packages;
use crate::resource::repository::{Enabled, Repository};
use crate::resource::source::Source;
use crate::site::admin::{self, ADMIN_FILE, ADMIN_FOLDER};
use crate::site::content::Content;
use crate::site::page::{self, PROOF_PLUGIN};
use crate::site::seal::{self, SEAL_PLUGIN};
use crate::worker::Paths;

/// The PHP code of the workers, in a folder of root's.
pub const PHP: [(&str, &str); 16] = [
    ("runner.php", include_str!("../../../templates/runner.php")),
    ("work.php", include_str!("../../../templates/work.php")),
    ("fork.php", include_str!("../../../templates/fork.php")),
    (
        "database.php",
        include_str!("../../../templates/database.php"),
    ),
    ("clock.php", include_str!("../../../templates/clock.php")),
    ("seal.php", include_str!("../../../templates/seal.php")),
    ("client.php", include_str!("../../../templates/client.php")),
    ("keys.php", include_str!("../../../templates/keys.php")),
    ("job.php", include_str!("../../../templates/job.php")),
    ("plugin.php", include_str!("../../../templates/plugin.php")),
    (
        "request.php",
        include_str!("../../../templates/request.php"),
    ),
    ("exits.php", include_str!("../../../templates/exits.php")),
    ("memory.php", include_str!("../../../templates/memory.php")),
    (
        "identity.php",
        include_str!("../../../templates/identity.php"),
    ),
    ("store.php", include_str!("../../../templates/store.php")),
    (
        "overdue.php",
        include_str!("../../../templates/overdue.php"),
    ),
];

/// All resources in their wanted state.
pub fn setup(host: &Host, resolved: &Resolved, run: Run) -> Result<Recipe> {
    let platform = host.platform()?;
    let mut items = Recipe::default();
    let of_host = &resolved.host;
    let server = of_host.roles.contains(&Role::Server);
    let worker = of_host.roles.contains(&Role::Worker);
    if resolved.sites.is_empty() && of_host.roles != [Role::Server] {
        return Ok(items);
    }
    let live = host.live() && run.start;

    if host.live() {
        packages(host, &mut items, platform, resolved)?;
    }
    if server {
        owners::shared(&mut items, of_host);
        firewall::resources(host, &mut items, platform, of_host, live)?;
        job_server::resources(host, &mut items, platform, of_host, run.waiting, live)?;
        owners::resources(host, &mut items, platform, of_host, run.waiting, live)?;
        for site in resolved.sites.iter().filter(|_| live) {
            owners::answers(&mut items, of_host, site);
        }
    }
    if !resolved.sites.is_empty() {
        own_files(&mut items, worker);
    }
    if host.live() {
        if let Some(reload) = extension::reload_php(host, resolved)? {
            items.host(reload);
        }
        for site in &resolved.sites {
            items.of_site(site, |items| {
                let check = extension::check(host, platform.family, resolved, site)?;
                items.site(site, check);
                Ok(())
            });
        }
        if of_host.roles.contains(&Role::Web) {
            items.host(Boolean {
                name: platform.family.selinux_boolean.into(),
                on: true,
            });
        }
    }
    for site in &resolved.sites {
        let serves = of_host.roles.contains(&Role::Web);
        items.of_site(site, |items| plugin_and_runner(host, items, site, serves));
    }
    if worker {
        workers::supervisor(
            &mut items,
            platform,
            resolved.host.supervisor,
            host.live(),
            live,
        )?;
    }
    dashboard::user(&mut items, resolved, host.live())?;
    for site in &resolved.sites {
        if worker {
            workers::folders(&mut items, site, of_host);
            if live {
                let name = site.name.clone();
                let on_trial = move |host: &Host| Ok(run.prove && trial::is_on(host, &name)?);
                items.site(site, switch::can_load(site, Box::new(on_trial)));
                if !site.found.on.contains(&site.plugin.switch) {
                    items.site(site, switch::held(site));
                }
            }
        }
        let supervisor = resolved.host.supervisor;
        let add_workers = |items: &mut Recipe| {
            items.of_site(site, |items| {
                workers::program(host, items, supervisor, site, live)
            });
        };
        // Jobs that wait at a server which the site leaves are run first.
        let moves = worker && live && !site.servers_left_behind.is_empty();
        if worker && !moves {
            add_workers(&mut items);
        }
        // Of a removal that was cut off.
        let leaving = Paths::new(Path::new(BASE), &site.name).leaving;
        if host.exists(&leaving) {
            items.site(site, leave::no_longer(&leaving));
        }
        items.site(site, switch::wp_config(site));
        if live && of_host.roles.contains(&Role::Web) {
            items.site(site, switch::reread(host, site));
        }
        if moves {
            items.site(site, waiting::at_former_servers(site, run.waiting));
            add_workers(&mut items);
        }
    }
    if worker {
        dashboard::program(host, &mut items, of_host, live)?;
    }
    let alerts = of_host.alerts && worker && !resolved.sites.is_empty();
    alert::resources(host, &mut items, platform, alerts, live)?;
    if server {
        firewall::retire(host, &mut items, of_host, live);
        owners::retire(host, &mut items, of_host, run.waiting, live)?;
    }
    Ok(items)
}

/// The resources of a host and its sites.
#[derive(Default)]
pub struct Recipe {
    pub list: Vec<Item>,
    /// Sites that have to be left out.
    pub refused: Vec<(Scope, SiteError)>,
}

impl Recipe {
    /// Adds what belongs to a site, unless that fails.
    fn of_site(&mut self, site: &SiteResolved, add: impl FnOnce(&mut Self) -> SiteResult<()>) {
        if let Err(error) = add(self) {
            let scope = Scope::Site(site.name.clone());
            self.refused.push((scope, error));
        }
    }

    fn host(&mut self, resource: impl Resource + 'static) {
        self.list.push(Item {
            scope: Scope::Host,
            resource: Box::new(resource),
        });
    }

    /// What all sites of an owner share.
    fn of_owner(&mut self, owner: &str, resource: impl Resource + 'static) {
        self.list.push(Item {
            scope: Scope::Owner(owner.to_owned()),
            resource: Box::new(resource),
        });
    }

    fn site(&mut self, site: &SiteResolved, resource: impl Resource + 'static) {
        self.list.push(Item {
            scope: Scope::Site(site.name.clone()),
            resource: Box::new(resource),
        });
    }
}

/// The required packages, each with its alternatives, except PHP's extension.
pub fn required(host: &Host, platform: &Platform, resolved: &Resolved) -> Vec<Vec<String>> {
    let family = platform.family;
    let roles = &resolved.host.roles;
    let mut required: Vec<Vec<String>> = Vec::new();
    if roles.contains(&Role::Server) {
        required.push(vec![family.gearmand.package.into()]);
        if resolved.host.has_rules() {
            required.push(vec![PACKAGE.into()]);
        }
        let of_queue = job_server::packages(host, platform, &resolved.host);
        required.extend(of_queue.into_iter().map(|package| vec![package]));
    }
    if roles.contains(&Role::Worker) {
        let of_supervisor = match resolved.host.supervisor.package {
            Some(package) => vec![package],
            None => family.python.to_vec(),
        };
        required.push(of_supervisor.into_iter().map(str::to_owned).collect());
    }
    required
}

/// The packages without which PHP cannot fork. Workers that were set up without
/// them work too, so the package manager is not asked about them every time.
fn optional(host: &Host, resolved: &Resolved) -> Result<Vec<String>> {
    let mut optional = Vec::new();
    for site in &resolved.sites {
        let there = site.existing.as_ref();
        if resolved.host.roles.contains(&Role::Worker)
            && site.worker.worker_mode == WorkerMode::Fork
            && there.is_none_or(|program| {
                adopt::worker_options(program).worker_mode != Some(WorkerMode::Fork)
            })
            && let Some(package) = site.php.missing_process_package(host)?
            && !optional.contains(&package)
        {
            optional.push(package);
        }
    }
    Ok(optional)
}

/// The packages, preceded by the repositories that have them.
fn packages(
    host: &Host,
    items: &mut Recipe,
    platform: &Platform,
    resolved: &Resolved,
) -> Result<()> {
    let family = platform.family;
    let server = resolved.host.roles.contains(&Role::Server);
    let required = required(host, platform, resolved);
    let optional = optional(host, resolved)?;
    let preferred = extension::packages(host, resolved)?;
    let all = [&required[..], &preferred[..]].concat();
    let mut source = None;
    let mut no_server = None;
    if let Some(row) = platform.source() {
        let names = row.package(platform).zip(row.installed_name(platform));
        source = names.map(|(package, installed)| {
            Arc::new(Source {
                name: row.name,
                package,
                key: row.key(platform),
                installed,
                required: all.clone(),
            })
        });
        no_server = Some((
            family.gearmand.package.to_owned(),
            no_server_here(platform, family),
        ));
        if server
            && row.lacks_server(platform)
            && let Some((package, problem)) = &no_server
            && !host.installed()?.contains_key(package)
            && host.candidates(std::slice::from_ref(package))?.is_empty()
        {
            return Err(problem.clone().into());
        }
        if let Some(builder) = row.builder(platform) {
            items.host(Enabled {
                prefix: builder,
                required: all.clone(),
                on: true,
            });
        }
    }
    if let Some(source) = &source {
        items.host(Repository {
            source: source.clone(),
        });
    }
    items.host(Packages {
        required,
        preferred,
        builds: None,
        optional,
        source,
        no_server: no_server.filter(|_| server),
        allow_upgrades: resolved.host.allow_upgrades,
    });
    extension::build(host, items, resolved)
}

fn no_server_here(platform: &Platform, family: &Family) -> Problem {
    let package = family.gearmand.package;
    let what = format!("install the job server ({package}) on {}", platform.name);
    Problem::new(
        what,
        "no enabled repository has it (EPEL 10 and Fedora since 42 do not)",
    )
    .help(format!(
        "use the job server of another host with '--role worker,web --servers HOST:PORT', or enable a repository that has {package}, then run again"
    ))
}

/// The text of a drop-in.
type Text = dyn Fn(&Host) -> Result<String> + Send + Sync;

/// Drop-ins of ours for a unit, by their names.
fn drop_ins<const N: usize>(items: &mut Recipe, unit: &str, all: [(&str, Box<Text>); N]) {
    let folder = drop_in_folder(unit);
    items.host(Directory {
        path: folder.clone(),
        owner: Owner::Root,
        mode: 0o755,
        shared: true,
    });
    for (name, text) in all {
        items.host(File {
            make: Box::new(move |host, _| Ok(Some(text(host)?.into_bytes()).into())),
            ..File::whole(folder.join(name), Vec::new(), 0o644)
        });
    }
}

/// What sites share and only root may write: the PHP that the runner links
/// lead to and, for workers, their program and folders.
fn own_files(items: &mut Recipe, worker: bool) {
    let directory = |path: &Path, shared| Directory {
        path: path.to_owned(),
        owner: Owner::Root,
        mode: 0o755,
        shared,
    };
    items.host(directory(Path::new(LIB), false));
    if worker {
        let base = Path::new(BASE);
        items.host(directory(base, true));
        items.host(directory(Path::new(LOGS), false));
        for below in ["run", "cache", "failed"] {
            items.host(directory(&base.join(below), false));
        }
        let this_program = Path::new("/proc/self/exe");
        let program = File::copy_of(this_program, binary(), 0o755);
        items.host(program.secrets(Secrets::Hidden));
    }
    for (name, text) in PHP {
        let file = File::whole(Path::new(LIB).join(name), text.as_bytes(), 0o644);
        items.host(file.secrets(Secrets::Hidden));
    }
}

fn plugin_and_runner(
    host: &Host,
    items: &mut Recipe,
    site: &SiteResolved,
    serves: bool,
) -> SiteResult<()> {
    must_use_plugins(host, items, site, serves)?;
    items.site(
        site,
        Link {
            // A copy would not find its code; the plugin's readme asks for a link.
            replaces: |text| text.windows(11).any(|part| part == b"wp-load.php"),
            owner: ids_of(host, &site.dir)?,
            ..Link::to(site.dir.join(site.plugin.runner), runner())
        },
    );
    Ok(())
}

/// Our must-use plugins: the one that submits jobs where the site brings none, the one
/// that seals them, with what it loads for administrators, and, where its pages are served
/// here, the one that proves that they do.
fn must_use_plugins(
    host: &Host,
    items: &mut Recipe,
    site: &SiteResolved,
    serves: bool,
) -> SiteResult<()> {
    let folder = &site.content.must_use;
    let brings = site.plugin.bundled;
    let bundled = brings.then(|| (site.plugin.main_file, seal::bundled()));
    let above = folder.parent().unwrap_or(folder);
    let proves = serves && host.is_dir(above);
    let proof = proves.then(|| (PROOF_PLUGIN, page::plugin()));
    let wraps = host.is_dir(above);
    let sealing = wraps.then(|| (SEAL_PLUGIN, seal::plugin(site.worker.seal != Some(false))));
    // What it loads, first.
    let admin = wraps.then(|| (ADMIN_FILE, admin::text()));
    let below = folder.join(ADMIN_FOLDER);
    let own = bundled.into_iter().chain(proof).chain(sealing);
    let files: Vec<_> = admin
        .map(|(name, text)| (below.join(name), text))
        .into_iter()
        .chain(own.map(|(name, text)| (folder.join(name), text)))
        .collect();
    // The site's owner owns what is in the site.
    let is_moved = site.content != Content::usual(&site.dir);
    let (uid, gid) = match is_moved && host.is_dir(folder) {
        true => ids_of(host, folder)?,
        false => ids_of(host, above)?,
    };
    let owner = Owner::Ids(uid, gid);
    let folders = (!files.is_empty()).then_some(folder).into_iter();
    for path in folders.chain(wraps.then_some(&below)) {
        items.site(
            site,
            Directory {
                path: path.clone(),
                owner: owner.clone(),
                mode: 0o755,
                shared: true,
            },
        );
    }
    for (path, text) in files {
        items.site(
            site,
            File::whole(path, text.as_bytes(), 0o644)
                .owner(owner.clone())
                .secrets(Secrets::Hidden),
        );
    }
    Ok(())
}

/// A folder's owner and group.
fn ids_of(host: &Host, path: &Path) -> Result<(u32, u32)> {
    use crate::host::files::Node;
    Ok(match host.look_through(path)? {
        Node::Directory(meta) => (meta.uid, meta.gid),
        _ => (0, 0),
    })
}
