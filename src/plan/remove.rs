//! remove: turns what a journal tells into resources that restore what was
//! there, in the order of `Phase`.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::base::paths::{BASE, LOGS, STATE};
use crate::host::Host;
use crate::intent::queue::WaitingJobs;
use crate::plan::journal::{History, Scope};
use crate::plan::{Item, waiting};
use crate::resource::drained::Drained;
use crate::resource::file::{Edit, FileInverse};
use crate::resource::package::{PackagesInverse, is_extension};
use crate::resource::reload_php::UnloadExtension;
use crate::resource::{Inverse, Phase, Resource, RevertContext};

/// What remove does, and what people must know about what stays.
#[derive(Default)]
pub struct Removal {
    pub items: Vec<Item>,
    pub left: Vec<String>,
    /// Folders in which an earlier run was cut off.
    pub torn: Vec<PathBuf>,
}

/// How far it goes.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    pub purge: bool,
    pub waiting: WaitingJobs,
}

/// Adds what one journal tells of.
pub fn of_history(
    host: &Host,
    scope: &Scope,
    history: &History,
    wish: Wish,
    removal: &mut Removal,
) -> Result<()> {
    if let Some(site) = history.site.as_ref().filter(|site| !host.is_dir(site)) {
        removal.left.push(format!(
            "{} is gone; if the site moved, run 'wp-gears remove --site' with its new folder to remove what is marked there",
            site.display()
        ));
    }
    let context = RevertContext {
        host,
        purge: wish.purge,
        lose_queued_jobs: wish.waiting.lose_queued_jobs,
        inverses: history.entries.iter().map(|it| &it.inverse).collect(),
    };
    let mut steps: Vec<(Phase, Box<dyn Resource>)> = Vec::new();
    for entry in history.entries.iter().rev() {
        if entry.unfinished {
            removal.torn.extend(folder(&entry.inverse));
        }
        let reverted = entry.inverse.kind().revert(&context)?;
        steps.extend(reverted.step);
        removal.left.extend(reverted.left);
    }
    if let Some(drained) = drained(host, scope, history, wish.waiting)? {
        steps.push((Phase::Drain, Box::new(drained)));
    }
    if unloads(history, wish.purge) {
        steps.push((Phase::WebPhp, Box::new(UnloadExtension)));
    }
    // A stable sort: within a phase the last act stays the first.
    steps.sort_by_key(|(phase, _)| *phase);
    removal
        .items
        .extend(steps.into_iter().map(|(_, resource)| Item {
            scope: scope.clone(),
            resource,
        }));
    Ok(())
}

/// The folder in which an act writes.
fn folder(inverse: &Inverse) -> Option<PathBuf> {
    let path = match inverse {
        Inverse::File(file) => &file.path,
        Inverse::Link(link) => &link.path,
        Inverse::Directory(directory) => &directory.path,
        _ => return None,
    };
    path.parent().map(Path::to_owned)
}

/// What ends or restarts leaves no job behind.
fn drained(
    host: &Host,
    scope: &Scope,
    history: &History,
    wish: WaitingJobs,
) -> Result<Option<Drained>> {
    match (scope, &history.site) {
        (Scope::Site(name), Some(dir)) => waiting::of_site(host, name, dir, wish),
        (Scope::Site(_), None) => Ok(None),
        (Scope::Host, _) => of_job_server(host, history, wish),
    }
}

fn of_job_server(host: &Host, history: &History, wish: WaitingJobs) -> Result<Option<Drained>> {
    let family = host.platform()?.family;
    let mut stops = None;
    let mut options: Option<&FileInverse> = None;
    for entry in &history.entries {
        match &entry.inverse {
            Inverse::Service(service) if service.unit == family.gearmand.unit => {
                stops = Some(!service.active);
            }
            Inverse::File(file) if file.edit == Edit::Options => options = Some(file),
            _ => {}
        }
    }
    let Some(stops) = stops.filter(|_| host.live()) else {
        return Ok(None);
    };
    let options = match options.filter(|_| !stops) {
        // What stays in it is listed where it is restored.
        Some(file) => Some(file.restored(host)?.0),
        None => None,
    };
    waiting::of_job_server(host, family, options.as_ref(), wish).map(Some)
}

/// Whether the extension goes, from a package or as it was built.
fn unloads(history: &History, purge: bool) -> bool {
    history.entries.iter().any(|entry| match &entry.inverse {
        Inverse::Packages(PackagesInverse { brought }) => {
            purge && brought.iter().any(|name| is_extension(name))
        }
        Inverse::File(file) => file.path.ends_with("gearman.so"),
        _ => false,
    })
}

/// Once nothing is left to restore, our own folders go too: with `purge`
/// whatever is in them, else as far as they are empty.
pub fn forget(host: &Host, purge: bool) -> Result<()> {
    host.remove_tree(Path::new(STATE))?;
    // The very first act of all comes before any journal.
    if let Some(above) = Path::new(BASE).parent() {
        host.tidy(above)?;
    }
    let own = ["run", "cache", "failed"].map(|name| Path::new(BASE).join(name));
    let folders = own.into_iter().chain([BASE.into(), LOGS.into()]);
    for dir in folders.filter(|dir| host.is_dir(dir)) {
        if purge {
            host.remove_tree(&dir)?;
        } else {
            host.remove_dir(&dir)?;
        }
    }
    Ok(())
}
