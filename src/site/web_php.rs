//! Finds the processes that run PHP for the web: setup reloads them, and doctor
//! inspects them. php-fpm's master and a web server with PHP as a module read
//! their ini files only at start, so the libraries that a process has loaded
//! show whether it has the extension.
//!
//! Which of them serves a given site is a guess, from the PHP version in the path
//! of php-fpm's configuration file, and with php-fpm before the web server.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::process::Signal;

use crate::host::Host;
use crate::host::platform::Platform;
use crate::host::process::{Process, ProcessId};
use crate::host::services::Action;
use crate::site::php::Php;
use crate::site::web::listeners;

const LIBRARY: &str = "gearman.so";
/// Requests that run longer are cut off when php-fpm reloads.
pub const LONGEST_REQUEST: Duration = Duration::from_secs(10);

/// A process that runs PHP for the web: the parent, which reads the ini files.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct WebPhp {
    /// The service whose reload makes it read its files again, if the init system knows it: its
    /// own, or that of the web server that started it.
    unit: Option<String>,
    kind: Kind,
    process: ProcessId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Fpm,
    Apache,
    /// php-cgi, which a web server has started.
    Cgi,
    /// php-cgi, which Apache's mod_fcgid has started.
    Fcgid,
    /// LiteSpeed's PHP, which its web server has started.
    Lsphp,
}

impl fmt::Display for WebPhp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.kind {
            Kind::Fpm => "php-fpm",
            Kind::Apache => "Apache",
            Kind::Cgi | Kind::Fcgid => "php-cgi",
            Kind::Lsphp => "lsphp",
        };
        match &self.unit {
            Some(unit) => f.write_str(unit),
            None => write!(f, "{name} (process {})", self.process.pid),
        }
    }
}

/// All processes that run PHP for the web.
pub fn all(host: &Host, processes: &[Process]) -> Result<Vec<WebPhp>> {
    let found = find(host, processes)?;
    Ok(found.into_iter().map(|(web, _)| web).collect())
}

/// The process among them that answered a request, or its parent that did.
pub fn answering(host: &Host, processes: &[Process], pid: u32) -> Result<Option<WebPhp>> {
    let all = all(host, processes)?;
    let above = |pid: &u32| host.process(*pid).map(|process| process.parent);
    let mut line = std::iter::successors(Some(pid), above).take(8);
    Ok(line.find_map(|pid| all.iter().find(|web| web.pid() == pid).cloned()))
}

/// The processes that serve pages with this PHP, the most likely one first.
pub fn serving(host: &Host, processes: &[Process], php: &Php) -> Result<Vec<WebPhp>> {
    let mut found = find(host, processes)?;
    found.retain(|(_, version)| version.is_of(php));
    found.sort_by_key(|(web, _)| web.kind);
    Ok(found.into_iter().map(|(web, _)| web).collect())
}

/// What is known about the PHP that a process runs.
#[derive(Debug, PartialEq, Eq)]
enum Version {
    /// "8.2".
    Number(String),
    /// Alongside the distribution's own: "82".
    Collection(String),
    /// The distribution's own, of which there is only one.
    Own,
    /// Neither the distribution's own nor from a known collection.
    Unknown,
}

impl Version {
    fn is_of(&self, php: &Php) -> bool {
        match (self, &php.collection) {
            (Version::Collection(number), Some(other)) => number == other,
            (Version::Number(number), None) => php.version.as_ref() == Some(number),
            (Version::Own, None) => true,
            _ => false,
        }
    }

    /// The version of the php-fpm with this configuration file, such as
    /// /etc/php/8.2/fpm/php-fpm.conf or /etc/opt/remi/php82/php-fpm.conf.
    fn of_fpm(config: &Path) -> Version {
        let names = || config.iter().filter_map(|name| name.to_str());
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let collection = |name: &str| {
            let number = name.strip_prefix("php")?;
            (is_number(number) && number.len() > 1).then(|| number.to_owned())
        };
        let version = |name: &str| {
            let (major, minor) = name.split_once('.')?;
            (is_number(major) && is_number(minor)).then(|| name.to_owned())
        };
        if let Some(number) = names().find_map(collection) {
            Version::Collection(number)
        } else if config.starts_with("/etc/opt") {
            Version::Unknown
        } else {
            names()
                .find_map(version)
                .map_or(Version::Own, Version::Number)
        }
    }
}

