//! The database of a MySQL queue, through the database's own client: with the
//! job server's login, or as an administrator who may create databases and users.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::commands::{Command, Output};
use crate::queue::mysql::{MysqlStore, is_local};

/// With a smaller packet, jobs seen in practice do not fit.
const SMALL_PACKET: u64 = 16 << 20;

/// The database client. MariaDB's own name comes first: its old one prints a
/// warning.
pub fn path(host: &Host) -> Option<&'static Path> {
    ["/usr/bin/mariadb", "/usr/bin/mysql"]
        .into_iter()
        .map(Path::new)
        .find(|path| host.exists(path))
}

/// The result of a login as the job server.
#[derive(Debug, PartialEq, Eq)]
pub enum Login {
    /// With the size of the largest packet, and so of the largest job, in bytes.
    Works(u64),
    /// The user or its rights are missing, or the password is wrong.
    Refused(LoginError),
}

/// Why the server refuses a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginError {
    /// The server's error number.
    code: u32,
    /// The server's error message.
    pub why: String,
}

impl LoginError {
    const WRONG_PASSWORD: u32 = 1045;
    /// The above; no rights on the database, or on the table; login only through the
    /// socket; no such database; client host not allowed.
    const CODES: [u32; 6] = [LoginError::WRONG_PASSWORD, 1044, 1142, 1698, 1049, 1130];
    /// gearmand makes the table itself.
    const NO_TABLE: u32 = 1146;

    /// Whether the user or the password is wrong; the server does not say which.
    pub fn is_wrong_password(&self) -> bool {
        self.code == LoginError::WRONG_PASSWORD
    }
}

/// Logs in as gearmand does. Fails if the server cannot be reached.
pub fn log_in(host: &Host, mysql: &MysqlStore) -> Result<Login> {
    let ask = format!(
        "SELECT @@max_allowed_packet; USE `{}`; SELECT 1 FROM `{}` LIMIT 0",
        mysql.database, mysql.table
    );
    let output = host.run(&as_job_server(host, mysql, ask)?)?;
    let code = code(&output);
    if output.success() || code == LoginError::NO_TABLE {
        let packet = output.text().trim().parse().unwrap_or_default();
        return Ok(Login::Works(packet));
    }
    if LoginError::CODES.contains(&code) {
        let why = output.tail(3);
        return Ok(Login::Refused(LoginError { code, why }));
    }
    let what = format!("reach the database on {}:{}", mysql.host, mysql.port);
    Err(Problem::new(what, output.tail(3))
        .help("check that it runs and that this host can reach it, then run again")
        .into())
}

/// Asks something with gearmand's login.
pub fn ask(host: &Host, mysql: &MysqlStore, statements: &str) -> Result<String> {
    answer(&host.run(&as_job_server(host, mysql, statements.to_owned())?)?)
}

fn as_job_server(host: &Host, mysql: &MysqlStore, statements: String) -> Result<Command> {
    let login = format!(
        "[client]\nhost=\"{}\"\nport={}\nuser=\"{}\"\npassword=\"{}\"\n",
        mysql.host,
        mysql.port,
        mysql.user,
        mysql
            .password
            .reveal()
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\'', "\\'")
    );
    Ok(command(host)?
        .args([
            "--defaults-file=/dev/stdin",
            "--batch",
            "--skip-column-names",
        ])
        .args(["--connect-timeout=10"])
        .option("--execute=", statements)
        .stdin(login))
}

/// A warning if jobs may be larger than a packet, because gearmand rejects those.
pub fn packet_note(packet: u64) -> Option<String> {
    (packet < SMALL_PACKET).then(|| {
        format!(
            "max_allowed_packet of the queue's database is {} MB: larger jobs are rejected",
            packet >> 20
        )
    })
}

/// A login that may create databases and users.
pub struct Administrator<'a> {
    host: &'a Host,
    command: Command,
    /// The host that the job server logs in from, as the database sees it.
    pub client: String,
}

