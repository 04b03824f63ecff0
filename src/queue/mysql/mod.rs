//! Jobs in a table of a MySQL or MariaDB server.

pub mod client;
mod sharing;

use std::path::PathBuf;

use anyhow::Result;

use crate::base::options::{number, options, path};
use crate::base::problem::Problem;
use crate::gearman::options::Wanted;
use crate::gearman::password::{self, Password, Secret};
use crate::host::Host;
use crate::host::platform::Family;
use crate::queue::mysql::client::Login;
use crate::queue::{
    Condition, Fault, Kind, PasswordSource, Question, Running, Store, StoreOptions,
};

options! {
    /// The location of the database, and the account of the job server.
    pub struct MysqlOptions => MysqlSettings {
        /// Server of the MySQL queue; localhost means its socket
        #[arg(value_name = "HOST", hide_short_help = true, value_parser = server)]
        mysql_host: String = "localhost".into(),
        /// Port of the MySQL server
        #[arg(value_name = "N", hide_short_help = true, value_parser = number::<u16>(1, 65_535))]
        mysql_port: u16 = 3306,
        /// MySQL user for the job server
        #[arg(value_name = "NAME", hide_short_help = true, value_parser = identifier)]
        mysql_user: String = "gearman".into(),
        /// File with that user's password, or - for standard input; or set
        /// WP_GEARS_MYSQL_PASSWORD [default: the current one, otherwise random]
        #[arg(value_name = "FILE", hide_short_help = true, value_parser = path)]
        mysql_password_file: PathBuf,
        /// The queue's database
        #[arg(value_name = "NAME", hide_short_help = true, value_parser = identifier)]
        mysql_database: String = "gearman".into(),
        /// The queue's table [default: gearman_queue; in a database on another host, gearman_queue_HOST]
        #[arg(value_name = "NAME", hide_short_help = true, value_parser = identifier)]
        mysql_table: String,
        /// MySQL option file with admin credentials in [client], to create the database and its user [default: root through the socket]
        #[arg(value_name = "FILE", hide_short_help = true, value_parser = path)]
        mysql_admin_defaults_file: PathBuf,
    }
}

static PASSWORD: PasswordSource = PasswordSource {
    gearmand_option: "mysql-password",
    file_option: "mysql-password-file",
    variable: "WP_GEARS_MYSQL_PASSWORD",
};

pub struct Mysql;

/// The database of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MysqlStore {
    pub host: String,
    pub port: u16,
    pub user: String,
    pub database: String,
    pub table: String,
    pub password: Password,
    /// A MySQL option file with an account that may create the database and its user.
    /// `None` means root through the socket.
    pub admin: Option<PathBuf>,
}

impl Kind for Mysql {
    fn name(&self) -> &'static str {
        "mysql"
    }

    fn help(&self) -> &'static str {
        "A table on a MySQL or MariaDB server"
    }

    fn summary(&self) -> &'static str {
        "a table on a MySQL server"
    }

    fn queue_type(&self) -> &'static str {
        "MySQL"
    }

    fn place(&self) -> Option<&'static [(&'static str, &'static str)]> {
        Some(&[
            ("mysql-host", "localhost"),
            ("mysql-port", "3306"),
            ("mysql-db", ""),
            ("mysql-table", "gearman_queue"),
        ])
    }

    fn open(
        &self,
        host: &Host,
        options: &StoreOptions,
        password: Option<Password>,
    ) -> Result<Box<dyn Store>> {
        let MysqlSettings {
            mysql_host,
            mysql_port,
            mysql_user,
            mysql_password_file,
            mysql_database,
            mysql_table,
            mysql_admin_defaults_file: admin,
        } = options.mysql.clone().settings();
        let password = match password.or(PASSWORD.read(mysql_password_file.as_deref())?) {
            Some(password) => password,
            None => {
                let gearmand = &host.platform()?.family.gearmand;
                match password::current(host, gearmand, PASSWORD.gearmand_option)? {
                    Some(password) => password,
                    None => Password::random()?,
                }
            }
        };
        if let Some(file) = admin.as_ref().filter(|file| !file.is_file()) {
            let what = format!("use --mysql-admin-defaults-file {}", file.display());
            return Err(Problem::usage(what, "there is no such file").into());
        }
        let place = (mysql_host.as_str(), mysql_database.as_str());
        let table = match mysql_table {
            Some(table) => table,
            None => sharing::table(host, place, is_local(&mysql_host))?,
        };
        Ok(Box::new(MysqlStore {
            host: mysql_host,
            port: mysql_port,
            user: mysql_user,
            database: mysql_database,
            table,
            password,
            admin,
        }))
    }

    fn own(&self, options: &StoreOptions) -> StoreOptions {
        options.mysql.clone().into()
    }

    fn adopt(&self, value: &dyn Fn(&str) -> Option<String>) -> StoreOptions {
        let options = MysqlOptions {
            mysql_host: value("mysql-host"),
            mysql_port: value("mysql-port").and_then(|port| port.parse().ok()),
            mysql_user: value("mysql-user"),
            mysql_database: value("mysql-db"),
            mysql_table: value("mysql-table"),
            ..MysqlOptions::default()
        };
        options.into()
    }

    fn questions(&self) -> &'static [Question] {
        &[
            Question {
                option: "mysql-host",
                text: "MySQL server",
                default: "localhost",
            },
            Question {
                option: "mysql-user",
                text: "MySQL user for the job server",
                default: "gearman",
            },
            Question {
                option: "mysql-database",
                text: "Database",
                default: "gearman",
            },
        ]
    }

    fn password(&self) -> Option<&'static PasswordSource> {
        Some(&PASSWORD)
    }
}

