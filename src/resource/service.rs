//! A service: on at boot, running, and running what its files say.

use anyhow::Result;

use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::services::{Stale, Unit};
use crate::resource::journal::Undo;
use crate::resource::{Change, Resource, State};

pub struct Service {
    pub unit: String,
    /// `None`: as it is.
    pub enabled: Option<bool>,
    pub active: Option<bool>,
    pub stale: Box<Stale>,
    /// Units to be asked for in the same question.
    pub also: Vec<&'static str>,
    pub needs: String,
}

impl Service {
    fn acts(&self, host: &Host) -> Result<(Unit, Vec<(&'static str, String)>)> {
        let unit = host.unit(&self.unit, &self.also)?;
        let mut acts = Vec::new();
        if unit.needs_reload {
            acts.push(("reload", "its definition changed".to_owned()));
        }
        if let Some(enabled) = self.enabled.filter(|wanted| *wanted != unit.enabled) {
            let verb = if enabled { "enable" } else { "disable" };
            acts.push((verb, String::new()));
        }
        match self.active {
            // One that hangs in its start would be waited for until it gives up.
            Some(true) if unit.state.starts_with("activating") => {
                acts.push(("restart", format!("it is {}", unit.state)));
            }
            Some(true) if !unit.active => acts.push(("start", format!("it is {}", unit.state))),
            Some(false) if unit.active => acts.push(("stop", String::new())),
            Some(true) => {
                if let Some(why) = (self.stale)(host, &unit)? {
                    acts.push(("restart", why));
                }
            }
            _ => {}
        }
        Ok((unit, acts))
    }
}

impl Resource for Service {
    fn name(&self) -> String {
        format!("service {}", self.unit)
    }

    fn inspect(&self, host: &Host) -> Result<State> {
        let (unit, acts) = self.acts(host)?;
        if unit.masked && self.active == Some(true) {
            let what = format!("start the service {}", self.unit);
            return Err(Problem::new(what, "somebody masked it")
                .help(format!("'systemctl unmask {}', then run again", self.unit))
                .into());
        }
        if !unit.present {
            if self.active != Some(true) {
                return Ok(State::Same);
            }
            if !host.can_have_unit(&self.unit)? {
                let what = format!("start the service {}", self.unit);
                return Err(Problem::new(what, "systemd does not run here, and the package brings no init script")
                    .help("boot the host with systemd; in a container set all up with --no-start, name another host's job server with --servers, and run 'wp-gears worker' as its process")
                    .into());
            }
            let change = Change::new("start").detail("now and at boot");
            return Ok(State::After(self.needs.clone(), change));
        }
        let Some((verb, _)) = acts.last() else {
            return Ok(State::Same);
        };
        let mut change = Change::new(*verb);
        for (verb, why) in &acts {
            let line = if why.is_empty() {
                (*verb).to_owned()
            } else {
                format!("{verb}: {why}")
            };
            change.details.push(line);
        }
        Ok(State::Differs(change))
    }

    fn undo(&self, host: &Host) -> Result<Option<Undo>> {
        let unit = host.unit(&self.unit, &self.also)?;
        Ok(Some(Undo::Service {
            unit: self.unit.clone(),
            enabled: unit.enabled,
            active: unit.active,
        }))
    }

    fn apply(&self, host: &Host, watch: &dyn Fn(&str)) -> Result<()> {
        // A new definition may ask for more than was seen before it was loaded.
        if host.unit(&self.unit, &self.also)?.needs_reload {
            watch("reloading definitions");
            host.reload_units()?;
        }
        let (_, acts) = self.acts(host)?;
        for (verb, _) in acts {
            watch(verb);
            host.service(verb, &self.unit)?;
        }
        Ok(())
    }
}
