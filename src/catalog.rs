//! The recipe: which resources a decision means, in order. Host part, sites,
//! end. remove goes through what the journal tells, backwards (`remove.rs`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use tera::Tera;

use crate::gearman::options::{self, Wanted};
use crate::gearman::server::Server;
use crate::gearman::text::Admin;
use crate::host::Host;
use crate::host::platform::{Family, Init, Platform, Supervisor};
use crate::host::services::Unit;
use crate::journal::{BASE, Edit, Scope};
use crate::plan::Item;
use crate::resource::Resource;
use crate::resource::check::Check;
use crate::resource::directory::Directory;
use crate::resource::file::{File, Next, Owner, Secrets};
use crate::resource::link::Link;
use crate::resource::log::Log;
use crate::resource::package::Packages;
use crate::resource::program::Program;
use crate::resource::service::{Service, Stale};
use crate::spec::resolve::{Decided, HostDecided, SHORT_QUEUE, SiteDecided};
use crate::spec::{Queue, Role, WorkerMode};
use crate::supervisor::{block, programs, rpc};
use crate::wordpress::config::{self, Switch, Wish};
use crate::wordpress::php;
use crate::wordpress::settings;
use crate::wordpress::site::{BUNDLED, Plugin};

/// Root's folder: the binary that workers run and the PHP that they run it with.
pub const LIB: &str = "/usr/local/lib/wp-gears";
pub const LOGS: &str = "/var/log/wp-gears";
/// The PHP in it: what workers run, and what asks a site.
const PHP: [(&str, &str); 3] = [
    ("runner.php", include_str!("../templates/runner.php")),
    ("plugin.php", include_str!("../templates/plugin.php")),
    ("ask.php", include_str!("../templates/ask.php")),
];
const BUNDLED_PLUGIN: &str = include_str!("../templates/bundled.php");
/// Each worker and each page that hands in a job is a connection.
const FILES_LIMIT: u64 = 65536;
/// gearmand deletes a job after so many workers died with it; our workers count themselves.
const RETRIES: &str = "255";

pub fn binary() -> PathBuf {
    Path::new(LIB).join("wp-gears")
}

pub fn runner() -> PathBuf {
    Path::new(LIB).join("runner.php")
}

/// All that shall be so.
pub fn setup(host: &Host, decided: &Decided, start: bool) -> Result<Vec<Item>> {
    let platform = host.platform()?;
    let mut items = Items::default();
    let of_host = &decided.host;
    let server = of_host.roles.contains(&Role::Server);
    let worker = of_host.roles.contains(&Role::Worker);
    if decided.sites.is_empty() {
        return Ok(items.list);
    }
    let live = host.live() && start;

    if host.live() {
        items.host(packages(platform, decided, server, worker));
    }
    if server {
        job_server(host, &mut items, platform, of_host, live);
    }
    if worker {
        own_files(&mut items)?;
    }
    if host.live() {
        for site in &decided.sites {
            items.site(site, extension(platform.family, site));
        }
    }
    for site in &decided.sites {
        plugin_and_runner(host, &mut items, site)?;
    }
    for site in &decided.sites {
        items.site(site, wp_config(site));
    }
    if worker {
        workers(host, &mut items, platform, decided, live)?;
    }
    Ok(items.list)
}

#[derive(Default)]
struct Items {
    list: Vec<Item>,
}

impl Items {
    fn host(&mut self, resource: impl Resource + 'static) {
        self.list.push(Item {
            scope: Scope::Host,
            resource: Box::new(resource),
        });
    }

    fn site(&mut self, site: &SiteDecided, resource: impl Resource + 'static) {
        self.list.push(Item {
            scope: Scope::Site(site.name.clone()),
            resource: Box::new(resource),
        });
    }
}

fn packages(platform: &Platform, decided: &Decided, server: bool, worker: bool) -> Packages {
    let family = platform.family;
    let mut needs: Vec<Vec<String>> = Vec::new();
    if server {
        needs.push(vec![family.gearmand.package.into()]);
    }
    for site in &decided.sites {
        let version = site.php.version.as_deref().unwrap_or_default();
        let choices: Vec<String> = family
            .extension
            .iter()
            .map(|name| name.replace("{v}", version))
            .collect();
        if !needs.contains(&choices) {
            needs.push(choices);
        }
    }
    if worker {
        needs.push(vec![family.supervisor.package.into()]);
    }
    Packages {
        needs,
        allow_upgrades: decided.host.allow_upgrades,
    }
}