impl MysqlOptions {
    /// The files that they name.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.mysql_password_file, &self.mysql_admin_defaults_file]
            .into_iter()
            .flatten()
    }
}

impl MysqlStore {
    /// Whether the database runs on this host.
    pub fn is_local(&self) -> bool {
        is_local(&self.host)
    }

    /// The table, and where it is.
    fn place(&self) -> String {
        let MysqlStore {
            database, table, ..
        } = self;
        format!("{database}.{table} on {}:{}", self.host, self.port)
    }

    /// Another job server is connected that has the same table.
    fn shared(&self, host: &Host) -> Option<Fault> {
        let sharers = sharing::sharers(host, self).ok()?.connected;
        let names: Vec<String> = sharers.into_iter().collect();
        let names = names.join(", ");
        (!names.is_empty()).then(|| Fault {
            message: format!(
                "the job server on {names} has the table {} too: each runs the other's jobs again when it starts",
                self.place()
            ),
            help: "give one of them another table, once no jobs wait, with 'wp-gears setup --mysql-table NAME --drain 60', and revoke the rights of its user on this one".to_owned(),
            repair: None,
        })
    }
}

fn is_local(host: &str) -> bool {
    matches!(host, "localhost" | "127.0.0.1" | "::1")
}

impl Store for MysqlStore {
    fn wanted(&self) -> Vec<Wanted> {
        let wanted = |name, value: &str| Wanted::new(name, None, value);
        vec![
            wanted("mysql-host", &self.host),
            wanted("mysql-port", &self.port.to_string()),
            wanted("mysql-user", &self.user),
            wanted("mysql-db", &self.database),
            wanted("mysql-table", &self.table),
        ]
    }

    fn options(&self) -> StoreOptions {
        let options = MysqlOptions {
            mysql_host: Some(self.host.clone()),
            mysql_port: Some(self.port),
            mysql_user: Some(self.user.clone()),
            mysql_database: Some(self.database.clone()),
            mysql_table: Some(self.table.clone()),
            ..MysqlOptions::default()
        };
        options.into()
    }

    fn label(&self) -> Option<String> {
        Some(format!("{} at {}", self.database, self.host))
    }

    fn secret(&self) -> Option<Secret> {
        Some(Secret {
            option: PASSWORD.gearmand_option,
            password: self.password.clone(),
        })
    }

    /// gearmand includes its own library, but setup needs the client to create and test
    /// the database.
    fn packages(&self, host: &Host, family: &Family) -> Vec<String> {
        match client::path(host) {
            Some(_) => Vec::new(),
            None => vec![family.mysql_client.into()],
        }
    }

    fn database(&self) -> Option<&MysqlStore> {
        Some(self)
    }

    /// A table that another job server has is not taken as well.
    fn check(&self, host: &Host) -> Result<()> {
        if client::path(host).is_none() || sharing::is_in_use(host, self)? {
            return Ok(());
        }
        // What is wrong with a database that cannot be asked is said elsewhere.
        let sharers = sharing::sharers(host, self).unwrap_or_default();
        if sharers.is_empty() {
            return Ok(());
        }
        let what = format!("keep the queue in the table {}", self.place());
        let why = format!(
            "the job server on {} has it: each of two job servers with one table would run the other's jobs again when it starts",
            sharers.names()
        );
        Err(Problem::new(what, why)
            .help("name another with --mysql-table; if no job server runs there any more, drop its user in the database")
            .into())
    }

    fn notes(&self, host: &Host) -> Vec<String> {
        if client::path(host).is_none() {
            return Vec::new();
        }
        let packet = match client::log_in(host, self) {
            Ok(Login::Works(packet)) => client::packet_note(packet),
            _ => None,
        };
        let shared = self
            .shared(host)
            .map(|fault| format!("{}: {}", fault.message, fault.help));
        packet.into_iter().chain(shared).collect()
    }

    fn examine(&self, host: &Host, _: &Running) -> Result<Vec<Condition>> {
        if client::path(host).is_none() {
            let why =
                "there is no database client (mariadb or mysql) to query the queue's database";
            return Ok(vec![Condition::Unchecked(why.into())]);
        }
        if let Some(fault) = self.shared(host) {
            return Ok(vec![Condition::Fault(fault)]);
        }
        let place = format!("{} on {}:{}", self.database, self.host, self.port);
        let fault = |message: String, help: &str| Fault {
            message,
            help: help.into(),
            repair: None,
        };
        Ok(vec![match client::log_in(host, self)? {
            Login::Works(packet) => match client::packet_note(packet) {
                Some(note) => Condition::Warning(fault(
                    note,
                    "raise it on the database server: 64M is common",
                )),
                None => Condition::Sound(format!("jobs wait in the database {place}")),
            },
            Login::Refused(refusal) => Condition::Fault(fault(
                format!(
                    "the queue's database {place} refuses gearmand's user: {}",
                    refusal.why
                ),
                "run 'wp-gears setup' with --mysql-admin-defaults-file to create the user",
            )),
        }])
    }
}

/// Parses a host name or address; gearmand would mistake the path of a socket for a
/// name.
fn server(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    (!text.is_empty() && text.chars().all(fits))
        .then(|| text.to_owned())
        .ok_or_else(|| "expected a host name or address, such as localhost".into())
}

/// Parses a name that needs no quoting in SQL or in gearmand's options.
fn identifier(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    ((1..=64).contains(&text.len()) && text.chars().all(fits))
        .then(|| text.to_owned())
        .ok_or_else(|| "expected 1 to 64 letters, digits, '_' and '-'".into())
}
