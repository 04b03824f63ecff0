//! dnf (yum where there is no dnf) and rpm: never asking, bounded in time.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use regex::Regex;

use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::commands::{Command, Output, explain};
use crate::host::packages::{Installed, Simulation};

/// How long another package run may hold the locks. dnf itself would wait without an end.
const LOCK_WAIT: Duration = Duration::from_secs(300);
/// Its exit code where it does not wait.
const LOCKED: i32 = 200;
const LOOK_LIMIT: Duration = Duration::from_secs(300);
const LIMIT: Duration = Duration::from_secs(1800);

pub fn installed(host: &Host) -> Result<Installed> {
    let format = "%{NAME} %{VERSION}-%{RELEASE}\n";
    let output = host.check(&Command::new("rpm").args(["-qa", "--qf", format]))?;
    Ok(output
        .text()
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, version)| (name.to_owned(), version.to_owned()))
        .collect())
}

pub fn candidates(host: &Host, names: &[String]) -> Result<Vec<String>> {
    let command = match is_yum(host) {
        true => tool(host, &["-q", "info", "available"]).args(names),
        // Versions of dnf differ in whether they end a line by themselves.
        false => tool(
            host,
            &["-q", "repoquery", "--available", "--qf", "%{name}\n"],
        )
        .args(names),
    };
    let output = run(host, &command, "ask which packages there are", &|_| {})?;
    // yum has no other word for "none of them".
    if !output.success() && !says(&output, "No matching Packages") {
        return Err(failed(host, "ask which packages there are", &output));
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

/// An extension is built for one PHP, and its package asks for that one's ABI:
/// false where the PHP that is here is another, or would be taken back for it.
fn fits_php(host: &Host, name: &str) -> Result<bool> {
    let mut extensions = host.platform()?.family.extension.iter();
    if !extensions.any(|extension| name.ends_with(extension)) {
        return Ok(true);
    }
    let output = try_out(host, "install", &[name.to_owned()])?;
    Ok(!says(&output, "php(zend-abi)") && !says(&output, "\nDowngrading:"))
}

/// Which of the names the manager's own settings keep from this host.
pub fn excluded(host: &Host, names: &[String]) -> Result<Vec<String>> {
    let settings = match is_yum(host) {
        true => "/etc/yum.conf",
        false => "/etc/dnf/dnf.conf",
    };
    let Some(file) = host.read(Path::new(settings))? else {
        return Ok(Vec::new());
    };
    let patterns = exclusions(&String::from_utf8_lossy(&file.bytes));
    let fits = |name: &&String| patterns.iter().any(|pattern| pattern.is_match(name));
    Ok(names.iter().filter(fits).cloned().collect())
}

/// A value goes on in the lines that begin with a blank.
fn exclusions(text: &str) -> Vec<Regex> {
    let mut patterns = Vec::new();
    let mut key = "";
    for line in text.lines() {
        let value = match line.split_once('=') {
            _ if line.starts_with([' ', '\t']) => line,
            Some((name, value)) => {
                key = name.trim();
                value
            }
            None => {
                key = "";
                continue;
            }
        };
        if !matches!(key, "exclude" | "excludepkgs") {
            continue;
        }
        for word in value
            .split([' ', '\t', ','])
            .filter(|word| !word.is_empty())
        {
            let pattern = regex::escape(word).replace("\\*", ".*").replace("\\?", ".");
            patterns.extend(Regex::new(&format!("^{pattern}$")));
        }
    }
    patterns
}

pub fn simulate(host: &Host, verb: &str, names: &[String]) -> Result<Simulation> {
    let what = format!("see what {} {verb} would do", program(host));
    let output = try_out(host, verb, names)?;
    let told = ["Operation aborted", "Exiting on user", "Nothing to do"];
    let whole = !says(&output, "No package ") && !says(&output, "Error:");
    if !whole || !(output.success() || told.iter().any(|words| says(&output, words))) {
        return Err(failed(host, &what, &output));
    }
    Ok(parse(&output.text()))
}

fn try_out(host: &Host, verb: &str, names: &[String]) -> Result<Output> {
    let what = format!("see what {} {verb} would do", program(host));
    let command = tool(host, &["--assumeno"])
        .args(more(host, verb))
        .args(names);
    run(host, &command, &what, &|_| {})
}

/// The table of a transaction. Each row begins with one blank; where a name
/// is too long for its column the rest of the row stands on the next line.
fn parse(text: &str) -> Simulation {
    let mut simulation = Simulation::default();
    let mut section = "";
    let mut rows: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut replaced = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let indent = line.len() - line.trim_start().len();
        match (indent, words.as_slice()) {
            (0, _) => section = line.trim_end(),
            (1, [_, ..]) => rows.push((section, words)),
            (_, ["replacing", name, ..]) => {
                let name = name.rsplit_once('.').map_or(*name, |(name, _)| name);
                replaced.push(name.to_owned());
            }
            (_, [_, ..]) => {
                if let Some((of, row)) = rows.last_mut()
                    && *of == section
                {
                    row.extend(words);
                }
            }
            _ => {}
        }
    }
    for (section, row) in rows {
        let name = row[0].to_owned(); // a row has a word
        match section.split_whitespace().next() {
            Some("Installing" | "Installing:") => {
                let version = row.get(2).copied().unwrap_or_default();
                simulation.new.push(format!("{name} {version}"));
            }
            Some("Upgrading:" | "Updating" | "Updating:" | "Downgrading:") => {
                simulation.upgraded.push(name);
            }
            Some("Removing" | "Removing:") => simulation.removed.push(name),
            _ => {}
        }
    }
    // dnf 5 says of an upgrade too what it replaces.
    replaced.retain(|name| !simulation.upgraded.contains(name));
    simulation.removed.extend(replaced);
    simulation
}

pub fn update(host: &Host, watch: &dyn Fn(&str)) -> Result<()> {
    let what = format!("fetch the package lists ({} makecache)", program(host));
    let command = tool(host, &["makecache"]).changes().limit(LIMIT);
    let output = run(host, &command, &what, watch)?;
    if !output.success() {
        return Err(failed(host, &what, &output));
    }
    Ok(())
}

pub fn change(host: &Host, verb: &str, names: &[String], watch: &dyn Fn(&str)) -> Result<()> {
    let what = format!("{verb} {} ({})", names.join(" "), program(host));
    let command = tool(host, &["-y"])
        .args(more(host, verb))
        .args(names)
        .changes()
        .limit(LIMIT);
    let output = run(host, &command, &what, watch)?;
    if !output.success() {
        return Err(failed(host, &what, &output));
    }
    Ok(())
}

/// From which repository each installed package came.
pub fn origins(host: &Host) -> Result<BTreeMap<String, String>> {
    let what = "ask where packages came from";
    if is_yum(host) {
        let text = ask(host, &["-q", "list", "installed"], what)?;
        // Three words each, wrapped as it likes.
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
    let query = [
        "-q",
        "repoquery",
        "--installed",
        "--qf",
        "%{name} %{from_repo}\n",
    ];
    Ok(ask(host, &query, what)?
        .lines()
        .filter_map(|line| line.trim().split_once(' '))
        .map(|(name, origin)| (name.to_owned(), origin.to_owned()))
        .collect())
}

/// The ids of all repositories, and whether each is on.
pub fn repositories(host: &Host) -> Result<Vec<(String, bool)>> {
    let list = |which: &str| -> Result<Vec<String>> {
        let words: &[&str] = match is_yum(host) {
            true => &["-q", "repolist", which],
            false => &["-q", "repolist", &format!("--{which}")],
        };
        let text = ask(host, words, "ask which repositories there are")?;
        // yum writes "id/release/arch", with a mark where the lists are old.
        let id = |line: &str| {
            let word = line.split_whitespace().next()?;
            Some(
                word.trim_start_matches(['!', '*'])
                    .split('/')
                    .next()?
                    .to_owned(),
            )
        };
        Ok(text.lines().skip(1).filter_map(id).collect())
    };
    let enabled = list("enabled")?;
    let with_state = |id: String| {
        let on = enabled.contains(&id);
        (id, on)
    };
    Ok(list("all")?.into_iter().map(with_state).collect())
}

/// RHEL's own tool knows RHEL's repositories, and would undo another's change.
pub fn switch_repository(host: &Host, id: &str, on: bool) -> Result<()> {
    let verb = if on { "enable" } else { "disable" };
    let what = format!("{verb} the repository {id}");
    if host.exists(Path::new("/usr/sbin/subscription-manager")) {
        let option = format!("--{verb}={id}");
        let command = Command::new("subscription-manager").args(["repos", &option]);
        if host.run(&command.changes().limit(LOOK_LIMIT))?.success() {
            return Ok(());
        }
        // On a cloud's image the cloud has the repositories, not a subscription.
    }
    let option = format!("--set-{verb}d");
    let command = tool(host, &["config-manager", &option, id]).changes();
    let output = run(host, &command, &what, &|_| {})?;
    if !output.success() {
        let help = format!("'dnf install dnf-plugins-core', or {verb} it by hand, then run again");
        return Err(Problem::new(what, words(&output)).help(help).into());
    }
    Ok(())
}

/// The ids of the repositories whose files a package brought.
pub fn repositories_of(host: &Host, package: &str) -> Result<Vec<String>> {
    let files = host
        .check(&Command::new("rpm").args(["-ql", package]))?
        .text();
    let mut ids = Vec::new();
    for file in files.lines().filter(|file| {
        let path = Path::new(file);
        path.starts_with("/etc/yum.repos.d") && path.extension().is_some_and(|e| e == "repo")
    }) {
        let Some(file) = host.read(Path::new(file))? else {
            continue;
        };
        let text = String::from_utf8_lossy(&file.bytes).into_owned();
        let id = |line: &str| Some(line.trim().strip_prefix('[')?.strip_suffix(']')?.to_owned());
        ids.extend(text.lines().filter_map(id));
    }
    Ok(ids)
}

fn is_yum(host: &Host) -> bool {
    !host.exists(Path::new("/usr/bin/dnf"))
}

pub fn program(host: &Host) -> &'static str {
    if is_yum(host) { "yum" } else { "dnf" }
}

fn tool(host: &Host, args: &[&str]) -> Command {
    Command::new(program(host))
        .args(["--setopt=exit_on_lock=True"])
        .args(args)
        .limit(LOOK_LIMIT)
}

fn ask(host: &Host, args: &[&str], what: &str) -> Result<String> {
    let output = run(host, &tool(host, args), what, &|_| {})?;
    match output.success() {
        true => Ok(output.text()),
        false => Err(failed(host, what, &output)),
    }
}

/// The verb with what belongs to it. Packages that are no longer needed by
/// others may be a person's: none goes that was not named.
fn more(host: &Host, verb: &str) -> Vec<String> {
    let option = match (verb, is_yum(host)) {
        ("remove", _) => Some("--setopt=clean_requirements_on_remove=False"),
        (_, false) => Some("--setopt=install_weak_deps=False"),
        _ => None,
    };
    option
        .into_iter()
        .chain([verb])
        .map(str::to_owned)
        .collect()
}

/// Waits while another package manager is at work.
fn run(host: &Host, command: &Command, what: &str, watch: &dyn Fn(&str)) -> Result<Output> {
    let begun = Instant::now();
    loop {
        let output = host.run_watched(command, watch)?;
        let locked = output.status.code() == Some(LOCKED)
            || says(&output, "Failed to obtain rpm transaction lock");
        if !locked {
            return Ok(output);
        }
        if begun.elapsed() > LOCK_WAIT {
            return Err(Problem::new(what, words(&output))
                .help("another package manager is at work: let it end, then run again")
                .into());
        }
        watch("waiting for another package manager to end");
        std::thread::sleep(Duration::from_secs(2));
    }
}

/// What it said, without the table of what it would do and the settings of a
/// repository, behind which the reason is lost.
fn words(output: &Output) -> String {
    const TABLE: &str = "\nDownloading Packages:";
    const SETTINGS: &str = "\nProblem repository: ";
    let told = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let text = text.rsplit(TABLE).next().unwrap_or_default();
        match text.split_once(SETTINGS) {
            Some((before, rest)) => {
                let name = rest.lines().next().unwrap_or_default();
                format!("{before}{SETTINGS}{name}").into_bytes()
            }
            None => text.as_bytes().to_vec(),
        }
    };
    explain(&Output {
        stdout: told(&output.stdout),
        stderr: told(&output.stderr),
        status: output.status,
    })
}

