//! Hosts without systemd, mostly containers: init scripts and their links.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::commands::{Command, explain};
use crate::host::process::Process;
use crate::host::services::{Action, ServiceManager, Unit, Units};
use crate::host::supervisor::PIP;

/// Where a command has the name of a script.
const UNIT: &str = "{unit}";

/// Init scripts, with what differs between families.
#[derive(Debug)]
pub struct Sysv {
    /// Packages bring init scripts.
    pub packaged: bool,
    /// A script may pass --daemon itself.
    pub daemonizes: bool,
    /// The commands that add a script's links, remove them, and switch them on
    /// and off; `{unit}` is the script's name.
    pub add: &'static str,
    pub remove: &'static str,
    pub enable: &'static str,
    pub disable: &'static str,
}

impl ServiceManager for Sysv {
    fn name(&self) -> &'static str {
        "init scripts, no systemd"
    }

    fn status(&self, host: &Host, units: &[&str]) -> Result<Units> {
        let mut found = Units::new();
        for name in units {
            let present = host.exists(&script(name));
            let mut unit = Unit {
                present,
                enabled: present && starts_at_boot(host, name)?,
                state: "stopped".into(),
                forking: !(self.daemonizes && has_daemon_option(host, name)?),
                ..Unit::default()
            };
            if let Some(process) = main_process(host, name)? {
                unit.active = true;
                unit.state = "running".into();
                unit.main_pid = process;
            }
            found.insert((*name).to_owned(), unit);
        }
        Ok(found)
    }

    fn change(&self, host: &Host, action: Action, unit: &str) -> Result<()> {
        if unit == PIP.unit && action == Action::Enable {
            // A package's script would have made the links.
            host.check(&command(self.add.split(' '), unit).changes())?;
        }
        let command = command(self.words(action, unit), unit);
        let output = host.run(&command.changes().limit(Duration::from_secs(120)))?;
        if !output.success() {
            let what = format!("{} the service {unit}", action.word());
            return Err(Problem::new(what, explain(&output))
                .help("fix what the service logs, then run again")
                .into());
        }
        Ok(())
    }

    fn reload_definitions(&self, _host: &Host) -> Result<()> {
        Ok(())
    }

    fn log_tail(&self, _host: &Host, _unit: &str) -> String {
        String::new()
    }

    fn unit_of(&self, _pid: u32) -> Option<String> {
        None
    }

    fn keeps_track(&self) -> bool {
        false
    }

    fn can_start(&self, unit: &str) -> bool {
        self.packaged || unit == PIP.unit
    }

    fn command(&self, action: Action, unit: &str) -> String {
        self.words(action, unit).join(" ").replace(UNIT, unit)
    }

    fn log_hint(&self, unit: &str) -> String {
        format!("the log of {unit} in /var/log")
    }

    fn reload_hint(&self) -> &'static str {
        "restart it by its init script"
    }

    fn files_limit_hint(&self, unit: &str) -> String {
        format!("'ulimit -n' in {}", script(unit).display())
    }

    fn clock_hint(&self) -> &'static str {
        "run chronyd or ntpd"
    }
}

fn script(unit: &str) -> PathBuf {
    Path::new("/etc/init.d").join(unit)
}

impl Sysv {
    /// The command, with `UNIT` for the script's name.
    fn words(&self, action: Action, unit: &str) -> Vec<&'static str> {
        let line = match action {
            Action::Disable if unit == PIP.unit => self.remove,
            Action::Disable => self.disable,
            Action::Enable => self.enable,
            _ => return vec!["service", UNIT, action.word()],
        };
        line.split(' ').collect()
    }
}

fn command(words: impl IntoIterator<Item = &'static str>, unit: &str) -> Command {
    let mut words = words.into_iter();
    let program = Command::new(words.next().unwrap_or_default());
    words.fold(program, |command, word| match word {
        UNIT => command.names([unit]),
        word => command.args([word]),
    })
}

/// Init scripts answer `status` in many ways; /proc does not.
fn main_process(host: &Host, unit: &str) -> Result<Option<u32>> {
    let family = host.platform()?.family;
    if unit == family.gearmand.unit {
        for process in host.processes() {
            if host.is_gearmand(&process)? {
                return Ok(Some(process.pid));
            }
        }
        return Ok(None);
    }
    let is_program = |word: &String| match unit == PIP.unit {
        true => word == PIP.program,
        // Our own supervisord has the same file name.
        false => {
            let program = Path::new(family.supervisor.program).file_name();
            word != PIP.program && Path::new(word).file_name() == program
        }
    };
    // supervisord is a script, which Python runs: its name is the second word.
    let is_supervisord = |process: &Process| {
        process.uid == Some(0)
            && process
                .program()
                .is_some_and(|name| name.starts_with("python"))
            && process.args.iter().take(2).any(is_program)
    };
    Ok(host
        .processes()
        .into_iter()
        .find(is_supervisord)
        .map(|process| process.pid))
}

fn has_daemon_option(host: &Host, unit: &str) -> Result<bool> {
    let script = host.read(&script(unit))?;
    let text = script.map(|file| String::from_utf8_lossy(&file.bytes).into_owned());
    Ok(text.is_some_and(|text| {
        text.split_whitespace()
            .any(|word| matches!(word.trim_matches('"'), "-d" | "--daemon"))
    }))
}

fn starts_at_boot(host: &Host, unit: &str) -> Result<bool> {
    for level in 2..=5 {
        for link in host.list(&PathBuf::from(format!("/etc/rc{level}.d")))? {
            let link = link.to_string_lossy().into_owned();
            if link.starts_with('S') && link.get(3..) == Some(unit) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