/// The options that we want of gearmand, whatever else is there.
pub fn gearmand_options(family: &Family, decided: &HostDecided, forks: bool) -> Vec<Wanted> {
    let option = |name, short, value: &str| Wanted {
        name,
        short,
        value: Some(value.to_owned()),
    };
    let mut wanted = Vec::new();
    if forks {
        wanted.push(Wanted {
            name: "daemon",
            short: Some('d'),
            value: None,
        });
    }
    wanted.push(option("listen", Some('L'), &decided.listen));
    wanted.push(option("port", Some('p'), &decided.port.to_string()));
    wanted.push(option("job-retries", Some('j'), RETRIES));
    match decided.queue {
        Queue::Memory => wanted.push(option("queue-type", Some(SHORT_QUEUE), "builtin")),
        Queue::Sqlite => {
            let file = format!("{}/queue.sqlite", family.gearmand.queue_dir);
            wanted.push(option("queue-type", Some(SHORT_QUEUE), "libsqlite3"));
            wanted.push(option("libsqlite3-db", None, &file));
        }
        Queue::Mysql => wanted.push(option("queue-type", Some(SHORT_QUEUE), "MySQL")),
    }
    wanted
}

fn job_server(
    host: &Host,
    items: &mut Items,
    platform: &Platform,
    decided: &HostDecided,
    live: bool,
) {
    let family = platform.family;
    let gearmand = &family.gearmand;
    // Debian's unit forks; before the package is there its own options tell (they hold --daemon).
    let forks = match host.unit(gearmand.unit, &[family.supervisor.unit]) {
        Ok(unit) if unit.present => unit.forking,
        _ => matches!(family.manager, crate::host::platform::Manager::Apt),
    };
    let wanted = gearmand_options(family, decided, forks);
    let variable = gearmand.options_variable;
    let for_file = wanted.clone();
    items.host(File {
        path: gearmand.options_file.into(),
        edit: Edit::Options,
        make: Box::new(move |_, now| {
            let text = options::merge(now.unwrap_or_default(), variable, &for_file, &[])?;
            Ok(Some(text).into())
        }),
        owner: Owner::Root,
        mode: 0o644,
        needs: Some(format!("the package {}", gearmand.package)),
        secrets: Secrets::Options,
    });
    if platform.init == Init::Systemd {
        let folder = format!("/etc/systemd/system/{}.service.d", gearmand.unit);
        items.host(Directory {
            path: folder.clone().into(),
            owner: None,
            mode: 0o755,
            shared: true,
        });
        let mut context = tera::Context::new();
        context.insert("files_limit", &FILES_LIMIT);
        let text = render(include_str!("../templates/gearmand.dropin.tera"), &context);
        if let Ok(text) = text {
            items.host(File::whole(
                format!("{folder}/wp-gears.conf"),
                text.into_bytes(),
                0o644,
            ));
        }
    }
    if !live {
        return;
    }
    items.host(Service {
        unit: gearmand.unit.into(),
        enabled: Some(true),
        active: Some(true),
        stale: gearmand_is_stale(family, wanted),
        also: vec![family.supervisor.unit],
        needs: format!("the package {}", gearmand.package),
    });
    items.host(answers(&decided.own_server(), gearmand.unit));
}

/// Whether a service runs what its files say, with nothing more wanted of them.
pub fn stale_of(family: &'static Family, unit: &str) -> Box<Stale> {
    if unit == family.gearmand.unit {
        gearmand_is_stale(family, Vec::new())
    } else {
        Box::new(|_, _| Ok(None))
    }
}

