//! Hosts without systemd, containers above all: init scripts and their links.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::commands::{Command, explain};
use crate::host::platform::{Manager, PIP};
use crate::host::services::{Action, Unit, Units};

pub fn look(host: &Host, names: &[&str]) -> Result<Units> {
    let mut units = Units::new();
    for name in names {
        let present = host.exists(&PathBuf::from("/etc/init.d").join(name));
        let mut unit = Unit {
            present,
            enabled: present && starts_at_boot(host, name)?,
            state: "stopped".into(),
            forking: !daemonizes(host, name)?,
            ..Unit::default()
        };
        if let Some(process) = main_process(host, name)? {
            unit.active = true;
            unit.state = "running".into();
            unit.main_pid = process;
        }
        units.insert((*name).to_owned(), unit);
    }
    Ok(units)
}

/// Init scripts answer `status` in many ways; /proc does not.
fn main_process(host: &Host, name: &str) -> Result<Option<u32>> {
    let family = host.platform()?.family;
    let program = match name {
        _ if name == family.gearmand.unit => family.gearmand.program,
        _ if name == PIP.unit => PIP.program,
        _ => family.supervisor.program,
    };
    let is_it = |word: &String| match name == PIP.unit {
        true => word == program,
        // Not the one of our own, which has the same name in another folder.
        false => {
            word != PIP.program && Path::new(word).file_name() == Path::new(program).file_name()
        }
    };
    Ok(host
        .processes()
        .into_iter()
        .find(|process| {
            // supervisord is a script: its name is the second word.
            process.args.iter().take(2).any(is_it)
        })
        .map(|process| process.pid))
}

/// Whether the script itself gives the option to go into the background, as
/// those of the RHEL family did.
fn daemonizes(host: &Host, name: &str) -> Result<bool> {
    if host.platform()?.family.manager != Manager::Dnf {
        return Ok(false);
    }
    let script = host.read(&PathBuf::from("/etc/init.d").join(name))?;
    let text = script.map(|file| String::from_utf8_lossy(&file.bytes).into_owned());
    Ok(text.is_some_and(|text| {
        text.split_whitespace()
            .any(|word| matches!(word.trim_matches('"'), "-d" | "--daemon"))
    }))
}

fn starts_at_boot(host: &Host, name: &str) -> Result<bool> {
    for level in 2..=5 {
        for link in host.list(&PathBuf::from(format!("/etc/rc{level}.d")))? {
            let link = link.to_string_lossy().into_owned();
            if link.starts_with('S') && link.get(3..) == Some(name) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

pub fn change(host: &Host, action: Action, name: &str) -> Result<()> {
    let verb = action.word();
    let manager = host.platform()?.family.manager;
    let own = name == PIP.unit;
    if own && action == Action::Enable {
        // Its links, which a package's script would have made.
        let command = match manager {
            Manager::Apt => Command::new("update-rc.d").args([name, "defaults"]),
            Manager::Dnf => Command::new("chkconfig").args(["--add", name]),
        };
        host.check(&command.changes())?;
    }
    let command = match (action, manager) {
        (Action::Disable, Manager::Apt) if own => {
            Command::new("update-rc.d").args(["-f", name, "remove"])
        }
        (Action::Disable, Manager::Dnf) if own => Command::new("chkconfig").args(["--del", name]),
        (Action::Enable | Action::Disable, Manager::Apt) => {
            Command::new("update-rc.d").args([name, verb])
        }
        (Action::Enable, Manager::Dnf) => Command::new("chkconfig").args([name, "on"]),
        (Action::Disable, Manager::Dnf) => Command::new("chkconfig").args([name, "off"]),
        _ => Command::new("service").args([name, verb]),
    };
    let output = host.run(&command.changes().limit(Duration::from_secs(120)))?;
    if !output.success() {
        let what = format!("{verb} the service {name}");
        return Err(Problem::new(what, explain(&output))
            .help("see what the service says in its log; mend it, then run again")
            .into());
    }
    Ok(())
}
