//! What the journals know of earlier runs, for an intent that no file has yet.

use std::path::Path;

use anyhow::Result;

use crate::host::Host;
use crate::intent::file::DEFAULT;
use crate::intent::past::Past;
use crate::plan::journal::{self, History, Scope};
use crate::resource::Inverse;
use crate::resource::file::Edit;

/// Reads one journal, or all of them where no run has recorded its intent yet.
///
/// # Errors
/// A journal that cannot be read.
pub fn past(host: &Host) -> Result<Past> {
    // Only root may read the journals. Everyone else goes by the file.
    if host.live() && !rustix::process::geteuid().is_root() {
        return Ok(Past {
            recorded: host.exists(Path::new(DEFAULT)),
            ..Past::default()
        });
    }
    let of_host = journal::read(host, &Scope::Host)?;
    if of_host.as_ref().is_some_and(has_intent) && host.exists(Path::new(DEFAULT)) {
        return Ok(Past {
            recorded: true,
            ..Past::default()
        });
    }
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

fn has_intent(history: &History) -> bool {
    history
        .entries
        .iter()
        .any(|entry| matches!(&entry.inverse, Inverse::Intent(_)))
}
