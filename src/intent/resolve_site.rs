//! Resolves every option of a site: what was given, or what the site already has,
//! or the default.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::base::problem::{Problem, SiteResult};
use crate::base::random;
use crate::gearman::server::Server;
use crate::host::Host;
use crate::host::files::Node;
use crate::host::platform::Platform;
use crate::intent::adopt::{self};
use crate::intent::exposure::{self, Reach};
use crate::intent::options::{Role, Site, SiteOptions, WorkerMode};
use crate::intent::resolved::{Asked, HostResolved, SiteResolved};
use crate::intent::salts;
use crate::site::ask::Target;
use crate::site::config::{self, Want};
use crate::site::content::{self, SomeFolders};
use crate::site::find;
use crate::site::php::{self};
use crate::site::plugins::{self, PluginChoice};
use crate::site::settings;
use crate::site::stub;
use crate::site::web::{Served, Servers};
use crate::supervisor::programs::ProgramSection;
use crate::worker::workers::Workers;

/// More job servers than any site has.
const MAX_SERVERS: usize = 64;

#[expect(clippy::too_many_arguments)]
pub fn resolve_site(
    host: &Host,
    platform: &Platform,
    web: &LazyServers,
    resolved: &HostResolved,
    programs: &HashMap<PathBuf, ProgramSection>,
    names: &mut BTreeMap<String, PathBuf>,
    wish: &Site,
    explicit_servers: &Option<Vec<String>>,
) -> SiteResult<SiteResolved> {
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
    let mut options = wish.options.clone().over(there.clone());
    let paths = [
        &options.wp_config,
        &options.worker_dir,
        &options.content_dir,
        &options.plugin_dir,
        &options.mu_plugin_dir,
        &options.worker.php,
        &options.worker.log,
    ];
    for path in paths.into_iter().flatten().chain([&wish.dir]) {
        need_utf8(path)?;
    }

    let config = match &options.wp_config {
        Some(path) => path.clone(),
        None => settings::locate(host, &wish.dir, options.worker.host.as_deref())?,
    };
    let Some(file) = host.read(&config)? else {
        let what = format!("edit {}", config.display());
        return Err(Problem::new(what, "there is no such file")
            .help("pass the site's config file, or omit --wp-config to use the one that WordPress loads")
            .into());
    };
    // Without it, the stub of Debian's package would take another file.
    let learned_host = match &options.worker.host {
        None => stub::host_of(&file.meta.path).map(str::to_owned),
        Some(_) => None,
    };
    options.worker.host = options.worker.host.or_else(|| learned_host.clone());
    let found = config::scan(&file.bytes, &settings::includes(host, &wish.dir, &config))
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
    let php = match options.worker.php.as_deref() {
        Some(path) => php::find(host, Some(path))?,
        None => php::of_pool(host, served.pool())?,
    };

    let given = SomeFolders {
        dir: options.content_dir.clone(),
        plugins: options.plugin_dir.clone(),
        must_use: options.mu_plugin_dir.clone(),
    };
    let target = Target {
        dir: &wish.dir,
        php: &php.path,
        user: &user,
        plugin: &plugins::BUNDLED,
        cache: None,
        host: options.worker.host.as_deref(),
    };
    let of = content::Of {
        dir: &wish.dir,
        config: &file.meta,
        stated: &found.folders,
        given: &given,
    };
    let (content, learned) = of.find(host, &target)?;
    let plugins = find::plugins_in(host, &content)?;
    let installed = plugins.first().map(|it| it.plugin);
    let choice = options.plugin.unwrap_or(PluginChoice::Auto);
    let plugin = choice.or_installed(installed);
    if !plugin.bundled && !plugins.iter().any(|it| it.plugin == plugin) {
        let what = format!("use {} in {}", plugin.label, wish.dir.display());
        return Err(Problem::new(what, "the plugin's files are missing")
            .help("install the plugin, or use --plugin bundled")
            .into());
    }

    let name = match options.name.clone() {
        Some(name) => name,
        None => unique_name(names, &wish.dir),
    };
    names.insert(name.clone(), wish.dir.clone());
    if let Some(salt) = &options.salt {
        check_salt(salt)?;
    }
    let named = found.servers.as_deref().unwrap_or_default();
    check_servers(&config, named)?;
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
    let kept_salt = salts::kept(host, &name);
    // Keep the present number of workers unless another one was requested.
    let running = program.and_then(ProgramSection::workers);
    let mut adopted = SiteOptions {
        content_dir: learned.dir,
        plugin_dir: learned.plugins,
        mu_plugin_dir: learned.must_use,
        ..without_found(host, platform, &wish.dir, there, web)?
    };
    adopted.worker.host = learned_host.or(adopted.worker.host);
    Ok(SiteResolved {
        adopted: adopt::beyond_defaults(adopted, &wish.dir, &name),
        program: options
            .program
            .unwrap_or_else(|| format!("wp-gears-{name}")),
        existing: program.cloned(),
        name,
        dir: wish.dir.clone(),
        version: found_site.version,
        config: file.meta.path,
        found,
        content,
        plugin,
        salt: match options.salt {
            Some(salt) => Want::Exactly(salt),
            None => Want::Default(match &kept_salt {
                Some(kept) => kept.clone(),
                None => random::letters(64)?,
            }),
        },
        kept_salt,
        servers,
        servers_left_behind: Vec::new(),
        is_shared: is_shared(resolved),
        workers: options.workers.or(running).unwrap_or(Workers::OPEN),
        worker_budget: resolved.worker_budget,
        must_fork: wish.options.worker.worker_mode == Some(WorkerMode::Fork),
        user,
        asked: Asked {
            user: options.worker_user.is_some(),
            php: options.worker.php.is_some(),
        },
        worker_dir: options.worker_dir.unwrap_or_else(|| wish.dir.clone()),
        php,
        worker: options.worker.clone().settings(),
        hooks: wish.hooks.clone(),
        worker_options: options.worker,
    })
}

/// Whether other hosts may submit jobs to this one's job server.
fn is_shared(resolved: &HostResolved) -> bool {
    let has_pages = resolved.roles.contains(&Role::Web);
    let serves = resolved.roles.contains(&Role::Server);
    !has_pages || serves && exposure::reach(&resolved.listen) != Reach::Machine
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
pub struct LazyServers(OnceCell<Servers>);

impl LazyServers {
    /// What serves a folder.
    ///
    /// # Errors
    /// Files of web servers that cannot be read.
    pub fn served(&self, host: &Host, dir: &Path) -> Result<Served> {
        Ok(self.get(host)?.of(host, dir))
    }

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

/// Refuses what is no list of job servers: whoever manages this host asks them.
fn check_servers(config: &Path, servers: &[String]) -> Result<()> {
    let what = || format!("use the job servers in {}", config.display());
    if servers.len() > MAX_SERVERS {
        let why = format!("$gearman_servers names more than {MAX_SERVERS}");
        return Err(Problem::new(what(), why)
            .help("leave only those that run, then run again")
            .into());
    }
    match servers.iter().find(|it| it.parse::<Server>().is_err()) {
        None => Ok(()),
        Some(wrong) => Err(Problem::new(what(), format!("{wrong:?} is no HOST:PORT"))
            .help("correct $gearman_servers, then run again")
            .into()),
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

/// The options of a program, except a user and a PHP that each run would find
/// again by itself.
pub fn without_found(
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