fn find(host: &Host, processes: &[Process]) -> Result<Vec<(WebPhp, Version)>> {
    let platform = host.platform()?;
    let found = processes.iter().filter_map(|process| {
        let (kind, version) = match fpm_config(host, process) {
            Some(config) => (Kind::Fpm, Version::of_fpm(&config)),
            None if is_apache_with_php(host, platform, process) => (Kind::Apache, Version::Own),
            None => of_cgi(host, process)?,
        };
        let server = server(host, process);
        let (unit, kind) = match kind {
            Kind::Cgi | Kind::Lsphp if !host.is_main(process) && server.is_none() => (None, kind),
            Kind::Cgi if server == Some(platform.family.web.apache_program) => {
                (host.unit_of(process.pid), Kind::Fcgid)
            }
            _ => (host.unit_of(process.pid), kind),
        };
        let web = WebPhp {
            unit,
            kind,
            process: process.id(),
        };
        Some((web, version))
    });
    Ok(found.collect())
}

/// The program of the web server that started it. Users start php-cgi too, as in a job.
fn server(host: &Host, process: &Process) -> Option<&'static str> {
    let above = |it: &Process| host.process(it.parent);
    let mut line = std::iter::successors(above(process), above).take(8);
    line.find_map(|it| listeners::program(host, &it))
}

/// The configuration file of php-fpm, if the process is its master.
fn fpm_config(host: &Host, process: &Process) -> Option<PathBuf> {
    let title = process.args.join(" ");
    let is_fpm = |name: &str| name.starts_with("php-fpm");
    let config = title.strip_prefix("php-fpm: master process (")?;
    if !host.is_service(process, is_fpm) {
        return None;
    }
    Some(PathBuf::from(config.trim_end_matches(')')))
}

/// php-cgi or lsphp, if the process is the first one of it: its children read no
/// ini files.
fn of_cgi(host: &Host, process: &Process) -> Option<(Kind, Version)> {
    let found = cgi(process)?;
    let parent = host.process(process.parent);
    parent.is_none_or(|it| cgi(&it).is_none()).then_some(found)
}

/// By the name of its program: php-cgi8.2, or lsphp below /usr/local/lsws/lsphp82.
fn cgi(process: &Process) -> Option<(Kind, Version)> {
    let name = process.program()?;
    if name.starts_with("lsphp") {
        return Some((Kind::Lsphp, Version::Unknown));
    }
    let version = match name.strip_prefix("php-cgi")? {
        "" => Version::Own,
        number => Version::Number(number.to_owned()),
    };
    Some((Kind::Cgi, version))
}

fn is_apache_with_php(host: &Host, platform: &Platform, process: &Process) -> bool {
    let is_apache = |process: &Process| {
        let program = platform.family.web.apache_program;
        host.is_service(process, |name| name == program)
    };
    let is_child = || host.process(process.parent).as_ref().is_some_and(is_apache);
    is_apache(process) && !is_child() && host.has_loaded(process.pid, "libphp")
}

/// Makes them reread their ini files without interrupting running requests, as far as that
/// can be had. A service of which several are part is reloaded once.
pub fn reload<'a>(
    host: &Host,
    all: impl IntoIterator<Item = &'a WebPhp>,
    watch: &dyn Fn(&str),
) -> Result<()> {
    let mut units = BTreeSet::new();
    for web in all {
        let by_unit = web.unit.as_ref().filter(|_| web.kind != Kind::Fpm);
        if by_unit.is_none_or(|it| units.insert(it)) {
            watch(&format!("reloading {web}"));
            web.reload(host)?;
        }
    }
    Ok(())
}

/// What reloading them does to pages, each once.
pub fn cautions<'a>(all: impl IntoIterator<Item = &'a WebPhp>) -> BTreeSet<String> {
    all.into_iter().filter_map(WebPhp::caution).collect()
}

impl WebPhp {
    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn pid(&self) -> u32 {
        self.process.pid
    }

    pub fn process(&self) -> ProcessId {
        self.process
    }

    pub fn has_extension(&self, host: &Host) -> bool {
        host.has_loaded(self.pid(), LIBRARY)
    }

    /// Whether it still runs the extension although the library was removed.
    pub fn has_removed_extension(&self, host: &Host) -> bool {
        let is_removed = |file: &PathBuf| file.ends_with(format!("{LIBRARY} (deleted)"));
        host.files_of(self.pid()).iter().any(is_removed)
    }

