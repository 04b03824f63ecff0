//! Services: whether they run, now and at boot, and changing that. Each init
//! system is one file with a `ServiceManager`.

pub(super) mod systemd;
pub(super) mod sysv;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::PathBuf;

use anyhow::Result;

use crate::host::Host;

pub type Units = BTreeMap<String, Unit>;

/// What an init system can do with a service.
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
    /// The word that systemctl and init scripts use for it.
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
    /// Its definition changed since the init system loaded it.
    pub needs_reload: bool,
    /// It forks into the background by itself.
    pub forking: bool,
    /// Its definition as the init system shows it.
    pub exec_start: String,
    /// The file that defines it, drop-ins apart.
    pub fragment: PathBuf,
    /// The user whom the init system starts it as; empty if that is root.
    pub user: String,
    /// As the init system would start it.
    pub no_new_privileges: bool,
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

/// An init system. Units are named without their suffix: "supervisor".
pub trait ServiceManager: Debug + Sync {
    /// The init system, for people.
    fn name(&self) -> &'static str;

    /// The state of each unit, a missing one too.
    fn status(&self, host: &Host, units: &[&str]) -> Result<Units>;

    fn change(&self, host: &Host, action: Action, unit: &str) -> Result<()>;

    /// Makes the init system read changed definitions.
    fn reload_definitions(&self, host: &Host) -> Result<()>;

    /// The last lines that a service logged, for an error; empty if unknown.
    fn log_tail(&self, host: &Host, unit: &str) -> String;

    /// The unit that a process belongs to, if the init system keeps track.
    fn unit_of(&self, pid: u32) -> Option<String>;

    /// Whether it knows which process belongs to which service.
    fn keeps_track(&self) -> bool;

    /// Whether a unit that its package brings can run here.
    fn can_start(&self, unit: &str) -> bool;

    /// The command that changes a service.
    fn command(&self, action: Action, unit: &str) -> String;

    /// The command that unmasks a service, if services can be masked.
    fn unmask_hint(&self, _unit: &str) -> String {
        String::new()
    }

    /// Where to read the log of a service.
    fn log_hint(&self, unit: &str) -> String;

    /// Advice on a changed definition that is not in use yet.
    fn reload_hint(&self) -> &'static str;

    /// The setting that limits a service's open files, and where it is.
    fn files_limit_hint(&self, unit: &str) -> String;

    /// Advice on how to keep the host's clock synchronized.
    fn clock_hint(&self) -> &'static str;
}

/// The name of our drop-in for a unit.
pub const DROP_IN: &str = "wp-gears.conf";

/// The folder of an administrator's drop-ins for a unit.
pub fn drop_in_folder(unit: &str) -> PathBuf {
    format!("/etc/systemd/system/{unit}.service.d").into()
}

impl Host {
    /// The version of the installed systemd; `None` if it is old or there is none.
    pub fn systemd_version(&self) -> Option<u32> {
        systemd::version(self)
    }

    pub(super) fn services(&self) -> Result<&'static dyn ServiceManager> {
        Ok(self.platform()?.services())
    }

    /// The service's state. The first question asks about all units in `also`
    /// with it; the answers are kept until a command changes something.
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
        let found = self.services()?.status(self, &names)?;
        let unit = found.get(name).cloned().unwrap_or_default();
        known.get_or_insert_with(Units::new).extend(found);
        Ok(unit)
    }

    /// Whether a unit that is not installed yet could run on this host.
    pub fn can_have_unit(&self, name: &str) -> Result<bool> {
        Ok(self.services()?.can_start(name))
    }

    pub fn service(&self, action: Action, name: &str) -> Result<()> {
        self.services()?.change(self, action, name)
    }

    /// Makes the init system read changed definitions.
    pub fn reload_units(&self) -> Result<()> {
        self.services()?.reload_definitions(self)
    }

    /// The last lines that the service logged, for an error; empty if unknown.
    pub fn service_log(&self, name: &str) -> String {
        self.services()
            .map_or_else(|_| String::new(), |services| services.log_tail(self, name))
    }

    /// The service that a process belongs to, if the init system keeps track.
    pub fn unit_of(&self, pid: u32) -> Option<String> {
        self.services().ok()?.unit_of(pid)
    }
}
