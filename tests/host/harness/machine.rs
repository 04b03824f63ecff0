//! The machine that runs the hosts: what is missing on it, and its package mirror.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};

use super::cache;
use super::command::{command, run};

/// A program that the harness needs, and the Debian package that has it.
const TOOLS: [(&str, &str); 6] = [
    ("debootstrap", "debootstrap"),
    ("systemd-nspawn", "systemd-container"),
    ("apt-ftparchive", "apt-utils"),
    ("nsenter", "util-linux"),
    ("setpriv", "util-linux"),
    ("pip3", "python3-pip"),
];

/// Installs what is missing. An error says in one line why hosts cannot run.
pub fn prepare() -> Result<()> {
    static DONE: OnceLock<Result<(), String>> = OnceLock::new();
    let done = DONE.get_or_init(|| try_prepare().map_err(|error| format!("{error:#}")));
    done.clone().map_err(|error| anyhow!(error))
}

fn try_prepare() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("test hosts need root: mounts and namespaces are made for them");
    }
    overlay()?;
    let missing: Vec<&str> = TOOLS
        .iter()
        .filter(|(tool, _)| !on_path(tool))
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !on_path("apt-get") {
        bail!(
            "test hosts need {} (and there is no apt-get to bring them)",
            missing.join(", ")
        );
    }
    apt(&["update"])?;
    apt(&[&["install", "-y", "--no-install-recommends"], &missing[..]].concat())
}

/// Checks overlay mounts, which hosts need and not every container or file system
/// allows.
fn overlay() -> Result<()> {
    let probe = cache::folder().join(format!("probe-{}", std::process::id()));
    for part in ["lower", "upper", "work", "root"] {
        std::fs::create_dir_all(probe.join(part))?;
    }
    let options = "lowerdir=lower,upperdir=upper,workdir=work";
    let mount = [
        "unshare", "--mount", "mount", "-t", "overlay", "probe", "-o", options, "root",
    ];
    let mut mount = command(&mount);
    mount.current_dir(&probe);
    let mount = run(mount, b"", Duration::from_secs(10));
    std::fs::remove_dir_all(&probe)?;
    if mount.code != 0 {
        bail!(
            "test hosts need overlay mounts, which are not to be had in {} ({}); \
             WP_GEARS_TEST_CACHE may name another folder",
            cache::folder().display(),
            mount.stderr.lines().next().unwrap_or_default()
        );
    }
    Ok(())
}

fn on_path(tool: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/sbin"])
        .any(|dir| Path::new(dir).join(tool).exists())
}

/// Retries twice, as mirrors fail occasionally.
fn apt(words: &[&str]) -> Result<()> {
    let mut retries = 0..2;
    loop {
        let mut apt = Command::new("apt-get");
        apt.args(words).env("DEBIAN_FRONTEND", "noninteractive");
        let out = run(apt, b"", Duration::from_secs(600));
        match retries.next() {
            Some(_) if out.code != 0 => std::thread::sleep(Duration::from_secs(5)),
            _ => return out.check().map(drop),
        }
    }
}

/// The Debian mirror that this machine's own apt uses.
pub fn mirror() -> Result<String> {
    let format = "$(ORIGIN) $(LABEL) $(REPO_URI)";
    let targets = [
        "apt-get",
        "indextargets",
        "--format",
        format,
        "Created-By: Packages",
    ];
    for refreshed in [false, true] {
        if refreshed {
            apt(&["update"])?; // the origin is known only once the lists are there
        }
        let targets = run(command(&targets), b"", Duration::from_secs(60)).check()?;
        if let Some(uri) = targets
            .lines()
            .find_map(|line| line.strip_prefix("Debian Debian "))
        {
            return Ok(uri.trim_end_matches('/').to_owned());
        }
    }
    bail!("no Debian mirror among this machine's apt sources: test hosts are made from one")
}
