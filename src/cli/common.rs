//! What the commands share: the host, the lock, the question, and what was asked.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::base::problem::Problem;
use crate::cli::options::Common;
use crate::host::Host;
use crate::host::lock::Lock;
use crate::intent::file;
use crate::intent::options::{HostOptions, Site, SiteOptions, Spec};
use crate::intent::resolve::absolute;
use crate::plan::recovery;
use crate::report::Ui;
use crate::report::ask::Answer;
use crate::report::interrupt::{Cancelled, Interrupts};

pub const DONE: u8 = 0;
pub const FAILED: u8 = 1;
/// `plan --check` found changes.
pub const CHANGES: u8 = 3;

pub fn host_of(common: &Common, ui: Ui) -> Result<Host> {
    let mut host = Host::new(common.root.as_deref())?;
    if ui.verbose {
        host.trace = Some(|line| eprintln!("{line}"));
    }
    Ok(host)
}

/// What comes before every run that changes something: the right to, the lock,
/// and what an earlier run left torn.
pub fn begin(host: &Host, ui: Ui) -> Result<Lock> {
    need_root(host)?;
    let lock = host.lock()?;
    for file in recovery::run(host)? {
        ui.line(&format!(
            "restored {file}, which an earlier run had left half written"
        ));
    }
    Ok(lock)
}

/// Root, where the machine itself is changed.
pub fn need_root(host: &Host) -> Result<()> {
    if host.live() && !rustix::process::geteuid().is_root() {
        return Err(Problem::new("change this host", "you are not root")
            .help("run it with sudo; 'wp-gears plan' and --root DIR need no root rights")
            .into());
    }
    Ok(())
}

/// Asks before the first change, unless --yes answers.
pub fn confirm(ui: Ui, yes: bool, what: &str, question: &str, default: bool) -> Result<()> {
    if yes {
        return Ok(());
    }
    if !ui.asks {
        return Err(
            Problem::new(what, "there is no terminal to ask on, and no --yes")
                .help("see what 'wp-gears plan' shows, then run it again with --yes")
                .into(),
        );
    }
    let interrupts = Interrupts::take(ui)?;
    if ui.agrees(question, false, default)? == Answer::Yes {
        interrupts.lets_go();
        return Ok(());
    }
    Err(Cancelled::Answered.into())
}

/// The command line over the file: which sites, with which options.
pub fn spec_of(
    host: &Host,
    common: &Common,
    over_host: &HostOptions,
    over_site: &SiteOptions,
) -> Result<Spec> {
    let file = file::read(host, common.config.as_deref())?;
    let spec = layers(file, &common.sites, over_host, over_site)?;
    if *over_site != SiteOptions::default() && spec.sites.len() != 1 {
        return Err(Problem::usage(
            "use options of one site (as --salt, --program, --workers)",
            format!("there are {} sites", spec.sites.len()),
        )
        .help("give exactly one --site, or put each site's options into a [[site]] table")
        .into());
    }
    if spec.sites.is_empty() {
        return Err(Problem::usage("find the sites", "none is named")
            .help(format!(
                "name a WordPress folder with --site DIR, or in {}",
                Path::new(file::DEFAULT).display()
            ))
            .into());
    }
    Ok(spec)
}

/// What they say together, for the sites that are given or those of the file.
pub fn layers(
    mut spec: Spec,
    sites: &[PathBuf],
    over_host: &HostOptions,
    over_site: &SiteOptions,
) -> Result<Spec> {
    spec.host = over_host.clone().over(spec.host);
    let from_file = std::mem::take(&mut spec.sites);
    // A table without a folder holds what all sites have.
    let common_options = from_file
        .iter()
        .find(|site| site.dir.as_os_str().is_empty())
        .map(|site| site.options.clone())
        .unwrap_or_default();
    let mut named: Vec<Site> = Vec::new();
    for site in from_file
        .into_iter()
        .filter(|site| !site.dir.as_os_str().is_empty())
    {
        let dir = absolute(&site.dir)?;
        named.push(Site { dir, ..site });
    }
    if sites.is_empty() {
        spec.sites = named;
    } else {
        for dir in sites {
            let dir = absolute(dir)?;
            if spec.sites.iter().any(|site| site.dir == dir) {
                continue;
            }
            let options = named
                .iter()
                .find(|site| site.dir == dir)
                .map_or_else(|| common_options.clone(), |site| site.options.clone());
            spec.sites.push(Site { dir, options });
        }
    }
    for site in &mut spec.sites {
        site.options = over_site.clone().over(std::mem::take(&mut site.options));
    }
    Ok(spec)
}
