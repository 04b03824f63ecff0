//! Which platform a host is. What differs between platforms is one table: the
//! columns are the fields of `Family` here, the rows are in `table`.

mod table;

use std::path::Path;

use anyhow::{Context, Result};

use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::packages::PackageManager;
use crate::host::services::ServiceManager;
use crate::host::services::systemd::Systemd;
use crate::host::services::sysv::Sysv;
use crate::host::supervisor::Supervisord;

/// A platform, as the host describes itself.
#[derive(Debug, Clone)]
pub struct Platform {
    /// os-release's PRETTY_NAME.
    pub name: String,
    pub id: String,
    pub version: String,
    pub init: Init,
    pub family: &'static Family,
}

/// The init system. Services are changed through `Platform::services`; this is
/// for what exists under one init system only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Init {
    Systemd,
    /// Init scripts and their links, mostly in containers.
    Sysv,
}

/// What all members of a family have in common. In names, `{v}` is PHP's
/// version (8.2) and `{n}` is that without the dot (82).
#[derive(Debug)]
pub struct Family {
    /// The words in os-release's ID and ID_LIKE that mean this family.
    ids: &'static [&'static str],
    pub packages: &'static dyn PackageManager,
    /// Its init scripts, for hosts without systemd.
    sysv: Sysv,
    pub gearmand: Gearmand,
    /// The package's. A host may have our own instead: see `Host::supervisor`.
    pub supervisor: Supervisord,
    /// The packages that can create our own supervisor (`pip`), the best first.
    pub python: &'static [&'static str],
    /// The package with a client for MySQL and MariaDB.
    pub mysql_client: &'static str,
    pub web: Web,
    /// The packages with the extension for a PHP, the best first.
    pub extension: &'static [&'static str],
    /// Folders of ini files, one for each SAPI (`*`).
    pub php_ini: &'static str,
    /// The command that enables the extension in these folders, if there is one.
    extension_command: Option<&'static str>,
    /// The package whose version is PHP's, if the path does not contain it.
    pub php_cli: Option<&'static str>,
    /// What PHP's extensions are built with.
    pub php_headers: &'static str,
    /// What the gearman extension is built with.
    pub gearman_headers: &'static str,
    /// What PHP needs to fork, if that is a package of its own.
    pub php_process: Option<&'static str>,
    /// PHPs beside the distribution's own, in folders of their own.
    pub collections: &'static [Collection],
    /// The package of an extension restarts the web server's PHP.
    pub renews_php: bool,
    /// Repositories with what the distribution lacks; the first match counts.
    sources: &'static [Source],
    /// Components of the distribution's own repositories that have our packages
    /// and may be off: os-release's ID and the component.
    components: &'static [(&'static str, &'static str)],
    /// What lets a confined web server reach the job server.
    pub selinux_boolean: &'static str,
}

/// Web servers and php-fpm: whose code they run, and where they are configured.
#[derive(Debug)]
pub struct Web {
    /// The user that runs sites unless somebody configured another.
    pub user: &'static str,
    /// Folders of php-fpm's pool files, each with the command-line program of
    /// the same PHP; `*` is the name of one folder, the same in both.
    pub pools: &'static [(&'static str, &'static str)],
    pub nginx: WebServer,
    pub apache: WebServer,
    /// Apache's program, which may have PHP in it.
    pub apache_program: &'static str,
}

#[derive(Debug)]
pub struct WebServer {
    /// Its main configuration file.
    pub config: &'static str,
    /// Folders of configuration files, mostly one for each virtual host.
    pub sites: &'static [&'static str],
}

/// A PHP in folders of its own.
#[derive(Debug)]
pub struct Collection {
    pub home: &'static str,
    pub extension: &'static str,
    pub process: &'static str,
    pub headers: &'static str,
    pub php_ini: &'static str,
}

