//! What the person wants, as plain data with nothing of the host in it. The
//! same types are the command line's options, the environment's, and the file's.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::gearman::password::Password;
use crate::gearman::server::Server;
pub use crate::queue::Queue;
use crate::site::plugins::PluginChoice;
pub use crate::worker::Mode as WorkerMode;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The job server runs here
    Server,
    /// Workers run here
    Worker,
    /// The site is served from here: it hands in jobs
    Web,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SupervisorFrom {
    /// The distribution's package
    Package,
    /// A virtual environment of our own, filled by pip
    Pip,
}

/// What one site may have for itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[command(next_help_heading = "Options of a site")]
pub struct SiteOptions {
    /// The wp-config.php to edit [default: as WordPress finds it]
    #[arg(long, value_name = "FILE", hide_short_help = true, env = "WP_GEARS_WP_CONFIG", value_parser = path)]
    pub wp_config: Option<PathBuf>,
    /// What hands in jobs [default: auto]
    #[arg(long, value_enum, value_name = "PLUGIN", env = "WP_GEARS_PLUGIN")]
    pub plugin: Option<PluginChoice>,
    /// WP_ASYNC_TASK_SALT, which separates sites [default: the one there is, else random]
    #[arg(
        long,
        value_name = "TEXT",
        env = "WP_GEARS_SALT",
        hide_env_values = true
    )]
    pub salt: Option<String>,
    /// How many workers [default: 2 within the host's budget]
    #[arg(long, value_name = "N", env = "WP_GEARS_WORKERS",
          value_parser = number::<u32>(1, 512))]
    pub workers: Option<u32>,
    /// How a job gets its process [default: fork where PHP can]
    #[arg(
        long,
        value_enum,
        value_name = "MODE",
        hide_short_help = true,
        env = "WP_GEARS_WORKER_MODE"
    )]
    pub worker_mode: Option<WorkerMode>,
    /// The user that jobs run as; never root [default: the site's own]
    #[arg(long, value_name = "NAME", env = "WP_GEARS_WORKER_USER")]
    pub worker_user: Option<String>,
    /// Where workers stand [default: the site's folder]
    #[arg(long, value_name = "DIR", hide_short_help = true, env = "WP_GEARS_WORKER_DIR", value_parser = path)]
    pub worker_dir: Option<PathBuf>,
    /// The program's name in supervisor [default: wp-gears-SITE]
    #[arg(long, value_name = "NAME", env = "WP_GEARS_PROGRAM", value_parser = program)]
    pub program: Option<String>,
    /// The PHP that runs jobs [default: php in the PATH]
    #[arg(long, value_name = "PATH", env = "WP_GEARS_PHP", value_parser = path)]
    pub php: Option<PathBuf>,
    /// A job that takes longer is ended and tried again [default: no limit]
    #[arg(long, value_name = "SECONDS", env = "WP_GEARS_JOB_TIMEOUT",
          value_parser = number::<u64>(1, 604_800))]
    pub job_timeout: Option<u64>,
    /// How often a job that died is tried again [default: 3]
    #[arg(long, value_name = "N", env = "WP_GEARS_JOB_RETRIES",
          value_parser = number::<u32>(0, 100))]
    pub job_retries: Option<u32>,
    /// How long a worker that is stopped may finish its job [default: 300]
    #[arg(long, value_name = "SECONDS", hide_short_help = true, env = "WP_GEARS_STOP_TIMEOUT",
          value_parser = number::<u64>(1, 86_400))]
    pub stop_timeout: Option<u64>,
}

