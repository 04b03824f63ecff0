//! Packages: what is installed, what a package manager would do, and doing it.
//! Each package manager is one file with a `PackageManager`.

pub(super) mod apt;
pub(super) mod dnf;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::commands::{Command, Output};

/// How long to wait while another package manager holds the locks.
const LOCK_WAIT: Duration = Duration::from_secs(300);
/// How long a change, or a download of the lists, may take.
const CHANGE_LIMIT: Duration = Duration::from_secs(1800);

/// Name and version of each package that is installed and configured.
pub type Installed = BTreeMap<String, String>;

/// Whether each package that was asked about can be installed, or why that is unknown.
#[derive(Default)]
pub struct Candidates {
    known: BTreeMap<String, bool>,
    failed: Option<Problem>,
}

/// What simulations said.
pub type Simulations = BTreeMap<(Operation, Vec<String>), Simulation>;

/// What a package manager would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Simulation {
    /// "name version" of each package that would be new.
    pub new: Vec<String>,
    pub upgraded: Vec<String>,
    pub removed: Vec<String>,
}

/// What is done to packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Install,
    /// Configuration files go, too. Other packages stay, even those that
    /// nothing needs any more.
    Remove,
}

/// The state of the lists of available packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lists {
    /// The package manager fetches them when it needs to.
    Automatic,
    Fresh,
    /// The mirrors may no longer have what they name.
    Old,
}

/// A package manager. Its commands never ask a question, wait a limited time
/// for another package manager, and are bounded in time themselves.
pub trait PackageManager: Debug + Sync {
    fn installed(&self, host: &Host) -> Result<Installed>;

    /// Those of the names that can be installed, by the present lists.
    fn candidates(&self, host: &Host, names: &[String]) -> Result<Vec<String>>;

    /// What the operation would do; changes nothing.
    fn simulate(&self, host: &Host, operation: Operation, names: &[String]) -> Result<Simulation>;

    /// Does it. `watch` gets the last line of output now and then.
    fn apply(
        &self,
        host: &Host,
        operation: Operation,
        names: &[String],
        watch: &dyn Fn(&str),
    ) -> Result<()>;

    /// Accepts packages that this key signs, besides those of its repositories.
    fn trust(&self, host: &Host, key: Vec<u8>) -> Result<()>;

    /// Whether packages of PHP's extensions may restart php-fpm, which ends requests
    /// that run.
    fn restarts_php(&self) -> bool {
        true
    }

    fn lists(&self, host: &Host) -> Lists;

    /// Fetches the lists.
    fn update_lists(&self, host: &Host, watch: &dyn Fn(&str)) -> Result<()>;

    /// Those of the names that the package manager's settings exclude. Other
    /// ways to hold a package back show when it is to be installed.
    fn excluded(&self, _host: &Host, _names: &[String]) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// Advice on how to allow excluded packages.
    fn exclusion_hint(&self, _host: &Host) -> String {
        String::new()
    }

    /// The ids of the configured repositories, each with whether it is enabled.
    fn repositories(&self, _host: &Host) -> Result<Vec<(String, bool)>> {
        Ok(Vec::new())
    }

    fn switch_repository(&self, _host: &Host, _id: &str, _on: bool) -> Result<()> {
        Ok(())
    }

    /// The ids of the repositories that an installed package added.
    fn repositories_of(&self, _host: &Host, _package: &str) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// Installed packages with the id of the repository that each came from.
    fn origins(&self, _host: &Host) -> Result<BTreeMap<String, String>> {
        Ok(BTreeMap::new())
    }
}

/// What helps if another package manager does not end in time.
const LOCKED_HELP: &str = "another package manager is running: wait for it, then run again";

