//! The running gearmand: whether it matches its files, and how many jobs a restart
//! would lose.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::gearman::daemon::FILES_LIMIT;
use crate::gearman::options::{self, Wanted};
use crate::gearman::password::{self, Secret};
use crate::gearman::server::Server;
use crate::gearman::text::{Admin, FunctionStatus};
use crate::gearman::unit::{self, Definition};
use crate::host::Host;
use crate::host::platform::{Family, Init};
use crate::host::process::Process;
use crate::host::services::Unit;
use crate::queue::{Queue, confined, passwords};

/// Why the running gearmand has to be restarted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stale {
    /// Its command line differs from its options file.
    Options,
    /// Its queue's password is about to change.
    Password,
    /// The file with the password is newer than the process.
    PasswordFile,
    /// Its limit of open files, which is too low.
    FilesLimit(u64),
    /// The file in which it keeps jobs was deleted.
    FileGone,
    /// Its sandbox differs from its unit's.
    Sandbox,
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stale::Options => f.write_str("its command line differs from its options file"),
            Stale::Password => f.write_str("the password of its queue changes"),
            Stale::PasswordFile => write!(f, "{} changed after it started", password::CONFIG),
            Stale::Sandbox => f.write_str("its sandbox changed after it started"),
            Stale::FileGone => f.write_str("the file of its queue was deleted"),
            Stale::FilesLimit(soft) => write!(f, "it can open only {soft} files"),
        }
    }
}

/// Compares the running gearmand with its planned options file. If `wanted` is
/// empty, it only has to match the current file.
pub fn staleness(
    family: &'static Family,
    wanted: Vec<Wanted>,
    secret: Option<Secret>,
) -> impl Fn(&Host, &Unit) -> Result<Option<Stale>> + Send + Sync {
    let wants_limit = !wanted.is_empty();
    move |host: &Host, unit: &Unit| {
        let Some(process) = host.process(unit.main_pid) else {
            return Ok(None);
        };
        let Some(words) = planned_words(host, family, &wanted)? else {
            return Ok(None);
        };
        let daemon = |word: &str| word == "-d" || word == "--daemon";
        let fixed: Vec<&str> = unit.command_line().split_whitespace().collect();
        let mut all = words
            .iter()
            .map(String::as_str)
            .chain(fixed.iter().copied());
        if !wants_limit && unit.forking && !all.any(daemon) {
            return Ok(None); // the unit could not start with that file, so let it run
        }
        let missing = words.iter().find(|word| !process.args.contains(word));
        let extra = process.args.iter().skip(1).find(|arg| {
            !fixed.is_empty() && !words.contains(arg) && !fixed.contains(&arg.as_str())
        });
        if missing.is_some() || extra.is_some() {
            return Ok(Some(Stale::Options));
        }
        let queue = queue_type(&words).and_then(|it| Queue::of_type(&it));
        if let Some(source) = queue.and_then(|queue| queue.password())
            && let Some(config) = host.read(Path::new(password::CONFIG))?
        {
            let now = password::read(&config.bytes, source.gearmand_option);
            let planned = secret.as_ref().map(|secret| &secret.password);
            if planned.is_some() && now.as_ref() != planned {
                return Ok(Some(Stale::Password));
            }
            if config.meta.mtime() > process.started {
                return Ok(Some(Stale::PasswordFile));
            }
        }
        // In a container the hard limit may be lower than the limit we set.
        if let Some((soft, hard)) = host.files_limits(process.pid)
            && wants_limit
            && host.platform()?.init == Init::Systemd
            && soft < FILES_LIMIT.min(hard)
        {
            return Ok(Some(Stale::FilesLimit(soft)));
        }
        let planned = wants_limit.then_some(words.as_slice());
        if confined::is_stale(host, unit, &process, planned)? {
            return Ok(Some(Stale::Sandbox));
        }
        let gone = wants_limit && has_lost_its_file(host, &process);
        Ok(gone.then_some(Stale::FileGone))
    }
}

/// How these options are split between gearmand's unit and its options file. Passwords
/// must not be in either.
///
/// # Errors
/// If the unit or a file cannot be read.
pub fn definition(host: &Host, wanted: &[Wanted]) -> Result<Definition> {
    let secrets: Vec<&str> = passwords().map(|it| it.gearmand_option).collect();
    unit::definition(host, wanted, &secrets)
}

