//! The protocol between the worker and the runner, over a pipe: lines of JSON, and
//! the payload after a job's line.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The first line to the runner.
#[derive(Serialize, Debug)]
pub struct Hello<'a> {
    pub site: &'a str,
    pub name: &'a str,
    pub run: &'a str,
    pub fork: bool,
    /// Options that change so often that a change does not make PHP stale.
    pub volatile: &'a [String],
    /// The URL of the site's home, as far as it is known; or empty.
    pub home: &'a str,
    /// The host that replaces the one in it; or empty.
    pub host: &'a str,
    /// Another home must not be looked for again.
    pub settled: bool,
    /// Why WordPress exited while loading, if this start is to find out where.
    pub trace: &'a str,
    /// Whether the site's jobs are to be sealed.
    pub seal: bool,
    /// Whether PHP does what each job needs first before it forks one.
    pub ahead: bool,
    /// What the worker adds to PHP's environment, and the programs that jobs start do not get.
    pub environment: &'a [(&'static str, &'static str)],
    /// What wp-config.php does not set yet (in a check), or no longer (while remove drains
    /// the queue).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predefine: Option<&'a Predefined>,
}

/// Settings that wp-config.php is going to have, or had. One of them, the salt, is secret.
#[derive(Serialize, Deserialize, Default, Clone, PartialEq)]
pub struct Predefined {
    pub constants: BTreeMap<String, serde_json::Value>,
    pub servers: Option<Vec<String>>,
}

impl Predefined {
    /// Those that a file holds, if there is one.
    pub fn read(path: &Path) -> Option<Predefined> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }
}

/// Shows no values.
impl std::fmt::Debug for Predefined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.constants.keys()).finish()
    }
}

/// The line before a job's payload.
#[derive(Serialize, Debug)]
pub struct JobHeader<'a> {
    pub handle: &'a str,
    pub function: &'a str,
    pub unique: &'a str,
    pub size: usize,
    /// Whether it may run although it is not sealed.
    pub plain: bool,
    /// How much memory its process may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryLimit<'a>>,
    /// The process that waits for it, and no other may run it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub child: Option<i32>,
    /// Whether its process then waits for another job.
    pub keep: bool,
}

/// What is to be done in the table of the site's database, see `store::ledger`. The texts
/// of the jobs in `put` follow its line. Times are milliseconds since 1970.
#[derive(Serialize, Debug, Default)]
pub struct StoreOrder {
    pub call: u64,
    pub host: String,
    pub now: u64,
    /// How late a retry has to be for another host to take it.
    pub grace: u64,
    pub put: Vec<StoredJob>,
    /// Jobs that are over.
    pub gone: Vec<String>,
    pub claim: Option<StoreClaim>,
    /// Whether to look for what others have left, and what became of those in `have`.
    pub look: bool,
    pub have: Vec<String>,
    /// How many bytes of jobs the answer may have.
    pub room: usize,
}

#[derive(Serialize, Debug)]
pub struct StoreClaim {
    pub id: String,
    pub until: u64,
    /// If an administrator of this host wants the failed job to run again, its size: nobody
    /// may have been faster. Otherwise 0.
    pub asked: u64,
}

#[derive(Serialize, Debug)]
pub struct StoredJob {
    pub id: String,
    /// 0: it waits for a retry, 1: it has failed.
    pub state: u8,
    pub due: u64,
    /// Until then it is this host's.
    pub until: u64,
    pub size: usize,
    /// It waits because an administrator of this host wants the failed job to run again.
    pub asked: bool,
}

#[derive(Serialize, Debug)]
pub struct StoreHeader<'a> {
    pub store: &'a StoreOrder,
    pub size: usize,
}

/// The answer to an order.
#[derive(Deserialize, Debug, Default, PartialEq)]
#[serde(default)]
pub struct StoreAnswer {
    pub call: u64,
    /// The database does not answer.
    pub away: bool,
    /// What the database refused.
    pub error: String,
    /// What the table has now.
    pub put: Vec<String>,
    pub gone: Vec<String>,
    /// What is another host's now, or over.
    pub lost: Vec<String>,
    /// What the table should have, but has not.
    pub absent: Vec<String>,
    pub take: Vec<TakenJob>,
    /// When another host's retry is late.
    pub next: Option<u64>,
    pub claimed: bool,
    /// What WP-Cron has to run, if the order was to look and PHP knows.
    pub events: Option<FirstEvent>,
}

/// The scheduled event that is due first, if there is one.
#[derive(Deserialize, Debug, PartialEq)]
pub struct FirstEvent {
    /// In milliseconds since 1970.
    pub due: Option<u64>,
    pub hook: String,
}

#[derive(Deserialize, Debug, PartialEq)]
pub struct TakenJob {
    pub id: String,
    pub state: u8,
    pub due: u64,
    /// In hexadecimal digits.
    pub body: String,
}

