//! Whether job servers share a table. gearmand loads all jobs in its table when it starts,
//! so two with one table run each other's jobs twice.

use std::collections::BTreeSet;

use anyhow::Result;
use wildmatch::WildMatchPattern;

use crate::gearman::options;
use crate::host::Host;
use crate::host::platform::Gearmand;
use crate::queue::mysql::MysqlStore;
use crate::queue::mysql::client::{self, Administrator, DatabaseServer};

/// The table of a job server whose database is its own host's, or that was set up before
/// each server had a table of its own.
pub const COMMON: &str = "gearman_queue";

/// Names of tables are at most this long.
const LONGEST: usize = 64;

/// The table of this host's job server if nobody names one: that which it has, and
/// otherwise its own.
///
/// # Errors
/// If gearmand's options cannot be read.
pub fn table(host: &Host, place: (&str, &str), is_local: bool) -> Result<String> {
    if let Some(table) = present(host, &host.platform()?.family.gearmand, place)? {
        return Ok(table);
    }
    Ok(match is_local {
        true => COMMON.to_owned(),
        false => of_host(&host.name()?),
    })
}

/// Other hosts of a database may have a job server too.
fn of_host(name: &str) -> String {
    let name = name.split('.').next().unwrap_or_default();
    let plain = |c: char| match c.is_ascii_alphanumeric() {
        true => c.to_ascii_lowercase(),
        false => '_',
    };
    let name: String = name.chars().map(plain).collect();
    match name.is_empty() {
        true => COMMON.to_owned(),
        false => format!("{COMMON}_{name}").chars().take(LONGEST).collect(),
    }
}

/// The table in gearmand's options, if its database is at this place: its host and name.
fn present(host: &Host, gearmand: &Gearmand, place: (&str, &str)) -> Result<Option<String>> {
    let Some(file) = host.read(gearmand.options_file.as_ref())? else {
        return Ok(None);
    };
    let value = |name, short| options::value(&file.bytes, gearmand.options_variable, name, short);
    let is_mysql =
        value("queue-type", Some('q')).is_some_and(|it| it.eq_ignore_ascii_case("mysql"));
    let server = value("mysql-host", None).unwrap_or_else(|| "localhost".into());
    let database = value("mysql-db", None).unwrap_or_default();
    let is_there = is_mysql && (server.as_str(), database.as_str()) == place;
    let named = value("mysql-table", None).unwrap_or_else(|| COMMON.into());
    Ok(is_there.then_some(named))
}

/// Whether gearmand's options already name this store's table.
///
/// # Errors
/// If they cannot be read.
pub fn is_in_use(host: &Host, store: &MysqlStore) -> Result<bool> {
    let gearmand = &host.platform()?.family.gearmand;
    let present = present(host, gearmand, (&store.host, &store.database))?;
    Ok(present.as_ref() == Some(&store.table))
}

/// Other hosts whose job servers have the table.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sharers {
    /// Those that are connected.
    pub connected: BTreeSet<String>,
    /// Those that have rights on the table, and are not connected.
    pub admitted: BTreeSet<String>,
}

impl Sharers {
    pub fn is_empty(&self) -> bool {
        self.connected.is_empty() && self.admitted.is_empty()
    }

    /// All of them, for people.
    pub fn names(&self) -> String {
        let all: Vec<&str> = self
            .connected
            .iter()
            .chain(&self.admitted)
            .map(String::as_str)
            .collect();
        all.join(", ")
    }
}

/// Looks for them: as an administrator where setup has that login, and otherwise with the
/// job server's own, which sees all connections of users of the same name.
///
/// # Errors
/// If the database cannot be asked.
pub fn sharers(host: &Host, store: &MysqlStore) -> Result<Sharers> {
    let database = client::quoted(&store.database);
    let threads = format!(
        "SELECT DISTINCT user, {} FROM information_schema.processlist WHERE db = {database}",
        "IF(LOCATE(':', host) = 0, host, LEFT(host, CHAR_LENGTH(host) - CHAR_LENGTH(SUBSTRING_INDEX(host, ':', -1)) - 1))"
    );
    if let Ok(admin) = Administrator::log_in(host, &DatabaseServer::of(store))? {
        let accounts = admin.ask(&format!(
            "SELECT user, host FROM mysql.tables_priv WHERE db = {database} AND table_name = {}",
            client::quoted(&store.table)
        ))?;
        let threads = admin.ask(&threads)?;
        return Ok(found(
            &pairs(&accounts),
            &pairs(&threads),
            &own(store, &admin.client),
        ));
    }
    let ask = format!(
        "SELECT SUBSTRING_INDEX(CURRENT_USER(), '@', -1), SUBSTRING_INDEX(USER(), '@', -1);
         SELECT 'tables', COUNT(*) FROM information_schema.tables WHERE table_schema = {database}; {threads}"
    );
    let rows = pairs(&client::ask(host, store, &ask)?);
    let [(account, client), (_, tables), threads @ ..] = &rows[..] else {
        return Ok(Sharers::default());
    };
    // An account for several hosts has rights on the tables of all, so that it sees them.
    let is_for_all = account.contains('%') && tables == "1";
    let accounts = [(store.user.clone(), account.clone())];
    Ok(match is_for_all {
        true => found(&accounts, threads, &own(store, client)),
        false => Sharers::default(),
    })
}

