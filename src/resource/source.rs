//! The package that adds a repository, and whether anything needs it.

use anyhow::Result;

use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::platform::SigningKey;

/// A package that adds a repository, and what is required from it.
pub struct Source {
    pub name: &'static str,
    /// A package's name, or a URL to fetch it from.
    pub package: String,
    /// The key that signs the package, if it is a URL.
    pub key: Option<SigningKey>,
    /// Its name when it is installed.
    pub installed: String,
    /// As in `Packages`.
    pub required: Vec<Vec<String>>,
}

impl Source {
    /// Whether something is required that is neither installed nor available.
    fn is_called_for(&self, host: &Host) -> Result<bool> {
        let open = open(host, &self.required)?;
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

    /// What adding it would install; `None` if it is not needed.
    pub fn pending(&self, host: &Host) -> Result<Option<Vec<String>>> {
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

    pub fn refused(&self, error: anyhow::Error) -> anyhow::Error {
        let what = format!("add {} (the package {})", self.name, self.package);
        match error.downcast::<Problem>() {
            Ok(problem) => Problem { what, ..problem }.into(),
            Err(error) => error.context(what),
        }
    }
}

/// What is required but not installed.
pub fn open<'a>(host: &Host, required: &'a [Vec<String>]) -> Result<Vec<&'a Vec<String>>> {
    let installed = host.installed()?;
    let is_open = |choices: &&Vec<String>| !choices.iter().any(|name| installed.contains_key(name));
    Ok(required.iter().filter(is_open).collect())
}
