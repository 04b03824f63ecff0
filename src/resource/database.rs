//! The queue's database and the job server's user in it. Setup creates them if
//! it has an administrator's login, and otherwise checks that they exist.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::base::problem::Problem;
use crate::gearman::password;
use crate::host::Host;
use crate::queue::mysql::MysqlStore;
use crate::queue::mysql::client::{self, Administrator, DatabaseServer, Login};
use crate::resource::{
    Change, Inverse, Phase, Resource, ResourceId, Revert, RevertContext, Reverted, State, Verb,
};

/// Whether the running job server uses this database, so its login works.
pub type InUse = dyn Fn(&Host) -> Result<bool> + Send + Sync;

pub struct Database {
    pub mysql: MysqlStore,
    pub in_use: Box<InUse>,
}

impl Database {
    fn what(&self) -> String {
        let mysql = &self.mysql;
        format!(
            "use the database {} on {} as {}",
            mysql.database, mysql.host, mysql.user
        )
    }

    /// What to run by hand, as setup has no administrator's login.
    fn by_hand(&self, refused: &str, admin: &str) -> anyhow::Error {
        let from = match self.mysql.is_local() {
            true => "localhost",
            false => "THIS-HOST",
        };
        let statements = client::statements(&self.mysql, from, "'THE-PASSWORD'");
        let why = format!("{refused}\nand as an administrator: {admin}");
        Problem::new(self.what(), why)
            .help(format!(
                "run these statements there and pass the password with --mysql-password-file, \
                 or let setup run them with --mysql-admin-defaults-file:\n{statements}"
            ))
            .into()
    }
}

impl Resource for Database {
    fn id(&self) -> ResourceId {
        ResourceId::Database {
            name: self.mysql.database.clone(),
            host: self.mysql.host.clone(),
            port: self.mysql.port,
        }
    }

    fn inspect(&self, host: &Host) -> Result<State> {
        if (self.in_use)(host)? {
            return Ok(State::Same);
        }
        let mysql = &self.mysql;
        let preview = || {
            let place = format!("on {}:{}, unless it exists", mysql.host, mysql.port);
            let user = format!(
                "user {} with privileges on {} only",
                mysql.user, mysql.table
            );
            Change::new(Verb::Create).detail(place).detail(user)
        };
        if client::path(host).is_none() {
            return Ok(State::After(ResourceId::Packages, preview()));
        }
        let refused = match client::log_in(host, mysql)? {
            Login::Works(_) => return Ok(State::Same),
            Login::Refused(refusal) => refusal,
        };
        let admin = match Administrator::log_in(host, &DatabaseServer::of(mysql))? {
            Ok(admin) => admin,
            Err(why) => return Err(self.by_hand(&refused.why, &why)),
        };
        if refused.is_wrong_password() && admin.has_user(&mysql.user, &admin.client)? {
            let why = format!("the user exists with another password\n{}", refused.why);
            return Err(Problem::new(self.what(), why)
                .help(
                    "pass its password with --mysql-password-file, or choose another --mysql-user",
                )
                .into());
        }
        let packet = admin.ask("SELECT @@max_allowed_packet")?;
        let note = client::packet_note(packet.trim().parse().unwrap_or(u64::MAX));
        Ok(State::Differs(
            note.into_iter().fold(preview(), Change::detail),
        ))
    }

    fn inverses(&self, host: &Host) -> Result<Vec<Inverse>> {
        let server = DatabaseServer::of(&self.mysql);
        let Ok(admin) = Administrator::log_in(host, &server)? else {
            return Ok(Vec::new());
        };
        let had_user = admin.has_user(&self.mysql.user, &admin.client)?;
        Ok(vec![Inverse::Database(DatabaseInverse {
            had_database: admin.has_database(&self.mysql.database)?,
            account: (!had_user).then(|| (self.mysql.user.clone(), admin.client.clone())),
            database: self.mysql.database.clone(),
            table: self.mysql.table.clone(),
            server,
        })])
    }

    fn apply(&self, host: &Host, watch: &dyn Fn(&str)) -> Result<()> {
        let mysql = &self.mysql;
        if let Login::Works(_) = client::log_in(host, mysql)? {
            return Ok(());
        }
        let admin = match Administrator::log_in(host, &DatabaseServer::of(mysql))? {
            Ok(admin) => admin,
            Err(why) => return Err(self.by_hand("it does not exist", &why)),
        };
        watch("creating the database and its user");
        let secret = client::quoted(mysql.password.reveal());
        let statements = client::statements(mysql, &admin.client, &secret);
        // Some servers are set up to take a backslash literally.
        admin.change(&format!("SET SESSION sql_mode = '';\n{statements}"))?;
        match client::log_in(host, mysql)? {
            Login::Works(_) => Ok(()),
            Login::Refused(refusal) => Err(Problem::new(self.what(), refusal.why)
                .help(format!(
                    "check the users of the database and the contents of {}",
                    password::CONFIG
                ))
                .into()),
        }
    }
}

