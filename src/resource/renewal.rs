//! The web's PHP takes the extension up: php-fpm, or a web server with PHP in
//! it, reads its ini files at its start alone. Whether it has the extension
//! is seen in what it has loaded.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Change, Resource, State};
use crate::host::Host;
use crate::host::process::Process;
use crate::journal::Undo;
use crate::problem::Problem;
use crate::wordpress::php::{Php, has_ini};

const LIBRARY: &str = "gearman.so";
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Renewal {
    /// The sites' PHPs.
    pub phps: Vec<Php>,
}

impl Renewal {
    /// The units of those that run without the extension, and whether its ini
    /// file is there for all of them.
    fn lacking(&self, host: &Host) -> Result<(BTreeSet<String>, bool)> {
        let mut units = BTreeSet::new();
        let mut ready = true;
        for process in host.processes() {
            let Some(php) = self.phps.iter().find(|php| serves(host, php, &process)) else {
                continue;
            };
            if host.has_loaded(process.pid, LIBRARY) {
                continue;
            }
            let dirs = php.ini_dirs(host)?;
            ready &= dirs.iter().all(|dir| has_ini(host, dir, "gearman.ini"));
            units.insert(
                host.unit_of(process.pid)
                    .unwrap_or_else(|| "php-fpm".into()),
            );
        }
        Ok((units, ready))
    }
}

/// Whether the process is the master of that PHP for the web.
fn serves(host: &Host, php: &Php, process: &Process) -> bool {
    let title = process.args.join(" ");
    let Some(config) = title.strip_prefix("php-fpm: master process (") else {
        let program = process.exe.as_ref().and_then(|exe| exe.file_name());
        return program.is_some_and(|name| name == "httpd")
            && php.collection.is_none()
            && host.has_loaded(process.pid, "libphp");
    };
    let config = PathBuf::from(config.trim_end_matches(')'));
    match &php.collection {
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
    }
}

impl Resource for Renewal {
    fn name(&self) -> String {
        "the web's PHP".into()
    }

    fn inspect(&self, host: &Host) -> Result<State> {
        let (units, ready) = self.lacking(host)?;
        if units.is_empty() {
            return Ok(State::Same);
        }
        let names: Vec<String> = units.into_iter().collect();
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
        let (units, ready) = self.lacking(host)?;
        if !ready {
            return Ok(()); // the check that follows says so
        }
        for unit in &units {
            watch(&format!("reload {unit}"));
            host.service("reload", unit)?;
        }
        // The signal returns before PHP has read its files.
        let begun = Instant::now();
        loop {
            let (left, _) = self.lacking(host)?;
            let Some(unit) = left.first() else {
                return Ok(());
            };
            if begun.elapsed() > PATIENCE {
                let what = format!("give the gearman extension to {unit}");
                return Err(Problem::new(what, "it runs without it after a reload")
                    .advice(format!(
                        "see its log and 'php -m'; 'systemctl restart {unit}', then run again"
                    ))
                    .into());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}
