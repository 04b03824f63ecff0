//! What we want of gearmand, and whether the one that runs is that.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::base::template;
use crate::gearman::options::{self, Wanted};
use crate::gearman::password::{self, Password};
use crate::gearman::server::Server;
use crate::gearman::text::{Admin, Queue};
use crate::gearman::unit::definition;
use crate::host::Host;
use crate::host::platform::{Family, Gearmand, Init};
use crate::host::services::Unit;

/// Each worker and each page that hands in a job is a connection.
pub const FILES_LIMIT: u64 = 65536;
/// gearmand deletes a job after so many workers died with it; our workers count themselves.
const RETRIES: &str = "255";

/// The options that we want of gearmand, whatever else is there; `of_queue`
/// says where jobs wait.
pub fn wanted(listen: &str, port: u16, of_queue: Vec<Wanted>) -> Vec<Wanted> {
    let mut wanted = vec![
        Wanted::new("listen", Some('L'), listen),
        Wanted::new("port", Some('p'), &port.to_string()),
        Wanted::new("job-retries", Some('j'), RETRIES),
    ];
    wanted.extend(of_queue);
    wanted
}

/// The file of an SQLite queue.
pub fn queue_file(gearmand: &Gearmand) -> String {
    format!("{}/queue.sqlite", gearmand.queue_dir)
}

/// The drop-in for its unit; `exec_start` where that one's command line won't do.
pub fn drop_in(
    gearmand: &Gearmand,
    exec_start: Option<&str>,
    database_here: bool,
) -> Result<String> {
    let mut context = tera::Context::new();
    context.insert("database_here", &database_here);
    context.insert("files_limit", &FILES_LIMIT);
    context.insert("exec_start", &exec_start);
    context.insert("options_file", gearmand.options_file);
    template::render(
        include_str!("../../templates/gearmand.dropin.tera"),
        &context,
    )
}

/// Why the running gearmand has to be restarted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stale {
    /// Its command line is not what its files say.
    Options,
    /// The password of its queue is about to change.
    Password,
    /// The file with the password is newer than the process.
    PasswordFile,
    /// It may open this many files, which is less than it should.
    FilesLimit(u64),
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stale::Options => f.write_str("it runs with other options than its file says"),
            Stale::Password => f.write_str("the password of its queue changes"),
            Stale::PasswordFile => write!(f, "{} is newer than it", password::CONFIG),
            Stale::FilesLimit(soft) => write!(f, "it may open {soft} files only"),
        }
    }
}

/// Compares the running gearmand with what its files will say. With no options
/// `wanted` it only has to match its file as it is.
pub fn staleness(
    family: &'static Family,
    wanted: Vec<Wanted>,
    secret: Option<Password>,
) -> impl Fn(&Host, &Unit) -> Result<Option<Stale>> + Send + Sync {
    let wants_limit = !wanted.is_empty();
    move |host: &Host, unit: &Unit| {
        let Some(process) = host.process(unit.main_pid) else {
            return Ok(None);
        };
        let Some(words) = words_to_be(host, family, &wanted)? else {
            return Ok(None);
        };
        let daemon = |word: &str| word == "-d" || word == "--daemon";
        let fixed: Vec<&str> = unit.command_line().split_whitespace().collect();
        let mut all = words
            .iter()
            .map(String::as_str)
            .chain(fixed.iter().copied());
        if !wants_limit && unit.forking && !all.any(daemon) {
            return Ok(None); // its unit cannot start with that file: it lives on as it is
        }
        let missing = words.iter().find(|word| !process.args.contains(word));
        let extra = process.args.iter().skip(1).find(|arg| {
            !fixed.is_empty() && !words.contains(arg) && !fixed.contains(&arg.as_str())
        });
        if missing.is_some() || extra.is_some() {
            return Ok(Some(Stale::Options));
        }
        if words.iter().any(|word| word.ends_with("=MySQL"))
            && let Some(config) = host.read(Path::new(password::CONFIG))?
        {
            let now = password::read(&config.bytes);
            if secret.is_some() && now != secret {
                return Ok(Some(Stale::Password));
            }
            if config.meta.mtime() > process.started {
                return Ok(Some(Stale::PasswordFile));
            }
        }
        // In a container the hard limit may be lower than what we ask for.
        if let Some((soft, hard)) = host.files_limits(process.pid)
            && wants_limit
            && host.platform()?.init == Init::Systemd
            && soft < FILES_LIMIT.min(hard)
        {
            return Ok(Some(Stale::FilesLimit(soft)));
        }
        Ok(None)
    }
}