/// What setup created for the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseInverse {
    server: DatabaseServer,
    database: String,
    table: String,
    had_database: bool,
    /// The user that setup created, with the host it logs in from.
    account: Option<(String, String)>,
}

impl Revert for DatabaseInverse {
    fn id(&self) -> ResourceId {
        ResourceId::Database {
            name: self.database.clone(),
            host: self.server.host.clone(),
            port: self.server.port,
        }
    }

    fn fold(self, later: Self) -> Self {
        DatabaseInverse {
            account: self.account.or(later.account),
            ..self
        }
    }

    fn revert(&self, context: &RevertContext) -> Result<Reverted> {
        let without = RemoveDatabase {
            made: self.clone(),
            lose: context.lose_queued_jobs,
        };
        Ok(match without.obstacle(context.host)? {
            None => Reverted::by(Phase::Foundations, without),
            Some(why) => Reverted::kept(format!(
                "the queue's database {} on {}:{} and its user: {why}",
                self.database, self.server.host, self.server.port
            )),
        })
    }
}

/// Removes what setup created, unless jobs are queued in it.
struct RemoveDatabase {
    made: DatabaseInverse,
    /// Remove it even if jobs are queued in it.
    lose: bool,
}

impl RemoveDatabase {
    /// Why it cannot be removed; `None` if it can.
    fn obstacle(&self, host: &Host) -> Result<Option<String>> {
        if !host.live() {
            return Ok(Some("databases are not accessed with --root".into()));
        }
        if client::path(host).is_none() {
            return Ok(Some(
                "there is no database client to remove them with".into(),
            ));
        }
        let admin = match Administrator::log_in(host, &self.made.server)? {
            Ok(admin) => admin,
            Err(why) => return Ok(Some(why)),
        };
        let rows = admin
            .rows(&self.made.database, &self.made.table)?
            .unwrap_or(0);
        let jobs = if rows == 1 { "job" } else { "jobs" };
        Ok((rows > 0 && !self.lose).then(|| format!("it holds {rows} queued {jobs}")))
    }

    /// The statements that remove what is left of it.
    fn statements(&self, admin: &Administrator) -> Result<Vec<String>> {
        let mut statements = Vec::new();
        let (database, table) = (&self.made.database, &self.made.table);
        match admin.rows(database, table)? {
            None => {}
            // Jobs are queued: keep them and the user.
            Some(1..) if !self.lose => return Ok(statements),
            Some(_) => statements.push(format!("DROP TABLE `{database}`.`{table}`")),
        }
        if let Some((user, client)) = &self.made.account
            && admin.has_user(user, client)?
        {
            let account = format!("{}@{}", client::quoted(user), client::quoted(client));
            statements.push(format!("DROP USER {account}"));
        }
        let ask = format!(
            "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = {} AND table_name <> {}",
            client::quoted(database),
            client::quoted(table)
        );
        if !self.made.had_database
            && admin.has_database(database)?
            && admin.ask(&ask)?.trim() == "0"
        {
            statements.push(format!("DROP DATABASE `{database}`"));
        }
        Ok(statements)
    }

    fn admin<'a>(&self, host: &'a Host) -> Result<Administrator<'a>> {
        Administrator::log_in(host, &self.made.server)?.map_err(|why| {
            let what = format!("remove the database {}", self.made.database);
            let help = "drop it and its user by hand";
            Problem::new(what, why).help(help).into()
        })
    }
}

impl Resource for RemoveDatabase {
    fn id(&self) -> ResourceId {
        self.made.id()
    }

    fn inspect(&self, host: &Host) -> Result<State> {
        let statements = self.statements(&self.admin(host)?)?;
        Ok(match statements.is_empty() {
            true => State::Same,
            false => State::Differs(Change {
                details: statements,
                ..Change::new(Verb::Remove)
            }),
        })
    }

    fn apply(&self, host: &Host, _watch: &dyn Fn(&str)) -> Result<()> {
        let admin = self.admin(host)?;
        admin.change(&self.statements(&admin)?.join(";\n"))
    }
}