/// The running gearmand against what its file will say.
fn gearmand_is_stale(family: &'static Family, wanted: Vec<Wanted>) -> Box<Stale> {
    // With no options wanted it is only to be as its file says.
    let wants_limit = !wanted.is_empty();
    Box::new(move |host: &Host, unit: &Unit| {
        let gearmand = &family.gearmand;
        let Some(process) = host.process(unit.main_pid) else {
            return Ok(None);
        };
        let Some(file) = host.read(Path::new(gearmand.options_file))? else {
            return Ok(None);
        };
        let text = options::merge(&file.bytes, gearmand.options_variable, &wanted, &[])?;
        let words = options::all_words(&text, gearmand.options_variable);
        // Between "argv[]=" and " ;" stand the words of the definition itself.
        let fixed: Vec<&str> = unit
            .exec_start
            .split_once("argv[]=")
            .and_then(|(_, rest)| rest.split(" ;").next())
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let missing = words.iter().find(|word| !process.args.contains(word));
        let extra = process.args.iter().skip(1).find(|arg| {
            !fixed.is_empty() && !words.contains(arg) && !fixed.contains(&arg.as_str())
        });
        if missing.is_some() || extra.is_some() {
            return Ok(Some("it runs with other options than its file says".into()));
        }
        // In a container the hard limit may be lower than what we ask for.
        if let Some((soft, hard)) = host.files_limits(process.pid)
            && wants_limit
            && host.platform()?.init == Init::Systemd
            && soft < FILES_LIMIT.min(hard)
        {
            return Ok(Some(format!("it may open {soft} files only")));
        }
        Ok(None)
    })
}

/// Asks a job server for its version, as a sign of life.
pub fn ask_version(server: &str) -> Result<String> {
    let server: Server = server.parse().map_err(anyhow::Error::msg)?;
    Ok(Admin::connect(&server, Duration::from_secs(2))?.version()?)
}

fn answers(server: &str, unit: &str) -> Check {
    let (server, unit) = (server.to_owned(), unit.to_owned());
    Check {
        what: format!("the job server answers on {server}"),
        after: format!("the service {unit}"),
        patience: Duration::from_secs(10),
        probe: Box::new(move |host| {
            ask_version(&server).map(|_| ()).with_context(|| {
                let log = host.service_log(&unit);
                format!("ask the job server on {server}; its log ends with:\n{log}")
            })
        }),
    }
}

/// What all sites' workers run: root's, readable for everyone.
fn own_files(items: &mut Items) -> Result<()> {
    for (path, mode) in [(LIB, 0o755), (BASE, 0o755), (LOGS, 0o755)] {
        items.host(Directory {
            path: path.into(),
            owner: None,
            mode,
            shared: path == BASE,
        });
    }
    for below in ["run", "cache", "failed"] {
        items.host(Directory {
            path: Path::new(BASE).join(below),
            owner: None,
            mode: 0o755,
            shared: false,
        });
    }
    let program = std::env::current_exe()
        .and_then(std::fs::read)
        .context("read this program, to install it for the workers")?;
    items.host(File::whole(binary(), program, 0o755).secrets(Secrets::Hidden));
    for (name, text) in PHP {
        items.host(
            File::whole(Path::new(LIB).join(name), text.into(), 0o644).secrets(Secrets::Hidden),
        );
    }
    Ok(())
}

fn extension(family: &'static Family, site: &SiteDecided) -> Check {
    let version = site.php.version.clone();
    let label = version.clone().unwrap_or_default();
    Check {
        what: format!("PHP {label} has the gearman extension, on the command line and for the web"),
        after: "the packages".into(),
        patience: Duration::ZERO,
        probe: Box::new(move |host| {
            let missing = php::without_extension(host, version.as_deref())?;
            let Some(dir) = missing.first() else {
                return Ok(());
            };
            Err(crate::problem::Problem::new(
                format!("see that PHP {label} has the gearman extension"),
                format!("{} has no ini file for it", dir.display()),
            )
            .advice(match family.manager {
                crate::host::platform::Manager::Apt => "'phpenmod gearman', then run again",
                crate::host::platform::Manager::Dnf => "enable the extension there, then run again",
            })
            .into())
        }),
    }
}

