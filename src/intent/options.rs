//! The options of a host and its sites, as plain data. The command line, the
//! environment and the config file share these types.

use std::fmt;
use std::path::PathBuf;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::base::options::{number, options, path};
use crate::gearman::password::Password;
use crate::gearman::port_rules;
use crate::gearman::server::Server;
use crate::intent::alert::Alert;
use crate::intent::dashboard::Dashboard;
use crate::intent::past::Past;
pub use crate::intent::past::Role;
pub use crate::queue::Queue;
use crate::queue::{StoreOptions, StoreSettings};
use crate::site::plugins::PluginChoice;
pub use crate::worker::options::Mode as WorkerMode;
use crate::worker::options::{WorkerOptions, WorkerSettings};
use crate::worker::rules::HookRule;
use crate::worker::workers::Workers;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SupervisorFrom {
    /// The distribution's package
    Package,
    /// A separate virtual environment, filled with pip
    Pip,
}

/// Whose jobs share a job server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// One job server for all sites of this host
    None,
    /// One for the sites of each worker user, closed to all other users
    Owner,
}

options! {
    /// The options of a site.
    #[command(next_help_heading = "Site options")]
    pub struct SiteOptions => SiteSettings {
        /// Name of the site, used for its log, folders and program [default: from the folder]
        #[arg(value_name = "NAME", hide_short_help = true, value_parser = name)]
        name: String,
        /// The wp-config.php to edit [default: the one that WordPress loads]
        #[arg(value_name = "FILE", hide_short_help = true, value_parser = path)]
        wp_config: PathBuf,
        /// Plugin that submits jobs
        #[arg(value_enum, value_name = "PLUGIN")]
        plugin: PluginChoice = PluginChoice::Auto,
        /// WP_ASYNC_TASK_SALT, which keeps sites apart [default: existing, or random]
        #[arg(value_name = "TEXT", hide_env_values = true)]
        salt: String,
        /// Number of workers, such as 4 or 2..8 [default: 2, or 1 on a small host]
        #[arg(value_name = "N")]
        workers: Workers,
        /// User that runs the jobs; never root [default: the site's own]
        #[arg(value_name = "NAME")]
        worker_user: String,
        /// Working directory of the workers [default: the site's folder]
        #[arg(value_name = "DIR", hide_short_help = true, value_parser = path)]
        worker_dir: PathBuf,
        /// Name of the program in supervisor [default: wp-gears-NAME]
        #[arg(value_name = "NAME", hide_short_help = true, value_parser = name)]
        program: String,
        /// Folder of WordPress's content [default: WP_CONTENT_DIR, or wp-content]
        #[arg(value_name = "DIR", hide_short_help = true, value_parser = path)]
        content_dir: PathBuf,
        /// Folder of its plugins [default: WP_PLUGIN_DIR, or plugins in the content folder]
        #[arg(value_name = "DIR", hide_short_help = true, value_parser = path)]
        plugin_dir: PathBuf,
        /// Folder of its must-use plugins [default: WPMU_PLUGIN_DIR, or mu-plugins in the content folder]
        #[arg(value_name = "DIR", hide_short_help = true, value_parser = path)]
        mu_plugin_dir: PathBuf,
    }
    with worker: WorkerOptions => WorkerSettings
}

