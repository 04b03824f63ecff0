//! apt and dpkg.

use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Result;

use crate::base::paths::STATE;
use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::commands::{Command, Output, explain};
use crate::host::files::{Attributes, Node};
use crate::host::packages::{
    CHANGE_LIMIT, Installed, LOCK_WAIT, LOCKED_HELP, Lists, Operation, PackageManager, Simulation,
    run_when_unlocked,
};

/// Lists older than this are `Lists::Old`.
const LISTS_AGE: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug)]
pub struct Apt;

impl PackageManager for Apt {
    fn installed(&self, host: &Host) -> Result<Installed> {
        let format = "${Package} ${db:Status-Status} ${Version}\n";
        let output = host.check(&Command::new("dpkg-query").args(["-W", "-f", format]))?;
        Ok(output
            .text()
            .lines()
            .filter_map(|line| {
                let mut words = line.split(' ');
                match (words.next(), words.next(), words.next()) {
                    (Some(name), Some("installed"), Some(version)) => {
                        Some((name.to_owned(), version.to_owned()))
                    }
                    _ => None,
                }
            })
            .collect())
    }

    fn candidates(&self, host: &Host, names: &[String]) -> Result<Vec<String>> {
        let output = host.check(&Command::new("apt-cache").args(["policy"]).operands(names))?;
        let mut found = Vec::new();
        let mut name = None;
        for line in output.text().lines() {
            if !line.starts_with(' ') {
                name = line.strip_suffix(':').map(str::to_owned);
            } else if let Some(version) = line.trim().strip_prefix("Candidate: ")
                && version != "(none)"
            {
                found.extend(name.take());
            }
        }
        Ok(found)
    }

    fn simulate(&self, host: &Host, operation: Operation, names: &[String]) -> Result<Simulation> {
        let verb = verb(operation);
        let output = host.run(&apt_get().args(["-s", verb]).operands(names))?;
        if !output.success() {
            let what = format!("simulate apt-get {verb}");
            return Err(failed(host, &what, &output));
        }
        Ok(parse(&output.text()))
    }

    fn apply(
        &self,
        host: &Host,
        operation: Operation,
        names: &[String],
        watch: &dyn Fn(&str),
    ) -> Result<()> {
        // A new version of PHP's packages has to be started.
        if !host.simulate(operation, names)?.upgraded.is_empty() {
            return change(host, operation, names, None, watch);
        }
        let folder = Path::new(STATE).join("apt");
        host.remove_tree(&folder)?; // a run that was cut off may have left it
        host.make_dir(&folder, Attributes::root(0o700))?;
        let script = folder.join("invoke-rc.d");
        host.write(&script, SPARE_PHP, Some(Attributes::root(0o700)), None)?;
        let changed = change(host, operation, names, Some(&folder), watch);
        host.remove_tree(&folder)?;
        changed
    }

    /// See `SPARE_PHP`.
    fn restarts_php(&self) -> bool {
        false
    }

    /// No repository of its families has a package by address.
    fn trust(&self, _host: &Host, _key: Vec<u8>) -> Result<()> {
        Ok(())
    }

    fn lists(&self, host: &Host) -> Lists {
        match lists_age(host) {
            Some(age) if age <= LISTS_AGE => Lists::Fresh,
            _ => Lists::Old,
        }
    }

    /// `apt-get update` itself does not wait for another run's lock.
    fn update_lists(&self, host: &Host, watch: &dyn Fn(&str)) -> Result<()> {
        let command = apt_get()
            .args(["update", "-o", "APT::Update::Error-Mode=any"])
            .changes()
            .limit(CHANGE_LIMIT);
        let output = run_when_unlocked(host, &command, is_locked, watch)?;
        if !output.success() {
            let what = "fetch the package lists (apt-get update)";
            return Err(failed(host, what, &output));
        }
        Ok(())
    }
}