/// What all sites of a host share.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[command(next_help_heading = "Options of the host")]
pub struct HostOptions {
    /// What this host does [default: all of them]
    #[arg(
        long,
        value_enum,
        value_name = "ROLE",
        value_delimiter = ',',
        env = "WP_GEARS_ROLE"
    )]
    pub role: Option<Vec<Role>>,
    /// Job servers that sites use [default: this host's]
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', env = "WP_GEARS_SERVERS",
          value_parser = server)]
    pub servers: Option<Vec<String>>,
    /// Where jobs wait [default: sqlite]
    #[arg(long, value_enum, value_name = "QUEUE", env = "WP_GEARS_QUEUE")]
    pub queue: Option<Queue>,
    /// The address that the job server listens on [default: 127.0.0.1]
    #[arg(long, value_name = "ADDR", env = "WP_GEARS_LISTEN", value_parser = listen)]
    pub listen: Option<String>,
    /// The job server's port [default: 4730]
    #[arg(long, value_name = "N", env = "WP_GEARS_PORT",
          value_parser = number::<u16>(1, 65_535))]
    pub port: Option<u16>,
    /// Where supervisor comes from [default: what there is; the package, pip where there is none]
    #[arg(
        long,
        value_enum,
        value_name = "FROM",
        hide_short_help = true,
        env = "WP_GEARS_SUPERVISOR"
    )]
    pub supervisor: Option<SupervisorFrom>,
    /// Build PHP's extension from this archive of pecl's [default: package]
    #[arg(
        long,
        value_name = "FILE",
        hide_short_help = true,
        env = "WP_GEARS_EXTENSION_ARCHIVE",
        value_parser = path
    )]
    pub extension_archive: Option<PathBuf>,
    /// The MySQL queue's server [default: localhost, by its socket]
    #[arg(long, value_name = "HOST", hide_short_help = true, env = "WP_GEARS_MYSQL_HOST", value_parser = mysql_host)]
    pub mysql_host: Option<String>,
    /// Its port [default: 3306]
    #[arg(long, value_name = "N", hide_short_help = true, env = "WP_GEARS_MYSQL_PORT",
          value_parser = number::<u16>(1, 65_535))]
    pub mysql_port: Option<u16>,
    /// The job server's user there [default: gearman]
    #[arg(long, value_name = "NAME", hide_short_help = true, env = "WP_GEARS_MYSQL_USER", value_parser = identifier)]
    pub mysql_user: Option<String>,
    /// A file with that user's password, - for standard input; or
    /// WP_GEARS_MYSQL_PASSWORD [default: the one there is, else random]
    #[arg(long, value_name = "FILE", hide_short_help = true,
          env = "WP_GEARS_MYSQL_PASSWORD_FILE", value_parser = path)]
    pub mysql_password_file: Option<PathBuf>,
    /// The queue's database [default: gearman]
    #[arg(long, value_name = "NAME", hide_short_help = true, env = "WP_GEARS_MYSQL_DATABASE", value_parser = identifier)]
    pub mysql_database: Option<String>,
    /// The queue's table [default: gearman_queue]
    #[arg(long, value_name = "NAME", hide_short_help = true, env = "WP_GEARS_MYSQL_TABLE", value_parser = identifier)]
    pub mysql_table: Option<String>,
    /// A [client] file of who may make the database and its user [default: root by the socket]
    #[arg(long, value_name = "FILE", hide_short_help = true,
          env = "WP_GEARS_MYSQL_ADMIN_DEFAULTS_FILE", value_parser = path)]
    pub mysql_admin_defaults_file: Option<PathBuf>,
    /// Let the package manager upgrade or remove other packages too
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_name = "BOOL", hide_short_help = true, env = "WP_GEARS_ALLOW_UPGRADES")]
    pub allow_upgrades: Option<bool>,
}

/// A site with its own options.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    pub dir: PathBuf,
    pub options: SiteOptions,
}

/// All that is wanted of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spec {
    pub host: HostOptions,
    pub sites: Vec<Site>,
    /// Of the MySQL queue's user, as a person typed it; no file or option has it.
    pub password: Option<Password>,
}

/// Each field of the first that is set, else of the second.
macro_rules! layer {
    ($over:expr, $under:expr, { $($field:ident),* $(,)? }) => {{
        let (over, under) = ($over, $under);
        Self { $($field: over.$field.or(under.$field)),* }
    }};
}

impl SiteOptions {
    pub fn over(self, under: SiteOptions) -> Self {
        layer!(self, under, {
            wp_config, plugin, salt, workers, worker_mode, worker_user, worker_dir, program,
            php, job_timeout, job_retries, stop_timeout,
        })
    }
}

impl HostOptions {
    pub fn over(self, under: HostOptions) -> Self {
        layer!(self, under, {
            role, servers, queue, listen, port, supervisor, extension_archive, mysql_host,
            mysql_port, mysql_user, mysql_password_file, mysql_database, mysql_table,
            mysql_admin_defaults_file, allow_upgrades,
        })
    }
}

/// `HOST:PORT`, as it is written into wp-config.php.
fn server(text: &str) -> Result<String, String> {
    text.parse::<Server>().map(|server| server.to_string())
}

/// A whole number from `low` to `high`, or an error that says so.
pub fn number<T: TryFrom<u64>>(low: u64, high: u64) -> impl Fn(&str) -> Result<T, String> + Clone {
    move |text| {
        text.parse()
            .ok()
            .filter(|number| (low..=high).contains(number))
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| format!("it is a whole number from {low} to {high}"))
    }
}

/// A name for supervisor, and for a file.
fn program(text: &str) -> Result<String, String> {
    crate::worker::is_name(text)
        .then(|| text.to_owned())
        .ok_or_else(|| "it is letters, digits, '.', '_', '-', at most 100".into())
}

/// A path that is not empty.
fn path(text: &str) -> Result<PathBuf, String> {
    match text {
        "" => Err("it is a path".into()),
        text => Ok(text.into()),
    }
}

/// An address, or a name that gearmand can resolve.
fn listen(text: &str) -> Result<String, String> {
    let ok = !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-._:".contains(c));
    ok.then(|| text.to_owned())
        .ok_or_else(|| "it is an address to listen on, as 127.0.0.1".into())
}

/// A host's name or address; a socket's path would be taken for a name.
fn mysql_host(text: &str) -> Result<String, String> {
    listen(text).map_err(|_| "it is a host's name or address, as localhost".into())
}

/// What needs no quoting, neither in SQL nor among gearmand's options.
fn identifier(text: &str) -> Result<String, String> {
    let ok = (1..=64).contains(&text.len())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    ok.then(|| text.to_owned())
        .ok_or_else(|| "it is 1 to 64 letters, digits, '_' and '-'".into())
}
