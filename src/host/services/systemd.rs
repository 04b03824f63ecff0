//! systemd: one question for all units.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::commands::{Command, explain};
use crate::host::services::{Action, Unit, Units};

const PROPERTIES: &str = "Id,LoadState,ActiveState,SubState,UnitFileState,MainPID,NeedDaemonReload,DropInPaths,Type,ExecStart,FragmentPath";

pub fn look(host: &Host, names: &[&str]) -> Result<Units> {
    let command = Command::new("systemctl")
        .args(["show", "--no-pager", "-p", PROPERTIES, "--"])
        .args(names.iter().map(|name| service(name)));
    let text = host.check(&command)?.text();
    // One block a unit, in the order of the question, with empty lines between.
    Ok(text
        .split("\n\n")
        .zip(names)
        .map(|(block, name)| {
            let values: HashMap<&str, &str> =
                block.lines().filter_map(|l| l.split_once('=')).collect();
            let value = |key| values.get(key).copied().unwrap_or_default();
            let unit = Unit {
                present: value("LoadState") == "loaded",
                masked: value("LoadState") == "masked",
                enabled: value("UnitFileState").starts_with("enabled"),
                active: value("ActiveState") == "active",
                starting: value("ActiveState") == "activating",
                state: format!("{} ({})", value("ActiveState"), value("SubState")),
                main_pid: value("MainPID").parse().unwrap_or_default(),
                needs_reload: value("NeedDaemonReload") == "yes"
                    || misses_drop_in(host, name, value("DropInPaths")),
                forking: value("Type") == "forking",
                exec_start: value("ExecStart").to_owned(),
                fragment: value("FragmentPath").into(),
            };
            ((*name).to_owned(), unit)
        })
        .collect())
}

/// systemd itself does not notice a folder of drop-ins that is new, or gone.
fn misses_drop_in(host: &Host, name: &str, loaded: &str) -> bool {
    let folder = Path::new("/etc/systemd/system").join(format!("{}.d", service(name)));
    let there: Vec<PathBuf> = host
        .list(&folder)
        .unwrap_or_default()
        .into_iter()
        .filter(|name| name.to_string_lossy().ends_with(".conf"))
        .map(|name| folder.join(name))
        .collect();
    let loaded: Vec<PathBuf> = loaded
        .split_whitespace()
        .map(PathBuf::from)
        .filter(|path| path.starts_with(&folder))
        .collect();
    there != loaded
}

pub fn change(host: &Host, action: Action, name: &str) -> Result<()> {
    let verb = action.word();
    if matches!(action, Action::Start | Action::Restart) {
        // A unit that failed too often would be refused otherwise.
        host.run(
            &Command::new("systemctl")
                .args(["reset-failed", &service(name)])
                .changes(),
        )?;
    }
    let command = Command::new("systemctl")
        .args(["--quiet", verb, &service(name)])
        .changes()
        .limit(Duration::from_secs(120));
    let output = host.run(&command)?;
    if !output.success() {
        let log = last_lines(host, name);
        let why = format!("{}\nits journal ends with:\n{log}", explain(&output));
        return Err(Problem::new(format!("{verb} the service {name}"), why)
            .help(format!(
                "see 'systemctl status {name}'; mend it, then run again"
            ))
            .into());
    }
    Ok(())
}

pub fn daemon_reload(host: &Host) -> Result<()> {
    host.check(&Command::new("systemctl").args(["daemon-reload"]).changes())?;
    Ok(())
}

pub fn last_lines(host: &Host, name: &str) -> String {
    let command = Command::new("journalctl").args(["-n", "10", "--no-pager", "-o", "cat", "-u"]);
    host.run(&command.args([service(name)]))
        .map(|output| output.last_words(10))
        .unwrap_or_default()
}

fn service(name: &str) -> String {
    format!("{name}.service")
}