/// Takes invoke-rc.d's place while packages of PHP's extensions are configured or
/// removed. Their triggers restart PHP, which ends requests that run; setup and
/// remove reload it instead, once the package manager is done. Where it was left
/// by a run that was cut off, nothing finds it.
const SPARE_PHP: &[u8] = b"#!/bin/sh
case \"$1 $2\" in
php*-fpm\\ restart | apache2\\ restart) exit 0 ;;
esac
exec /usr/sbin/invoke-rc.d \"$@\"
";
/// What apt sets for dpkg, and dpkg for the packages' scripts.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Has apt-get change packages, whose scripts find commands in `first` first.
fn change(
    host: &Host,
    operation: Operation,
    names: &[String],
    first: Option<&Path>,
    watch: &dyn Fn(&str),
) -> Result<()> {
    let verb = verb(operation);
    let path = match first {
        Some(first) => format!("{}:{PATH}", first.display()),
        None => PATH.to_owned(),
    };
    let command = apt_get()
        .option("-oDPkg::Path=", path)
        .args([verb])
        .operands(names)
        .changes()
        .limit(CHANGE_LIMIT);
    let mut output = host.run_watched(&command, watch)?;
    if !output.success() && output.says("dpkg --configure -a") {
        watch("finishing an interrupted run of dpkg");
        let configure = Command::new("dpkg")
            .args(["--configure", "-a", "--force-confdef", "--force-confold"])
            .env("DEBIAN_FRONTEND", "noninteractive")
            .changes()
            .limit(CHANGE_LIMIT);
        host.check(&configure)?;
        output = host.run_watched(&command, watch)?;
    }
    if !output.success() {
        let what = format!("{verb} {} (apt-get)", names.join(" "));
        return Err(failed(host, &what, &output));
    }
    Ok(())
}

fn verb(operation: Operation) -> &'static str {
    match operation {
        Operation::Install => "install",
        Operation::Remove => "purge",
    }
}

/// What `apt-get -s` prints.
fn parse(text: &str) -> Simulation {
    let mut simulation = Simulation::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (verb, name) = (words.next(), words.next().unwrap_or_default().to_owned());
        match (verb, words.next().unwrap_or_default()) {
            // "Inst name [old] (new origin)" is an upgrade, "Inst name (new origin)" is new.
            (Some("Inst"), old) if old.starts_with('[') => simulation.upgraded.push(name),
            (Some("Inst"), version) => simulation
                .new
                .push(format!("{name} {}", version.trim_start_matches('('))),
            (Some("Remv" | "Purg"), _) => simulation.removed.push(name),
            _ => {}
        }
    }
    simulation
}

/// How long ago the lists were fetched; `None` if they never were.
fn lists_age(host: &Host) -> Option<Duration> {
    // A failed download leaves the folder without a list.
    let lists = host.list(Path::new("/var/lib/apt/lists")).ok()?;
    let is_list = |name: &OsString| name.to_string_lossy().contains("_Packages");
    if !lists.iter().any(is_list) {
        return None;
    }
    match host.look(Path::new("/var/lib/apt/lists/partial")).ok()? {
        Node::Directory(meta) => SystemTime::now().duration_since(meta.mtime()).ok(),
        _ => None,
    }
}

fn apt_get() -> Command {
    Command::new("apt-get")
        .args(["-y", "-q", "--no-install-recommends"])
        .option("-oDPkg::Lock::Timeout=", LOCK_WAIT.as_secs().to_string())
        .args(["-o", "Dpkg::Options::=--force-confdef"])
        .args(["-o", "Dpkg::Options::=--force-confold"])
        .args(["-o", "Dpkg::Use-Pty=0"])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("DEBCONF_NOWARNINGS", "yes")
        .env("APT_LISTCHANGES_FRONTEND", "none")
        .env("NEEDRESTART_SUSPEND", "1")
        .limit(Duration::from_secs(120))
}

fn is_locked(output: &Output) -> bool {
    !output.success() && (output.says("Could not get lock") || output.says("is held by process"))
}

/// The component of the distribution's repositories that has our packages, if
/// it is off.
fn missing_component(host: &Host) -> Option<&'static str> {
    let component = host.platform().ok()?.component()?;
    let policy = host.run(&Command::new("apt-cache").args(["policy"])).ok()?;
    (!policy.says(component)).then_some(component)
}

fn failed(host: &Host, what: &str, output: &Output) -> anyhow::Error {
    let says = |texts: &[&str]| texts.iter().any(|text| output.says(text));
    let help = if is_locked(output) {
        LOCKED_HELP.into()
    } else if says(&["Unable to locate package", "no installation candidate"]) {
        match missing_component(host) {
            Some(component) => {
                format!(
                    "the component '{component}' is off: run 'add-apt-repository {component}', then run again"
                )
            }
            None => {
                "enable the repository that has it, run 'apt-get update', then run again".into()
            }
        }
    } else if says(&["Could not resolve", "Failed to fetch"]) {
        "make sure that the host reaches its package sources, then run again".into()
    } else if says(&["held packages", "Held packages", "held broken packages"]) {
        "release what 'apt-mark showhold' lists if you may, then run again".into()
    } else {
        "fix what apt reports, then run again: setup continues where it stopped".to_owned()
    };
    Problem::new(what, explain(output)).help(help).into()
}
