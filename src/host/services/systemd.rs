//! systemd: one question for all units.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::commands::{Command, explain};
use crate::host::services::{Action, ServiceManager, Unit, Units};

const PROPERTIES: &str = "Id,LoadState,ActiveState,SubState,UnitFileState,MainPID,NeedDaemonReload,DropInPaths,Type,ExecStart,FragmentPath,User,NoNewPrivileges";

#[derive(Debug)]
pub struct Systemd;

impl ServiceManager for Systemd {
    fn name(&self) -> &'static str {
        "systemd"
    }

    fn status(&self, host: &Host, units: &[&str]) -> Result<Units> {
        let command = Command::new("systemctl")
            .args(["show", "--no-pager", "-p", PROPERTIES])
            .operands(units.iter().map(|unit| service(unit)));
        let text = host.check(&command)?.text();
        // One block for each unit, in the order of the question, with empty lines between.
        Ok(text
            .split("\n\n")
            .zip(units)
            .map(|(block, name)| ((*name).to_owned(), unit(host, name, block)))
            .collect())
    }

    fn change(&self, host: &Host, action: Action, unit: &str) -> Result<()> {
        let verb = action.word();
        if matches!(action, Action::Start | Action::Restart) {
            // systemd refuses a unit that failed too often.
            let reset = Command::new("systemctl")
                .args(["reset-failed"])
                .operands([service(unit)]);
            host.run(&reset.changes())?;
        }
        let command = Command::new("systemctl")
            .args(["--quiet", verb])
            .operands([service(unit)])
            .changes()
            .limit(Duration::from_secs(120));
        let output = host.run(&command)?;
        if !output.success() {
            let log = self.log_tail(host, unit);
            let why = format!("{}\nits journal ends with:\n{log}", explain(&output));
            return Err(Problem::new(format!("{verb} the service {unit}"), why)
                .help(format!(
                    "fix what 'systemctl status {unit}' shows, then run again"
                ))
                .into());
        }
        Ok(())
    }

    fn reload_definitions(&self, host: &Host) -> Result<()> {
        host.check(&Command::new("systemctl").args(["daemon-reload"]).changes())?;
        Ok(())
    }

    fn log_tail(&self, host: &Host, unit: &str) -> String {
        let command = Command::new("journalctl").args(["-n", "10", "--no-pager", "-o", "cat"]);
        host.run(&command.option("--unit=", service(unit)))
            .map(|output| output.tail(10))
            .unwrap_or_default()
    }

    fn unit_of(&self, pid: u32) -> Option<String> {
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        service_of(&groups).map(str::to_owned)
    }

    fn keeps_track(&self) -> bool {
        true
    }

    fn can_start(&self, _unit: &str) -> bool {
        true
    }

    fn command(&self, action: Action, unit: &str) -> String {
        format!("systemctl {} {unit}", action.word())
    }

    fn unmask_hint(&self, unit: &str) -> String {
        format!("systemctl unmask {unit}")
    }

    fn log_hint(&self, unit: &str) -> String {
        format!("journalctl -u {unit}")
    }

    fn reload_hint(&self) -> &'static str {
        "systemctl daemon-reload"
    }

    fn files_limit_hint(&self, unit: &str) -> String {
        format!("LimitNOFILE in the last drop-in that 'systemctl cat {unit}' shows")
    }

    fn clock_hint(&self) -> &'static str {
        "timedatectl set-ntp true"
    }
}

/// The service in a process's cgroup. Those of users' own service managers do not
/// count: users name them.
fn service_of(groups: &str) -> Option<&str> {
    let is_users = |part: &str| part == "user.slice" || part.starts_with("user@");
    let mut paths = groups.lines().filter(|line| !line.split('/').any(is_users));
    paths.find_map(|line| line.rsplit('/').find_map(|it| it.strip_suffix(".service")))
}

/// A unit from its block of `systemctl show`.
fn unit(host: &Host, name: &str, block: &str) -> Unit {
    let values: HashMap<&str, &str> = block.lines().filter_map(|l| l.split_once('=')).collect();
    let value = |key| values.get(key).copied().unwrap_or_default();
    Unit {
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
        user: value("User").to_owned(),
        no_new_privileges: value("NoNewPrivileges") == "yes",
    }
}

/// The version of the installed systemd, from the name of its library. Without it, it
/// is older than 231.
pub(in crate::host) fn version(host: &Host) -> Option<u32> {
    let mut folders: Vec<PathBuf> = ["/lib/systemd", "/usr/lib/systemd", "/usr/lib64/systemd"]
        .map(PathBuf::from)
        .to_vec();
    for name in host.list(Path::new("/usr/lib")).unwrap_or_default() {
        if name.to_string_lossy().contains("-linux-gnu") {
            folders.push(Path::new("/usr/lib").join(name).join("systemd"));
        }
    }
    let names = folders
        .iter()
        .flat_map(|folder| host.list(folder).unwrap_or_default());
    let numbers = names.filter_map(|name| {
        let name = name
            .to_str()?
            .strip_prefix("libsystemd-shared-")?
            .to_owned();
        let end = name.find(|c: char| !c.is_ascii_digit())?;
        name[..end].parse().ok()
    });
    numbers.max()
}

/// systemd does not notice a new or a removed folder of drop-ins by itself.
fn misses_drop_in(host: &Host, name: &str, loaded: &str) -> bool {
    let folder = Path::new("/etc/systemd/system").join(format!("{}.d", service(name)));
    let present: Vec<PathBuf> = host
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
    present != loaded
}

fn service(name: &str) -> String {
    match name.ends_with(".timer") {
        true => name.to_owned(),
        false => format!("{name}.service"),
    }
}

#[cfg(test)]
mod tests {
    use super::service_of;

    #[test]
    fn a_user_cannot_name_a_service_of_the_system() {
        for (groups, service) in [
            ("0::/system.slice/php8.2-fpm.service\n", Some("php8.2-fpm")),
            (
                "2:cpu:/\n1:name=systemd:/system.slice/apache2.service\n",
                Some("apache2"),
            ),
            (
                "0::/user.slice/user-1000.slice/user@1000.service/app.slice/apache2.service\n",
                None,
            ),
            ("0::/user.slice/user-0.slice/session-3.scope\n", None),
            ("0::/init.scope\n", None),
        ] {
            assert_eq!(service_of(groups), service, "{groups}");
        }
    }
}
