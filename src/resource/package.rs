//! Packages, installed and removed by the package manager.

use std::sync::Arc;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::packages::{Lists, Simulation};
use crate::resource::extension::Extension;
use crate::resource::source::Source;
use crate::resource::{
    Change, Inverse, Phase, Resource, ResourceId, Revert, RevertContext, Reverted, State, Verb,
};
use crate::site::web_php;

#[derive(Default)]
pub struct Packages {
    /// For each requirement, the packages that provide it, best first.
    pub required: Vec<Vec<String>>,
    /// Like `required`, but if none is available, a later step does without it.
    pub preferred: Vec<Vec<String>>,
    /// The packages are only for building this, if it has to be built.
    pub builds: Option<Extension>,
    /// Installed as well, if available.
    pub optional: Vec<String>,
    /// The repository for packages that the enabled ones do not have.
    pub source: Option<Arc<Source>>,
    /// The job server's package, and the error if no repository has it.
    pub no_server: Option<(String, Problem)>,
    /// Whether other packages may be upgraded or removed.
    pub allow_upgrades: bool,
}

impl Packages {
    /// What has to be installed.
    fn missing(&self, host: &Host) -> Result<Vec<String>> {
        if let Some(extension) = &self.builds
            && !extension.is_called_for(host)?
        {
            return Ok(Vec::new());
        }
        let installed = host.installed()?;
        let open: Vec<&Vec<String>> = self
            .required
            .iter()
            .chain(&self.preferred)
            .filter(|choices| {
                choices
                    .first()
                    .is_none_or(|best| !installed.contains_key(best))
            })
            .collect();
        let optional = self
            .optional
            .iter()
            .filter(|name| !installed.contains_key(*name));
        let optional: Vec<String> = optional.cloned().collect();
        if open.is_empty() && optional.is_empty() {
            return Ok(Vec::new());
        }
        let mut names: Vec<String> = open.iter().flat_map(|choices| (*choices).clone()).collect();
        names.extend(optional.iter().cloned());
        let candidates = host.candidates(&names)?;
        // Neither old lists nor those of a missing repository tell what is available.
        let unknown = host.lists_are_old() || self.is_source_pending(host)?;
        let optional = optional
            .into_iter()
            .filter(|name| candidates.contains(name));
        Ok(open
            .into_iter()
            .filter_map(|choices| {
                let best = choices
                    .iter()
                    .find(|name| installed.contains_key(*name) || candidates.contains(name))
                    .or(choices
                        .last()
                        .filter(|_| unknown || !self.preferred.contains(choices)))?;
                (!installed.contains_key(best)).then(|| best.clone())
            })
            .chain(optional)
            .collect())
    }

    fn is_source_pending(&self, host: &Host) -> Result<bool> {
        let source = self.source.as_ref();
        source.map_or(Ok(false), |source| source.is_pending(host))
    }

    /// Refuses packages that the administrator excluded: no repository can help.
    fn refuse_excluded(&self, host: &Host) -> Result<()> {
        let installed = host.installed()?;
        let manager = host.package_manager()?;
        let is_there = |name: &String| installed.contains_key(name);
        for choices in self.required.iter().filter(|all| !all.iter().any(is_there)) {
            if manager.excluded(host, choices)?.len() == choices.len() {
                let what = format!("install {}", choices.join(" or "));
                let why = "the package manager is configured to exclude it on this host";
                let help = format!("{}, then run again", manager.exclusion_hint(host));
                return Err(Problem::new(what, why).help(help).into());
            }
        }
        Ok(())
    }

    /// Explains what to do if no repository has the job server.
    fn refuse_without_server(&self, host: &Host, missing: &[String]) -> Result<()> {
        let Some((package, problem)) = &self.no_server else {
            return Ok(());
        };
        if missing.contains(package) && host.candidates(std::slice::from_ref(package))?.is_empty() {
            return Err(problem.clone().into());
        }
        Ok(())
    }

    /// Refuses before the first change if the build cannot succeed.
    fn refuse_without_compiler(&self, host: &Host, missing: &[String]) -> Result<()> {
        let Some(extension) = &self.builds else {
            return Ok(());
        };
        let candidates = host.candidates(missing)?;
        let mut absent = missing.to_vec();
        absent.retain(|name| !candidates.contains(name));
        if absent.is_empty() || host.lists_are_old() {
            return Ok(());
        }
        let why = format!("no enabled repository has {}", absent.join(" "));
        Err(Problem::new(format!("build {}", extension.id()), why)
            .help(format!(
                "enable one that has {}, or one that has the extension's package ({}), then run again",
                absent.join(" "),
                extension.packages.join(" or ")
            ))
            .into())
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
            .help("run again with --allow-upgrades to allow this")
            .into())
    }
}

