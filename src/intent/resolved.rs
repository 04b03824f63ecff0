//! What every option of the host and of each site resolves to.

use std::path::{Path, PathBuf};

use crate::base::paths::{BASE, LIB};
use crate::gearman::instance::JobServer;
use crate::gearman::{daemon, options};
use crate::host::supervisor::Supervisord;
use crate::intent::adopt::reached_at;
use crate::intent::dashboard::Served;
use crate::intent::options::{HostOptions, Isolation, OwnerPort, Queue, Role, SiteOptions};
use crate::queue::Store;
use crate::site::ask::Target;
use crate::site::config::{Found, Want};
use crate::site::content::Content;
use crate::site::php::Php;
use crate::site::plugins::{self, Plugin};
use crate::supervisor::programs::ProgramSection;
use crate::worker::options::{WorkerOptions, WorkerSettings};
use crate::worker::rules::HookRule;
use crate::worker::workers::Workers;

/// The resolved host and sites.
pub struct Resolved {
    pub host: HostResolved,
    pub sites: Vec<SiteResolved>,
    /// Sites that an earlier run set up, that this run does not touch, and that no
    /// file names yet.
    pub others: Vec<(PathBuf, SiteOptions)>,
    /// Sites that cannot be set up, by folder.
    pub refused: Vec<(PathBuf, anyhow::Error)>,
    /// Notes for the user.
    pub notes: Vec<String>,
}

pub struct HostResolved {
    pub roles: Vec<Role>,
    pub queue: Queue,
    /// Where queued jobs are stored; `None` without a job server here.
    pub store: Option<Box<dyn Store>>,
    pub listen: String,
    pub port: u16,
    /// Its address before this run: sites that use it get the new one.
    pub former_server: String,
    pub allow_upgrades: bool,
    /// It may listen where more than a private network reaches it.
    pub expose: bool,
    /// The hosts that alone reach the job server, if it is closed to others.
    pub firewall: Vec<String>,
    pub isolation: Isolation,
    /// The owners' own job servers.
    pub owners: Vec<JobServer>,
    /// Their ports, and those of owners who had one.
    pub owner_ports: Vec<OwnerPort>,
    /// How many jobs should run at a time, if that was asked for.
    pub worker_budget: Option<u32>,
    /// The web page that shows the queues, if there is to be one.
    pub dashboard: Option<Served>,
    pub supervisor: &'static Supervisord,
    pub extension_archive: Option<PathBuf>,
    /// Somebody wants to be told of problems.
    pub alerts: bool,
    /// Options that the host has but no file or option sets.
    pub adopted: HostOptions,
}

impl HostResolved {
    /// The address of this host's own job server, as seen from this host.
    pub fn own_server(&self) -> String {
        reached_at(&self.listen, self.port)
    }

    /// Whether the kernel has firewall rules of ours.
    pub fn has_rules(&self) -> bool {
        !self.owners.is_empty() || !self.firewall.is_empty()
    }

    /// The owner's own job server.
    pub fn server_of(&self, owner: &str) -> Option<&JobServer> {
        self.owners.iter().find(|server| server.owner == owner)
    }

    /// The options that the job server needs.
    pub fn options_of_gearmand(&self) -> Vec<options::Wanted> {
        let store = self.store.as_deref();
        let of_queue = store.map_or_else(Vec::new, |store| self.queue.wanted(store));
        daemon::wanted(&self.listen, self.port, of_queue)
    }
}

/// Which of a worker's properties were asked for, rather than found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    pub user: bool,
    pub php: bool,
}

pub struct SiteResolved {
    /// The name of its folders, log and program.
    pub name: String,
    pub dir: PathBuf,
    pub version: String,
    pub config: PathBuf,
    pub found: Found,
    /// Where its content and plugins are.
    pub content: Content,
    pub plugin: &'static Plugin,
    pub salt: Want<String>,
    /// The salt of a run that failed: jobs may wait under it.
    pub kept_salt: Option<String>,
    pub servers: Want<Vec<String>>,
    /// Job servers that it uses and will not use any more.
    pub servers_left_behind: Vec<String>,
    /// Its job server is open to other hosts, or its pages are on others.
    pub is_shared: bool,
    /// `OPEN` until the host's budget is divided.
    pub workers: Workers,
    /// The host's, if that was asked for.
    pub worker_budget: Option<u32>,
    /// Fork mode was requested explicitly, so a PHP that cannot fork is refused.
    pub must_fork: bool,
    pub user: String,
    /// The user and PHP were asked for, so they may be others than those of the pages.
    pub asked: Asked,
    pub worker_dir: PathBuf,
    pub program: String,
    /// The existing program, ours or one written by the plugin's readme. It is
    /// adopted in its file.
    pub existing: Option<ProgramSection>,
    pub php: Php,
    /// The options in the workers' command, and what they resolve to.
    pub worker_options: WorkerOptions,
    pub worker: WorkerSettings,
    /// The rules for its hooks.
    pub hooks: Vec<HookRule>,
    /// Options that the host has but no file or option sets.
    pub adopted: SiteOptions,
}

impl SiteResolved {
    /// The servers that the site will use.
    pub fn effective_servers(&self) -> Vec<String> {
        match &self.servers {
            Want::Exactly(servers) => servers.clone(),
            Want::Default(servers) => self.found.servers.clone().unwrap_or(servers.clone()),
        }
    }

    /// The functions to which the site submits its jobs now and will not any more,
    /// as each plugin names them.
    pub fn names_left_behind(&self) -> Vec<String> {
        if let (Want::Exactly(new), Some(kept)) = (&self.salt, &self.kept_salt)
            && new != kept
        {
            return plugins::functions(Some(kept));
        }
        let old = self.found.salt.as_deref();
        let changes = match (&self.salt, old) {
            (Want::Exactly(new), Some(old)) => new != old,
            (Want::Default(_), Some(_)) => false,
            (_, None) => !self.found.salt_computed,
        };
        // WP Gears 2 and WP Minions 3 submit jobs without being switched on.
        let submits = !self.found.on.is_empty() || !self.plugin.bundled;
        if !changes || !submits {
            return Vec::new();
        }
        plugins::functions(old)
    }

    /// The folders and files that PHP has to reach to run its jobs.
    pub fn places(&self) -> Vec<PathBuf> {
        let run = Path::new(BASE).join("run").join(&self.name);
        vec![
            self.dir.clone(),
            self.config.clone(),
            self.dir.join("wp-includes"),
            self.content.dir.clone(),
            self.content.plugins.clone(),
            self.content.must_use.clone(),
            PathBuf::from(LIB),
            run,
        ]
    }

    /// How to ask the site about itself.
    pub fn target(&self) -> Target<'_> {
        Target {
            dir: &self.dir,
            php: &self.php.path,
            user: &self.user,
            plugin: self.plugin,
            cache: None,
            host: self.worker.host.as_deref(),
        }
    }

    /// The names that its function may have, once it is set up.
    pub fn functions(&self) -> Vec<String> {
        let salt = match &self.salt {
            Want::Exactly(salt) => salt,
            Want::Default(new) => self.effective_salt().unwrap_or(new),
        };
        plugins::functions(Some(salt))
    }

    /// The salt that the site will have; `None` for a new one.
    pub fn effective_salt(&self) -> Option<&str> {
        match &self.salt {
            Want::Exactly(salt) => Some(salt),
            Want::Default(_) => self.found.salt.as_deref().filter(|salt| !salt.is_empty()),
        }
    }
}