/// The words of the planned options file; `None` if there is no such file.
pub fn planned_words(
    host: &Host,
    family: &Family,
    wanted: &[Wanted],
) -> Result<Option<Vec<String>>> {
    let gearmand = &family.gearmand;
    let Some(file) = host.read(Path::new(gearmand.options_file))? else {
        return Ok(None);
    };
    let text = match wanted.is_empty() {
        true => file.bytes,
        false => {
            let planned = definition(host, wanted)?;
            let variable = gearmand.options_variable;
            options::merge(&file.bytes, variable, &planned.for_file, &planned.unwanted)?
        }
    };
    Ok(Some(options::all_words(&text, gearmand.options_variable)))
}

/// The kind of queue that these options select.
fn queue_type(words: &[String]) -> Option<String> {
    let given = options::given(&words.join(" "));
    let (_, kind) = given.into_iter().find(|(name, _)| name == "queue-type")?;
    kind
}

/// The store in which gearmand with these options keeps its jobs; `None` for
/// memory.
fn store(words: &[String]) -> Option<Vec<String>> {
    let kind = queue_type(words)?;
    let Some(queue) = Queue::of_type(&kind) else {
        return Some(vec![kind]);
    };
    let given = options::given(&words.join(" "));
    let value = |(name, default): &(&str, &str)| {
        let found = given.iter().find(|(given, _)| given == name);
        let value = found.and_then(|(_, value)| value.clone());
        value.unwrap_or_else(|| (*default).to_owned())
    };
    let rest = queue.place()?.iter().map(value);
    Some(
        [queue.queue_type().to_owned()]
            .into_iter()
            .chain(rest)
            .collect(),
    )
}

/// Whether it keeps its jobs in a file that no longer has a name, so that they end
/// with it.
pub fn has_lost_its_file(host: &Host, gearmand: &Process) -> bool {
    let places = store(&gearmand.args).unwrap_or_default();
    let is_place = |file: &PathBuf| {
        let name = file.to_string_lossy();
        let name = name.strip_suffix(" (deleted)");
        name.is_some_and(|name| places.iter().any(|place| place == name))
    };
    host.files_of(gearmand.pid).iter().any(is_place)
}

/// How many jobs a restart with the planned options would lose or leave
/// behind, because the queue is in memory or moves to another store. `unit` is its unit,
/// `count`
/// returns the jobs of a function that matter.
pub fn would_lose(
    host: &Host,
    unit: &str,
    planned: &[String],
    count: fn(&FunctionStatus) -> u64,
) -> Result<u64> {
    let unit = host.unit(unit, &[host.supervisor()?.unit])?;
    let Some(process) = host.process(unit.main_pid) else {
        return Ok(0);
    };
    let now = store(&process.args);
    if now.is_some() && now == store(planned) && !has_lost_its_file(host, &process) {
        return Ok(0);
    }
    let queues = queues_of(host, process.pid);
    Ok(queues.iter().map(count).sum())
}

/// The queues of a running gearmand, asked at the address where it listens
/// (which may be ::1 only). Empty if it does not answer: it needs the restart.
fn queues_of(host: &Host, pid: u32) -> Vec<FunctionStatus> {
    let limit = Duration::from_secs(2);
    host.listeners_of(pid)
        .iter()
        .find_map(|listener| {
            let server = Server {
                host: listener.address.to_string(),
                port: listener.port,
            };
            Admin::connect(&server, limit).ok()?.status().ok()
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store_of(line: &str) -> Option<Vec<String>> {
        store(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn a_store_is_the_same_in_any_spelling() {
        let short = store_of("gearmand -q libsqlite3 --libsqlite3-db=/q --verbose=INFO");
        assert!(short.is_some());
        assert_eq!(
            short,
            store_of("--queue-type=libsqlite3 --libsqlite3-db=/q")
        );
        let mysql = store_of("--queue-type=MySQL --mysql-db=g --mysql-user=a");
        let full = "-q MySQL --mysql-db=g --mysql-host=localhost --mysql-port=3306 --mysql-table=gearman_queue";
        assert_eq!(mysql, store_of(full));
        assert_ne!(mysql, short);
        assert_ne!(mysql, store_of("--queue-type=MySQL --mysql-db=h"));
        assert_eq!(store_of("gearmand -q builtin"), None);
        assert_eq!(store_of("gearmand --listen=127.0.0.1"), None);
    }
}
