//! apt and dpkg: never asking, waiting for other runs, bounded in time.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;

use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::commands::{Command, Output, explain};
use crate::host::files::Node;
use crate::host::packages::{Installed, Simulation};

/// How long another package run may hold the locks.
const LOCK_WAIT: Duration = Duration::from_secs(300);
const LIMIT: Duration = Duration::from_secs(1800);

pub fn installed(host: &Host) -> Result<Installed> {
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

pub fn candidates(host: &Host, names: &[String]) -> Result<Vec<String>> {
    let output = host.check(&Command::new("apt-cache").args(["policy", "--"]).args(names))?;
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

pub fn simulate(host: &Host, verb: &str, names: &[String]) -> Result<Simulation> {
    let command = apt_get(&["-s", verb]).args(names);
    let output = host.run(&command)?;
    if !output.success() {
        return Err(failed(
            host,
            &format!("see what apt-get {verb} would do"),
            &output,
        ));
    }
    let mut simulation = Simulation::default();
    for line in output.text().lines() {
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
    Ok(simulation)
}

/// How long ago the lists were fetched; `None` where they never were.
pub fn lists_age(host: &Host) -> Option<Duration> {
    // A fetch that failed leaves the folder as if it had been done.
    let lists = host.list(Path::new("/var/lib/apt/lists")).ok()?;
    let is_list = |name: &std::ffi::OsString| name.to_string_lossy().contains("_Packages");
    if !lists.iter().any(is_list) {
        return None;
    }
    match host.look(Path::new("/var/lib/apt/lists/partial")).ok()? {
        Node::Directory(meta) => SystemTime::now().duration_since(meta.mtime()).ok(),
        _ => None,
    }
}

/// `apt-get update` does not wait for the lock of another run by itself.
pub fn update(host: &Host, watch: &dyn Fn(&str)) -> Result<()> {
    let command = apt_get(&["update"])
        .args(["-o", "APT::Update::Error-Mode=any"])
        .changes()
        .limit(LIMIT);
    let begun = Instant::now();
    loop {
        let output = host.run_watched(&command, watch)?;
        if output.success() {
            return Ok(());
        }
        if !is_locked(&output) || begun.elapsed() > LOCK_WAIT {
            return Err(failed(
                host,
                "fetch the package lists (apt-get update)",
                &output,
            ));
        }
        watch("waiting for another package manager to end");
        std::thread::sleep(Duration::from_secs(2));
    }
}

pub fn change(host: &Host, verb: &str, names: &[String], watch: &dyn Fn(&str)) -> Result<()> {
    let command = apt_get(&[verb]).args(names).changes().limit(LIMIT);
    let mut output = host.run_watched(&command, watch)?;
    if !output.success() && says(&output, "dpkg --configure -a") {
        // An earlier run of dpkg was cut off: let it finish, then go on.
        watch("finishing an interrupted run of dpkg");
        let configure = Command::new("dpkg")
            .args(["--configure", "-a", "--force-confdef", "--force-confold"])
            .env("DEBIAN_FRONTEND", "noninteractive")
            .changes()
            .limit(LIMIT);
        host.check(&configure)?;
        output = host.run_watched(&command, watch)?;
    }
    if !output.success() {
        let what = format!("{verb} {} (apt-get)", names.join(" "));
        return Err(failed(host, &what, &output));
    }
    Ok(())
}

fn apt_get(args: &[&str]) -> Command {
    Command::new("apt-get")
        .args(["-y", "-q", "--no-install-recommends"])
        .args([
            "-o",
            &format!("DPkg::Lock::Timeout={}", LOCK_WAIT.as_secs()),
        ])
        .args(["-o", "Dpkg::Options::=--force-confdef"])
        .args(["-o", "Dpkg::Options::=--force-confold"])
        .args(["-o", "Dpkg::Use-Pty=0"])
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("DEBCONF_NOWARNINGS", "yes")
        .env("APT_LISTCHANGES_FRONTEND", "none")
        .env("NEEDRESTART_SUSPEND", "1")
        .limit(Duration::from_secs(120))
}

fn says(output: &Output, words: &str) -> bool {
    String::from_utf8_lossy(&output.stderr).contains(words)
        || String::from_utf8_lossy(&output.stdout).contains(words)
}

fn is_locked(output: &Output) -> bool {
    says(output, "Could not get lock") || says(output, "is held by process")
}

/// On Ubuntu images the component that has our packages may be off.
fn lacks_universe(host: &Host) -> bool {
    host.platform()
        .is_ok_and(|platform| platform.id == "ubuntu")
        && host
            .run(&Command::new("apt-cache").args(["policy"]))
            .is_ok_and(|output| !output.text().contains("universe"))
}

fn failed(host: &Host, what: &str, output: &Output) -> anyhow::Error {
    let help = if is_locked(output) {
        "another package manager is at work: let it end, then run again"
    } else if says(output, "Unable to locate package") || says(output, "no installation candidate")
    {
        if lacks_universe(host) {
            "Ubuntu's component universe is off: 'add-apt-repository universe', then run again"
        } else {
            "enable the repository that has it, run 'apt-get update', then run again"
        }
    } else if says(output, "Could not resolve") || says(output, "Failed to fetch") {
        "see that the host reaches its package sources, then run again"
    } else if ["held packages", "Held packages", "held broken packages"]
        .iter()
        .any(|words| says(output, words))
    {
        "see 'apt-mark showhold', decide about what is held, then run again"
    } else {
        "see what apt says above; mend it, then run again: setup goes on where it stopped"
    };
    Problem::new(what, explain(output)).help(help).into()
}
