//! Debian as it comes: a root folder, and its packages in a folder beside it.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::command::{command, run};
use super::{Host, Image, Release, Shape, machine};

/// What decides how these come out.
pub const MADE_OF: &str = include_str!("debian.rs");

/// Where a host has the package repository, read-only.
pub const PACKAGES: &str = "/srv/packages";

/// What setup brings, with what apt recommends beside it.
pub const OURS: [&str; 3] = ["gearman-job-server", "php-gearman", "supervisor"];

/// What a site's host has, and what tests may want to install.
const POOL: &[&str] = &[
    "mariadb-server",
    "nginx",
    "php-fpm",
    "php-cli",
    "php-mysql",
    "php-xml",
    "php-sqlite3",
    "wordpress",
    "wordpress-theme-twentytwentythree",
    "curl",
    "procps",
    "iproute2",
    "strace",
    "php-pear",
    "php-dev",
    "libgearman-dev",
    "gcc",
    "make",
    "python3-venv",
    "python3-pip",
    "apache2",
    "libapache2-mod-php",
    "libapache2-mod-fcgid",
    "php-cgi",
    "lighttpd",
    "caddy",
    "gearman-tools",
    "acl",
    "e2fsprogs",
    "sqlite3",
    "cron",
    "php-redis",
    "redis-server",
    // What a host is made RHEL-shaped with.
    "createrepo-c",
    "dnf",
    "dnf-plugins-core",
    "rpm",
];

pub fn debootstrap(release: Release, root: &Path) -> Result<()> {
    machine::prepare()?;
    let root_shown = root.display().to_string();
    let mirror = machine::mirror()?;
    let words = [
        "debootstrap",
        "--variant=minbase",
        "--include=systemd-sysv,dbus,ca-certificates",
        release.name(),
        &root_shown,
        &mirror,
    ];
    run(command(&words), b"", Duration::from_secs(900)).check()?;
    let write = |path: &str, text: &str| std::fs::write(root.join(path), text);
    write(
        "etc/apt/sources.list",
        &format!("deb [trusted=yes] file:{PACKAGES} ./\n"),
    )?;
    write("etc/hosts", "127.0.0.1 localhost testhost\n::1 localhost\n")?;
    // Debian's own daily runs of apt would lock it at a bad moment.
    for timer in ["apt-daily.timer", "apt-daily-upgrade.timer"] {
        std::os::unix::fs::symlink("/dev/null", root.join("etc/systemd/system").join(timer))?;
    }
    Ok(())
}

/// All packages that any test installs, with all that they need, as a
/// repository: hosts then have a real apt, and need no network.
pub fn download(base: &Image, release: Release, folder: &Path) -> Result<()> {
    const FOLDER: &str = "/srv/download";
    let bind = format!("{}:{FOLDER}:rw", folder.display());
    let host = Host::start(base, "download", Shape::Networked, &[bind])?;
    let source = format!("deb {} {} main\n", machine::mirror()?, release.name());
    host.put("/etc/apt/sources.list", source, 0o644)?;
    host.put(
        "/etc/apt/apt.conf.d/retry",
        "Acquire::Retries \"3\";\n",
        0o644,
    )?;
    host.run(&["apt-get", "update"]).check()?;
    let archives = format!("Dir::Cache::archives={FOLDER}");
    let install = [
        "apt-get",
        "install",
        "-y",
        "--download-only",
        "-o",
        &archives,
    ];
    host.run(&[&install[..], &OURS].concat()).check()?;
    host.run(&[&install[..], &["--no-install-recommends"], POOL, &OURS].concat())
        .check()?;
    host.shell(&format!("rm -rf {FOLDER}/partial {FOLDER}/lock"))
        .check()?;
    let mut index = command(&["apt-ftparchive", "packages", "."]);
    index.current_dir(folder);
    let index = run(index, b"", Duration::from_secs(300)).check()?;
    std::fs::write(folder.join("Packages"), index)?;
    Ok(())
}

/// Installs packages as a person would, with nothing that apt recommends.
pub fn install(host: &Host, packages: &[&str]) -> Result<()> {
    host.run(&["apt-get", "update"]).check()?;
    let install = [
        "env",
        "DEBIAN_FRONTEND=noninteractive",
        "apt-get",
        "install",
        "-y",
    ];
    host.run(&[&install[..], &["--no-install-recommends"], packages].concat())
        .check()?;
    Ok(())
}