impl Resource for Packages {
    fn id(&self) -> ResourceId {
        match &self.builds {
            Some(extension) => ResourceId::BuildPackages(extension.php.label()),
            None => ResourceId::Packages,
        }
    }

    fn inspect(&self, host: &Host) -> Result<State> {
        let missing = self.missing(host)?;
        self.refuse_without_compiler(host, &missing)?;
        if missing.is_empty() {
            return Ok(State::Same);
        }
        let change = Change {
            names: missing.clone(),
            ..Change::new(Verb::Install).detail(missing.join(" "))
        };
        self.refuse_excluded(host)?;
        if let Some(source) = &self.source
            && self.is_source_pending(host)?
        {
            let after = ResourceId::Repository(source.name.to_owned());
            let mut change = change;
            for choices in &self.preferred {
                if host.candidates(choices)?.is_empty() {
                    change = change.detail(format!(
                        "{} if {} has it for this PHP; otherwise the extension is built, which needs a compiler and headers",
                        choices.join(" or "),
                        source.name
                    ));
                }
            }
            return Ok(State::After(after, change));
        }
        self.refuse_without_server(host, &missing)?;
        Ok(State::Differs(match host.simulate_install(&missing) {
            Ok(simulation) => {
                self.permit(&simulation)?;
                let others = match simulation.new.len().saturating_sub(missing.len()) {
                    0 => "no dependencies".to_owned(),
                    1 => "1 dependency".to_owned(),
                    many => format!("{many} dependencies"),
                };
                let mut change = change.detail(format!(
                    "with {others}; nothing is upgraded or removed: {}",
                    simulation.new.join(", ")
                ));
                change.names.push(others);
                let may_restart =
                    !simulation.upgraded.is_empty() || host.package_manager()?.restarts_php();
                match may_restart && missing.iter().any(|name| is_extension(name)) {
                    true => change.detail(RESTARTS),
                    false => change,
                }
            }
            Err(error) if !host.lists_are_old() => return Err(error),
            // The lists are fetched first.
            Err(_) => change.detail("the package lists are old and are fetched first"),
        }))
    }

    fn inverses(&self, host: &Host) -> Result<Vec<Inverse>> {
        let missing = self.missing(host)?;
        let brought = match host.simulate_install(&missing) {
            Ok(simulation) => simulation
                .new
                .iter()
                .filter_map(|line| line.split(' ').next().map(str::to_owned))
                .collect(),
            Err(_) => missing,
        };
        Ok(vec![Inverse::Packages(PackagesInverse { brought })])
    }

    /// Fetches the package lists: without them `inverses` cannot tell what will be
    /// installed.
    fn prepare(&self, host: &Host, watch: &dyn Fn(&str)) -> Result<()> {
        let missing = self.missing(host)?;
        let manager = host.package_manager()?;
        let outdated = match manager.lists(host) {
            Lists::Automatic => false,
            Lists::Fresh => host.simulate_install(&missing).is_err(),
            Lists::Old => true,
        };
        if outdated {
            manager.update_lists(host, watch)?;
        }
        self.permit(&host.simulate_install(&self.missing(host)?)?)
    }

    fn apply(&self, host: &Host, watch: &dyn Fn(&str)) -> Result<()> {
        host.install(&self.missing(host)?, watch)
    }
}

/// What a plan says of a package manager that does not spare php-fpm.
const RESTARTS: &str = "its scripts may restart php-fpm: pages may fail for a moment";

