//! Combines the sources of options: the command line and the environment
//! override the file, and what earlier runs did counts until a file records it.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::base::problem::Problem;
use crate::host::Host;
use crate::intent::exported;
use crate::intent::file::{self, FileOptions, absolute};
use crate::intent::hosts;
use crate::intent::options::{HostOptions, Role, Site, SiteOptions, Spec};
use crate::intent::past::Past;

/// What was given on the command line and in the environment.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    /// A file to read instead of the host's; it is never written.
    pub config: Option<&'a Path>,
    /// A file with options to add to those of the other.
    pub from: Option<&'a Path>,
    pub sites: &'a [PathBuf],
    pub host: &'a HostOptions,
    pub site: &'a SiteOptions,
}

/// Reads the file and combines it with what was given.
///
/// # Errors
/// An invalid file.
pub fn load(host: &Host, given: &Given, past: Past) -> Result<Spec> {
    combine(
        host,
        &exported::read_over(host, given.config, given.from)?,
        given,
        past,
    )
}

/// Combines a file with what was given, and adds the sites of earlier runs that
/// no file names yet.
///
/// # Errors
/// The current folder cannot be determined.
pub fn combine(host: &Host, file: &FileOptions, given: &Given, past: Past) -> Result<Spec> {
    let mut spec = layers(file, given.sites, given.host, given.site, past)?;
    spec.config = given.config.map(Path::to_owned);
    if given.sites.is_empty() && !spec.past.recorded {
        // Sites that an earlier version set up are not in a file yet.
        let known: Vec<PathBuf> = spec.past.sites.clone();
        for dir in known {
            if host.is_dir(&dir) && !spec.sites.iter().any(|site| site.dir == dir) {
                let options = given.site.clone().over(file.of_site(&dir));
                spec.sites.push(Site {
                    hooks: file.hooks_of(&dir),
                    dir,
                    options,
                    recorded: false,
                });
            }
        }
    }
    Ok(spec)
}

/// The given sites, or those of the file, with the options of each.
///
/// # Errors
/// The current folder cannot be determined.
pub fn layers(
    file: &FileOptions,
    sites: &[PathBuf],
    over_host: &HostOptions,
    over_site: &SiteOptions,
    past: Past,
) -> Result<Spec> {
    let mut dirs: Vec<PathBuf> = Vec::new();
    for dir in sites {
        let dir = absolute(dir)?;
        if !dirs.contains(&dir) {
            dirs.push(dir);
        }
    }
    let host = over_host.clone().over(file.host.clone());
    if sites.is_empty() && !file.are_sites_of_others(&host) {
        dirs.extend(file.sites.iter().map(|(dir, _)| dir.clone()));
    }
    let mut of_file = file.host.clone();
    // A file may keep the options of a queue that is not in use any more.
    if let Some(queue) = over_host.queue.or(of_file.queue) {
        of_file.store = queue.own(&of_file.store);
    }
    let sites = dirs.into_iter().map(|dir| Site {
        options: over_site.clone().over(file.of_site(&dir)),
        hooks: file.hooks_of(&dir),
        recorded: past.recorded && file.has_site(&dir) && !file.new_sites.contains(&dir),
        dir,
    });
    Ok(Spec {
        host: over_host.clone().over(of_file),
        sites: sites.collect(),
        past: past.clone(),
        alert: file.alert.clone(),
        unlisted: file.unlisted.clone(),
        ..Spec::default()
    })
}

/// Checks that the options fit the sites.
///
/// # Errors
/// Options of one site for several sites, or no site where one is needed.
pub fn need_sites(spec: &Spec, over_site: &SiteOptions) -> Result<()> {
    if *over_site != SiteOptions::default() && spec.sites.len() != 1 {
        return Err(Problem::usage(
            "use options for a single site (such as --salt, --program or --workers)",
            format!("there are {} sites", spec.sites.len()),
        )
        .help("pass exactly one --site, or put each site's options in a [[site]] table")
        .into());
    }
    if let (Some(name), None) = (&spec.unlisted, &spec.host.role) {
        let why = format!("its config file has [[host]] tables, but none for this host ({name})");
        return Err(Problem::usage("choose what this host does", why)
            .help(format!(
                "add a [[host]] table with match = {:?} and its role, or pass --role",
                hosts::short(name)
            ))
            .into());
    }
    if spec.sites.is_empty() && spec.host.role.as_deref() != Some(&[Role::Server]) {
        return Err(Problem::usage("choose the sites", "no site was specified")
            .help(format!(
                "pass a WordPress folder with --site DIR or add one to {}; only '--role server' needs no site",
                file::DEFAULT
            ))
            .into());
    }
    Ok(())
}
