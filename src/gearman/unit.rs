//! The command line in gearmand's unit or init script, and what to change so
//! that our options take effect: gearmand fails to start if an option is given
//! twice, and older units read no options file.

use std::path::PathBuf;

use anyhow::Result;

use crate::gearman::options::{self, Wanted};
use crate::host::Host;
use crate::host::platform::{Family, Init};
use crate::host::services::{DROP_IN, Unit, drop_in_folder};

/// How the wanted options are split between the options file and the unit.
pub struct Definition {
    /// Options for the options file.
    pub for_file: Vec<Wanted>,
    /// Options that the options file must not have.
    pub unwanted: Vec<String>,
    /// The command line for a drop-in, if the unit's own does not work.
    pub exec_start: Option<String>,
}

pub fn drop_in_path(family: &Family) -> PathBuf {
    drop_in_folder(family.gearmand.unit).join(DROP_IN)
}

/// `secrets` are the options that no file may hold whose words others can see.
pub fn definition(host: &Host, wanted: &[Wanted], secrets: &[&str]) -> Result<Definition> {
    let platform = host.platform()?;
    let family = platform.family;
    let gearmand = &family.gearmand;
    let unit = host.unit(gearmand.unit, &[host.supervisor()?.unit])?;
    let line = command_line(host, family, &unit)?;
    let variable = format!("${}", gearmand.options_variable);
    let braced = format!("${{{}}}", gearmand.options_variable);
    let reads_file = line.contains(&variable) || line.contains(&braced);
    let systemd = platform.init == Init::Systemd;

    let mut fixed = options::given(&line);
    let value = |name: &str, fixed: &[(String, Option<String>)]| {
        let found = fixed.iter().find(|(given, _)| given == name);
        found.map(|(_, value)| value.clone())
    };
    // Only a forking unit runs gearmand in the background, and some already pass
    // the option.
    let forks = match unit.present {
        true => unit.forking,
        false => value("daemon", &fixed).is_some() || line == variable,
    };
    let mut wanted: Vec<Wanted> = wanted.to_vec();
    if forks {
        wanted.insert(
            0,
            Wanted {
                name: "daemon",
                short: Some('d'),
                value: None,
            },
        );
    }
    let clashes =
        |option: &&Wanted| value(option.name, &fixed).is_some_and(|value| value != option.value);
    let other: Vec<&str> = wanted.iter().filter(clashes).map(|o| o.name).collect();
    let exec_start =
        (systemd && !line.is_empty() && (!reads_file || !other.is_empty())).then(|| {
            let mut text = other
                .iter()
                .fold(line.clone(), |text, name| options::without(&text, name));
            if !reads_file {
                text = format!("{text} {variable}");
            }
            text
        });
    if exec_start.is_some() {
        fixed.retain(|(name, _)| !other.contains(&name.as_str()));
    }
    wanted.retain(|option| value(option.name, &fixed).is_none());
    let names = fixed.into_iter().map(|(name, _)| name);
    Ok(Definition {
        for_file: wanted,
        unwanted: names
            .chain(secrets.iter().map(|name| (*name).to_owned()))
            .collect(),
        exec_start,
    })
}

/// The command line of the unit without our drop-in.
fn command_line(host: &Host, family: &Family, unit: &Unit) -> Result<String> {
    if !unit.present {
        return Ok(family.gearmand.stock_start.to_owned());
    }
    let ours = host.read(&drop_in_path(family))?;
    let sets = |bytes: &[u8]| {
        bytes
            .split(|b| *b == b'\n')
            .any(|l| l.starts_with(b"ExecStart="))
    };
    if ours.is_some_and(|file| sets(&file.bytes))
        && let Some(file) = host.read(&unit.fragment)?
    {
        let text = String::from_utf8_lossy(&file.bytes).into_owned();
        let line = text
            .lines()
            .filter_map(|l| l.trim().strip_prefix("ExecStart="))
            .next_back();
        return Ok(line.unwrap_or_default().to_owned());
    }
    Ok(unit.command_line().to_owned())
}
