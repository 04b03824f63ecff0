//! dnf, or yum on hosts without it, and rpm.

mod exclusions;
mod failure;
mod transaction;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::commands::{Command, Output};
use crate::host::packages::{
    CHANGE_LIMIT, Installed, LOCKED_HELP, Lists, Operation, PackageManager, Simulation,
    run_when_unlocked,
};

/// dnf's exit status if another one runs and it is not to wait. By itself it
/// would wait without end.
const LOCKED: i32 = 200;
const QUERY_LIMIT: Duration = Duration::from_secs(300);

#[derive(Debug)]
pub struct Dnf;

impl PackageManager for Dnf {
    fn installed(&self, host: &Host) -> Result<Installed> {
        let format = "%{NAME} %{VERSION}-%{RELEASE}\n";
        let output = host.check(&Command::new("rpm").args(["-qa", "--qf", format]))?;
        Ok(output
            .text()
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(name, version)| (name.to_owned(), version.to_owned()))
            .collect())
    }

    fn candidates(&self, host: &Host, names: &[String]) -> Result<Vec<String>> {
        let query: &[&'static str] = match is_yum(host) {
            true => &["-q", "info", "available"],
            // Not every dnf ends a line by itself.
            false => &["-q", "repoquery", "--available", "--qf", "%{name}\n"],
        };
        let what = "ask which packages are available";
        let output = run(host, &tool(host, query).names(names), what, &|_| {})?;
        // This is yum's answer if there are none.
        if !output.success() && !output.says("No matching Packages") {
            return Err(failed(host, what, &output));
        }
        let text = output.text();
        let named = text.lines().map(|line| match line.split_once(':') {
            Some((key, value)) if key.trim() == "Name" => value.trim(),
            _ => line.trim(),
        });
        let mut found = Vec::new();
        for name in named.filter(|name| names.iter().any(|wanted| wanted == name)) {
            if fits_php(host, name)? {
                found.push(name.to_owned());
            }
        }
        Ok(found)
    }

    fn simulate(&self, host: &Host, operation: Operation, names: &[String]) -> Result<Simulation> {
        let output = try_out(host, operation, names)?;
        let complete = !output.says("No package ") && !output.says("Error:");
        // --assumeno makes a transaction that would work fail with one of these.
        let declined = ["Operation aborted", "Exiting on user", "Nothing to do"];
        let would_work = output.success() || declined.iter().any(|text| output.says(text));
        if !complete || !would_work {
            return Err(failed(host, &simulation(host, operation), &output));
        }
        Ok(transaction::parse(&output.text()))
    }

    fn apply(
        &self,
        host: &Host,
        operation: Operation,
        names: &[String],
        watch: &dyn Fn(&str),
    ) -> Result<()> {
        let what = format!(
            "{} {} ({})",
            verb(operation),
            names.join(" "),
            program(host)
        );
        let command = tool(host, &["-y"])
            .args(words(host, operation))
            .names(names)
            .changes()
            .limit(CHANGE_LIMIT);
        let output = run(host, &command, &what, watch)?;
        if !output.success() {
            return Err(failed(host, &what, &output));
        }
        Ok(())
    }

    fn trust(&self, host: &Host, key: Vec<u8>) -> Result<()> {
        let import = Command::new("rpm").args(["--import", "/dev/stdin"]);
        host.check(&import.stdin(key).changes())?;
        Ok(())
    }

    fn lists(&self, _host: &Host) -> Lists {
        Lists::Automatic
    }

    fn update_lists(&self, host: &Host, watch: &dyn Fn(&str)) -> Result<()> {
        let what = format!("fetch the package lists ({} makecache)", program(host));
        let command = tool(host, &["makecache"]).changes().limit(CHANGE_LIMIT);
        let output = run(host, &command, &what, watch)?;
        if !output.success() {
            return Err(failed(host, &what, &output));
        }
        Ok(())
    }

    fn excluded(&self, host: &Host, names: &[String]) -> Result<Vec<String>> {
        let Some(file) = host.read(Path::new(settings(host)))? else {
            return Ok(Vec::new());
        };
        let patterns = exclusions::parse(&String::from_utf8_lossy(&file.bytes));
        let is_excluded = |name: &&String| patterns.iter().any(|pattern| pattern.is_match(name));
        Ok(names.iter().filter(is_excluded).cloned().collect())
    }

    fn exclusion_hint(&self, host: &Host) -> String {
        format!("remove it from 'exclude=' in {}", settings(host))
    }

    fn repositories(&self, host: &Host) -> Result<Vec<(String, bool)>> {
        let list = |yum: &'static str, dnf: &'static str| -> Result<Vec<String>> {
            let which = if is_yum(host) { yum } else { dnf };
            let query = ["-q", "repolist", which];
            let text = ask(host, &query, "list the repositories")?;
            // yum prints "id/release/arch", with a mark if the lists are old.
            let id = |line: &str| {
                let word = line.split_whitespace().next()?;
                let word = word.trim_start_matches(['!', '*']);
                Some(word.split('/').next()?.to_owned())
            };
            Ok(text.lines().skip(1).filter_map(id).collect())
        };
        let enabled = list("enabled", "--enabled")?;
        let with_state = |id: String| {
            let on = enabled.contains(&id);
            (id, on)
        };
        Ok(list("all", "--all")?.into_iter().map(with_state).collect())
    }

    /// On RHEL by its own tool, which would undo any other change.
    fn switch_repository(&self, host: &Host, id: &str, on: bool) -> Result<()> {
        let (verb, option, set) = match on {
            true => ("enable", "--enable=", "--set-enabled"),
            false => ("disable", "--disable=", "--set-disabled"),
        };
        let what = format!("{verb} the repository {id}");
        if host.exists(Path::new("/usr/sbin/subscription-manager")) {
            let command = Command::new("subscription-manager").args(["repos"]);
            let command = command.option(option, id);
            if host.run(&command.changes().limit(QUERY_LIMIT))?.success() {
                return Ok(());
            }
            // The repositories of a cloud's image come from the cloud, not from a subscription.
        }
        let command = tool(host, &["config-manager", set]).names([id]).changes();
        let output = run(host, &command, &what, &|_| {})?;
        if !output.success() {
            let help =
                format!("run 'dnf install dnf-plugins-core', or {verb} it by hand, then run again");
            return Err(Problem::new(what, failure::reason(&output))
                .help(help)
                .into());
        }
        Ok(())
    }

    fn repositories_of(&self, host: &Host, package: &str) -> Result<Vec<String>> {
        let files = host
            .check(&Command::new("rpm").args(["-ql"]).operands([package]))?
            .text();
        let is_repository = |file: &&str| {
            let path = Path::new(file);
            path.starts_with("/etc/yum.repos.d") && path.extension().is_some_and(|e| e == "repo")
        };
        let mut ids = Vec::new();
        for file in files.lines().filter(is_repository) {
            let Some(file) = host.read(Path::new(file))? else {
                continue;
            };
            let text = String::from_utf8_lossy(&file.bytes).into_owned();
            let id =
                |line: &str| Some(line.trim().strip_prefix('[')?.strip_suffix(']')?.to_owned());
            ids.extend(text.lines().filter_map(id));
        }
        Ok(ids)
    }

    fn origins(&self, host: &Host) -> Result<BTreeMap<String, String>> {
        let what = "ask where packages came from";
        if is_yum(host) {
            let text = ask(host, &["-q", "list", "installed"], what)?;
            // Three words for each package, wrapped anywhere.
            let words: Vec<&str> = text
                .lines()
                .skip(1)
                .flat_map(str::split_whitespace)
                .collect();
            return Ok(words
                .chunks_exact(3)
                .map(|row| {
                    let name = row[0].rsplit_once('.').map_or(row[0], |(name, _)| name);
                    (name.to_owned(), row[2].trim_start_matches('@').to_owned())
                })
                .collect());
        }
        let format = "%{name} %{from_repo}\n";
        let query = ["-q", "repoquery", "--installed", "--qf", format];
        Ok(ask(host, &query, what)?
            .lines()
            .filter_map(|line| line.trim().split_once(' '))
            .map(|(name, origin)| (name.to_owned(), origin.to_owned()))
            .collect())
    }
}