impl<'a> Administrator<'a> {
    /// Logs in as an administrator. The inner error is the database's reason for
    /// refusing the login.
    pub fn log_in(
        host: &'a Host,
        at: &DatabaseServer,
    ) -> Result<Result<Administrator<'a>, String>> {
        let mut command = command(host)?;
        if let Some(file) = &at.admin {
            command = command.option("--defaults-file=", file);
        }
        command = command.args(["--batch", "--skip-column-names", "--connect-timeout=10"]);
        if at.is_local() && at.admin.is_none() {
            command = command.args(["--protocol=socket"]);
        } else {
            command = command
                .option("--host=", &at.host)
                .option("--port=", at.port.to_string());
        }
        let mut admin = Administrator {
            host,
            command,
            client: "localhost".into(),
        };
        match admin.ask("SELECT SUBSTRING_INDEX(USER(), '@', -1)") {
            Ok(from) => {
                if !at.is_local() {
                    admin.client = from.trim().to_owned();
                }
                Ok(Ok(admin))
            }
            Err(error) => Ok(Err(format!("{error:#}"))),
        }
    }

    /// Runs statements. They are passed on standard input: they may contain a
    /// password.
    pub fn ask(&self, statements: &str) -> Result<String> {
        let output = self.host.run(&self.command.clone().stdin(statements))?;
        answer(&output)
    }

    /// Runs statements that change something.
    pub fn change(&self, statements: &str) -> Result<()> {
        let command = self.command.clone().stdin(statements).changes();
        answer(&self.host.run(&command)?).map(drop)
    }

    pub fn has_database(&self, name: &str) -> Result<bool> {
        let ask = format!(
            "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = {}",
            quoted(name)
        );
        Ok(self.ask(&ask)?.trim() != "0")
    }

    pub fn has_user(&self, name: &str, client: &str) -> Result<bool> {
        let ask = format!(
            "SELECT COUNT(*) FROM mysql.user WHERE user = {} AND host = {}",
            quoted(name),
            quoted(client)
        );
        Ok(self.ask(&ask)?.trim() != "0")
    }

    /// The number of rows in the queue's table; `None` if there is no such table.
    pub fn rows(&self, database: &str, table: &str) -> Result<Option<u64>> {
        let ask = format!(
            "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = {} AND table_name = {}",
            quoted(database),
            quoted(table)
        );
        if self.ask(&ask)?.trim() == "0" {
            return Ok(None);
        }
        let count = self.ask(&format!("SELECT COUNT(*) FROM `{database}`.`{table}`"))?;
        Ok(count.trim().parse().ok())
    }
}

/// A database server and the login that may change it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DatabaseServer {
    pub host: String,
    pub port: u16,
    pub admin: Option<std::path::PathBuf>,
}

impl DatabaseServer {
    pub fn of(mysql: &MysqlStore) -> DatabaseServer {
        DatabaseServer {
            host: mysql.host.clone(),
            port: mysql.port,
            admin: mysql.admin.clone(),
        }
    }

    fn is_local(&self) -> bool {
        is_local(&self.host)
    }
}

/// Creates the database and a user with the minimal rights that gearmand 1.1.20
/// needs, which creates its table itself.
pub fn statements(mysql: &MysqlStore, client: &str, password: &str) -> String {
    let (database, table) = (&mysql.database, &mysql.table);
    let account = format!("{}@{}", quoted(&mysql.user), quoted(client));
    format!(
        "CREATE DATABASE IF NOT EXISTS `{database}`;\n\
         CREATE USER IF NOT EXISTS {account} IDENTIFIED BY {password};\n\
         GRANT SELECT, INSERT, DELETE, CREATE ON `{database}`.`{table}` TO {account};\n"
    )
}

/// Quotes a string for SQL.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

fn command(host: &Host) -> Result<Command> {
    let Some(client) = path(host) else {
        let what = "query the queue's database";
        return Err(Problem::new(what, "there is no database client (mariadb or mysql)").into());
    };
    Ok(Command::new(client).limit(Duration::from_secs(30)))
}

fn answer(output: &Output) -> Result<String> {
    if output.success() {
        return Ok(output.text());
    }
    anyhow::bail!("{}", output.tail(3))
}

/// The number in "ERROR 1045 (28000): Access denied …". An error before
/// encryption starts is wrapped in another one:
/// "ERROR 2002 (HY000): … cannot be verified: 1130 - Host …".
fn code(output: &Output) -> u32 {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let inner = text.split(": ").find_map(|part| {
        let (number, _) = part.split_once(" - ")?;
        number.parse().ok()
    });
    let outer = || {
        let rest = text.split("ERROR ").nth(1)?;
        rest.split_whitespace().next()?.parse().ok()
    };
    inner.or_else(outer).unwrap_or_default()
}
