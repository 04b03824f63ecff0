//! How a site leaves without losing a job. Pages stop submitting while workers go on:
//! these keep the settings that wp-config.php loses, until the queue is empty.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::base::paths::BASE;
use crate::base::secrets::Secrets;
use crate::host::Host;
use crate::host::files::Node;
use crate::intent::adopt;
use crate::intent::queue::WaitingJobs;
use crate::plan::waiting;
use crate::resource::file::{File, Next, Owner};
use crate::resource::job_table::JobTable;
use crate::resource::reread::{Reread, To};
use crate::resource::{Phase, Resource, State};
use crate::site::ask::Target;
use crate::site::config::{self, Found};
use crate::site::php::{self, Php};
use crate::site::plugins::{BUNDLED, SALT};
use crate::site::settings;
use crate::site::web::listeners;
use crate::supervisor::programs;
use crate::worker::Paths;
use crate::worker::message::Predefined;
use crate::worker::store::has_table;

type Steps = Vec<(Phase, Box<dyn Resource>)>;

/// What a removal does besides what journals know. `switch` is wp-config.php as it will
/// be.
///
/// # Errors
/// What cannot be read.
pub fn steps(
    host: &Host,
    name: &str,
    dir: &Path,
    switch: &File,
    wish: WaitingJobs,
) -> Result<Steps> {
    let mut steps: Steps = Vec::new();
    if !host.live() {
        return Ok(steps);
    }
    let paths = Paths::new(Path::new(BASE), name);
    // An earlier removal that was interrupted has restored wp-config.php already.
    let goes_on = host.exists(&paths.leaving);
    let kept = match goes_on {
        true => read(host, &paths.leaving)?,
        false => lost(host, dir, switch)?,
    };
    let changes = goes_on || switch.inspect(host)? != State::Same;
    if let Some(kept) = &kept
        && let Node::Directory(meta) = host.look(&paths.run)?
    {
        let bytes = serde_json::to_vec(kept)?;
        let marker = File::whole(&paths.leaving, bytes, 0o400)
            .owner(Owner::Ids(meta.uid, meta.gid))
            .secrets(Secrets::Hidden);
        steps.push((Phase::Keep, Box::new(marker)));
    }
    steps.push((
        Phase::Pages,
        Box::new(reread(host, dir, &switch.path, changes)?),
    ));
    let salt = kept
        .as_ref()
        .and_then(|it| it.constants.get(SALT)?.as_str());
    let servers = kept.as_ref().and_then(|it| it.servers.clone());
    if let Some(mut drained) = waiting::of_site(host, name, dir, salt, servers, wish)? {
        drained.busy = changes && kept.is_some();
        steps.push((Phase::Drain, Box::new(drained)));
    }
    steps.push((Phase::Files, Box::new(no_longer(&paths.leaving))));
    Ok(steps)
}

/// The table that the site's workers have made in its database: it goes with the failed
/// jobs, or a text says that it stays.
///
/// # Errors
/// Supervisor's files that cannot be read.
pub fn job_table(
    host: &Host,
    name: &str,
    dir: &Path,
    purge: bool,
) -> Result<(Option<JobTable>, Option<String>)> {
    let paths = Paths::new(Path::new(BASE), name);
    if !host.live() || !has_table(&paths.failed) {
        return Ok((None, None));
    }
    let of = format!(
        "kept the table of failed jobs in the database of {}",
        dir.display()
    );
    let (php, user, seen_as) = runs_as(host, dir)?;
    let Some((php, user)) = php.zip(user) else {
        let left = format!("{of}: it is not known which PHP reads it, so drop it yourself");
        return Ok((None, Some(left)));
    };
    let table = JobTable {
        dir: dir.to_owned(),
        php: php.path,
        user,
        seen_as,
    };
    Ok(match table.jobs(host) {
        Ok(Some(_)) if purge => (Some(table), None),
        Ok(Some(jobs)) => {
            let left = format!("{of} ({jobs}); --purge takes it out");
            (None, Some(left))
        }
        Ok(None) => (None, None),
        Err(why) => (
            None,
            Some(format!("{of}, as it cannot be looked at: {why:#}")),
        ),
    })
}

/// The marker's end: with the last worker, or when setup switches the site on again.
pub fn no_longer(marker: &Path) -> File {
    File {
        make: Box::new(|_, _| Ok(Next::default())),
        ..File::whole(marker, Vec::new(), 0o400).secrets(Secrets::Hidden)
    }
}

fn read(host: &Host, marker: &Path) -> Result<Option<Predefined>> {
    let file = host.read(marker)?;
    Ok(file.and_then(|file| serde_json::from_slice(&file.bytes).ok()))
}

/// The settings that wp-config.php has and will not have; `None` if it stays switched on,
/// or was not.
fn lost(host: &Host, dir: &Path, switch: &File) -> Result<Option<Predefined>> {
    let (now, next) = switch.texts(host)?;
    let scan = |bytes: Option<Vec<u8>>| -> Option<Found> {
        config::scan(&bytes?, &settings::includes(host, dir, &switch.path)).ok()
    };
    let Some(had) = scan(now.map(|file| file.bytes)) else {
        return Ok(None);
    };
    let has = scan(next.bytes);
    let stays = |one| has.as_ref().is_some_and(|has| has.on.contains(one));
    let mut kept = Predefined::default();
    for one in had.on.iter().filter(|one| !stays(*one)) {
        kept.constants.insert(one.constant.into(), one.json());
    }
    if kept.constants.is_empty() {
        return Ok(None);
    }
    let (has_salt, has_servers) = match &has {
        Some(has) => (
            has.salt.is_some() || has.salt_computed,
            has.servers.is_some(),
        ),
        None => (false, false),
    };
    if let Some(salt) = had.salt.filter(|_| !has_salt) {
        kept.constants.insert(SALT.into(), salt.into());
    }
    kept.servers = had.servers.filter(|_| !has_servers);
    Ok(Some(kept))
}

/// The PHP and the user of the site's workers, and the host that its code sees.
fn runs_as(host: &Host, dir: &Path) -> Result<(Option<Php>, Option<String>, Option<String>)> {
    let program = programs::all(host, host.supervisor()?)?;
    let program = program
        .into_iter()
        .find(|it| it.site().as_deref() == Some(dir));
    let options = program
        .as_ref()
        .map(adopt::worker_options)
        .unwrap_or_default();
    let php: Option<Php> = php::find(host, options.php.as_deref()).ok();
    let user = program
        .as_ref()
        .and_then(|it| it.get("user").map(str::to_owned));
    Ok((php, user, options.host))
}

fn reread(host: &Host, dir: &Path, config: &Path, changes: bool) -> Result<Reread> {
    let (php, user, seen_as) = runs_as(host, dir)?;
    let (dir, config): (PathBuf, PathBuf) = (dir.to_owned(), config.to_owned());
    let asked = php.clone().zip(user);
    let files = [config.clone()];
    Ok(Reread {
        config,
        php,
        changes,
        to: To::End(Box::new(move |host| {
            let Some((php, user)) = &asked else {
                return Ok(false);
            };
            let target = Target {
                dir: &dir,
                php: &php.path,
                user,
                // What it is called does not matter here.
                plugin: &BUNDLED,
                cache: None,
                host: seen_as.as_deref(),
            };
            target.forget(host, &listeners::all(host), &files)
        })),
    })
}
