//! Services: what runs now and at boot, and changing it.

mod systemd;
mod sysv;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;

use crate::host::Host;
use crate::host::platform::{Init, PIP};

pub type Units = BTreeMap<String, Unit>;

/// What an init system can be told to do with a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Start,
    Stop,
    Restart,
    Reload,
    Enable,
    Disable,
}

impl Action {
    /// The word that systemctl and init scripts take for it.
    fn word(self) -> &'static str {
        match self {
            Action::Start => "start",
            Action::Stop => "stop",
            Action::Restart => "restart",
            Action::Reload => "reload",
            Action::Enable => "enable",
            Action::Disable => "disable",
        }
    }
}

/// One service, as the init system sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unit {
    pub present: bool,
    pub masked: bool,
    /// Started at boot.
    pub enabled: bool,
    pub active: bool,
    /// Its start has begun and not ended.
    pub starting: bool,
    /// "failed", "activating" …, in the init system's own word.
    pub state: String,
    pub main_pid: u32,
    /// Its definition on disk is not the one that is loaded.
    pub needs_reload: bool,
    /// It forks into the background by itself.
    pub forking: bool,
    /// Its definition as the init system shows it.
    pub exec_start: String,
    /// The file that it stands in, drop-ins apart.
    pub fragment: PathBuf,
}

impl Unit {
    /// The command line of its definition: between "argv[]=" and " ;".
    pub fn command_line(&self) -> &str {
        self.exec_start
            .split_once("argv[]=")
            .and_then(|(_, rest)| rest.split(" ;").next())
            .unwrap_or_default()
    }
}

impl Host {
    /// The service's state; the first question asks for all that `also` names.
    pub fn unit(&self, name: &str, also: &[&str]) -> Result<Unit> {
        if !self.live() {
            return Ok(Unit::default());
        }
        let mut known = self.units.lock().unwrap_or_else(|held| held.into_inner());
        if let Some(unit) = known.as_ref().and_then(|units| units.get(name)) {
            return Ok(unit.clone());
        }
        let mut names = vec![name];
        names.extend(also.iter().filter(|other| **other != name));
        let found = match self.platform()?.init {
            Init::Systemd => systemd::look(self, &names)?,
            Init::Sysv => sysv::look(self, &names)?,
        };
        let unit = found.get(name).cloned().unwrap_or_default();
        known.get_or_insert_with(Units::new).extend(found);
        Ok(unit)
    }

    /// Whether a unit that is not there yet can come to be where this init system runs.
    pub fn can_have_unit(&self, name: &str) -> Result<bool> {
        let platform = self.platform()?;
        let ours = name == PIP.unit;
        Ok(platform.init == Init::Systemd || platform.family.has_init_scripts || ours)
    }

    pub fn service(&self, action: Action, name: &str) -> Result<()> {
        match self.platform()?.init {
            Init::Systemd => systemd::change(self, action, name),
            Init::Sysv => sysv::change(self, action, name),
        }
    }

    /// Lets the init system read its definitions anew.
    pub fn reload_units(&self) -> Result<()> {
        match self.platform()?.init {
            Init::Systemd => systemd::daemon_reload(self),
            Init::Sysv => Ok(()),
        }
    }

    /// The last lines that the service logged, for an error.
    pub fn service_log(&self, name: &str) -> String {
        match self.platform().map(|platform| platform.init) {
            Ok(Init::Systemd) => systemd::last_lines(self, name),
            _ => String::new(),
        }
    }
}
