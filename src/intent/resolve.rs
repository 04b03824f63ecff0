//! Resolves every option: what was given, or what the host already has, or the
//! default. Reads the host and changes nothing.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::base::problem::Problem;
use crate::base::random;
use crate::gearman::{daemon, options};
use crate::host::Host;
use crate::host::files::Node;
use crate::host::platform::Platform;
use crate::host::supervisor::{PIP, Supervisord};
use crate::intent::adopt::{self, reached_at};
use crate::intent::options::HostSettings;
use crate::intent::options::{
    HostOptions, Queue, Role, SiteOptions, Spec, SupervisorFrom, WorkerMode,
};
use crate::intent::queue;
use crate::queue::Store;
use crate::site::ask::Target;
use crate::site::config::{self, Found, Want};
use crate::site::find;
use crate::site::php::{self, Php};
use crate::site::plugins::{self, Plugin, PluginChoice};
use crate::site::settings;
use crate::site::web::{Served, Servers};
use crate::supervisor::programs::{self, ProgramSection};
use crate::worker::options::{WorkerOptions, WorkerSettings};

/// The resolved host and sites.
pub struct Resolved {
    pub host: HostResolved,
    pub sites: Vec<SiteResolved>,
    /// Sites that an earlier run set up, that this run does not touch, and that no
    /// file names yet.
    pub others: Vec<(PathBuf, SiteOptions)>,
    /// Sites that cannot be set up, by folder.
    pub refused: Vec<(PathBuf, anyhow::Error)>,
    /// Notes for the user.
    pub notes: Vec<String>,
}

pub struct HostResolved {
    pub roles: Vec<Role>,
    pub queue: Queue,
    /// Where queued jobs are stored; `None` without a job server here.
    pub store: Option<Box<dyn Store>>,
    pub listen: String,
    pub port: u16,
    /// Its address before this run: sites that use it get the new one.
    pub former_server: String,
    pub allow_upgrades: bool,
    pub supervisor: &'static Supervisord,
    pub extension_archive: Option<PathBuf>,
    /// Options that the host has but no file or option sets.
    pub adopted: HostOptions,
}

impl HostResolved {
    /// The address of this host's own job server, as seen from this host.
    pub fn own_server(&self) -> String {
        reached_at(&self.listen, self.port)
    }

    /// The options that the job server needs.
    pub fn options_of_gearmand(&self) -> Vec<options::Wanted> {
        let store = self.store.as_deref();
        let of_queue = store.map_or_else(Vec::new, |store| self.queue.wanted(store));
        daemon::wanted(&self.listen, self.port, of_queue)
    }
}

pub struct SiteResolved {
    /// The name of its folders, log and program.
    pub name: String,
    pub dir: PathBuf,
    pub version: String,
    pub config: PathBuf,
    pub found: Found,
    pub plugin: &'static Plugin,
    pub salt: Want<String>,
    pub servers: Want<Vec<String>>,
    /// 0 until the host's budget is divided.
    pub workers: u32,
    /// Fork mode was requested explicitly, so a PHP that cannot fork is refused.
    pub must_fork: bool,
    pub user: String,
    pub worker_dir: PathBuf,
    pub program: String,
    /// The existing program, ours or one written by the plugin's readme. It is
    /// adopted in its file.
    pub existing: Option<ProgramSection>,
    pub php: Php,
    /// The options in the workers' command, and what they resolve to.
    pub worker_options: WorkerOptions,
    pub worker: WorkerSettings,
    /// Options that the host has but no file or option sets.
    pub adopted: SiteOptions,
}

impl SiteResolved {
    /// The servers that the site will use.
    pub fn effective_servers(&self) -> Vec<String> {
        match &self.servers {
            Want::Exactly(servers) => servers.clone(),
            Want::Default(servers) => self.found.servers.clone().unwrap_or(servers.clone()),
        }
    }

    /// The functions to which the site submits its jobs now and will not any more,
    /// as each plugin names them.
    pub fn names_left_behind(&self) -> Vec<String> {
        let old = self.found.salt.as_deref();
        let changes = match (&self.salt, old) {
            (Want::Exactly(new), Some(old)) => new != old,
            (Want::Default(_), Some(_)) => false,
            (_, None) => !self.found.salt_computed,
        };
        if !changes || self.found.on.is_empty() {
            return Vec::new();
        }
        plugins::functions(old)
    }

