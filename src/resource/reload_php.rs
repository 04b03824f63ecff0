//! Reloads the web's PHP to load the extension, as PHP reads its ini files only
//! when it starts.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::base::problem::Problem;
use crate::host::Host;
use crate::resource::{Change, Resource, ResourceId, State, Verb};
use crate::site::php::{Php, without_extension};
use crate::site::web_php::{self, WebPhp};

/// How long a reload may take: PHP reads its files after the signal returns.
const PATIENCE: Duration = Duration::from_secs(10);

pub struct ReloadPhp {
    /// The PHPs of the sites' workers, which have the extension by now.
    pub phps: Vec<Php>,
    /// What gives them the extension, if they do not have it yet.
    pub after: ResourceId,
}

impl ReloadPhp {
    /// The processes that run without the extension, and whether its ini file
    /// is there for all of them.
    fn lacking(&self, host: &Host) -> Result<(BTreeSet<WebPhp>, bool)> {
        let processes = host.processes();
        let mut all = BTreeSet::new();
        let mut ready = true;
        for php in &self.phps {
            let mut lacking = web_php::serving(host, &processes, php)?;
            lacking.retain(|web| !web.has_extension(host));
            ready &= lacking.is_empty() || without_extension(host, php)?.is_empty();
            all.extend(lacking);
        }
        Ok((all, ready))
    }
}

fn names(all: &BTreeSet<WebPhp>) -> String {
    let names: Vec<String> = all.iter().map(WebPhp::to_string).collect();
    names.join(" ")
}

impl Resource for ReloadPhp {
    fn id(&self) -> ResourceId {
        ResourceId::WebPhp
    }

    fn inspect(&self, host: &Host) -> Result<State> {
        let (all, ready) = self.lacking(host)?;
        if all.is_empty() {
            return Ok(State::Same);
        }
        let change = Change::new(Verb::Reload).detail(format!(
            "{}: it has not loaded the gearman extension",
            names(&all)
        ));
        let cautions = web_php::cautions(&all);
        let change = cautions.into_iter().fold(change, Change::detail);
        Ok(match ready {
            true => State::Differs(change),
            false => State::After(self.after.clone(), change),
        })
    }

    fn apply(&self, host: &Host, watch: &dyn Fn(&str)) -> Result<()> {
        let (all, ready) = self.lacking(host)?;
        if !ready {
            return Ok(()); // the check that follows reports it
        }
        web_php::reload(host, &all, watch)?;
        let start = Instant::now();
        loop {
            let (left, _) = self.lacking(host)?;
            let Some(one) = left.first() else {
                return Ok(());
            };
            if start.elapsed() > PATIENCE {
                let what = format!("load the gearman extension into {one}");
                let restart = one.restart_hint(host.platform()?);
                let help = format!("check its log and 'php -m', then {restart} and run again");
                return Err(
                    Problem::new(what, "it still runs without it after a reload")
                        .help(help)
                        .into(),
                );
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Reloads PHP to unload an extension that was removed.
pub struct UnloadExtension;

impl UnloadExtension {
    fn holding(host: &Host) -> Result<BTreeSet<WebPhp>> {
        let mut all = web_php::all(host, &host.processes())?;
        all.retain(|web| web.has_removed_extension(host));
        Ok(all.into_iter().collect())
    }
}

impl Resource for UnloadExtension {
    fn id(&self) -> ResourceId {
        ResourceId::WebPhp
    }

    /// Nothing holds a removed extension before the packages are removed; their
    /// step announces this one.
    fn inspect(&self, host: &Host) -> Result<State> {
        let all = UnloadExtension::holding(host)?;
        Ok(match all.is_empty() {
            true => State::Same,
            false => State::Differs(Change::new(Verb::Reload).detail(names(&all))),
        })
    }

    fn apply(&self, host: &Host, watch: &dyn Fn(&str)) -> Result<()> {
        web_php::reload(host, &UnloadExtension::holding(host)?, watch)?;
        // A process that takes longer unloads it after its last request.
        let start = Instant::now();
        while start.elapsed() < PATIENCE && !UnloadExtension::holding(host)?.is_empty() {
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}
