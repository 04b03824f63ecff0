//! Packages: brought by the package manager, or taken out again.

use anyhow::Result;

use super::{Change, Resource, State};
use crate::host::Host;
use crate::host::packages::Simulation;
use crate::journal::Undo;
use crate::problem::Problem;

pub struct Packages {
    /// For each thing that is needed the packages that bring it, most fitting first.
    pub needs: Vec<Vec<String>>,
    /// Whether other packages may be upgraded or removed for it.
    pub allow_upgrades: bool,
}

impl Packages {
    /// What is still to be installed.
    fn missing(&self, host: &Host) -> Result<Vec<String>> {
        let installed = host.installed()?;
        let open: Vec<&Vec<String>> = self
            .needs
            .iter()
            .filter(|choices| {
                choices
                    .first()
                    .is_none_or(|best| !installed.contains_key(best))
            })
            .collect();
        if open.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<String> = open.iter().flat_map(|choices| (*choices).clone()).collect();
        let candidates = host.candidates(&names)?;
        Ok(open
            .into_iter()
            .filter_map(|choices| {
                let best = choices
                    .iter()
                    .find(|name| installed.contains_key(*name) || candidates.contains(name))
                    .or(choices.last())?;
                (!installed.contains_key(best)).then(|| best.clone())
            })
            .collect())
    }

    fn permit(&self, simulation: &Simulation) -> Result<()> {
        if self.allow_upgrades || (simulation.upgraded.is_empty() && simulation.removed.is_empty())
        {
            return Ok(());
        }
        let mut why = String::from("the package manager would also");
        for (verb, names) in [
            ("upgrade", &simulation.upgraded),
            ("remove", &simulation.removed),
        ] {
            if !names.is_empty() {
                why.push_str(&format!(" {verb} {}", names.join(" ")));
            }
        }
        Err(Problem::new("install the packages", why)
            .advice("if that is all right, run again with --allow-upgrades")
            .into())
    }
}

impl Resource for Packages {
    fn name(&self) -> String {
        "packages".into()
    }

    fn inspect(&self, host: &Host) -> Result<State> {
        let missing = self.missing(host)?;
        if missing.is_empty() {
            return Ok(State::Same);
        }
        let change = Change::new("install").detail(missing.join(" "));
        Ok(State::Differs(match host.simulate_install(&missing) {
            Ok(simulation) => {
                self.permit(&simulation)?;
                let others = simulation.new.len().saturating_sub(missing.len());
                change.detail(format!(
                    "with {others} that they need; nothing is upgraded or removed: {}",
                    simulation.new.join(", ")
                ))
            }
            // Lists that were never fetched: the first act is to fetch them.
            Err(_) => change.detail("the package lists are fetched first (what is there is old)"),
        }))
    }

    fn undo(&self, host: &Host) -> Result<Option<Undo>> {
        let missing = self.missing(host)?;
        let brought = match host.simulate_install(&missing) {
            Ok(simulation) => simulation
                .new
                .iter()
                .filter_map(|line| line.split(' ').next().map(str::to_owned))
                .collect(),
            Err(_) => missing,
        };
        Ok(Some(Undo::Packages { brought }))
    }

    /// Fetching the lists belongs to the act: without them nobody knows what
    /// would be brought. It comes before `undo` is asked for.
    fn prepare(&self, host: &Host, watch: &dyn Fn(&str)) -> Result<()> {
        let missing = self.missing(host)?;
        if host.simulate_install(&missing).is_err() || host.lists_are_old() {
            host.update_lists(watch)?;
        }
        self.permit(&host.simulate_install(&self.missing(host)?)?)
    }

    fn apply(&self, host: &Host, watch: &dyn Fn(&str)) -> Result<()> {
        host.install(&self.missing(host)?, watch)
    }
}

/// The other way: takes out what we brought, as far as nobody else needs it.
pub struct WithoutPackages {
    pub brought: Vec<String>,
}

impl WithoutPackages {
    fn removable(&self, host: &Host) -> Result<Vec<String>> {
        let installed = host.installed()?;
        let present: Vec<String> = self
            .brought
            .iter()
            .filter(|name| installed.contains_key(*name))
            .cloned()
            .collect();
        if present.is_empty() || self.only_ours(host, &present)? {
            return Ok(present);
        }
        // Something else needs one of them: find which can go alone.
        let mut removable = Vec::new();
        for name in present {
            if self.only_ours(host, std::slice::from_ref(&name))? {
                removable.push(name);
            }
        }
        Ok(removable)
    }

    fn only_ours(&self, host: &Host, names: &[String]) -> Result<bool> {
        let simulation = host.simulate_purge(names)?;
        Ok(simulation
            .removed
            .iter()
            .all(|name| self.brought.contains(name)))
    }
}

impl Resource for WithoutPackages {
    fn name(&self) -> String {
        "packages".into()
    }

    fn inspect(&self, host: &Host) -> Result<State> {
        let names = self.removable(host)?;
        Ok(match names.is_empty() {
            true => State::Same,
            false => State::Differs(Change::new("purge").detail(names.join(" "))),
        })
    }

    fn undo(&self, _host: &Host) -> Result<Option<Undo>> {
        Ok(None)
    }

    fn apply(&self, host: &Host, watch: &dyn Fn(&str)) -> Result<()> {
        host.purge(&self.removable(host)?, watch)
    }
}
