//! CentOS Stream 9 simulated with Debian's programs: its package manager, package
//! names, paths and users. Debian's files are packed into RPMs like those of CentOS
//! and EPEL; `rhel/` has the scripts that build and install them.

use std::path::PathBuf;

use anyhow::Result;

use super::{Host, Image, Release, Shape, cache, debian, site};

/// What setup installs.
pub const OURS: [&str; 4] = ["gearmand", "php-pecl-gearman", "php-process", "supervisor"];

/// Everything that determines a RHEL-shaped host or one of its repositories.
const DEBIAN: [&str; 29] = [
    "createrepo-c",
    "cron",
    "curl",
    "dnf",
    "dnf-plugins-core",
    "gcc",
    "gearman-job-server",
    "gearman-tools",
    "iproute2",
    "libgearman-dev",
    "make",
    "mariadb-server",
    "nginx",
    "php-cli",
    "php-dev",
    "php-fpm",
    "php-gearman",
    "php-mysql",
    "php-pear",
    "php-sqlite3",
    "php-xml",
    "procps",
    "python3-pip",
    "python3-venv",
    "rpm",
    "sqlite3",
    "supervisor",
    "wordpress",
    "wordpress-theme-twentytwentythree",
];

const PACKAGES: &str = include_str!("rhel/packages.py");
const TURN: &str = include_str!("rhel/turn.sh");

/// Stand-ins for programs that Debian does not package, which only keep a state.
/// `/var/lib/fake-selinux` contains SELinux's `mode`, its booleans, and a `log` of
/// changes.
const FAKES: [(&str, &str); 5] = [
    ("getenforce", include_str!("rhel/fakes/getenforce")),
    ("getsebool", include_str!("rhel/fakes/getsebool")),
    ("setsebool", include_str!("rhel/fakes/setsebool")),
    ("restorecon", include_str!("rhel/fakes/restorecon")),
    ("chkconfig", include_str!("rhel/fakes/chkconfig")),
];

pub const SELINUX_LOG: &str = "/var/lib/fake-selinux/log";

/// The fresh system, without PHP and EPEL.
pub fn base() -> Result<Image> {
    let debian = Image::base(Release::Bookworm)?;
    let names = DEBIAN.join(" ");
    let debian = debian.layer("el-debian", &names, Shape::Plain, |host| {
        debian::install(host, &DEBIAN)
    })?;
    let repositories = repositories(&debian)?;
    let fakes = FAKES.map(|(_, text)| text).concat();
    let made_of = format!("{}\n{TURN}\n{fakes}", repositories.display());
    let base = debian.with_repository(repositories);
    base.layer("el", &made_of, Shape::Plain, |host| {
        host.put("/tmp/turn.sh", TURN, 0o644)?;
        host.run(&["sh", "/tmp/turn.sh"]).check()?;
        for (name, text) in FAKES {
            host.put(&format!("/usr/sbin/{name}"), text, 0o755)?;
        }
        Ok(())
    })
}

/// A folder with baseos, appstream, crb, extras and epel.
fn repositories(debian: &Image) -> Result<PathBuf> {
    let made_of = format!("{}\n{PACKAGES}", debian.lower());
    cache::entry("el-packages", &made_of, |folder| {
        let bind = format!("{}:/srv/made:rw", folder.display());
        let host = Host::start(debian, "el-packages", Shape::Plain, &[bind])?;
        host.put("/tmp/packages.py", PACKAGES, 0o644)?;
        let words = ["python3", "/tmp/packages.py", "/srv/made"];
        host.run(&words).check().map(drop)
    })
}

/// The base with a site that answers.
pub fn site() -> Result<Image> {
    base()?.layer("el-site", site::MADE_OF, Shape::Booted, |host| {
        install(host, &["php-cli", "php-fpm", "php-mysqlnd", "php-xml"])?;
        host.run(&[
            "systemctl",
            "enable",
            "--now",
            "php-fpm",
            "mariadb",
            "nginx",
        ])
        .check()?;
        site::add_first(host)
    })
}

/// The host with a site, EPEL and the packages that setup installs, without any
/// configuration.
pub fn with_packages() -> Result<Image> {
    site()?.layer("el-ready", &OURS.join(" "), Shape::Booted, |host| {
        install(host, &["epel-release"])?;
        install(host, &OURS)
    })
}

pub fn install(host: &Host, packages: &[&str]) -> Result<()> {
    host.run(&[&["dnf", "-y", "install"], packages].concat())
        .check()
        .map(drop)
}

/// Sets SELinux to `Enforcing`, `Permissive` or `Disabled`.
pub fn set_selinux(host: &Host, mode: &str) -> Result<()> {
    host.put("/var/lib/fake-selinux/mode", format!("{mode}\n"), 0o644)
}

/// A stand-in for RHEL's own tool for repositories, which other distributions of the
/// family lack. It logs to `/var/lib/fake-subscription/log`.
pub fn put_subscription_manager(host: &Host) -> Result<()> {
    let text = include_str!("rhel/fakes/subscription-manager");
    host.put("/usr/sbin/subscription-manager", text, 0o755)
}