options! {
    /// The options that all sites of a host share.
    #[command(next_help_heading = "Host options")]
    pub struct HostOptions => HostSettings {
        /// Roles of this host [default: all three]
        #[arg(value_enum, value_name = "ROLE", value_delimiter = ',')]
        role: Vec<Role> = vec![Role::Server, Role::Worker, Role::Web],
        /// Job servers that the sites use [default: this host's]
        #[arg(value_name = "HOST:PORT", value_delimiter = ',', value_parser = server)]
        servers: Vec<String>,
        /// Where queued jobs are stored
        #[arg(value_enum, value_name = "QUEUE")]
        queue: Queue = Queue::default(),
        /// Address that the job server listens on
        #[arg(value_name = "ADDR", value_parser = listen)]
        listen: String = "127.0.0.1".into(),
        /// Port of the job server
        #[arg(value_name = "N", value_parser = number::<u16>(1, 65_535))]
        port: u16 = 4730,
        /// How the jobs of different site owners are kept apart
        #[arg(value_enum, value_name = "ISOLATION", hide_short_help = true)]
        isolation: Isolation = Isolation::None,
        /// Ports of the owners' job servers with --isolation owner [default: free ones]
        #[arg(value_name = "USER:PORT", value_delimiter = ',', hide_short_help = true,
              value_parser = owner_port)]
        owner_ports: Vec<OwnerPort>,
        /// Where to install supervisor from [default: existing, or package, or pip]
        #[arg(value_enum, value_name = "FROM", hide_short_help = true)]
        supervisor: SupervisorFrom,
        /// Build PHP's gearman extension from this pecl archive [default: use a package]
        #[arg(value_name = "FILE", hide_short_help = true, value_parser = path)]
        extension_archive: PathBuf,
        /// Let the package manager upgrade or remove other packages
        #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true",
              value_name = "BOOL", hide_short_help = true)]
        allow_upgrades: bool = false,
        /// Let the job server listen on an address that is not private
        #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true",
              value_name = "BOOL", hide_short_help = true)]
        expose: bool = false,
        /// Admit only these hosts, and this one, to the job server's port [default: only print the commands for it]
        #[arg(value_name = "ADDR", value_delimiter = ',', hide_short_help = true,
              value_parser = port_rules::peer)]
        firewall: Vec<String>,
        /// Serve a web page that shows the queues, at ADDR:PORT or at 127.0.0.1:8730
        #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true",
              value_name = "ADDR:PORT", hide_short_help = true)]
        dashboard: Dashboard = Dashboard::Off,
        /// File with the token that the page asks for; required if other machines can reach it
        #[arg(value_name = "FILE", hide_short_help = true, value_parser = path)]
        dashboard_token_file: PathBuf,
        /// Most jobs to run at a time, shared by sites with a range of workers [default: from cores and memory]
        #[arg(value_name = "N", hide_short_help = true, value_parser = number::<u32>(1, 100_000))]
        worker_budget: u32,
    }
    with store: StoreOptions => StoreSettings
}

/// A site with its own options.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Site {
    pub dir: PathBuf,
    pub options: SiteOptions,
    /// The rules for its hooks, which only the file has.
    pub hooks: Vec<HookRule>,
    /// The intent file has all its options, so none are derived from the host.
    pub recorded: bool,
}

/// Everything that was asked of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spec {
    pub host: HostOptions,
    pub sites: Vec<Site>,
    /// The password of the queue's user, typed at a prompt; no file or option holds it.
    pub password: Option<Password>,
    /// What to watch for, and whom to tell, which only the file has.
    pub alert: Option<Alert>,
    /// The file that was read instead of the host's, if one was.
    pub config: Option<PathBuf>,
    /// What earlier runs did here, for what the file does not record yet.
    pub past: Past,
    /// This host, if the file has tables for hosts and none for it.
    pub unlisted: Option<String>,
}

/// `HOST:PORT`, as it is written into wp-config.php.
fn server(text: &str) -> Result<String, String> {
    text.parse::<Server>().map(|server| server.to_string())
}

/// The port of an owner's job server, written as `USER:PORT`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OwnerPort {
    pub owner: String,
    pub port: u16,
}

impl fmt::Display for OwnerPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.owner, self.port)
    }
}

impl From<OwnerPort> for String {
    fn from(it: OwnerPort) -> String {
        it.to_string()
    }
}

impl TryFrom<String> for OwnerPort {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        owner_port(&text)
    }
}

fn owner_port(text: &str) -> Result<OwnerPort, String> {
    let (owner, port) = text.rsplit_once(':').unwrap_or_default();
    match port.parse() {
        Ok(port) if port > 0 && !owner.is_empty() => Ok(OwnerPort {
            owner: owner.to_owned(),
            port,
        }),
        _ => Err("expected USER:PORT, such as alice:4731".into()),
    }
}

/// A name for supervisor, and for a file.
fn name(text: &str) -> Result<String, String> {
    crate::worker::is_name(text)
        .then(|| text.to_owned())
        .ok_or_else(|| "expected at most 100 letters, digits, '.', '_' and '-'".into())
}

/// An address, or a name that gearmand can resolve.
fn listen(text: &str) -> Result<String, String> {
    let ok = !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-._:".contains(c));
    ok.then(|| text.to_owned())
        .ok_or_else(|| "expected an address to listen on, such as 127.0.0.1".into())
}
