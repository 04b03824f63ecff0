//! What we want of gearmand, and whether the one that runs is that.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::options::{self, Wanted};
use super::server::Server;
use super::text::Admin;
use super::unit::definition;
use crate::host::Host;
use crate::host::platform::{Family, Gearmand, Init};
use crate::host::services::Unit;
use crate::resource::service::Stale;
use crate::spec::Queue;
use crate::spec::resolve::{HostDecided, SHORT_QUEUE};
use crate::template;

/// Each worker and each page that hands in a job is a connection.
pub const FILES_LIMIT: u64 = 65536;
/// gearmand deletes a job after so many workers died with it; our workers count themselves.
const RETRIES: &str = "255";

/// The options that we want of gearmand, whatever else is there.
pub fn wanted(family: &Family, decided: &HostDecided) -> Vec<Wanted> {
    let option = |name, short, value: &str| Wanted {
        name,
        short,
        value: Some(value.to_owned()),
    };
    let mut wanted = Vec::new();
    wanted.push(option("listen", Some('L'), &decided.listen));
    wanted.push(option("port", Some('p'), &decided.port.to_string()));
    wanted.push(option("job-retries", Some('j'), RETRIES));
    match decided.queue {
        Queue::Memory => wanted.push(option("queue-type", Some(SHORT_QUEUE), "builtin")),
        Queue::Sqlite => {
            let file = format!("{}/queue.sqlite", family.gearmand.queue_dir);
            wanted.push(option("queue-type", Some(SHORT_QUEUE), "libsqlite3"));
            wanted.push(option("libsqlite3-db", None, &file));
        }
        Queue::Mysql => wanted.push(option("queue-type", Some(SHORT_QUEUE), "MySQL")),
    }
    wanted
}

/// Options whose value every local user would read in `ps`: they go to the
/// file that gearmand reads by itself.
pub const SECRET: [&str; 1] = ["mysql-password"];
/// gearmand's own default of --config-file: words as on its command line,
/// split at blanks, without quotes.
pub const CONFIG: &str = "/etc/gearmand.conf";

/// The config file that holds the secret options of the defaults file.
/// `None` where that has none.
pub fn secrets(defaults: &[u8], variable: &str) -> Option<Vec<u8>> {
    let lines: Vec<String> = SECRET
        .iter()
        .filter_map(|name| {
            let value = options::value(defaults, variable, name, None)?;
            Some(format!("--{name}={value}\n"))
        })
        .collect();
    (!lines.is_empty()).then(|| lines.concat().into_bytes())
}

/// The drop-in for its unit; `exec_start` where that one's command line won't do.
pub fn drop_in(gearmand: &Gearmand, exec_start: Option<&str>) -> Result<String> {
    let mut context = tera::Context::new();
    context.insert("files_limit", &FILES_LIMIT);
    context.insert("exec_start", &exec_start);
    context.insert("options_file", gearmand.options_file);
    template::render(
        include_str!("../../templates/gearmand.dropin.tera"),
        &context,
    )
}

/// Whether a service runs what its files say, with nothing more wanted of them.
pub fn stale_of(family: &'static Family, unit: &str) -> Box<Stale> {
    if unit == family.gearmand.unit {
        is_stale(family, Vec::new())
    } else {
        Box::new(|_, _| Ok(None))
    }
}

/// The running gearmand against what its file will say.
pub fn is_stale(family: &'static Family, wanted: Vec<Wanted>) -> Box<Stale> {
    // With no options wanted it is only to be as its file says.
    let wants_limit = !wanted.is_empty();
    Box::new(move |host: &Host, unit: &Unit| {
        let gearmand = &family.gearmand;
        let Some(process) = host.process(unit.main_pid) else {
            return Ok(None);
        };
        let Some(file) = host.read(Path::new(gearmand.options_file))? else {
            return Ok(None);
        };
        let text = match wants_limit {
            true => {
                let to_be = definition(host, &wanted)?;
                let (wanted, unwanted) = (to_be.for_file, to_be.unwanted);
                options::merge(&file.bytes, gearmand.options_variable, &wanted, &unwanted)?
            }
            false => file.bytes,
        };
        let words = options::all_words(&text, gearmand.options_variable);
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
            return Ok(Some("it runs with other options than its file says".into()));
        }
        // In a container the hard limit may be lower than what we ask for.
        if let Some((soft, hard)) = host.files_limits(process.pid)
            && wants_limit
            && host.platform()?.init == Init::Systemd
            && soft < FILES_LIMIT.min(hard)
        {
            return Ok(Some(format!("it may open {soft} files only")));
        }
        Ok(None)
    })
}

/// Asks a job server for its version, as a sign of life.
pub fn ask_version(server: &str) -> Result<String> {
    let server: Server = server.parse().map_err(anyhow::Error::msg)?;
    Ok(Admin::connect(&server, Duration::from_secs(2))?.version()?)
}

/// How many jobs wait in a running gearmand that a restart with other options
/// would lose: its queue is in memory, or another than the one wanted.
pub fn would_lose(host: &Host, family: &Family, decided: &HostDecided) -> Result<u64> {
    let unit = host.unit(family.gearmand.unit, &[])?;
    let Some(process) = host.process(unit.main_pid) else {
        return Ok(0);
    };
    let kind = match decided.queue {
        Queue::Memory => "",
        Queue::Sqlite => "libsqlite3",
        Queue::Mysql => "mysql",
    };
    let stays = process.args.iter().any(|word| {
        let word = word.to_ascii_lowercase();
        !kind.is_empty() && (word == kind || word.ends_with(&format!("={kind}")))
    });
    if stays {
        return Ok(0);
    }
    // Where it listens now, which may be ::1 alone. One that does not answer
    // cannot be asked, and is to be restarted.
    let limit = Duration::from_secs(2);
    let queues = host
        .listeners(decided.port)
        .iter()
        .find_map(|listener| {
            let server = Server {
                host: listener.address.to_string(),
                port: decided.port,
            };
            Admin::connect(&server, limit).ok()?.status().ok()
        })
        .unwrap_or_default();
    Ok(queues.iter().map(|queue| queue.jobs).sum())
}