/// A repository beside the distribution's own; `{v}` is the release's major number.
#[derive(Debug)]
pub struct Source {
    /// os-release's ID; empty for all other members of the family.
    ids: &'static [&'static str],
    pub name: &'static str,
    /// The package that adds it, or that package's address; empty if none is needed.
    package: &'static str,
    /// The address of the key that signs a package that has an address.
    key: &'static str,
    /// The SHA-256 checksums of that key, each with its release.
    keys: &'static [(&'static str, &'static str)],
    /// The prefix of the ids of a repository that its packages depend on.
    builder: &'static str,
    /// Releases for which it is known to have no job server.
    without_server: &'static [&'static str],
}

/// A key that signs packages.
#[derive(Debug, Clone)]
pub struct SigningKey {
    pub url: String,
    /// Its SHA-256 checksum; `None` for a release that we do not know yet.
    pub sha256: Option<&'static str>,
}

#[derive(Debug)]
pub struct Gearmand {
    pub package: &'static str,
    pub unit: &'static str,
    pub program: &'static str,
    pub options_file: &'static str,
    pub options_variable: &'static str,
    pub user: &'static str,
    pub queue_dir: &'static str,
    /// The package's default for --listen: not an administrator's choice.
    pub stock_listen: &'static str,
    /// The arguments in the package's unit, known before it is installed.
    pub stock_start: &'static str,
    /// The file with its process id, in a folder that the package's unit makes at each
    /// start; empty if it has none.
    pub pid_file: &'static str,
}

impl Family {
    /// Advice on how to make PHP load the extension, where `dir` is the
    /// folder of ini files that lacks it.
    pub fn enable_extension(&self, dir: &Path) -> String {
        let packaged = self.php_ini.split("{v}").next().unwrap_or_default();
        match self.extension_command {
            Some(command) if dir.starts_with(packaged) => format!("run '{command}'"),
            _ => {
                let file = dir.join("40-gearman.ini");
                format!("add 'extension=gearman.so' to {}", file.display())
            }
        }
    }
}

impl Platform {
    pub fn services(&self) -> &'static dyn ServiceManager {
        match self.init {
            Init::Systemd => &Systemd,
            Init::Sysv => &self.family.sysv,
        }
    }

    fn major(&self) -> &str {
        self.version.split('.').next().unwrap_or_default()
    }

    /// The component of the distribution's repositories that has our packages
    /// and may be off.
    pub fn component(&self) -> Option<&'static str> {
        let mut components = self.family.components.iter();
        let found = components.find(|(id, _)| *id == self.id);
        found.map(|(_, component)| *component)
    }

    /// The repository that has what this distribution lacks.
    pub fn source(&self) -> Option<&'static Source> {
        let of = |source: &&Source| source.ids.is_empty() || source.ids.contains(&&*self.id);
        self.family.sources.iter().find(of)
    }
}

/// The users that gearmand's packages make for it, of all families.
pub fn users_of_gearmand() -> impl Iterator<Item = &'static str> {
    table::FAMILIES.iter().map(|family| family.gearmand.user)
}

impl Source {
    /// The package that adds it, or its address; `None` if the host has it anyway.
    pub fn package(&self, platform: &Platform) -> Option<String> {
        let package = self.package.replace("{v}", platform.major());
        (!package.is_empty()).then_some(package)
    }

    /// That package's name once it is installed: "epel-release" for an address
    /// that ends in "epel-release-latest-9.noarch.rpm".
    pub fn installed_name(&self, platform: &Platform) -> Option<String> {
        let package = self.package(platform)?;
        let file = package.rsplit('/').next().unwrap_or_default();
        Some(file.split("-latest").next().unwrap_or(file).to_owned())
    }

    /// The key that signs that package, if it does not come from a repository.
    pub fn key(&self, platform: &Platform) -> Option<SigningKey> {
        let release = platform.major();
        let known = self.keys.iter().find(|(of, _)| *of == release);
        (!self.key.is_empty()).then(|| SigningKey {
            url: self.key.replace("{v}", release),
            sha256: known.map(|(_, sum)| *sum),
        })
    }

    /// The prefix of the ids of a repository that its packages depend on.
    pub fn builder(&self, platform: &Platform) -> Option<String> {
        let builder = self.builder.replace("{v}", platform.major());
        (!builder.is_empty()).then_some(builder)
    }

    /// It is known to have no job server for this release.
    pub fn lacks_server(&self, platform: &Platform) -> bool {
        self.without_server.contains(&platform.major())
    }
}

