//! Which queue the job server has, and of a MySQL queue where it is and who
//! reaches it with which password.

use std::io::Read;
use std::path::Path;

use anyhow::Result;
use clap::Args;

use crate::base::options::number;
use crate::base::problem::Problem;
use crate::gearman::password::{self, Password};
use crate::host::Host;
use crate::host::platform::Platform;
use crate::intent::options::{HostOptions, Queue, Spec};
use crate::queue::mysql::Mysql;

/// A password comes by a file or by this variable, never as an argument.
pub const PASSWORD_VARIABLE: &str = "WP_GEARS_MYSQL_PASSWORD";

/// What becomes of jobs that wait where a run would leave them behind.
#[derive(Debug, Clone, Copy, Default, Args)]
#[command(next_help_heading = "How to act")]
pub struct WaitingJobs {
    /// Wait until the workers ran the jobs that would be lost [default: refuse]
    #[arg(long, value_name = "SECONDS",
          value_parser = number::<u64>(1, 86_400))]
    pub drain: Option<u64>,
    /// Let the jobs that wait be lost
    #[arg(long, conflicts_with = "drain")]
    pub lose_queued_jobs: bool,
}

/// `spec` is what the person says, `options` that over what the host has.
pub fn decide(
    host: &Host,
    platform: &Platform,
    spec: &Spec,
    options: &HostOptions,
) -> Result<(Queue, Option<Mysql>)> {
    let given = &spec.host;
    let queue = options.queue.unwrap_or(Queue::Sqlite);
    if queue != Queue::Mysql {
        if given.mysql_host.is_some()
            || given.mysql_user.is_some()
            || given.mysql_password_file.is_some()
            || given.mysql_admin_defaults_file.is_some()
        {
            let what = "use the options of a MySQL queue (--mysql-…)";
            return Err(Problem::usage(what, "the queue is not in MySQL")
                .help("say --queue mysql too, or leave them out")
                .into());
        }
        return Ok((queue, None));
    }
    let known = match spec.password.clone().or(given_password(options)?) {
        Some(password) => Some(password),
        None => password::current(host, &platform.family.gearmand)?,
    };
    if let Some(file) = &options.mysql_admin_defaults_file
        && !file.is_file()
    {
        let what = format!("use --mysql-admin-defaults-file {}", file.display());
        return Err(Problem::usage(what, "there is no such file").into());
    }
    let text = |wish: &Option<String>, default: &str| wish.clone().unwrap_or(default.to_owned());
    Ok((
        queue,
        Some(Mysql {
            host: text(&options.mysql_host, "localhost"),
            port: options.mysql_port.unwrap_or(3306),
            user: text(&options.mysql_user, "gearman"),
            database: text(&options.mysql_database, "gearman"),
            table: text(&options.mysql_table, "gearman_queue"),
            password_is_known: known.is_some(),
            password: match known {
                Some(password) => password,
                None => Password::random()?,
            },
            admin: match &options.mysql_admin_defaults_file {
                Some(file) => Some(std::path::absolute(file)?),
                None => None,
            },
        }),
    ))
}

fn given_password(options: &HostOptions) -> Result<Option<Password>> {
    /// Far more than a password; a device would have no end.
    const LARGEST: u64 = 4096;
    let Some(file) = &options.mysql_password_file else {
        return Ok(match std::env::var(PASSWORD_VARIABLE) {
            Ok(text) => Some(Password::new(&text)?),
            Err(_) => None,
        });
    };
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().take(LARGEST).read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|it| it.take(LARGEST).read_to_string(&mut text))
    };
    read.map_err(|error| {
        let what = format!("read --mysql-password-file {}", file.display());
        Problem::usage(what, error).help("name a file that holds the password alone")
    })?;
    Ok(Some(Password::new(&text)?))
}