fn plugin_and_runner(host: &Host, items: &mut Items, site: &SiteDecided) -> Result<()> {
    if site.plugin == Plugin::Bundled {
        let path = site.dir.join(BUNDLED);
        // The site's owner owns what stands in the site.
        let owner = owner_of(host, &site.dir.join("wp-content"))?;
        if let Some(parent) = path.parent() {
            items.site(
                site,
                SiteFolder {
                    directory: Directory {
                        path: parent.to_owned(),
                        owner: None,
                        mode: 0o755,
                        shared: true,
                    },
                    owner,
                },
            );
        }
        items.site(
            site,
            File::whole(path, BUNDLED_PLUGIN.into(), 0o644)
                .owner(Owner::Ids(owner.0, owner.1))
                .secrets(Secrets::Hidden),
        );
    }
    items.site(
        site,
        Link {
            // A copy does not find its code; the plugin's readme asks for a link.
            replaces: |text| text.windows(11).any(|part| part == b"wp-load.php"),
            ..Link::to(site.dir.join(site.plugin.runner()), runner())
        },
    );
    Ok(())
}

fn owner_of(host: &Host, path: &Path) -> Result<(u32, u32)> {
    use crate::host::files::Node;
    Ok(match host.look_through(path)? {
        Node::Directory(meta) => (meta.uid, meta.gid),
        _ => (0, 0),
    })
}

/// A folder inside a site, its parent's owner's.
struct SiteFolder {
    directory: Directory,
    owner: (u32, u32),
}

impl Resource for SiteFolder {
    fn name(&self) -> String {
        self.directory.name()
    }

    fn inspect(&self, host: &Host) -> Result<crate::resource::State> {
        self.directory.inspect(host)
    }

    fn undo(&self, host: &Host) -> Result<Option<crate::journal::Undo>> {
        self.directory.undo(host)
    }

    fn apply(&self, host: &Host, _watch: &dyn Fn(&str)) -> Result<()> {
        let (uid, gid) = self.owner;
        let attributes = crate::host::files::Attributes {
            uid,
            gid,
            mode: self.directory.mode,
        };
        host.make_dir(&self.directory.path, attributes)
    }
}

/// The switch.
fn wp_config(site: &SiteDecided) -> File {
    let wish = Wish {
        switch: match site.plugin {
            Plugin::WpMinions => Switch::WpMinions,
            Plugin::WpGears | Plugin::Bundled => Switch::WpGears,
        },
        servers: site.servers.clone(),
        salt: site.salt.clone(),
    };
    let path = site.config.clone();
    File {
        path: path.clone(),
        edit: Edit::WpConfig,
        make: Box::new(move |host, now| {
            let include = settings::includes(host, &path);
            let edited = config::edit(now.unwrap_or_default(), &wish, &include)
                .map_err(|refusal| settings::explain(&path, refusal))?;
            Ok(Next {
                bytes: Some(edited.text),
                notes: edited.warnings.iter().map(settings::note).collect(),
            })
        }),
        owner: Owner::Root,
        mode: 0o640,
        needs: None,
        secrets: Secrets::Php,
    }
}

fn workers(
    host: &Host,
    items: &mut Items,
    platform: &Platform,
    decided: &Decided,
    live: bool,
) -> Result<()> {
    let supervisor = &platform.family.supervisor;
    if live {
        items.host(Service {
            unit: supervisor.unit.into(),
            enabled: Some(true),
            active: Some(true),
            stale: Box::new(|_, _| Ok(None)),
            also: vec![],
            needs: format!("the package {}", supervisor.package),
        });
        let socket = supervisor.socket;
        items.host(Check {
            what: "supervisord answers".into(),
            after: format!("the service {}", supervisor.unit),
            patience: Duration::from_secs(10),
            probe: Box::new(move |_| {
                let running = rpc::Supervisor::new(Path::new(socket));
                running.processes().map(|_| ())
            }),
        });
    }
    for site in &decided.sites {
        for folder in ["run", "cache", "failed"] {
            items.site(
                site,
                Directory {
                    path: Path::new(BASE).join(folder).join(&site.name),
                    owner: Some(site.user.clone()),
                    mode: 0o700,
                    shared: false,
                },
            );
        }
        // The worker rotates by copying: both files are there for it.
        for ending in ["log", "log.1"] {
            items.site(
                site,
                Log {
                    path: Path::new(LOGS).join(format!("{}.{ending}", site.name)),
                    owner: site.user.clone(),
                },
            );
        }
        items.site(site, definition(host, supervisor, site)?);
        let renamed = site
            .existing
            .as_ref()
            .filter(|old| old.name != site.program);
        if live && let Some(old) = renamed {
            items.site(
                site,
                Program {
                    group: old.name.clone(),
                    present: false,
                    socket: supervisor.socket.into(),
                    binary: binary(),
                    patience: Duration::from_secs(site.stop_timeout + 30),
                },
            );
        }
        if live {
            items.site(
                site,
                Program {
                    group: site.program.clone(),
                    present: true,
                    socket: supervisor.socket.into(),
                    binary: binary(),
                    patience: Duration::from_secs(site.stop_timeout + 30),
                },
            );
        }
    }
    Ok(())
}