    /// How to ask the site about itself.
    pub fn target(&self) -> Target<'_> {
        Target {
            dir: &self.dir,
            php: &self.php.path,
            user: &self.user,
            plugin: self.plugin,
            cache: None,
        }
    }

    /// The salt that the site will have; `None` for a new one.
    pub fn effective_salt(&self) -> Option<&str> {
        match &self.salt {
            Want::Exactly(salt) => Some(salt),
            Want::Default(_) => self.found.salt.as_deref().filter(|salt| !salt.is_empty()),
        }
    }
}

pub fn resolve(host: &Host, spec: &Spec) -> Result<Resolved> {
    let platform = host.platform()?;
    let on_host = adopt::host_options(host, platform)?;
    let former_server = adopt::server_of(&on_host);
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
        ..
    } = options.clone().settings();
    let store = match roles.contains(&Role::Server) {
        true => Some(queue::open(host, spec, &options)?),
        false => None,
    };
    let resolved = HostResolved {
        supervisor: match roles.contains(&Role::Worker) {
            true => {
                let in_use = !programs.is_empty();
                choose_supervisor(host, platform, options.supervisor, in_use)?
            }
            false => there,
        },
        roles,
        extension_archive: options.extension_archive,
        queue,
        store,
        listen,
        port,
        former_server,
        allow_upgrades: options.allow_upgrades.unwrap_or(false),
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
            Err(error) => refused.push((wish.dir.clone(), error)),
        }
    }
    let others = others(host, platform, spec, &programs, &servers);
    refuse_shared_salts(host, &programs, &mut sites, &mut refused);
    let notes = share_budget(host, &programs, &mut sites);
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

/// The options of a program, except a user and a PHP that each run would find
/// again by itself.
fn without_found(
    host: &Host,
    platform: &Platform,
    dir: &Path,
    mut there: SiteOptions,
    web: &LazyServers,
) -> Result<SiteOptions> {
    if there == SiteOptions::default() {
        return Ok(there);
    }
    let served = web.get(host)?.of(host, dir);
    if let Ok(user) = user_of(host, platform, &served, dir) {
        there.worker_user = there.worker_user.filter(|it| *it != user);
    }
    if let Ok(php) = php::of_pool(host, served.pool()) {
        there.worker.php = there.worker.php.filter(|it| *it != php.path);
    }
    Ok(there)
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
        match program.and_then(|program| program.option("--servers")) {
            Some(servers) => Some(servers.split(',').map(str::to_owned).collect()),
            None => settings_of(host, dir)?.servers,
        }
    };
    let mut all = sites.iter().filter_map(of_site);
    let first: Vec<String> = all.next()?;
    all.all(|other| other == first).then_some(first)
}

