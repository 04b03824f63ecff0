//! Which platform this is, and what differs between platforms: one table.

use std::path::Path;

use anyhow::{Context, Result};

use super::Host;
use crate::paths::VENV;
use crate::problem::Problem;

/// A platform, as the host itself tells it.
#[derive(Debug, Clone)]
pub struct Platform {
    /// os-release's PRETTY_NAME.
    pub name: String,
    pub id: String,
    pub version: String,
    pub init: Init,
    pub family: &'static Family,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Init {
    Systemd,
    /// `service` and init links, in containers too.
    Sysv,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    Apt,
    Dnf,
}

/// What is the same on all members of a family.
#[derive(Debug)]
pub struct Family {
    /// The words of os-release's ID and ID_LIKE that tell it.
    ids: &'static [&'static str],
    pub manager: Manager,
    pub gearmand: Gearmand,
    /// The package's; a host may have one of our own instead: `Host::supervisor`.
    pub supervisor: Supervisor,
    /// The packages that a supervisor of our own (`pip`) is made with.
    pub python: &'static [&'static str],
    pub web_user: &'static str,
    /// The package of the extension for PHP `{v}` (as in 8.2), most fitting first.
    pub extension: &'static [&'static str],
    /// Folders of ini files, one for each way PHP is run (`{v}` as above, `*` for the way).
    pub php_ini: &'static str,
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
    /// The package's own value of --listen: nobody's wish.
    pub stock_listen: &'static str,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Supervisor {
    /// `None`: our own, in a virtual environment.
    pub package: Option<&'static str>,
    pub unit: &'static str,
    pub program: &'static str,
    pub config: &'static str,
    pub programs: &'static str,
    /// Ending of a program's file, without the dot.
    pub ending: &'static str,
    pub socket: &'static str,
    pub control: &'static str,
}

impl Supervisor {
    /// What must have come before its folders are there.
    pub fn needs(&self) -> String {
        match self.package {
            Some(package) => format!("the package {package}"),
            None => format!("supervisor in {VENV}"),
        }
    }
}

/// supervisor by pip: the same on every platform.
pub static PIP: Supervisor = Supervisor {
    package: None,
    unit: "wp-gears-supervisor",
    program: "/opt/wp-gears/bin/supervisord",
    config: "/etc/wp-gears/supervisord.conf",
    programs: "/etc/wp-gears/supervisord.d",
    ending: "conf",
    socket: "/run/wp-gears-supervisor.sock",
    control: "/opt/wp-gears/bin/supervisorctl -c /etc/wp-gears/supervisord.conf",
};

static FAMILIES: [Family; 2] = [
    Family {
        ids: &["debian", "ubuntu"],
        manager: Manager::Apt,
        gearmand: Gearmand {
            package: "gearman-job-server",
            unit: "gearman-job-server",
            program: "/usr/sbin/gearmand",
            options_file: "/etc/default/gearman-job-server",
            options_variable: "PARAMS",
            user: "gearman",
            queue_dir: "/var/lib/gearman",
            stock_listen: "localhost",
        },
        supervisor: Supervisor {
            package: Some("supervisor"),
            unit: "supervisor",
            program: "supervisord",
            config: "/etc/supervisor/supervisord.conf",
            programs: "/etc/supervisor/conf.d",
            ending: "conf",
            socket: "/var/run/supervisor.sock",
            control: "supervisorctl",
        },
        python: &["python3-venv"],
        web_user: "www-data",
        extension: &["php{v}-gearman", "php-gearman"],
        php_ini: "/etc/php/{v}/*/conf.d",
    },
    Family {
        ids: &["rhel", "fedora", "centos", "rocky", "almalinux"],
        manager: Manager::Dnf,
        gearmand: Gearmand {
            package: "gearmand",
            unit: "gearmand",
            program: "/usr/sbin/gearmand",
            options_file: "/etc/sysconfig/gearmand",
            options_variable: "OPTIONS",
            user: "gearmand",
            queue_dir: "/var/lib/gearmand",
            stock_listen: "",
        },
        supervisor: Supervisor {
            package: Some("supervisor"),
            unit: "supervisord",
            program: "supervisord",
            config: "/etc/supervisord.conf",
            programs: "/etc/supervisord.d",
            ending: "ini",
            socket: "/var/run/supervisor/supervisor.sock",
            control: "supervisorctl",
        },
        python: &["python3"],
        web_user: "apache",
        extension: &["php-pecl-gearman"],
        php_ini: "/etc/php.d",
    },
];

pub(super) fn detect(host: &Host) -> Result<Platform> {
    let what = "tell the platform";
    let paths = ["/etc/os-release", "/usr/lib/os-release"];
    let path = paths
        .iter()
        .find(|path| host.exists(Path::new(path)))
        .ok_or_else(|| {
            Problem::new(
                what,
                "there is neither /etc/os-release nor /usr/lib/os-release",
            )
            .advice("run it on Debian, Ubuntu, or a member of the RHEL family")
        })?;
    // The crate wants a path of the machine; the link that /etc/os-release is may be absolute.
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
        .find_map(|word| FAMILIES.iter().find(|family| family.ids.contains(&word)))
        .ok_or_else(|| {
            let seen: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
            let why = format!("{path} says '{}', which is not known here", seen.join(" "));
            Problem::new(what, why).advice("Debian, Ubuntu, RHEL, and those like them are known")
        })?;
    let systemd = host.live() && Path::new("/run/systemd/system").is_dir();
    Ok(Platform {
        name: release.pretty_name,
        id: release.id,
        version: release.version_id,
        // A folder that stands for a machine is prepared for systemd where that is installed.
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

    fn detect_as(name: &str) -> Result<Platform> {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/os-release");
        let dir = tempfile::tempdir()?;
        std::fs::create_dir(dir.path().join("etc"))?;
        std::fs::copy(fixtures.join(name), dir.path().join("etc/os-release"))?;
        detect(&Host::new(Some(dir.path()))?)
    }

    #[test]
    fn each_release_is_told_by_its_own_word_or_its_kin() {
        for (name, manager) in [
            ("debian-12", Manager::Apt),
            ("debian-13", Manager::Apt),
            ("ubuntu-20.04", Manager::Apt),
            ("ubuntu-22.04", Manager::Apt),
            ("ubuntu-24.04", Manager::Apt),
            ("ubuntu-26.04", Manager::Apt),
            ("linuxmint-22", Manager::Apt),
            ("centos-stream-9", Manager::Dnf),
            ("rocky-9", Manager::Dnf),
            ("almalinux-8", Manager::Dnf),
            ("rhel-9", Manager::Dnf),
            ("fedora-42", Manager::Dnf),
        ] {
            let platform = detect_as(name).unwrap();
            assert_eq!(platform.family.manager, manager, "{name}");
            assert!(!platform.version.is_empty(), "{name}");
        }
        let error = detect_as("arch").unwrap_err().to_string();
        assert!(error.contains("'arch'"), "{error}");
    }
}