fn says(output: &Output, words: &str) -> bool {
    String::from_utf8_lossy(&output.stderr).contains(words)
        || String::from_utf8_lossy(&output.stdout).contains(words)
}

/// What dnf's words mean, and what helps; the first that fits.
const ADVICE: [(&[&str], &str); 9] = [
    (
        &["filtered out by exclude", "filtered out by modular"],
        "it is excluded on this host: see 'exclude' in /etc/dnf/dnf.conf and /etc/yum.repos.d, and 'dnf versionlock list'; decide, then run again",
    ),
    (
        &["not registered", "no enabled repo"],
        "enable a repository (on RHEL: 'subscription-manager register'), then run again",
    ),
    (
        &[
            "Failed to download metadata",
            "Cannot download",
            "All mirrors were tried",
            "Cannot find a valid baseurl",
            "Could not retrieve mirrorlist",
            "Curl error",
        ],
        "see that the host reaches its package sources (/etc/yum.repos.d; a release past its end is in its maker's archive), then run again",
    ),
    (
        &[
            "GPG check FAILED",
            "is not signed",
            "ublic key",
            "GPG public keys",
        ],
        "the package's signature cannot be checked: see gpgkey of its repository in /etc/yum.repos.d, then run again",
    ),
    (
        &["incorrect checksum", "checksum doesn't match", "is damaged"],
        "what its source has is broken or half copied: 'dnf clean all', then run again; if it stays so, take another mirror in /etc/yum.repos.d",
    ),
    (
        &["nothing provides"],
        "a repository that it needs is off (with EPEL mostly CRB or PowerTools: 'dnf config-manager --set-enabled crb'); enable it, then run again",
    ),
    (
        &[
            "Unable to find a match",
            "No match for argument",
            "No package ",
        ],
        "enable the repository that has it, then run again",
    ),
    (
        &["conflict", "Problem:"],
        "see which of the packages named above this host needs, decide, then run again",
    ),
    (
        &["No space left", "needs at least", "more space needed"],
        "make room, then run again: setup goes on where it stopped",
    ),
];