#[expect(clippy::too_many_arguments)]
fn resolve_site(
    host: &Host,
    platform: &Platform,
    web: &LazyServers,
    resolved: &HostResolved,
    programs: &HashMap<PathBuf, ProgramSection>,
    names: &mut BTreeMap<String, PathBuf>,
    wish: &crate::intent::options::Site,
    explicit_servers: &Option<Vec<String>>,
) -> Result<SiteResolved> {
    let found_site = find::find(host, &wish.dir).map_err(|error| match wish.recorded {
        true => gone(error, &wish.dir),
        false => error,
    })?;
    let program = programs.get(&wish.dir);
    let mut there = match program.filter(|_| !wish.recorded) {
        Some(program) => adopt::site_options(program),
        None => SiteOptions::default(),
    };
    // Ignore a PHP that has been removed since.
    there.worker.php = there.worker.php.filter(|php| host.exists(php));
    let options = wish.options.clone().over(there.clone());
    let paths = [
        &options.wp_config,
        &options.worker_dir,
        &options.worker.php,
        &options.worker.log,
    ];
    for path in paths.into_iter().flatten().chain([&wish.dir]) {
        need_utf8(path)?;
    }

    let installed = found_site.plugin.map(|it| it.plugin);
    let choice = options.plugin.unwrap_or(PluginChoice::Auto);
    let plugin = choice.or_installed(installed);
    if plugin.bundled.is_none() && installed != Some(plugin) {
        let what = format!("use {} in {}", plugin.label, wish.dir.display());
        return Err(Problem::new(what, "the plugin's files are missing")
            .help("install the plugin, or use --plugin bundled")
            .into());
    }

    let config = match &options.wp_config {
        Some(path) => path.clone(),
        None => settings::locate(host, &wish.dir)?,
    };
    let Some(file) = host.read(&config)? else {
        let what = format!("edit {}", config.display());
        return Err(Problem::new(what, "there is no such file")
            .help("pass the site's config file, or omit --wp-config to use the one that WordPress loads")
            .into());
    };
    let found = config::scan(&file.bytes, &settings::includes(host, &config))
        .map_err(|refusal| settings::explain(&config, refusal))?;

    let served = match (&options.worker_user, &options.worker.php) {
        (Some(_), Some(_)) => Served::Unknown,
        _ => web.get(host)?.of(host, &wish.dir),
    };
    let user = match options.worker_user.clone() {
        Some(name) => name,
        None => user_of(host, platform, &served, &wish.dir)?,
    };
    refuse_root(host, &user)?;

    let name = match options.name.clone() {
        Some(name) => name,
        None => unique_name(names, &wish.dir),
    };
    names.insert(name.clone(), wish.dir.clone());
    if let Some(salt) = &options.salt {
        check_salt(salt)?;
    }
    let named = found.servers.as_deref().unwrap_or_default();
    let servers = match explicit_servers.clone() {
        Some(servers) => Want::Exactly(servers),
        None if named.is_empty() && !resolved.roles.contains(&Role::Server) => {
            return Err(Problem::usage(
                "set up a host without its own job server (--role)",
                "no job servers were specified",
            )
            .help("pass them with --servers HOST:PORT")
            .into());
        }
        None => match reachable(resolved, named) {
            Some(servers) => Want::Exactly(servers),
            None => Want::Default(vec![resolved.own_server()]),
        },
    };
    // Keep the present number of workers unless another one was requested.
    let running = program.and_then(|program| program.get("numprocs")?.parse().ok());
    Ok(SiteResolved {
        adopted: adopt::beyond_defaults(
            without_found(host, platform, &wish.dir, there, web)?,
            &wish.dir,
            &name,
        ),
        program: options
            .program
            .unwrap_or_else(|| format!("wp-gears-{name}")),
        existing: program.cloned(),
        name,
        dir: wish.dir.clone(),
        version: found_site.version,
        config: file.meta.path,
        found,
        plugin,
        salt: match options.salt {
            Some(salt) => Want::Exactly(salt),
            None => Want::Default(random::letters(64)?),
        },
        servers,
        workers: options.workers.or(running).unwrap_or(0),
        must_fork: wish.options.worker.worker_mode == Some(WorkerMode::Fork),
        user,
        worker_dir: options.worker_dir.unwrap_or_else(|| wish.dir.clone()),
        php: match options.worker.php.as_deref() {
            Some(path) => php::find(host, Some(path))?,
            None => php::of_pool(host, served.pool())?,
        },
        worker: options.worker.clone().settings(),
        worker_options: options.worker,
    })
}

/// The site's servers with this host's own server at its current address. PHP's
/// extension tries only the first address of a name, which for localhost may be
/// ::1: pages would hang. `None` if nothing needs to change.
fn reachable(resolved: &HostResolved, servers: &[String]) -> Option<Vec<String>> {
    let by_name = format!("localhost:{}", resolved.port);
    let own = resolved.own_server();
    let is_own = |server: &String| {
        *server == by_name
            || (server == "localhost" && resolved.port == 4730)
            || (*server == resolved.former_server && *server != own)
    };
    let listens = resolved.roles.contains(&Role::Server) && resolved.listen != "localhost";
    if !listens || !servers.iter().any(is_own) {
        return None;
    }
    let by_address = servers.iter().map(|server| {
        if is_own(server) {
            own.clone()
        } else {
            server.clone()
        }
    });
    Some(by_address.collect())
}

