//! Which platform this is, and what differs between platforms: one table.

use std::path::Path;

use anyhow::{Context, Result};

use crate::base::problem::Problem;
use crate::host::Host;

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
    /// The package that a supervisor of our own (`pip`) is made with, most fitting first.
    pub python: &'static [&'static str],
    /// The package of a client for MySQL's and MariaDB's servers.
    pub mysql_client: &'static str,
    pub web_user: &'static str,
    /// The package of the extension for PHP `{v}` (as in 8.2), most fitting first.
    pub extension: &'static [&'static str],
    /// Folders of ini files, one for each way PHP is run (`{v}` as above, `*` for the way).
    pub php_ini: &'static str,
    /// The package that tells PHP's version where its path does not.
    pub php_cli: Option<&'static str>,
    /// What extensions of PHP `{v}` are built with, and what the gearman extension is.
    pub php_headers: &'static str,
    pub gearman_headers: &'static str,
    /// What a fork in PHP needs where that is a package by itself.
    pub php_process: Option<&'static str>,
    /// PHPs beside the distribution's own, in places of their own.
    pub collections: &'static [Collection],
    /// Whether installing an extension restarts the PHP of the web by itself.
    pub renews_php: bool,
    /// Repositories that have what the distribution lacks; the first that fits.
    sources: &'static [Source],
    /// What lets a confined web server reach the job server.
    pub selinux_boolean: &'static str,
    /// Whether packages bring init scripts, for hosts where no systemd runs.
    pub has_init_scripts: bool,
}

/// A PHP in places of its own; `{n}` is its version without the dot.
#[derive(Debug)]
pub struct Collection {
    pub home: &'static str,
    pub extension: &'static str,
    pub process: &'static str,
    pub headers: &'static str,
    pub php_ini: &'static str,
}

/// A repository beside the distribution's own; `{v}` is the release's first number.
#[derive(Debug)]
pub struct Source {
    /// os-release's ID; empty for all others of the family.
    ids: &'static [&'static str],
    pub name: &'static str,
    /// The package that brings it, or where that is; empty where there is no need of one.
    package: &'static str,
    /// What the ids of the repository begin with that its packages need as well.
    builder: &'static str,
    /// The releases for which it is known to have no job server: not brought in vain.
    without_server: &'static [&'static str],
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
    /// What its unit gives to it, before the package is there to be asked.
    pub stock_start: &'static str,
    /// The package leaves it to us to make the folder of the queue.
    pub lacks_queue_dir: bool,
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
    /// Its unit does not come back after a crash.
    pub lacks_restart: bool,
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
    lacks_restart: false,
};

static SOURCES: [Source; 5] = [
    Source {
        ids: &["fedora"],
        name: "Fedora",
        package: "",
        builder: "",
        without_server: &[],
    },
    Source {
        ids: &["amzn"],
        name: "SPAL",
        package: "spal-release",
        builder: "",
        without_server: &[],
    },
    Source {
        ids: &["ol"],
        name: "EPEL",
        package: "oracle-epel-release-el{v}",
        builder: "",
        without_server: &["10"],
    },
    Source {
        ids: &["rhel"],
        name: "EPEL",
        package: "https://dl.fedoraproject.org/pub/epel/epel-release-latest-{v}.noarch.rpm",
        builder: "codeready-builder-for-rhel-{v}-",
        without_server: &["10"],
    },
    Source {
        ids: &[],
        name: "EPEL",
        package: "epel-release",
        builder: "",
        without_server: &["10"],
    },
];

static FAMILIES: [Family; 3] = [DEBIAN, AMAZON, RHEL];

const DEBIAN: Family = Family {
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
        stock_start: "$PARAMS",
        lacks_queue_dir: false,
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
        lacks_restart: false,
    },
    python: &["python3-venv"],
    mysql_client: "default-mysql-client",
    web_user: "www-data",
    extension: &["php{v}-gearman", "php-gearman"],
    php_ini: "/etc/php/{v}/*/conf.d",
    php_cli: None,
    php_headers: "php{v}-dev",
    gearman_headers: "libgearman-dev",
    php_process: None,
    collections: &[],
    renews_php: true,
    sources: &[],
    selinux_boolean: "httpd_can_network_connect",
    has_init_scripts: true,
};

const RHEL: Family = Family {
    ids: &["rhel", "fedora", "centos", "rocky", "almalinux", "ol"],
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
        stock_start: "-d --log-file none --syslog $OPTIONS",
        lacks_queue_dir: true,
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
        lacks_restart: true,
    },
    python: &["python3", "python36"],
    mysql_client: "mariadb",
    web_user: "apache",
    extension: &["php-pecl-gearman"],
    php_ini: "/etc/php.d",
    php_cli: None,
    php_headers: "php-devel",
    gearman_headers: "libgearman-devel",
    php_process: Some("php-process"),
    collections: &[Collection {
        home: "/opt/remi/php{n}/",
        extension: "php{n}-php-pecl-gearman",
        process: "php{n}-php-process",
        headers: "php{n}-php-devel",
        php_ini: "/etc/opt/remi/php{n}/php.d",
    }],
    renews_php: false,
    sources: &SOURCES,
    selinux_boolean: "httpd_can_network_connect",
    has_init_scripts: false,
};

/// As the rest of its family, but for PHPs that have their version in their names.
const AMAZON: Family = Family {
    ids: &["amzn"],
    extension: &["php{v}-pecl-gearman", "php-pecl-gearman"],
    php_cli: Some("php{v}-cli"),
    php_headers: "php{v}-devel",
    php_process: Some("php{v}-process"),
    ..RHEL
};

impl Platform {
    fn major(&self) -> &str {
        self.version.split('.').next().unwrap_or_default()
    }

    /// The repository that has what this distribution lacks.
    pub fn source(&self) -> Option<&'static Source> {
        let of = |source: &&Source| source.ids.is_empty() || source.ids.contains(&&*self.id);
        self.family.sources.iter().find(of)
    }
}

impl Source {
    /// The package that brings it, or its address. `None` where it is there anyway.
    pub fn package(&self, platform: &Platform) -> Option<String> {
        let package = self.package.replace("{v}", platform.major());
        (!package.is_empty()).then_some(package)
    }

    /// That package's name once it is installed: "epel-release" of an address
    /// that ends in "epel-release-latest-9.noarch.rpm".
    pub fn installed_name(&self, platform: &Platform) -> Option<String> {
        let package = self.package(platform)?;
        let file = package.rsplit('/').next().unwrap_or_default();
        Some(file.split("-latest").next().unwrap_or(file).to_owned())
    }

    /// What the id of a repository begins with that its packages need as well.
    pub fn builder(&self, platform: &Platform) -> Option<String> {
        let builder = self.builder.replace("{v}", platform.major());
        (!builder.is_empty()).then_some(builder)
    }

    /// Whether it is known to have no job server for this release.
    pub fn lacks_server(&self, platform: &Platform) -> bool {
        self.without_server.contains(&platform.major())
    }
}

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
            .help("run it on Debian, Ubuntu, or a member of the RHEL family")
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
            Problem::new(what, why).help("Debian, Ubuntu, RHEL, and those like them are known")
        })?;
    let systemd = host.live() && host.is_dir(Path::new("/run/systemd/system"));
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