pub(super) fn detect(host: &Host) -> Result<Platform> {
    let what = "detect the platform";
    let paths = ["/etc/os-release", "/usr/lib/os-release"];
    let path = paths
        .iter()
        .find(|path| host.exists(Path::new(path)))
        .ok_or_else(|| {
            Problem::new(
                what,
                "there is neither /etc/os-release nor /usr/lib/os-release",
            )
            .help("run it on Debian, Ubuntu or a member of the RHEL family")
        })?;
    // /etc/os-release may be an absolute link; the crate would follow it out of --root.
    let real = host
        .read(Path::new(path))?
        .map(|file| file.meta.path)
        .with_context(|| format!("read {path}"))?;
    let below = real.strip_prefix("/").unwrap_or(&real);
    let release = os_release::OsRelease::new_from(host.root().join(below))
        .with_context(|| format!("read {path}"))?;
    let words = std::iter::once(release.id.as_str()).chain(release.id_like.split_whitespace());
    let family = words
        .clone()
        .find_map(|word| {
            table::FAMILIES
                .iter()
                .find(|family| family.ids.contains(&word))
        })
        .ok_or_else(|| {
            let seen: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
            let why = format!("{path} says '{}', which is not supported", seen.join(" "));
            Problem::new(what, why).help("run it on Debian, Ubuntu or a member of the RHEL family")
        })?;
    let systemd = host.live() && host.is_dir(Path::new("/run/systemd/system"));
    Ok(Platform {
        name: release.pretty_name,
        id: release.id,
        version: release.version_id,
        // Under --root, an installed systemd will be the init system.
        init: if systemd || (!host.live() && host.exists(Path::new("/lib/systemd/systemd"))) {
            Init::Systemd
        } else {
            Init::Sysv
        },
        family,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::services::Action;

    /// All commands that a platform suggests.
    fn advice(platform: &Platform) -> String {
        use Action::{Disable, Enable, Reload, Restart, Start, Stop};
        let services = platform.services();
        let unit = platform.family.supervisor.unit;
        let commands = [Start, Stop, Restart, Reload, Enable, Disable]
            .map(|action| services.command(action, unit));
        let hints = [
            services.unmask_hint(unit),
            services.log_hint(unit),
            services.reload_hint().into(),
            services.files_limit_hint(unit),
            services.clock_hint().into(),
            platform
                .family
                .enable_extension(Path::new("/etc/php/8.2/cli/conf.d")),
            platform.family.enable_extension(Path::new("/etc/php.d")),
        ];
        [&commands[..], &hints[..]].concat().join("\n")
    }

    #[test]
    fn advice_names_only_commands_that_the_platform_has() {
        for family in &table::FAMILIES {
            let is_debian = family.ids.contains(&"debian");
            for init in [Init::Systemd, Init::Sysv] {
                let platform = Platform {
                    name: String::new(),
                    id: String::new(),
                    version: String::new(),
                    init,
                    family,
                };
                let advice = advice(&platform);
                let systemd = init == Init::Systemd;
                for (command, exists) in [
                    ("systemctl", systemd),
                    ("journalctl", systemd),
                    ("timedatectl", systemd),
                    ("service ", !systemd),
                    ("update-rc.d", !systemd && is_debian),
                    ("chkconfig", !systemd && !is_debian),
                    ("phpenmod", is_debian),
                ] {
                    let named = advice.contains(command);
                    assert_eq!(named, exists, "{:?} {init:?}: {command}", family.ids);
                }
                assert!(!advice.contains(['{', '}']), "{advice}");
            }
        }
    }

    #[test]
    fn a_php_that_no_package_brought_is_not_enabled_by_a_package() {
        let [debian, ..] = &table::FAMILIES;
        assert_eq!(
            debian.enable_extension(Path::new("/etc/php/8.2/fpm/conf.d")),
            "run 'phpenmod gearman'"
        );
        assert_eq!(
            debian.enable_extension(Path::new("/usr/local/etc/php/conf.d")),
            "add 'extension=gearman.so' to /usr/local/etc/php/conf.d/40-gearman.ini"
        );
    }
}