/// The user that already runs the site's code: the one that serves its pages, or
/// the owner of its folder, or the platform's web user. Never root, and never a
/// guess that could be another site's user.
fn user_of(host: &Host, platform: &Platform, served: &Served, dir: &Path) -> Result<String> {
    if let Served::Unclear(ways) = served {
        let ways: Vec<String> = ways.iter().map(ToString::to_string).collect();
        let what = format!(
            "determine the user that runs the pages of {}",
            dir.display()
        );
        let why = format!("several virtual hosts serve it: {}", ways.join("; "));
        return Err(Problem::new(what, why)
            .help("pass the user with --worker-user and its PHP with --php")
            .into());
    }
    if let Some(name) = served.user()
        && host.user(name)?.is_some_and(|user| user.uid != 0)
    {
        return Ok(name.to_owned());
    }
    let owner = match host.look_through(dir)? {
        Node::Directory(meta) => host.user_by_id(meta.uid)?,
        _ => None,
    };
    Ok(match owner {
        Some(owner) if owner.uid != 0 => owner.name,
        _ => platform.family.web.user.to_owned(),
    })
}

/// Adds what to do about a site that is recorded but no longer there.
fn gone(error: anyhow::Error, dir: &Path) -> anyhow::Error {
    let help = format!(
        "if the site is gone, run 'wp-gears remove --site {}'; if it moved, change its dir in {}",
        dir.display(),
        crate::intent::file::DEFAULT
    );
    match error.downcast::<Problem>() {
        Ok(problem) => problem.help(help).into(),
        Err(error) => error,
    }
}

/// The web servers' configuration, read when the first site asks for it.
#[derive(Default)]
struct LazyServers(OnceCell<Servers>);

impl LazyServers {
    fn get(&self, host: &Host) -> Result<&Servers> {
        if let Some(known) = self.0.get() {
            return Ok(known);
        }
        let read = Servers::read(host)?;
        Ok(self.0.get_or_init(|| read))
    }
}

fn refuse_root(host: &Host, name: &str) -> Result<()> {
    let what = format!("run jobs as user {name}");
    match host.user(name)? {
        None => Err(Problem::new(what, "there is no such user")
            .help("pass the site's own user with --worker-user")
            .into()),
        Some(user) if user.uid == 0 => Err(Problem::new(what, "root never runs a site's code")
            .help("pass the site's own user with --worker-user")
            .into()),
        Some(_) => Ok(()),
    }
}

fn check_salt(salt: &str) -> Result<()> {
    let ok = (1..=200).contains(&salt.len())
        && salt
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if ok {
        return Ok(());
    }
    Err(Problem::usage(
        "use the given --salt",
        "expected 1 to 200 letters, digits, '.', '_' and '-'",
    )
    .into())
}

fn unique_name(taken: &BTreeMap<String, PathBuf>, dir: &Path) -> String {
    let name = find::name(dir);
    let free = |name: &String| taken.get(name).is_none_or(|other| other == dir);
    if free(&name) {
        return name;
    }
    (2..)
        .map(|n| format!("{name}-{n}"))
        .find(free)
        .unwrap_or(name)
}

/// Two sites with the same salt would run each other's jobs. A site that was set
/// up earlier keeps it; new ones are refused.
fn refuse_shared_salts(
    host: &Host,
    programs: &HashMap<PathBuf, ProgramSection>,
    sites: &mut Vec<SiteResolved>,
    refused: &mut Vec<(PathBuf, anyhow::Error)>,
) {
    let mut with_salt: HashMap<String, Vec<PathBuf>> = HashMap::new();
    let planned: HashSet<&Path> = sites.iter().map(|site| site.dir.as_path()).collect();
    let others = programs
        .keys()
        .filter(|dir| !planned.contains(dir.as_path()));
    for (salt, dir) in others.filter_map(|dir| Some((salt_of(host, dir)?, dir))) {
        with_salt.entry(salt).or_default().push(dir.clone());
    }
    for site in sites.iter() {
        if let Some(salt) = site.effective_salt() {
            let dirs = with_salt.entry(salt.to_owned()).or_default();
            dirs.push(site.dir.clone());
        }
    }
    let mut bad: Vec<(PathBuf, PathBuf)> = Vec::new();
    for site in sites.iter().filter(|site| site.existing.is_none()) {
        let shared = site.effective_salt().and_then(|salt| with_salt.get(salt));
        let other = shared.and_then(|dirs| dirs.iter().find(|dir| **dir != site.dir));
        bad.extend(other.map(|other| (site.dir.clone(), other.clone())));
    }
    for (dir, other) in bad {
        sites.retain(|site| site.dir != dir);
        let what = format!("set up {}", dir.display());
        let why = format!(
            "it has the same WP_ASYNC_TASK_SALT as {}, so each would run the other's jobs",
            other.display()
        );
        let problem = Problem::new(what, why).help(
            "if it is a copy, delete the salt from its wp-config.php or set another with --salt",
        );
        refused.push((dir, problem.into()));
    }
}

