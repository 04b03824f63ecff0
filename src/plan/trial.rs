//! The switch of a site is on trial until a run has proved that jobs run. The journal
//! says so, which is how a run that was killed in between is noticed by the next. If the
//! proof fails, the switch is taken back: wp-config.php becomes what it was when jobs
//! last ran, or what it was before setup, with everything that people wrote since.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::base::paths::BASE;
use crate::host::Host;
use crate::host::supervisor::Supervisord;
use crate::intent::resolve::SiteResolved;
use crate::intent::salts;
use crate::plan::journal::{self, History, Journal, Scope};
use crate::plan::recipe::switch;
use crate::resource::file::{Edit, File, FileInverse};
use crate::resource::program::{Ensure, Program};
use crate::resource::{Inverse, Resource, State};
use crate::site::config::{self, Found};
use crate::site::{plugins, queue, settings};
use crate::supervisor::programs;
use crate::worker::Paths;

/// Whether the site has a switch that no run has proved yet.
///
/// # Errors
/// A journal that cannot be read.
pub fn is_on(host: &Host, name: &str) -> Result<bool> {
    let history = journal::read(host, &Scope::Site(name.to_owned()))?;
    match history.as_ref().and_then(switch_of) {
        Some(file) => Ok(file.restored(host)?.0.inspect(host)? != State::Same),
        None => Ok(false),
    }
}

fn switch_of(history: &History) -> Option<&FileInverse> {
    files_of(history).find(|file| file.edit == Edit::WpConfig)
}

fn files_of(history: &History) -> impl Iterator<Item = &FileInverse> {
    history.trial.iter().filter_map(|inverse| match inverse {
        Inverse::File(file) => Some(file),
        _ => None,
    })
}

/// Jobs run with everything that was done until now.
///
/// # Errors
/// A journal that cannot be read or written.
pub fn passed(host: &Host, site: &SiteResolved) -> Result<()> {
    let scope = Scope::Site(site.name.clone());
    if journal::read(host, &scope)?.is_some_and(|history| !history.trial.is_empty()) {
        Journal::open(host, scope, None)?.proved()?;
    }
    // Workers no longer wait for the switch.
    let marker = Paths::new(Path::new(BASE), &site.name).unswitched;
    if host.exists(&marker) {
        host.remove_file(&marker)?;
    }
    salts::forget(host, &site.name)
}

/// What became of a site whose switch was taken back.
pub struct TakenBack {
    /// Whether it submits jobs as it did before this trial.
    pub was_on: bool,
    /// Jobs that were submitted during the trial and wait.
    pub waiting: u64,
}

/// Takes back a switch that is on trial; `None` if there is none. `runs_workers`: the
/// site's workers run here.
///
/// # Errors
/// What cannot be read or written. The next run finds the switch on trial again.
pub fn take_back(
    host: &Host,
    site: &SiteResolved,
    supervisor: &'static Supervisord,
    runs_workers: bool,
) -> Result<Option<TakenBack>> {
    let scope = Scope::Site(site.name.clone());
    let Some(history) = journal::read(host, &scope)? else {
        return Ok(None);
    };
    let Some(switch) = switch_of(&history) else {
        return Ok(None);
    };
    let (restored, _) = switch.restored(host)?;
    if restored.inspect(host)? == State::Same {
        return Ok(None);
    }
    let (now, next) = restored.texts(host)?;
    let tried = now.and_then(|now| scan(host, site, &now.bytes));
    let former = next.bytes.and_then(|next| scan(host, site, &next));
    let former_salt = former.as_ref().and_then(|it| it.salt.clone());
    // Jobs may wait under it.
    if let Some(salt) = tried.as_ref().and_then(|it| it.salt.as_ref())
        && former_salt.is_none()
    {
        salts::keep(host, &site.name, salt)?;
    }
    let mut journal = Journal::open(host, scope, None)?.on_trial();
    put(host, &mut journal, &restored)?;
    let was_on = former.is_some_and(|it| it.on.contains(&site.plugin.switch));
    if runs_workers && was_on {
        for file in files_of(&history) {
            if matches!(file.edit, Edit::Program | Edit::Block | Edit::Section) {
                put(host, &mut journal, &file.restored(host)?.0)?;
            }
        }
        reload(host, site, supervisor)?;
    } else if runs_workers {
        put(host, &mut journal, &switch::held(site))?;
    }
    switch::wake(site)(host);
    Ok(Some(TakenBack {
        was_on,
        waiting: tried.map_or(0, |tried| waiting(site, &tried)),
    }))
}

fn scan(host: &Host, site: &SiteResolved, text: &[u8]) -> Option<Found> {
    config::scan(text, &settings::includes(host, &site.dir, &site.config)).ok()
}

/// An act of its own, in the journal like any other.
fn put(host: &Host, journal: &mut Journal, file: &File) -> Result<()> {
    if file.inspect(host)? == State::Same {
        return Ok(());
    }
    let number = journal.begin(file.inverses(host)?)?;
    file.apply(host, &|_| {})?;
    journal.done(number)?;
    journal.settle()
}

/// Makes supervisord run what the restored definitions say.
fn reload(host: &Host, site: &SiteResolved, supervisor: &'static Supervisord) -> Result<()> {
    let patience = Duration::from(site.worker.stop_timeout) + Duration::from_secs(30);
    let defined = programs::all(host, supervisor)?;
    let old = site.existing.as_ref().map(|it| it.name.as_str());
    let mut groups = vec![site.program.as_str()];
    groups.extend(old.filter(|old| *old != site.program));
    for group in groups {
        let ensure = match defined.iter().find(|it| it.name == group) {
            Some(program) if program.site().is_some() => Ensure::Running,
            Some(_) => Ensure::Restored,
            None => Ensure::Absent,
        };
        let program = Program::new(group, ensure, supervisor, patience);
        if program.inspect(host)? != State::Same {
            program.apply(host, &|_| {})?;
        }
    }
    Ok(())
}

fn waiting(site: &SiteResolved, tried: &Found) -> u64 {
    let functions = plugins::functions(tried.salt.as_deref());
    let servers = tried.servers.clone();
    queue::waiting(
        &functions,
        &servers.unwrap_or_else(|| site.effective_servers()),
    )
}

/// What the user is told of it.
pub fn sentence(config: &Path, taken: &TakenBack) -> String {
    let shown = config.display();
    let mut text = match taken.was_on {
        true => format!("{shown} is back to what it was when jobs last ran"),
        false => {
            format!("{shown} is back to what it was before, so pages submit no jobs to Gearman")
        }
    };
    text.push_str(&match taken.waiting {
        0 => String::new(),
        1 => "; 1 job that was submitted meanwhile is queued, and runs once setup succeeds".into(),
        many => format!(
            "; {many} jobs that were submitted meanwhile are queued, and run once setup succeeds"
        ),
    });
    text
}
