//! Hosts without systemd, containers above all: init scripts and their links.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use super::{Unit, Units};
use crate::host::Host;
use crate::host::commands::{Command, explain};
use crate::host::platform::Manager;
use crate::problem::Problem;

pub fn look(host: &Host, names: &[&str]) -> Result<Units> {
    let mut units = Units::new();
    for name in names {
        let present = host.exists(&PathBuf::from("/etc/init.d").join(name));
        let mut unit = Unit {
            present,
            enabled: present && starts_at_boot(host, name)?,
            state: "stopped".into(),
            forking: true,
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
    let program = if name == family.gearmand.unit {
        Path::new(family.gearmand.program)
    } else {
        Path::new(family.supervisor.program)
    };
    let wanted = program.file_name();
    Ok(host
        .processes()
        .into_iter()
        .find(|process| {
            // supervisord is a script: its name is the second word.
            process
                .args
                .iter()
                .take(2)
                .any(|word| Path::new(word).file_name() == wanted)
        })
        .map(|process| process.pid))
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

pub fn change(host: &Host, verb: &str, name: &str) -> Result<()> {
    let command = match (verb, host.platform()?.family.manager) {
        ("enable" | "disable", Manager::Apt) => Command::new("update-rc.d").args([name, verb]),
        ("enable", Manager::Dnf) => Command::new("chkconfig").args([name, "on"]),
        ("disable", Manager::Dnf) => Command::new("chkconfig").args([name, "off"]),
        _ => Command::new("service").args([name, verb]),
    };
    let output = host.run(&command.changes().limit(Duration::from_secs(120)))?;
    if !output.success() {
        let what = format!("{verb} the service {name}");
        return Err(Problem::new(what, explain(&output))
            .advice("see what the service says in its log; mend it, then run again")
            .into());
    }
    Ok(())
}