/// Whether the package is one of the gearman extension.
pub fn is_extension(name: &str) -> bool {
    name.starts_with("php") && name.ends_with("-gearman")
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackagesInverse {
    /// The packages that the package manager announced as new.
    pub brought: Vec<String>,
}

impl Revert for PackagesInverse {
    fn id(&self) -> ResourceId {
        ResourceId::Packages
    }

    fn fold(self, later: Self) -> Self {
        let mut brought = self.brought;
        brought.extend(later.brought);
        brought.sort();
        brought.dedup();
        PackagesInverse { brought }
    }

    fn revert(&self, context: &RevertContext) -> Result<Reverted> {
        if !context.purge {
            let there = brought_now(context.host, &self.brought)?;
            if there.is_empty() {
                return Ok(Reverted::default()); // the package manager failed
            }
            let services = self.still_run(context.host)?;
            let run = match services.is_empty() {
                true => String::new(),
                false => format!(", with services that keep running: {}", services.join(" ")),
            };
            return Ok(Reverted::kept(format!(
                "the packages that setup installed: {}{run} ('wp-gears remove --purge' removes them)",
                there.join(" ")
            )));
        }
        let brought = self.brought.clone();
        Ok(Reverted::by(Phase::Packages, RemovePackages { brought }))
    }
}

impl PackagesInverse {
    /// The services of these packages that a removal without them leaves running.
    fn still_run(&self, host: &Host) -> Result<Vec<&'static str>> {
        let gearmand = &host.platform()?.family.gearmand;
        let supervisor = host.supervisor()?;
        let units = [
            (Some(gearmand.package), gearmand.unit),
            (supervisor.package, supervisor.unit),
        ];
        let mut running = Vec::new();
        for (package, unit) in units {
            let brought = package.is_some_and(|it| self.brought.iter().any(|one| one == it));
            if brought && host.unit(unit, &[gearmand.unit, supervisor.unit])?.active {
                running.push(unit);
            }
        }
        Ok(running)
    }
}

/// The packages among them that are installed. Without a package manager, all may be.
fn brought_now(host: &Host, brought: &[String]) -> Result<Vec<String>> {
    if !host.live() {
        return Ok(brought.to_vec());
    }
    let installed = host.installed()?;
    let is_there = |name: &&String| installed.contains_key(*name);
    Ok(brought.iter().filter(is_there).cloned().collect())
}

/// Removes what setup installed, unless other packages need it by now.
struct RemovePackages {
    brought: Vec<String>,
}

impl RemovePackages {
    fn removable(&self, host: &Host) -> Result<Vec<String>> {
        let mut present = brought_now(host, &self.brought)?;
        let used = self.used(host, &present)?;
        present.retain(|name| used.iter().all(|(repository, _)| repository != name));
        if present.is_empty() || self.only_ours(host, &present)? {
            return Ok(present);
        }
        // Other packages need some of them: find those that can be removed.
        let mut removable = Vec::new();
        for name in present {
            if self.only_ours(host, std::slice::from_ref(&name))? {
                removable.push(name);
            }
        }
        Ok(removable)
    }

    /// Packages that added a repository which other packages came from, each
    /// with one of those.
    fn used(&self, host: &Host, present: &[String]) -> Result<Vec<(String, String)>> {
        let manager = host.package_manager()?;
        let mut used = Vec::new();
        for package in present.iter().filter(|name| name.contains("-release")) {
            let ids = manager.repositories_of(host, package)?;
            if ids.is_empty() {
                continue;
            }
            let user = manager
                .origins(host)?
                .into_iter()
                .find(|(name, origin)| ids.contains(origin) && !self.brought.contains(name));
            used.extend(user.map(|(name, _)| (package.clone(), name)));
        }
        Ok(used)
    }

    fn only_ours(&self, host: &Host, names: &[String]) -> Result<bool> {
        let simulation = host.simulate_purge(names)?;
        Ok(simulation
            .removed
            .iter()
            .all(|name| self.brought.contains(name)))
    }
}

impl Resource for RemovePackages {
    fn id(&self) -> ResourceId {
        ResourceId::Packages
    }

    fn inspect(&self, host: &Host) -> Result<State> {
        let names = self.removable(host)?;
        Ok(match names.is_empty() {
            true => State::Same,
            false => {
                let mut change = Change::new(Verb::Purge).detail(names.join(" "));
                if names.iter().any(|name| is_extension(name)) {
                    change =
                        change.detail("then the web's PHP is reloaded to unload the extension");
                    let holding = web_php::all(host, &host.processes())?;
                    let holding = holding.iter().filter(|web| web.has_extension(host));
                    change = web_php::cautions(holding)
                        .into_iter()
                        .fold(change, Change::detail);
                    if host.package_manager()?.restarts_php() {
                        change = change.detail(RESTARTS);
                    }
                }
                for (package, user) in self.used(host, &brought_now(host, &self.brought)?)? {
                    change = change.detail(format!("{package} is kept: {user} came from it"));
                }
                State::Differs(change)
            }
        })
    }

    fn apply(&self, host: &Host, watch: &dyn Fn(&str)) -> Result<()> {
        host.purge(&self.removable(host)?, watch)
    }
}
