//! The web's PHP takes the extension up: php-fpm, or a web server with PHP in
//! it, reads its ini files at its start alone. Whether it has the extension
//! is seen in what it has loaded.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::process::Signal;

use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::platform::Init;
use crate::host::process::Process;
use crate::host::services::Action;
use crate::resource::journal::Undo;
use crate::resource::{Change, Resource, ResourceId, State, Verb};
use crate::site::php::{Php, has_ini};

const LIBRARY: &str = "gearman.so";
const FPM: &str = "php-fpm";
/// Web servers with PHP in them.
const APACHE: [&str; 2] = ["httpd", "apache2"];
const PATIENCE: Duration = Duration::from_secs(10);

pub struct ReloadPhp {
    /// The sites' PHPs.
    pub phps: Vec<Php>,
}

/// A PHP for the web, and how it is made to read its files.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Master {
    Unit(String),
    /// Nothing but the process itself can be asked.
    Process(u32, &'static str),
}

impl fmt::Display for Master {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Master::Unit(name) => f.write_str(name),
            Master::Process(pid, name) => write!(f, "{name} (process {pid})"),
        }
    }
}

impl ReloadPhp {
    /// Those that run without the extension, and whether its ini file is there
    /// for all of them.
    fn lacking(&self, host: &Host) -> Result<(BTreeSet<Master>, bool)> {
        let mut all = BTreeSet::new();
        let mut ready = true;
        for process in host.processes() {
            let Some((php, name)) = self
                .phps
                .iter()
                .find_map(|php| Some((php, serves(host, php, &process)?)))
            else {
                continue;
            };
            if host.has_loaded(process.pid, LIBRARY) {
                continue;
            }
            let dirs = php.ini_dirs(host)?;
            ready &= dirs.iter().all(|dir| has_ini(host, dir, "gearman.ini"));
            all.insert(Master::of(host, &process, name)?);
        }
        Ok((all, ready))
    }
}

impl Master {
    fn of(host: &Host, process: &Process, name: &'static str) -> Result<Master> {
        let systemd = host.platform()?.init == Init::Systemd;
        let unit = host.unit_of(process.pid).filter(|_| systemd);
        Ok(unit.map_or(Master::Process(process.pid, name), Master::Unit))
    }

    fn reload(&self, host: &Host, watch: &dyn Fn(&str)) -> Result<()> {
        watch(&format!("reload {self}"));
        match self {
            Master::Unit(name) => host.service(Action::Reload, name),
            Master::Process(pid, FPM) => host.signal(*pid, Signal::USR2),
            Master::Process(pid, _) => host.signal(*pid, Signal::USR1),
        }
    }
}

/// php-fpm's file of options, if the process is its master.
fn fpm_config(process: &Process) -> Option<PathBuf> {
    let title = process.args.join(" ");
    let config = title.strip_prefix("php-fpm: master process (")?;
    Some(PathBuf::from(config.trim_end_matches(')')))
}

/// The name of the process, if it is the master of a web server with PHP in it.
fn web_server(host: &Host, process: &Process) -> Option<&'static str> {
    let server = |process: &Process| {
        let program = process.exe.as_ref()?.file_name()?.to_str()?;
        APACHE.into_iter().find(|name| *name == program)
    };
    let name = server(process)?;
    let is_child = host.process(process.parent).as_ref().and_then(server) == Some(name);
    (!is_child && host.has_loaded(process.pid, "libphp")).then_some(name)
}

/// The name of the process, if it is the master of that PHP for the web.
fn serves(host: &Host, php: &Php, process: &Process) -> Option<&'static str> {
    let Some(config) = fpm_config(process) else {
        return web_server(host, process).filter(|_| php.collection.is_none());
    };
    let fits = match &php.collection {
        Some(number) => config
            .components()
            .any(|part| part.as_os_str().to_str() == Some(&format!("php{number}"))),
        // /etc/php/8.2/fpm/php-fpm.conf: of several PHPs each has its own.
        None => {
            let is_version = |name: &str| {
                name.split_once('.').is_some_and(|(major, minor)| {
                    [major, minor]
                        .iter()
                        .all(|n| n.bytes().all(|b| b.is_ascii_digit()) && !n.is_empty())
                })
            };
            let mut parts = config
                .components()
                .filter_map(|part| part.as_os_str().to_str());
            !config.starts_with("/etc/opt")
                && parts
                    .find(|name| is_version(name))
                    .is_none_or(|version| php.version.as_deref() == Some(version))
        }
    };
    fits.then_some(FPM)
}

impl Resource for ReloadPhp {
    fn id(&self) -> ResourceId {
        ResourceId::WebPhp
    }

    fn inspect(&self, host: &Host) -> Result<State> {
        let (all, ready) = self.lacking(host)?;
        if all.is_empty() {
            return Ok(State::Same);
        }
        let names: Vec<String> = all.iter().map(Master::to_string).collect();
        let change = Change::new(Verb::Reload).detail(format!(
            "{}: it has not loaded the gearman extension",
            names.join(" ")
        ));
        Ok(match ready {
            true => State::Differs(change),
            false => State::After(ResourceId::Packages, change),
        })
    }

    fn undo(&self, _host: &Host) -> Result<Option<Undo>> {
        Ok(None)
    }

    fn apply(&self, host: &Host, watch: &dyn Fn(&str)) -> Result<()> {
        let (all, ready) = self.lacking(host)?;
        if !ready {
            return Ok(()); // the check that follows says so
        }
        for one in &all {
            one.reload(host, watch)?;
        }
        // The signal returns before PHP has read its files.
        let begun = Instant::now();
        loop {
            let (left, _) = self.lacking(host)?;
            let Some(one) = left.first() else {
                return Ok(());
            };
            if begun.elapsed() > PATIENCE {
                let what = format!("give the gearman extension to {one}");
                return Err(Problem::new(what, "it runs without it after a reload")
                    .help("see its log and 'php -m'; restart it, then run again")
                    .into());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// The other way: PHP drops an extension that was removed.
pub struct UnloadExtension;

impl UnloadExtension {
    fn holding(host: &Host) -> Result<BTreeSet<Master>> {
        let mut all = BTreeSet::new();
        for process in host.processes() {
            let name = fpm_config(&process).map(|_| FPM);
            let Some(name) = name.or_else(|| web_server(host, &process)) else {
                continue;
            };
            let is_gone = |file: &PathBuf| file.ends_with(format!("{LIBRARY} (deleted)"));
            if host.files_of(process.pid).iter().any(is_gone) {
                all.insert(Master::of(host, &process, name)?);
            }
        }
        Ok(all)
    }
}

impl Resource for UnloadExtension {
    fn id(&self) -> ResourceId {
        ResourceId::WebPhp
    }

    /// Nothing holds it before it was removed: the packages' own step announces this one.
    fn inspect(&self, host: &Host) -> Result<State> {
        let all = UnloadExtension::holding(host)?;
        let names: Vec<String> = all.iter().map(Master::to_string).collect();
        Ok(match names.is_empty() {
            true => State::Same,
            false => State::Differs(Change::new(Verb::Reload).detail(names.join(" "))),
        })
    }

    fn undo(&self, _host: &Host) -> Result<Option<Undo>> {
        Ok(None)
    }

    fn apply(&self, host: &Host, watch: &dyn Fn(&str)) -> Result<()> {
        for one in &UnloadExtension::holding(host)? {
            one.reload(host, watch)?;
        }
        // One that takes longer drops it when its requests are done.
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE && !UnloadExtension::holding(host)?.is_empty() {
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}
