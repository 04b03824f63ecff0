//! Packages: what is installed, what the package manager would do, and doing it.

mod apt;
mod dnf;

use std::collections::BTreeMap;

use anyhow::Result;

use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::platform::Manager;

/// Name and version of each package that is installed and configured.
pub type Installed = BTreeMap<String, String>;

/// Whether each package that was asked about can be installed, or why nobody knows.
#[derive(Default)]
pub struct Candidates {
    there: BTreeMap<String, bool>,
    failed: Option<Problem>,
}

/// What was asked of the package manager, and its answer.
pub type Simulations = BTreeMap<(&'static str, Vec<String>), Simulation>;

/// What the package manager says it would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Simulation {
    /// "name version" of each that would be new.
    pub new: Vec<String>,
    pub upgraded: Vec<String>,
    pub removed: Vec<String>,
}

impl Host {
    /// All that is installed; asked once, until a command changes something.
    pub fn installed(&self) -> Result<Installed> {
        if !self.live() {
            return Ok(Installed::new());
        }
        let mut known = self
            .packages
            .lock()
            .unwrap_or_else(|held| held.into_inner());
        if let Some(installed) = &*known {
            return Ok(installed.clone());
        }
        let installed = match self.platform()?.family.manager {
            Manager::Apt => apt::installed(self)?,
            Manager::Dnf => dnf::installed(self)?,
        };
        *known = Some(installed.clone());
        Ok(installed)
    }

    /// Which of the names can be installed from the lists that are there now;
    /// asked once, until a command changes something.
    pub fn candidates(&self, names: &[String]) -> Result<Vec<String>> {
        let mut known = self
            .candidates
            .lock()
            .unwrap_or_else(|held| held.into_inner());
        let new: Vec<String> = names
            .iter()
            .filter(|name| !known.there.contains_key(*name))
            .cloned()
            .collect();
        if !new.is_empty() {
            // Nobody waits again for what was waited for in vain.
            if let Some(problem) = &known.failed {
                return Err(problem.clone().into());
            }
            let asked = match self.platform()?.family.manager {
                Manager::Apt => apt::candidates(self, &new),
                Manager::Dnf => dnf::candidates(self, &new),
            };
            let found = asked.inspect_err(|error| {
                known.failed = error.downcast_ref::<Problem>().cloned();
            })?;
            known.there.extend(new.into_iter().map(|name| {
                let is_there = found.contains(&name);
                (name, is_there)
            }));
        }
        let is_there = |name: &&String| known.there.get(*name).copied().unwrap_or_default();
        Ok(names.iter().filter(is_there).cloned().collect())
    }

    /// Whether none of the names can be had here. Lists that were not fetched
    /// for long cannot say so, nor what setup would bring EPEL for.
    pub fn is_withheld(&self, names: &[String]) -> Result<bool> {
        let installed = self.installed()?;
        let platform = self.platform()?;
        let brings = platform
            .source()
            .and_then(|source| source.installed_name(platform))
            .is_some_and(|name| !installed.contains_key(&name));
        Ok(!names.iter().any(|name| installed.contains_key(name))
            && !brings
            && !self.lists_are_old()
            && self.candidates(names)?.is_empty())
    }

    /// Which of the names an administrator keeps from this host; what is held
    /// back in other ways shows when an install is tried.
    pub fn excluded(&self, names: &[String]) -> Result<Vec<String>> {
        match self.platform()?.family.manager {
            Manager::Apt => Ok(Vec::new()),
            Manager::Dnf => dnf::excluded(self, names),
        }
    }

    /// What installing them would do, by the package manager's own word.
    pub fn simulate_install(&self, names: &[String]) -> Result<Simulation> {
        self.simulate("install", names)
    }

    pub fn simulate_purge(&self, names: &[String]) -> Result<Simulation> {
        self.simulate("purge", names)
    }

    /// Asked once, until a command changes something.
    fn simulate(&self, verb: &'static str, names: &[String]) -> Result<Simulation> {
        let mut known = self
            .simulations
            .lock()
            .unwrap_or_else(|held| held.into_inner());
        let question = (verb, names.to_vec());
        if let Some(simulation) = known.get(&question) {
            return Ok(simulation.clone());
        }
        let simulation = match (self.platform()?.family.manager, verb) {
            (Manager::Apt, verb) => apt::simulate(self, verb, names)?,
            (Manager::Dnf, "purge") => dnf::simulate(self, "remove", names)?,
            (Manager::Dnf, verb) => dnf::simulate(self, verb, names)?,
        };
        known.insert(question, simulation.clone());
        Ok(simulation)
    }

    /// Fetches the lists of what there is.
    pub fn update_lists(&self, watch: &dyn Fn(&str)) -> Result<()> {
        match self.platform()?.family.manager {
            Manager::Apt => apt::update(self, watch),
            Manager::Dnf => dnf::update(self, watch),
        }
    }

    /// Whether the lists are so old that what they name may be gone from the mirrors.
    pub fn lists_are_old(&self) -> bool {
        let day = std::time::Duration::from_secs(24 * 3600);
        match self.platform().map(|platform| platform.family.manager) {
            Ok(Manager::Apt) => apt::lists_age(self).is_none_or(|age| age > day),
            // dnf knows how long its lists are good, and fetches them by itself.
            _ => false,
        }
    }

    pub fn install(&self, names: &[String], watch: &dyn Fn(&str)) -> Result<()> {
        match self.platform()?.family.manager {
            Manager::Apt => apt::change(self, "install", names, watch),
            Manager::Dnf => dnf::change(self, "install", names, watch),
        }
    }

    pub fn purge(&self, names: &[String], watch: &dyn Fn(&str)) -> Result<()> {
        match self.platform()?.family.manager {
            Manager::Apt => apt::change(self, "purge", names, watch),
            Manager::Dnf => dnf::change(self, "remove", names, watch),
        }
    }

    /// Whether the package manager fetches its lists by itself, when they are due.
    pub fn lists_are_fetched(&self) -> bool {
        self.platform()
            .is_ok_and(|platform| platform.family.manager == Manager::Dnf)
    }

    /// The repositories that the host knows, and which are on.
    pub fn repositories(&self) -> Result<Vec<(String, bool)>> {
        match self.platform()?.family.manager {
            Manager::Apt => Ok(Vec::new()),
            Manager::Dnf => dnf::repositories(self),
        }
    }

    pub fn switch_repository(&self, id: &str, on: bool) -> Result<()> {
        match self.platform()?.family.manager {
            Manager::Apt => Ok(()),
            Manager::Dnf => dnf::switch_repository(self, id, on),
        }
    }

    /// The ids of the repositories that an installed package brought.
    pub fn repositories_of(&self, package: &str) -> Result<Vec<String>> {
        match self.platform()?.family.manager {
            Manager::Apt => Ok(Vec::new()),
            Manager::Dnf => dnf::repositories_of(self, package),
        }
    }

    /// From which repository each installed package came, where that is known.
    pub fn origins(&self) -> Result<BTreeMap<String, String>> {
        match self.platform()?.family.manager {
            Manager::Apt => Ok(BTreeMap::new()),
            Manager::Dnf => dnf::origins(self),
        }
    }
}
