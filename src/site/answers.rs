//! What a site says of itself, and of its test jobs.

use serde::Deserialize;

use crate::site::page::RunnerAnswer;

/// How a site identifies itself, before or after setup.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Identity {
    pub name: String,
    pub network: bool,
    /// A plugin that submits jobs is active, though its switch may be off.
    pub active: bool,
    /// Tells its database from others; empty if that is unknown.
    pub database: String,
    /// Where its content is.
    pub content: Option<ToldFolders>,
}

/// The folders of a site's content, as WordPress says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct ToldFolders {
    pub dir: String,
    pub plugins: String,
    pub must_use: String,
}

/// The jobs in the table that its workers have made in its database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct StoredJobs {
    pub failed: u64,
    pub waiting: u64,
}

impl std::fmt::Display for StoredJobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (failed, waiting) = (self.failed, self.waiting);
        write!(f, "{failed} failed, {waiting} waiting for a retry")
    }
}

/// What a site reports about itself.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct SiteFacts {
    #[serde(flatten)]
    pub identity: Identity,
    /// WordPress's version.
    pub wordpress: String,
    /// PHP's version.
    pub php: String,
    pub home: String,
    /// The number of sites in the network.
    pub blogs: u64,
    /// WP Gears 1, WP Gears 2, WP Minions or bundled; `None` if no client works,
    /// with the reason in `why_not`.
    pub plugin: Option<String>,
    /// The class of the client that submits the site's jobs.
    pub client: Option<String>,
    /// The Gearman function of its jobs.
    pub function: Option<String>,
    pub why_not: Option<String>,
    /// Why its jobs are not sealed; empty if they are.
    #[serde(default)]
    pub unsealed: String,
    /// The id of the key that seals them; empty if they are not sealed.
    #[serde(default)]
    pub key: String,
    /// Whether `wp_async_task_add()` exists.
    pub can_add: bool,
    pub servers: Option<Vec<String>>,
    /// The database's limit of connections; 0 if unknown.
    pub max_connections: u64,
    /// The database's largest packet in bytes; 0 if unknown.
    pub max_allowed_packet: u64,
    pub settings: Settings,
    /// The settings before any plugin was loaded.
    pub early: Option<Settings>,
    /// What visitors get who request the runner, if that was asked.
    pub runner: Option<RunnerAnswer>,
}

impl SiteFacts {
    /// Whether its home is known, and not only the scheme.
    pub fn has_host(&self) -> bool {
        let rest = self.home.split_once("://").map(|(_, rest)| rest);
        rest.is_some_and(|rest| !rest.trim_matches('/').is_empty())
    }
}

/// The settings that plugins read while they load.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Whether the plugin's switch is on.
    pub on: bool,
    /// The salt's [`fingerprint`], if there is a salt.
    pub salt: Option<String>,
}

/// The progress of a test job, in milliseconds since just before its submission.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Proof {
    /// Why it was not run.
    pub error: Option<String>,
    pub handle: String,
    pub function: String,
    /// How long `wp_async_task_add()` took.
    pub add_ms: u64,
    pub started_ms: u64,
    pub done_ms: u64,
    pub forked: bool,
    /// The other host whose worker ran it; `None` if it was one of this host.
    pub host: Option<String>,
}
