//! A service: enabled at boot, running, and up to date with its files.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::base::paths::ALERT_TIMER;
use crate::base::problem::Problem;
use crate::gearman::options::Wanted;
use crate::gearman::password::Secret;
use crate::gearman::{instance, port_rules};
use crate::host::Host;
use crate::host::platform::Family;
use crate::host::services::{Action, Unit};
use crate::host::supervisor::PIP;
use crate::queue::running;
use crate::resource::{
    Change, Inverse, Phase, Resource, ResourceId, Revert, RevertContext, Reverted, State, Verb,
};

/// Why the running process does not match its files, for the user; `None` if it
/// does.
pub type Staleness = dyn Fn(&Host, &Unit) -> Result<Option<String>> + Send + Sync;

/// The staleness of gearmand compared with these options or, if empty, with its
/// options file.
pub fn of_gearmand(
    family: &'static Family,
    wanted: Vec<Wanted>,
    secret: Option<Secret>,
) -> Box<Staleness> {
    let staleness = running::staleness(family, wanted, secret);
    Box::new(move |host, unit| Ok(staleness(host, unit)?.map(|stale| stale.to_string())))
}

/// The staleness of a service that is never restarted for its files.
pub fn never() -> Box<Staleness> {
    Box::new(|_, _| Ok(None))
}

pub struct Service {
    pub unit: String,
    /// `None` to leave it alone.
    pub enabled: Option<bool>,
    pub active: Option<bool>,
    pub stale: Box<Staleness>,
    /// Units to ask about in the same query.
    pub also: Vec<&'static str>,
    /// The resource that installs it.
    pub installed_by: ResourceId,
}

impl From<Action> for Verb {
    fn from(action: Action) -> Verb {
        match action {
            Action::Start => Verb::Start,
            Action::Stop => Verb::Stop,
            Action::Restart => Verb::Restart,
            Action::Reload => Verb::Reload,
            Action::Enable => Verb::Enable,
            Action::Disable => Verb::Disable,
        }
    }
}

impl Service {
    /// What to do, in order, each with a reason if it is not obvious.
    fn actions(&self, host: &Host, unit: &Unit) -> Result<Vec<(Action, Option<String>)>> {
        let mut actions = Vec::new();
        if let Some(enabled) = self.enabled.filter(|wanted| *wanted != unit.enabled) {
            let action = match enabled {
                true => Action::Enable,
                false => Action::Disable,
            };
            actions.push((action, None));
        }
        let is = || Some(format!("it is {}", unit.state));
        match self.active {
            // Waiting for a start that hangs would take until it times out.
            Some(true) if unit.starting => actions.push((Action::Restart, is())),
            Some(true) if !unit.active => actions.push((Action::Start, is())),
            Some(false) if unit.active => actions.push((Action::Stop, None)),
            Some(true) => {
                if let Some(why) = (self.stale)(host, unit)? {
                    actions.push((Action::Restart, Some(why)));
                }
            }
            _ => {}
        }
        Ok(actions)
    }

    fn look(&self, host: &Host) -> Result<Unit> {
        host.unit(&self.unit, &self.also)
    }
}

impl Resource for Service {
    fn id(&self) -> ResourceId {
        ResourceId::Service(self.unit.clone())
    }

    fn inspect(&self, host: &Host) -> Result<State> {
        let unit = self.look(host)?;
        let actions = self.actions(host, &unit)?;
        if unit.masked && self.active == Some(true) {
            let what = format!("start the service {}", self.unit);
            let unmask = host.platform()?.services().unmask_hint(&self.unit);
            return Err(Problem::new(what, "it is masked")
                .help(format!("run '{unmask}', then run setup again"))
                .into());
        }
        if !unit.present {
            if self.active != Some(true) {
                return Ok(State::Same);
            }
            if !host.can_have_unit(&self.unit)? {
                let what = format!("start the service {}", self.unit);
                return Err(Problem::new(what, "systemd is not running here, and the package has no init script")
                    .help("boot the host with systemd; in a container, run setup with --no-start, pass the job server of another host with --servers, and run 'wp-gears worker' as the container's process")
                    .into());
            }
            let change = Change::new(Verb::Start).detail("now and at boot");
            return Ok(State::After(self.installed_by.clone(), change));
        }
        let reload = (Verb::Reload, Some("its definition changed".to_owned()));
        let acts: Vec<(Verb, Option<String>)> = unit
            .needs_reload
            .then_some(reload)
            .into_iter()
            .chain(
                actions
                    .into_iter()
                    .map(|(action, why)| (action.into(), why)),
            )
            .collect();
        let Some((verb, _)) = acts.last() else {
            return Ok(State::Same);
        };
        let mut change = Change::new(*verb);
        change.details = acts
            .iter()
            .map(|(verb, why)| match why {
                Some(why) => format!("{verb}: {why}"),
                None => verb.to_string(),
            })
            .collect();
        Ok(State::Differs(change))
    }

    fn inverses(&self, host: &Host) -> Result<Vec<Inverse>> {
        let unit = self.look(host)?;
        Ok(vec![Inverse::Service(ServiceInverse {
            unit: self.unit.clone(),
            enabled: unit.enabled,
            active: unit.active,
        })])
    }

    fn apply(&self, host: &Host, watch: &dyn Fn(&str)) -> Result<()> {
        // After loading a new definition, there may be more to do.
        if self.look(host)?.needs_reload {
            watch("reloading unit files");
            host.reload_units()?;
        }
        let unit = self.look(host)?;
        for (action, _) in self.actions(host, &unit)? {
            watch(&Verb::from(action).to_string());
            host.service(action, &self.unit)?;
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceInverse {
    pub unit: String,
    pub enabled: bool,
    pub active: bool,
}

impl Revert for ServiceInverse {
    fn id(&self) -> ResourceId {
        ResourceId::Service(self.unit.clone())
    }

    fn revert(&self, context: &RevertContext) -> Result<Reverted> {
        let host = context.host;
        let family = host.platform()?.family;
        let stale = match self.unit == family.gearmand.unit {
            true => of_gearmand(family, Vec::new(), None),
            false => never(),
        };
        let is_ours = [PIP.unit, port_rules::UNIT, ALERT_TIMER].contains(&self.unit.as_str())
            || instance::owner_of(&self.unit).is_some();
        // Units of ours have to stop before their files are removed.
        let phase = match is_ours {
            true => Phase::Workers,
            false => Phase::Services,
        };
        let service = Service {
            unit: self.unit.clone(),
            enabled: Some(self.enabled),
            active: Some(self.active),
            stale,
            also: vec![family.gearmand.unit, host.supervisor()?.unit],
            installed_by: ResourceId::Packages,
        };
        Ok(Reverted::by(phase, service))
    }
}