/// Programs by the site that they serve. Ours take precedence over those written
/// by the plugin's readme.
fn by_site(programs: Vec<ProgramSection>) -> HashMap<PathBuf, ProgramSection> {
    let mut found = HashMap::new();
    for program in &programs {
        if let Some(dir) = program.runner_site(&plugins::runners()) {
            found.insert(dir, program.clone());
        }
    }
    for program in programs {
        if let Some(dir) = program.site() {
            found.insert(dir, program);
        }
    }
    found
}

/// Gives sites without a requested number two workers each if the host has room,
/// otherwise one. Returns a note if there are too many.
fn share_budget(
    host: &Host,
    programs: &HashMap<PathBuf, ProgramSection>,
    sites: &mut [SiteResolved],
) -> Vec<String> {
    let planned: HashSet<&Path> = sites.iter().map(|site| site.dir.as_path()).collect();
    let others: u32 = programs
        .iter()
        .filter(|(dir, _)| !planned.contains(dir.as_path()))
        .filter_map(|(_, program)| program.get("numprocs")?.parse::<u32>().ok())
        .sum();
    let requested: u32 = sites.iter().map(|site| site.workers).sum();
    let open = sites.iter().filter(|site| site.workers == 0).count() as u32;
    let budget = host.worker_budget();
    let each = if others + requested + 2 * open <= budget.max(2) {
        2
    } else {
        1
    };
    for site in sites.iter_mut().filter(|site| site.workers == 0) {
        site.workers = each;
    }
    let sum = others + sites.iter().map(|site| site.workers).sum::<u32>();
    if host.live() && sum > budget.max(2) {
        return vec![format!(
            "this host will have {sum} workers, but its cores and memory suit about {budget}"
        )];
    }
    Vec::new()
}

/// The folder and salt of these sites and of all others that have workers here.
pub fn salts(
    host: &Host,
    supervisor: &Supervisord,
    sites: &[SiteResolved],
) -> Vec<(PathBuf, String)> {
    let programs = programs::all(host, supervisor).unwrap_or_default();
    let mut dirs: Vec<PathBuf> = sites.iter().map(|site| site.dir.clone()).collect();
    dirs.extend(by_site(programs).into_keys());
    dirs.sort();
    dirs.dedup();
    dirs.into_iter()
        .filter_map(|dir| Some((dir.clone(), salt_of(host, &dir)?)))
        .collect()
}

fn salt_of(host: &Host, dir: &Path) -> Option<String> {
    settings_of(host, dir)?.salt
}

/// What the wp-config.php of a site defines, if it can be read.
fn settings_of(host: &Host, dir: &Path) -> Option<Found> {
    let path = settings::locate(host, dir).ok()?;
    let file = host.read(&path).ok()??;
    config::scan(&file.bytes, &settings::includes(host, &path)).ok()
}

/// Refuses paths that supervisor's files and the journal, which are UTF-8, cannot hold.
fn need_utf8(path: &Path) -> Result<()> {
    if path.to_str().is_some() {
        return Ok(());
    }
    Err(Problem::new(
        format!("use {}", path.display()),
        "its name is not valid UTF-8, which supervisor's files require",
    )
    .help("rename it, then run it again")
    .into())
}