#[derive(Serialize, Debug)]
pub struct MemoryLimit<'a> {
    pub megabytes: u64,
    /// The rule that sets it.
    pub rule: &'a str,
}

/// A line from the runner.
#[derive(Deserialize, Debug, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum RunnerMessage {
    /// The site is loaded.
    Ready(Box<Ready>),
    /// The site cannot run jobs, and why.
    Broken(String),
    /// The site has another home: PHP has to start again with it.
    Home(String),
    /// WordPress exited while loading: PHP can start again to trace it.
    Exited(String),
    /// The job runs in the process with this id.
    Started(i32),
    /// The job's process is gone.
    Ended(Ended),
    Done(bool),
    /// The job is over, and the process with this id waits for another.
    Kept(i32),
    Failed(PhpError),
    Fatal(PhpError),
    /// The job called exit(), which is not the end that an earlier message foretold.
    Exits(bool),
    /// The job must not run: it is not the site's own.
    Refused(String),
    /// What was in a sealed job that is about to run.
    Opened(Opened),
    /// The job was not run because these options changed since the site was loaded.
    Stale(Vec<String>),
    /// The job was not run because something that it needs is unavailable.
    Unready(String),
    /// Somebody has changed the site's table.
    Look(bool),
    /// The answer to an order for the site's table.
    Stored(Box<StoreAnswer>),
    /// What the site's database has left.
    Connections(Connections),
    /// Progress of the job: numerator and denominator.
    Status(u64, u64),
    /// Output of the job, in hexadecimal digits.
    Data(String),
    /// A warning of the job, in hexadecimal digits.
    Warning(String),
}

/// What PHP determined when it loaded the site.
#[derive(Deserialize, Debug, PartialEq)]
pub struct Ready {
    pub function: String,
    pub plugin: String,
    pub fork: bool,
    /// Why forking is not safe; empty if it is.
    pub why_not: String,
    pub files: Vec<String>,
    pub php: String,
    /// Why the site's jobs are not sealed; empty if they are.
    #[serde(default)]
    pub unsealed: String,
    /// Tells the site's database from others; empty if that is unknown.
    #[serde(default)]
    pub database: String,
    /// The id of the key that seals its jobs; empty if they are not sealed.
    #[serde(default)]
    pub key: String,
    /// It takes a `StoreOrder`.
    #[serde(default)]
    pub stores: bool,
}

/// What the worker cannot read in a sealed job.
#[derive(Deserialize, Debug, PartialEq)]
pub struct Opened {
    pub hook: String,
    pub blog: Option<u64>,
    /// When it was submitted, in milliseconds since 1970.
    pub at: u64,
    /// As JSON, unless they are long.
    pub arguments: Option<String>,
}

/// The connections that a database accepts, from all or from the site's user: whichever has
/// fewer left.
#[derive(Serialize, Deserialize, Debug, PartialEq, Eq, Clone, Copy)]
pub struct Connections {
    pub most: u32,
    pub free: u32,
}

/// How a process ended; without code and signal if that is unknown.
#[derive(Deserialize, Debug, PartialEq, Clone, Copy)]
pub struct Ended {
    pub pid: i32,
    #[serde(default)]
    pub code: Option<i32>,
    #[serde(default)]
    pub signal: Option<i32>,
}

/// An error as PHP reports it.
#[derive(Deserialize, Debug, PartialEq)]
pub struct PhpError {
    pub message: String,
    #[serde(default)]
    pub file: String,
    #[serde(default)]
    pub line: u64,
}

impl std::fmt::Display for PhpError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.message)?;
        if !self.file.is_empty() {
            write!(f, " in {}:{}", self.file, self.line)?;
        }
        Ok(())
    }
}

pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits
        .chunks(2)
        .map(|pair| {
            let high = (pair[0] as char).to_digit(16)?;
            let low = (pair[1] as char).to_digit(16)?;
            Some((high * 16 + low) as u8)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_runners_lines() {
        let read = |text| serde_json::from_str::<RunnerMessage>(text).unwrap();
        assert_eq!(read(r#"{"done":true}"#), RunnerMessage::Done(true));
        assert_eq!(read(r#"{"status":[1,2]}"#), RunnerMessage::Status(1, 2));
        let ended = Ended {
            pid: 7,
            code: None,
            signal: Some(9),
        };
        assert_eq!(
            read(r#"{"ended":{"pid":7,"code":null,"signal":9}}"#),
            RunnerMessage::Ended(ended)
        );
        let RunnerMessage::Failed(error) = read(r#"{"failed":{"message":"m"}}"#) else {
            panic!("not an error");
        };
        assert_eq!(error.to_string(), "m");
        assert_eq!(unhex("00ff41"), Some(vec![0, 255, 65]));
        assert_eq!(unhex("0g"), None);
    }
}