/// The package of an extension depends on one PHP's ABI: false if this host's
/// PHP is another, or would be downgraded for it.
fn fits_php(host: &Host, name: &str) -> Result<bool> {
    let mut extensions = host.platform()?.family.extension.iter();
    if !extensions.any(|extension| name.ends_with(extension)) {
        return Ok(true);
    }
    let output = try_out(host, Operation::Install, &[name.to_owned()])?;
    Ok(!output.says("php(zend-abi)") && !output.says("\nDowngrading:"))
}

fn is_yum(host: &Host) -> bool {
    !host.exists(Path::new("/usr/bin/dnf"))
}

fn program(host: &Host) -> &'static str {
    if is_yum(host) { "yum" } else { "dnf" }
}

fn settings(host: &Host) -> &'static str {
    match is_yum(host) {
        true => "/etc/yum.conf",
        false => "/etc/dnf/dnf.conf",
    }
}

fn verb(operation: Operation) -> &'static str {
    match operation {
        Operation::Install => "install",
        Operation::Remove => "remove",
    }
}

/// The verb, and the option that keeps it to the packages that were named.
fn words(host: &Host, operation: Operation) -> Vec<&'static str> {
    let option = match operation {
        // Someone may use a package that no other package needs any more.
        Operation::Remove => Some("--setopt=clean_requirements_on_remove=False"),
        Operation::Install if is_yum(host) => None,
        Operation::Install => Some("--setopt=install_weak_deps=False"),
    };
    // A package that has an address is not checked by default.
    let checked = ["--setopt=localpkg_gpgcheck=1", verb(operation)];
    option.into_iter().chain(checked).collect()
}

fn tool(host: &Host, args: &[&'static str]) -> Command {
    Command::new(program(host))
        .args(["--setopt=exit_on_lock=True"])
        .args(args.iter().copied())
        .limit(QUERY_LIMIT)
}

fn ask(host: &Host, args: &[&'static str], what: &str) -> Result<String> {
    let output = run(host, &tool(host, args), what, &|_| {})?;
    match output.success() {
        true => Ok(output.text()),
        false => Err(failed(host, what, &output)),
    }
}

fn simulation(host: &Host, operation: Operation) -> String {
    format!("simulate {} {}", program(host), verb(operation))
}

fn try_out(host: &Host, operation: Operation, names: &[String]) -> Result<Output> {
    let command = tool(host, &["--assumeno"])
        .args(words(host, operation))
        .names(names);
    run(host, &command, &simulation(host, operation), &|_| {})
}

/// Waits while another package manager runs.
fn run(host: &Host, command: &Command, what: &str, watch: &dyn Fn(&str)) -> Result<Output> {
    let output = run_when_unlocked(host, command, is_locked, watch)?;
    if is_locked(&output) {
        return Err(Problem::new(what, failure::reason(&output))
            .help(LOCKED_HELP)
            .into());
    }
    Ok(output)
}

fn is_locked(output: &Output) -> bool {
    output.status.code() == Some(LOCKED) || output.says("Failed to obtain rpm transaction lock")
}

fn failed(host: &Host, what: &str, output: &Output) -> anyhow::Error {
    failure::problem(program(host), what, output).into()
}