    /// What a reload does to pages.
    pub fn caution(&self) -> Option<String> {
        match self.kind {
            Kind::Fpm => Some(format!(
                "running requests end first, for up to {} s, while new ones wait",
                LONGEST_REQUEST.as_secs()
            )),
            // Measured: one of 20 reloads cut a page of 3 s off.
            Kind::Fcgid => {
                Some("mod_fcgid may end running requests: pages may fail for a moment".into())
            }
            Kind::Apache | Kind::Cgi | Kind::Lsphp => None,
        }
    }

    fn reload(&self, host: &Host) -> Result<()> {
        match (&self.unit, self.kind) {
            (_, Kind::Fpm) => self.reload_fpm(host),
            (Some(unit), _) => host.service(Action::Reload, unit),
            (None, Kind::Apache) => host.signal(self.process, Signal::USR1),
            // Its web server starts another one.
            (None, Kind::Cgi | Kind::Fcgid | Kind::Lsphp) => {
                host.signal(self.process, Signal::TERM)
            }
        }
    }

    /// As it is configured by default, php-fpm ends running requests when it is told to
    /// reload. So the processes that answer requests are told to end after theirs
    /// first. php-fpm, which would start others with the old settings, is stopped
    /// meanwhile. New requests wait in its socket, which a reload keeps open.
    fn reload_fpm(&self, host: &Host) -> Result<()> {
        let held = host.hold(self.process)?;
        for child in host.children(self.pid()) {
            if let Err(error) = host.signal(child, Signal::QUIT)
                && host.is_there(child)
            {
                return Err(error);
            }
        }
        let start = Instant::now();
        while start.elapsed() < LONGEST_REQUEST && !host.children(self.pid()).is_empty() {
            std::thread::sleep(Duration::from_millis(20));
        }
        host.signal(self.process, Signal::USR2)?;
        drop(held);
        Ok(())
    }

    /// Advice on how to restart it.
    pub fn restart_hint(&self, platform: &Platform) -> String {
        match &self.unit {
            Some(unit) => format!(
                "run '{}'",
                platform.services().command(Action::Restart, unit)
            ),
            None => format!("restart {self}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn php_that_a_web_server_starts_is_known_by_its_program() {
        let of = |exe: &str| {
            cgi(&Process {
                pid: 7,
                birth: 0,
                parent: 1,
                uid: None,
                args: Vec::new(),
                started: std::time::SystemTime::UNIX_EPOCH,
                exe: Some(exe.into()),
            })
        };
        let number = Version::Number("8.2".into());
        assert_eq!(of("/usr/bin/php-cgi8.2"), Some((Kind::Cgi, number)));
        assert_eq!(of("/usr/bin/php-cgi"), Some((Kind::Cgi, Version::Own)));
        let lsphp = Some((Kind::Lsphp, Version::Unknown));
        assert_eq!(of("/usr/local/lsws/lsphp82/bin/lsphp"), lsphp);
        assert_eq!(of("/usr/local/lsws/fcgi-bin/lsphp8.2"), lsphp);
        assert_eq!(of("/usr/bin/php8.2"), None);
    }

    #[test]
    fn the_version_comes_from_the_path_of_the_configuration_file() {
        let php = |version: Option<&str>, collection: Option<&str>| Php {
            path: "/usr/bin/php".into(),
            version: version.map(str::to_owned),
            collection: collection.map(str::to_owned),
        };
        let debian = php(Some("8.2"), None);
        let remi = php(Some("8.2"), Some("82"));
        let unknown = php(None, None);
        for (config, fits) in [
            ("/etc/php/8.2/fpm/php-fpm.conf", [true, false, false]),
            ("/etc/php/8.3/fpm/php-fpm.conf", [false, false, false]),
            ("/etc/opt/remi/php82/php-fpm.conf", [false, true, false]),
            ("/etc/opt/remi/php83/php-fpm.conf", [false, false, false]),
            ("/etc/opt/rh/rh-php73/php-fpm.conf", [false, false, false]),
            ("/etc/php-fpm.conf", [true, false, true]),
        ] {
            let version = Version::of_fpm(Path::new(config));
            let found = [&debian, &remi, &unknown].map(|php| version.is_of(php));
            assert_eq!(found, fits, "{config}");
        }
    }
}
