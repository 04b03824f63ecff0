//! What the journals record about earlier runs, for hosts without an intent file.

use std::path::Path;

use anyhow::Result;

use crate::host::Host;
use crate::intent::file::DEFAULT;
use crate::intent::past::Past;
use crate::plan::journal::{self, History, Scope};
use crate::resource::Inverse;
use crate::resource::file::Edit;

/// What earlier runs did. Reads one journal, or all of them if no run has
/// recorded its intent yet.
///
/// # Errors
/// A journal that cannot be read.
pub fn past(host: &Host) -> Result<Past> {
    let recorded = host.exists(Path::new(DEFAULT))
        && match may_read(host) {
            true => journal::read(host, &Scope::Host)?.is_some_and(|it| has_intent(&it)),
            // Other users have to trust the file.
            false => true,
        };
    match recorded {
        true => Ok(Past {
            recorded,
            ..Past::default()
        }),
        false => done(host),
    }
}

/// What earlier runs did, regardless of the intent file.
///
/// # Errors
/// A journal that cannot be read.
pub fn done(host: &Host) -> Result<Past> {
    if !may_read(host) {
        return Ok(Past::default());
    }
    let of_host = journal::read(host, &Scope::Host)?;
    let mut past = Past::default();
    let unit = host.platform()?.family.gearmand.unit;
    let has_server = of_host.is_some_and(|history| {
        history.entries.iter().any(|entry| match &entry.inverse {
            Inverse::Service(service) => service.unit == unit,
            Inverse::File(file) => file.edit == Edit::Options,
            _ => false,
        })
    });
    let mut has_workers = false;
    for scope in journal::scopes(host)? {
        let Some(history) = journal::read(host, &scope)?.filter(|_| scope != Scope::Host) else {
            continue;
        };
        has_workers |= history.entries.iter().any(|entry| {
            matches!(&entry.inverse, Inverse::File(file)
                if matches!(file.edit, Edit::Program | Edit::Block | Edit::Section))
        });
        past.sites.extend(history.site);
    }
    if has_server || !past.sites.is_empty() {
        past.served = Some((has_server, has_workers));
    }
    Ok(past)
}

/// Only root may read the journals of a host.
pub fn may_read(host: &Host) -> bool {
    !host.live() || rustix::process::geteuid().is_root()
}

fn has_intent(history: &History) -> bool {
    history
        .entries
        .iter()
        .any(|entry| matches!(&entry.inverse, Inverse::Intent(_)))
}
