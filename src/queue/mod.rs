//! Queue stores, where jobs wait. Each kind has its own file.

pub mod mysql;
pub mod probe;
pub mod sqlite;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::gearman::daemon::queue_file;
use crate::gearman::options::Wanted;
use crate::host::platform::Gearmand;
use crate::queue::mysql::Mysql;

/// The kind of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Queue {
    /// In memory: jobs are lost when the job server stops
    Memory,
    /// A file on this host: durable, needs no database server
    Sqlite,
    /// A table on a MySQL or MariaDB server
    Mysql,
}

/// gearmand's short form of `--queue-type`.
pub const SHORT: char = 'q';

/// gearmand's options for a queue.
pub fn wanted(queue: Queue, mysql: Option<&Mysql>, gearmand: &Gearmand) -> Vec<Wanted> {
    let kind = |name| Wanted::new("queue-type", Some(SHORT), name);
    match (queue, mysql) {
        (Queue::Memory, _) => vec![kind("builtin")],
        (Queue::Sqlite, _) => vec![
            kind("libsqlite3"),
            Wanted::new("libsqlite3-db", None, &queue_file(gearmand)),
        ],
        (Queue::Mysql, None) => vec![kind("MySQL")],
        (Queue::Mysql, Some(mysql)) => vec![
            kind("MySQL"),
            Wanted::new("mysql-host", None, &mysql.host),
            Wanted::new("mysql-port", None, &mysql.port.to_string()),
            Wanted::new("mysql-user", None, &mysql.user),
            Wanted::new("mysql-db", None, &mysql.database),
            Wanted::new("mysql-table", None, &mysql.table),
        ],
    }
}