/// How the database names this host.
fn own(store: &MysqlStore, client: &str) -> BTreeSet<String> {
    let local = ["localhost", "127.0.0.1", "::1"];
    let local = local.into_iter().filter(|_| store.is_local());
    local.chain([client]).map(str::to_owned).collect()
}

fn pairs(answer: &str) -> Vec<(String, String)> {
    let pair = |line: &str| {
        let (one, other) = line.split_once('\t')?;
        Some((one.to_owned(), other.to_owned()))
    };
    answer.lines().filter_map(pair).collect()
}

/// `accounts` have rights on the table, and `threads` are connections to its database,
/// each with a user and a host.
fn found(
    accounts: &[(String, String)],
    threads: &[(String, String)],
    own: &BTreeSet<String>,
) -> Sharers {
    let fits = |pattern: &str, host: &str| WildMatchPattern::<'%', '_'>::new(pattern).matches(host);
    let has_table = |(user, host): &&(String, String)| {
        let mut accounts = accounts.iter();
        accounts.any(|(account, pattern)| account == user && fits(pattern, host))
    };
    let connected: BTreeSet<String> = threads
        .iter()
        .filter(has_table)
        .map(|(_, host)| host.clone())
        .filter(|host| !own.contains(host))
        .collect();
    let admitted = accounts
        .iter()
        .map(|(_, host)| host)
        .filter(|host| !host.contains('%') && !own.contains(*host) && !connected.contains(*host))
        .cloned()
        .collect();
    Sharers {
        connected,
        admitted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::scratch;

    fn write(root: &std::path::Path, path: &str, text: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn a_server_has_a_table_of_its_own_and_keeps_the_one_that_it_has() {
        let (dir, host) = scratch();
        write(
            dir.path(),
            "etc/os-release",
            "ID=debian\nVERSION_ID=\"12\"\n",
        );
        write(dir.path(), "etc/hostname", "Jobs-1.example.com\n");
        let table = |place, is_local| table(&host, place, is_local).unwrap();
        assert_eq!(table(("localhost", "gearman"), true), "gearman_queue");
        assert_eq!(table(("db", "gearman"), false), "gearman_queue_jobs_1");
        for (options, expected) in [
            (
                "-q MySQL --mysql-host=db --mysql-db=gearman --mysql-table=gearman_queue",
                "gearman_queue",
            ),
            (
                "-q mysql --mysql-host=db --mysql-db=gearman",
                "gearman_queue",
            ),
            (
                "-q MySQL --mysql-host=db --mysql-db=gearman --mysql-table=mine",
                "mine",
            ),
            (
                "-q MySQL --mysql-host=db --mysql-db=other --mysql-table=mine",
                "gearman_queue_jobs_1",
            ),
            (
                "-q libsqlite3 --mysql-host=db --mysql-db=gearman",
                "gearman_queue_jobs_1",
            ),
        ] {
            let line = format!("PARAMS=\"{options}\"\n");
            write(dir.path(), "etc/default/gearman-job-server", &line);
            assert_eq!(table(("db", "gearman"), false), expected, "{options}");
        }
        assert_eq!(of_host(&"x".repeat(80)).len(), LONGEST);
    }

    #[test]
    fn other_hosts_with_the_same_table_are_found() {
        let of = |list: &[(&str, &str)]| -> Vec<(String, String)> {
            let owned = |(one, other): &(&str, &str)| ((*one).to_owned(), (*other).to_owned());
            list.iter().map(owned).collect()
        };
        let own = BTreeSet::from(["10.0.0.1".to_owned()]);
        let threads = [
            ("gearman", "10.0.0.1"),
            ("gearman", "10.0.0.2"),
            ("root", "10.0.0.9"),
        ];
        let names = |accounts: &[(&str, &str)]| {
            let found = found(&of(accounts), &of(&threads), &own);
            let list = |it: &BTreeSet<String>| it.iter().cloned().collect::<Vec<_>>().join(" ");
            (list(&found.connected), list(&found.admitted))
        };
        let alone = names(&[("gearman", "10.0.0.1")]);
        assert_eq!(alone, (String::new(), String::new()));
        let two = names(&[
            ("gearman", "10.0.0.1"),
            ("gearman", "10.0.0.2"),
            ("gearman", "10.0.0.3"),
        ]);
        assert_eq!(two, ("10.0.0.2".into(), "10.0.0.3".into()));
        assert_eq!(names(&[("gearman", "10.0.0.%")]).0, "10.0.0.2");
        assert_eq!(names(&[("other", "%")]).0, "");
    }
}
