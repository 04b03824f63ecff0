//! The web's PHP takes the extension up: php-fpm, or a web server with PHP in
//! it, reads its ini files at its start alone. Whether it has the extension
//! is seen in what it has loaded.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::process::Signal;

use super::{Change, Resource, State};
use crate::host::Host;
use crate::host::platform::Init;
use crate::host::process::Process;
use crate::journal::Undo;
use crate::problem::Problem;
use crate::wordpress::php::{Php, has_ini};

const LIBRARY: &str = "gearman.so";
const FPM: &str = "php-fpm";
/// Web servers with PHP in them.
const APACHE: [&str; 2] = ["httpd", "apache2"];
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Renewal {
    /// The sites' PHPs.
    pub phps: Vec<Php>,
}

/// One that runs without the extension, and how it is made to read its files.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Lacking {
    Unit(String),
    /// Nothing but the process itself can be asked.
    Process(u32, &'static str),
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lacking::Unit(name) => f.write_str(name),
            Lacking::Process(pid, name) => write!(f, "{name} (process {pid})"),
        }
    }
}

impl Renewal {
    /// Those that run without the extension, and whether its ini file is there
    /// for all of them.
    fn lacking(&self, host: &Host) -> Result<(BTreeSet<Lacking>, bool)> {
        let systemd = host.platform()?.init == Init::Systemd;
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
            let unit = host.unit_of(process.pid).filter(|_| systemd);
            all.insert(unit.map_or(Lacking::Process(process.pid, name), Lacking::Unit));
        }
        Ok((all, ready))
    }

    fn reload(host: &Host, lacking: &Lacking) -> Result<()> {
        match lacking {
            Lacking::Unit(name) => host.service("reload", name),
            Lacking::Process(pid, FPM) => host.signal(*pid, Signal::USR2),
            Lacking::Process(pid, _) => host.signal(*pid, Signal::USR1),
        }
    }
}

/// The name of the process, if it is the master of that PHP for the web.
fn serves(host: &Host, php: &Php, process: &Process) -> Option<&'static str> {
    let title = process.args.join(" ");
    let Some(config) = title.strip_prefix("php-fpm: master process (") else {
        let server = |process: &Process| {
            let program = process.exe.as_ref()?.file_name()?.to_str()?;
            APACHE.into_iter().find(|name| *name == program)
        };
        let name = server(process)?;
        let is_child = host.process(process.parent).as_ref().and_then(server) == Some(name);
        let serves =
            !is_child && php.collection.is_none() && host.has_loaded(process.pid, "libphp");
        return serves.then_some(name);
    };
    let config = PathBuf::from(config.trim_end_matches(')'));
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

impl Resource for Renewal {
    fn name(&self) -> String {
        "the web's PHP".into()
    }

    fn inspect(&self, host: &Host) -> Result<State> {
        let (all, ready) = self.lacking(host)?;
        if all.is_empty() {
            return Ok(State::Same);
        }
        let names: Vec<String> = all.iter().map(Lacking::to_string).collect();
        let change = Change::new("reload").detail(format!(
            "{}: it has not loaded the gearman extension",
            names.join(" ")
        ));
        Ok(match ready {
            true => State::Differs(change),
            false => State::After("the packages".into(), change),
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
            watch(&format!("reload {one}"));
            Renewal::reload(host, one)?;
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
                    .advice("see its log and 'php -m'; restart it, then run again")
                    .into());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}