/// Runs the command again while another package manager holds the locks. The
/// output may still say that it does, after `LOCK_WAIT`.
fn run_when_unlocked(
    host: &Host,
    command: &Command,
    is_locked: fn(&Output) -> bool,
    watch: &dyn Fn(&str),
) -> Result<Output> {
    let begun = Instant::now();
    loop {
        let output = host.run_watched(command, watch)?;
        if !is_locked(&output) || begun.elapsed() > LOCK_WAIT {
            return Ok(output);
        }
        watch("waiting for another package manager");
        std::thread::sleep(Duration::from_secs(2));
    }
}

impl Host {
    /// This platform's package manager. What the methods of `Host` remember,
    /// this one asks again each time.
    pub fn package_manager(&self) -> Result<&'static dyn PackageManager> {
        Ok(self.platform()?.family.packages)
    }

    /// All installed packages; kept until a command changes something.
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
        let installed = self.package_manager()?.installed(self)?;
        *known = Some(installed.clone());
        Ok(installed)
    }

    /// Those of the names that can be installed, by the present lists; kept
    /// until a command changes something.
    pub fn candidates(&self, names: &[String]) -> Result<Vec<String>> {
        let mut candidates = self
            .candidates
            .lock()
            .unwrap_or_else(|held| held.into_inner());
        let new: Vec<String> = names
            .iter()
            .filter(|name| !candidates.known.contains_key(*name))
            .cloned()
            .collect();
        if !new.is_empty() {
            // A mirror that did not answer is not waited for again.
            if let Some(problem) = &candidates.failed {
                return Err(problem.clone().into());
            }
            let answer = self.package_manager()?.candidates(self, &new);
            let found = answer.inspect_err(|error| {
                candidates.failed = error.downcast_ref::<Problem>().cloned();
            })?;
            candidates.known.extend(new.into_iter().map(|name| {
                let can_be_installed = found.contains(&name);
                (name, can_be_installed)
            }));
        }
        let can_be_installed =
            |name: &&String| candidates.known.get(*name).copied().unwrap_or_default();
        Ok(names.iter().filter(can_be_installed).cloned().collect())
    }

    /// Whether none of the packages can be had here. Old lists cannot tell, nor
    /// can any list before the repository is added that setup would add.
    pub fn is_withheld(&self, names: &[String]) -> Result<bool> {
        let installed = self.installed()?;
        let platform = self.platform()?;
        let adds_repository = platform
            .source()
            .and_then(|source| source.installed_name(platform))
            .is_some_and(|name| !installed.contains_key(&name));
        Ok(!names.iter().any(|name| installed.contains_key(name))
            && !adds_repository
            && !self.lists_are_old()
            && self.candidates(names)?.is_empty())
    }

    pub fn simulate_install(&self, names: &[String]) -> Result<Simulation> {
        self.simulate(Operation::Install, names)
    }

    pub fn simulate_purge(&self, names: &[String]) -> Result<Simulation> {
        self.simulate(Operation::Remove, names)
    }

    /// Kept until a command changes something.
    fn simulate(&self, operation: Operation, names: &[String]) -> Result<Simulation> {
        let mut known = self
            .simulations
            .lock()
            .unwrap_or_else(|held| held.into_inner());
        let question = (operation, names.to_vec());
        if let Some(simulation) = known.get(&question) {
            return Ok(simulation.clone());
        }
        let simulation = self.package_manager()?.simulate(self, operation, names)?;
        known.insert(question, simulation.clone());
        Ok(simulation)
    }

    /// Whether the mirrors may no longer have what the lists name.
    pub fn lists_are_old(&self) -> bool {
        let lists = self.package_manager().map(|manager| manager.lists(self));
        lists.is_ok_and(|lists| lists == Lists::Old)
    }

    pub fn install(&self, names: &[String], watch: &dyn Fn(&str)) -> Result<()> {
        self.package_manager()?
            .apply(self, Operation::Install, names, watch)
    }

    pub fn purge(&self, names: &[String], watch: &dyn Fn(&str)) -> Result<()> {
        self.package_manager()?
            .apply(self, Operation::Remove, names, watch)
    }
}
