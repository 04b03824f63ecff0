//! The machine that the hosts run on: what it lacks, and its package mirror.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};

use super::command::{command, run};

/// A program that the harness needs, and the Debian package that has it.
const TOOLS: [(&str, &str); 5] = [
    ("debootstrap", "debootstrap"),
    ("systemd-nspawn", "systemd-container"),
    ("apt-ftparchive", "apt-utils"),
    ("nsenter", "util-linux"),
    ("setpriv", "util-linux"),
];

/// Installs what is missing; an error says in one line why hosts can't run.
pub fn prepare() -> Result<()> {
    static DONE: OnceLock<Result<(), String>> = OnceLock::new();
    let done = DONE.get_or_init(|| try_prepare().map_err(|error| format!("{error:#}")));
    done.clone().map_err(|error| anyhow!(error))
}

fn try_prepare() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("test hosts need root: mounts and namespaces are made for them");
    }
    let mounts = command(&["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]);
    let mounts = run(mounts, b"", Duration::from_secs(10));
    if mounts.code != 0 {
        bail!(
            "test hosts need mounts, which this machine forbids: {}",
            mounts.stderr.trim()
        );
    }
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

fn on_path(tool: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/sbin"])
        .any(|dir| Path::new(dir).join(tool).exists())
}

/// Mirrors fail for a moment now and then: three tries.
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