fn failed(host: &Host, what: &str, output: &Output) -> anyhow::Error {
    let help = ADVICE
        .iter()
        .find(|(words, _)| words.iter().any(|words| says(output, words)))
        .map(|(_, help)| (*help).to_owned())
        .unwrap_or_else(|| {
            format!(
                "see what {} says above; mend it, then run again: setup goes on where it stopped",
                program(host)
            )
        });
    Problem::new(what, words(output)).help(help).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_row_of_a_transaction_is_told_apart() {
        let simulation = parse(
            "Last metadata expiration check: 0:00:13 ago\nDependencies resolved.\n====\n Package  Arch  Version  Repository  Size\n====\nInstalling:\n supervisor   noarch 4.2.5-1.el9  epel 5.4 k\n a-name-that-is-too-long-for-its-column\n              noarch 1.0-1        epel 5 k\nInstalling dependencies:\n libgearman   x86_64 1.1.20-1     epel 5 k\n     replacing  oldgearman.x86_64 0.9-1\nUpgrading:\n python3-base noarch 2-1          epel 5 k\n   replacing python3-base noarch 1-1 epel 5 k\nRemoving dependent packages:\n other        noarch 1-1          @epel 0\nEnabling module streams:\n php                 8.2\n\nTransaction Summary\n====\nInstall  3 Packages\n\nTotal size: 27 k\n",
        );
        assert_eq!(
            simulation.new,
            [
                "supervisor 4.2.5-1.el9",
                "a-name-that-is-too-long-for-its-column 1.0-1",
                "libgearman 1.1.20-1"
            ]
        );
        assert_eq!(simulation.upgraded, ["python3-base"]);
        assert_eq!(simulation.removed, ["other", "oldgearman"]);
    }

    #[test]
    fn exclusions_are_words_with_stars_over_several_lines() {
        let patterns = exclusions(
            "[main]\nexclude=gearman* kernel, php-?ecl\n  more.+\n# exclude=no\nbest=True\n also\nexcludepkgs = last\n",
        );
        let fits = |name: &str| patterns.iter().any(|pattern| pattern.is_match(name));
        for name in ["gearmand", "kernel", "php-pecl", "more.+", "last"] {
            assert!(fits(name), "{name}");
        }
        for name in [
            "libgearman",
            "kernel-core",
            "php-ppecl",
            "more.",
            "no",
            "also",
        ] {
            assert!(!fits(name), "{name}");
        }
    }

    #[test]
    fn a_table_of_yum_3_is_read_too() {
        let simulation = parse(
            "Dependencies Resolved\n\n====\n Package   Arch  Version  Repository  Size\n====\nInstalling:\n gearmand  x86_64 1.1.12-18.el7 epel 5 k\nInstalling for dependencies:\n libevent  x86_64 2.0.21-4.el7 base 5 k\nUpdating for dependencies:\n glibc     x86_64 2.17-326 base 5 k\n\nTransaction Summary\n====\nInstall  1 Package (+1 Dependent package)\n\nTotal download size: 5 M\nExiting on user command\n",
        );
        assert_eq!(
            simulation.new,
            ["gearmand 1.1.12-18.el7", "libevent 2.0.21-4.el7"]
        );
        assert_eq!(simulation.upgraded, ["glibc"]);
    }
}