/// Asks a job server for its version, as a sign of life.
pub fn ask_version(server: &str) -> Result<String> {
    let server: Server = server.parse().map_err(anyhow::Error::msg)?;
    Ok(Admin::connect(&server, Duration::from_secs(2))?.version()?)
}

/// The words of its file as it will be; `None` where there is no file.
pub fn words_to_be(host: &Host, family: &Family, wanted: &[Wanted]) -> Result<Option<Vec<String>>> {
    let gearmand = &family.gearmand;
    let Some(file) = host.read(Path::new(gearmand.options_file))? else {
        return Ok(None);
    };
    let text = match wanted.is_empty() {
        true => file.bytes,
        false => {
            let to_be = definition(host, wanted)?;
            let variable = gearmand.options_variable;
            options::merge(&file.bytes, variable, &to_be.for_file, &to_be.unwanted)?
        }
    };
    Ok(Some(options::all_words(&text, gearmand.options_variable)))
}

/// Where gearmand keeps its jobs, by its words. `None`: in memory.
fn place(words: &[String]) -> Option<Vec<String>> {
    const PLACES: [(&str, &str); 6] = [
        ("queue-type", "builtin"),
        ("libsqlite3-db", ""),
        ("mysql-host", "localhost"),
        ("mysql-port", "3306"),
        ("mysql-db", ""),
        ("mysql-table", "gearman_queue"),
    ];
    let given = options::given(&words.join(" "));
    let value = |name: &str, default: &str| {
        let found = given.iter().find(|(given, _)| given == name);
        let value = found.and_then(|(_, value)| value.clone());
        value.unwrap_or_else(|| default.to_owned())
    };
    let place = PLACES.map(|(name, default)| value(name, default));
    let kind = place[0].to_ascii_lowercase();
    let rows = PLACES.iter().zip(place);
    let of_kind = rows.filter(|((name, _), _)| name.starts_with(&kind));
    let rest: Vec<String> = of_kind.map(|(_, value)| value).collect();
    (kind != "builtin").then(|| [vec![kind.clone()], rest].concat())
}

/// How many jobs are in a running gearmand that one with these words would
/// not find: its queue is in memory, or another. `count` says which jobs of a
/// function matter.
pub fn would_lose(
    host: &Host,
    family: &Family,
    to_be: &[String],
    count: fn(&Queue) -> u64,
) -> Result<u64> {
    let unit = host.unit(family.gearmand.unit, &[host.supervisor()?.unit])?;
    let Some(process) = host.process(unit.main_pid) else {
        return Ok(0);
    };
    let now = place(&process.args);
    if now.is_some() && now == place(to_be) {
        return Ok(0);
    }
    let queues = queues_of(host, process.pid);
    Ok(queues.iter().map(count).sum())
}

/// What a running gearmand has, asked where it listens now (that may be ::1
/// alone). One that does not answer cannot be asked, and is to be restarted.
fn queues_of(host: &Host, pid: u32) -> Vec<Queue> {
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

    fn place_of(line: &str) -> Option<Vec<String>> {
        place(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn a_queue_is_the_same_however_it_is_spelt() {
        let spelt = place_of("gearmand -q libsqlite3 --libsqlite3-db=/q --verbose=INFO");
        assert!(spelt.is_some());
        assert_eq!(
            spelt,
            place_of("--queue-type=libsqlite3 --libsqlite3-db=/q")
        );
        let mysql = place_of("--queue-type=MySQL --mysql-db=g --mysql-user=a");
        let full = "-q MySQL --mysql-db=g --mysql-host=localhost --mysql-port=3306 --mysql-table=gearman_queue";
        assert_eq!(mysql, place_of(full));
        assert_ne!(mysql, spelt);
        assert_ne!(mysql, place_of("--queue-type=MySQL --mysql-db=h"));
        assert_eq!(place_of("gearmand -q builtin"), None);
        assert_eq!(place_of("gearmand --listen=127.0.0.1"), None);
    }
}