/// The program's definition: a file of its own, or a marked block in the main
/// file where that includes no folder.
fn definition(host: &Host, supervisor: &Supervisor, site: &SiteDecided) -> Result<File> {
    let text = program_text(host, site)?;
    if let Some(existing) = &site.existing {
        let program = existing.name.clone();
        return Ok(File {
            make: Box::new(move |_, now| {
                let now = String::from_utf8_lossy(now.unwrap_or_default()).into_owned();
                let text = block::replace_section(&now, &program, &text)
                    .with_context(|| format!("the program {program} is not there any more"))?;
                Ok(Some(text.into_bytes()).into())
            }),
            ..File::whole(&existing.file, Vec::new(), 0o644).edit(Edit::Section)
        });
    }
    let mut file = if programs::folder_is_included(host, supervisor)? {
        let name = format!("{}.{}", site.program, supervisor.ending);
        let path = Path::new(supervisor.programs).join(name);
        File::whole(path, text.into_bytes(), 0o644).edit(Edit::Program)
    } else {
        let program = site.program.clone();
        File {
            make: Box::new(move |_, now| {
                let now = String::from_utf8_lossy(now.unwrap_or_default()).into_owned();
                Ok(Some(block::set(&now, &program, &text).into_bytes()).into())
            }),
            ..File::whole(supervisor.config, Vec::new(), 0o644).edit(Edit::Block)
        }
    };
    file.needs = Some(format!("the package {}", supervisor.package));
    Ok(file)
}

/// The worker's words: with them a later setup knows what this one asked for.
pub fn worker_command(site: &SiteDecided) -> Vec<String> {
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let mut words = vec![
        path(&binary()),
        "worker".into(),
        "--site".into(),
        path(&site.dir),
        "--name".into(),
        site.name.clone(),
        "--servers".into(),
        site.effective_servers().join(","),
        "--php".into(),
        path(&site.php.path),
        "--worker-mode".into(),
        match site.mode {
            WorkerMode::Fork => "fork".into(),
            WorkerMode::Spawn => "spawn".into(),
        },
        "--job-retries".into(),
        site.job_retries.to_string(),
        "--stop-timeout".into(),
        site.stop_timeout.to_string(),
    ];
    if let Some(seconds) = site.job_timeout {
        words.extend(["--job-timeout".into(), seconds.to_string()]);
    }
    words
}

fn program_text(host: &Host, site: &SiteDecided) -> Result<String> {
    let written = |what: &str, text: &str| {
        programs::value(text).with_context(|| {
            format!("write supervisor's program: {what} ({text:?}) holds what its file cannot")
        })
    };
    let command = programs::join_words(&worker_command(site));
    let home = host
        .user(&site.user)?
        .map(|user| user.home)
        .unwrap_or_else(|| "/".into());
    let mut context = tera::Context::new();
    context.insert(
        "dir",
        &written("the site's folder", &site.dir.to_string_lossy())?,
    );
    context.insert("program", &site.program);
    context.insert("command", &written("the command", &command)?);
    context.insert("workers", &site.workers);
    context.insert(
        "worker_dir",
        &written("the worker's folder", &site.worker_dir.to_string_lossy())?,
    );
    context.insert("user", &site.user);
    context.insert("home", &written("the user's home", &home)?);
    // supervisor kills a little later than the worker gives up by itself.
    context.insert("stop_wait", &(site.stop_timeout + 10));
    render(include_str!("../templates/program.conf.tera"), &context)
}

fn render(template: &str, context: &tera::Context) -> Result<String> {
    Tera::one_off(template, context, false).context("fill a template")
}
