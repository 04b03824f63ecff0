//! A repository beside the distribution's own (EPEL): brought only where what
//! is needed cannot be had without it.

use std::sync::Arc;

use anyhow::Result;

use crate::base::problem::Problem;
use crate::host::Host;
use crate::resource::journal::Undo;
use crate::resource::{Change, Resource, ResourceId, State, Verb};

/// What is needed, and the package that brings a repository with it.
pub struct Source {
    pub name: &'static str,
    /// A package's name, or where one is to be fetched.
    pub package: String,
    /// Its name once it is installed.
    pub installed: String,
    /// As in `Packages`.
    pub needs: Vec<Vec<String>>,
}

impl Source {
    /// Something is needed that is neither installed nor to be had.
    fn is_called_for(&self, host: &Host) -> Result<bool> {
        let open = open(host, &self.needs)?;
        if open.is_empty() {
            return Ok(false);
        }
        let names: Vec<String> = open.iter().flat_map(|choices| (*choices).clone()).collect();
        let candidates = host.candidates(&names)?;
        let has = |choices: &Vec<String>| choices.iter().any(|name| candidates.contains(name));
        Ok(!open.into_iter().all(has))
    }

    pub fn is_pending(&self, host: &Host) -> Result<bool> {
        Ok(!host.installed()?.contains_key(&self.installed) && self.is_called_for(host)?)
    }

    /// Whether it is to be brought, with what that would install.
    fn pending(&self, host: &Host) -> Result<Option<Vec<String>>> {
        let is_address = self.package.contains("://");
        if !self.is_pending(host)? {
            return Ok(None);
        }
        if is_address {
            return Ok(Some(vec![self.installed.clone()]));
        }
        let simulation = host
            .simulate_install(std::slice::from_ref(&self.package))
            .map_err(|error| self.refused(error))?;
        let name = |line: &String| line.split(' ').next().map(str::to_owned);
        Ok(Some(simulation.new.iter().filter_map(name).collect()))
    }

    fn refused(&self, error: anyhow::Error) -> anyhow::Error {
        let what = format!("bring {} (the package {})", self.name, self.package);
        match error.downcast::<Problem>() {
            Ok(problem) => Problem { what, ..problem }.into(),
            Err(error) => error.context(what),
        }
    }
}

/// What is needed and not installed.
fn open<'a>(host: &Host, needs: &'a [Vec<String>]) -> Result<Vec<&'a Vec<String>>> {
    let installed = host.installed()?;
    let is_open = |choices: &&Vec<String>| !choices.iter().any(|name| installed.contains_key(name));
    Ok(needs.iter().filter(is_open).collect())
}

/// The source itself.
pub struct Repository {
    pub source: Arc<Source>,
}

impl Resource for Repository {
    fn id(&self) -> ResourceId {
        ResourceId::Repository(self.source.name.to_owned())
    }

    fn inspect(&self, host: &Host) -> Result<State> {
        Ok(match self.source.pending(host)? {
            None => State::Same,
            Some(_) => State::Differs(
                Change::new(Verb::Install)
                    .detail(self.source.package.clone())
                    .detail("what is needed cannot be had without it"),
            ),
        })
    }

    fn undo(&self, host: &Host) -> Result<Option<Undo>> {
        let brought = self.source.pending(host)?.unwrap_or_default();
        Ok(Some(Undo::Packages { brought }))
    }

    fn apply(&self, host: &Host, watch: &dyn Fn(&str)) -> Result<()> {
        host.install(std::slice::from_ref(&self.source.package), watch)
            .map_err(|error| self.source.refused(error))
    }
}

/// A repository that the host knows and has off.
pub struct Enabled {
    /// What its id begins with.
    pub begins: String,
    /// Only while one of these is needed; empty: always.
    pub needs: Vec<Vec<String>>,
    pub on: bool,
}

impl Enabled {
    fn differing(&self, host: &Host) -> Result<Option<String>> {
        if !self.needs.is_empty() && open(host, &self.needs)?.is_empty() {
            return Ok(None);
        }
        let all = host.package_manager()?.repositories(host)?;
        let of = |id: &str| {
            id.starts_with(&self.begins) && !id.contains("debug") && !id.contains("source")
        };
        let ids: Vec<(String, bool)> = all.into_iter().filter(|(id, _)| of(id)).collect();
        if self.on && ids.iter().any(|(_, on)| *on) {
            return Ok(None);
        }
        let other = ids.into_iter().find(|(_, on)| *on != self.on);
        Ok(other.map(|(id, _)| id))
    }
}

impl Resource for Enabled {
    fn id(&self) -> ResourceId {
        ResourceId::Repository(self.begins.trim_end_matches('-').to_owned())
    }

    fn inspect(&self, host: &Host) -> Result<State> {
        let verb = if self.on { Verb::Enable } else { Verb::Disable };
        Ok(match self.differing(host)? {
            None => State::Same,
            Some(id) => State::Differs(Change::new(verb).detail(id)),
        })
    }

    fn undo(&self, host: &Host) -> Result<Option<Undo>> {
        Ok(self.differing(host)?.map(|id| Undo::Repository { id }))
    }

    fn apply(&self, host: &Host, _watch: &dyn Fn(&str)) -> Result<()> {
        match self.differing(host)? {
            Some(id) => host
                .package_manager()?
                .switch_repository(host, &id, self.on),
            None => Ok(()),
        }
    }
}
