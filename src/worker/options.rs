//! The options of a worker, which setup, the config file and the wizard share.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::base::options::{Seconds, number, options, path, program, seconds};
use crate::gearman::server::Server;
use crate::worker::rules::HookRule;
use crate::worker::workers::Workers;

/// How a job gets its process.
#[derive(ValueEnum, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Load WordPress once and fork a child for each job
    Fork,
    /// Start a PHP process for each job, before the job arrives
    Spawn,
}

options! {
    /// How workers run the jobs of a site.
    ///
    /// The fields have the order of the options in a program's command, which must not
    /// change: supervisor would restart the workers.
    #[command(next_help_heading = "Site options")]
    pub struct WorkerOptions => WorkerSettings {
        /// The PHP that runs jobs [default: php in the PATH]
        #[arg(value_name = "PATH", value_parser = program)]
        php: PathBuf,
        /// How each job gets its process; spawn is used where PHP cannot fork safely
        #[arg(value_enum, value_name = "MODE", hide_short_help = true)]
        worker_mode: Mode = Mode::Fork,
        /// How many times to retry a job whose process died
        #[arg(value_name = "N", value_parser = number::<u32>(0, 100))]
        job_retries: u32 = 3,
        /// How many times to retry a job that threw an exception or ended with an error
        #[arg(value_name = "N", hide_short_help = true, value_parser = number::<u32>(0, 100))]
        failed_retries: u32 = 0,
        /// How long a stopping worker may take to finish its job
        #[arg(value_name = "SECONDS", hide_short_help = true, value_parser = seconds(1, 86_400))]
        stop_timeout: Seconds = Seconds(300),
        /// End a job that takes longer, and retry it [default: no limit]
        #[arg(value_name = "SECONDS", value_parser = seconds(1, 604_800))]
        job_timeout: Seconds,
        /// Stop PHP and all but one process after this many idle seconds
        #[arg(value_name = "SECONDS", hide_short_help = true, value_parser = seconds(1, 86_400))]
        idle_timeout: Seconds = Seconds(300),
        /// Restart PHP once it is older than this (fork)
        #[arg(value_name = "SECONDS", hide_short_help = true, value_parser = seconds(1, 604_800))]
        max_age: Seconds = Seconds(3600),
        /// Restart PHP after this many jobs (fork)
        #[arg(value_name = "N", hide_short_help = true, value_parser = number::<u64>(1, 1_000_000_000))]
        max_jobs: u64 = 5000,
        /// Restart PHP once it uses more memory than this (fork)
        #[arg(value_name = "MB", hide_short_help = true, value_parser = number::<u64>(16, 1_048_576))]
        max_memory: u64 = 256,
        /// The log file; - is standard error [default: /var/log/wp-gears/NAME.log]
        #[arg(value_name = "FILE", hide_short_help = true, value_parser = path)]
        log: PathBuf,
        /// Host or URL of the request that the site's code sees in jobs [default: the site's home]
        #[arg(value_name = "HOST", hide_short_help = true, value_parser = host)]
        host: String,
        /// Seal jobs, and refuse unsealed ones; false for jobs from other software [default: true, but unsealed jobs run where job servers are shared with other hosts]
        #[arg(value_name = "BOOL", hide_short_help = true)]
        seal: bool,
        /// With a range of workers: start more once a job has waited this long
        #[arg(value_name = "SECONDS", hide_short_help = true, value_parser = seconds(1, 3600))]
        scale_after: Seconds = Seconds(2),
        /// Run up to N jobs in one process, one after the other, at a fraction of the cost; they see what earlier ones left behind (fork)
        #[arg(value_name = "N", hide_short_help = true, value_parser = number::<u32>(1, 100_000))]
        reuse: u32 = 1,
    }
}

/// A host name, perhaps with a port, or a URL of the site.
fn host(text: &str) -> Result<String, String> {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let name = rest.map_or(text, |rest| rest.split('/').next().unwrap_or(rest));
    let is_name = |name: &str| {
        !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_alphanumeric() || "-._:[]".contains(c))
    };
    let is_path = |text: &str| {
        text.chars()
            .all(|c| c.is_ascii_graphic() && c != '"' && c != '\'')
    };
    (is_name(name) && is_path(rest.unwrap_or_default()))
        .then(|| text.to_owned())
        .ok_or_else(|| "expected a host such as www.example.com, or a URL".into())
}

/// Options of `wp-gears worker`.
#[derive(Args, Clone, Debug)]
pub struct WorkerArgs {
    /// The WordPress folder
    #[arg(long, value_name = "DIR")]
    pub site: PathBuf,
    /// Name of the site, used for its log and folders
    #[arg(long)]
    pub name: String,
    /// Job servers
    #[arg(
        long,
        value_name = "HOST:PORT",
        value_delimiter = ',',
        default_value = "127.0.0.1:4730"
    )]
    pub servers: Vec<Server>,
    #[command(flatten)]
    pub options: WorkerOptions,
    /// Number of workers, or a range such as 2..8 that follows the load; with more than one, this process starts and supervises them
    #[arg(long, value_name = "N", default_value_t = Workers::fixed(1))]
    pub workers: Workers,
    /// With a range of workers: how many jobs all sites of this host may run at a time [default: from cores and memory]
    #[arg(long, value_name = "N", value_parser = number::<u32>(1, 100_000), conflicts_with = "settings")]
    pub worker_budget: Option<u32>,
    /// The PHP program that runs jobs
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/usr/local/lib/wp-gears/runner.php"
    )]
    pub runner: PathBuf,
    /// Folder for the workers' state: run/NAME, cache/NAME and failed/NAME below it belong to the worker user
    #[arg(long, value_name = "DIR", default_value = "/var/lib/wp-gears")]
    pub state: PathBuf,
    /// Pause before a job is retried; five times as long each time
    #[arg(long, value_name = "SECONDS", default_value_t = 10, hide = true)]
    pub retry_pause: u64,
    /// How late a retry has to be for another host to take it
    #[arg(long, value_name = "SECONDS", default_value_t = 60, hide = true)]
    pub retry_grace: u64,
    /// How long jobs that are not sealed, or with a former key, may still come from pages
    #[arg(long, value_name = "SECONDS", default_value_t = 60, hide = true)]
    pub seal_grace: u64,
    /// Rules for the jobs of some hooks, which only a settings file has.
    #[arg(skip)]
    pub hook: Vec<HookRule>,
    /// With a range of workers: for how long fewer have to be enough before there are fewer
    #[arg(long, value_name = "SECONDS", default_value_t = 60, hide = true)]
    pub scale_quiet: u64,
    /// Where load and memory of the host are read
    #[arg(long, value_name = "DIR", default_value = "/proc", hide = true)]
    pub proc: PathBuf,
    /// Other hosts submit jobs to the same job server, and may not seal them
    #[arg(long, hide = true)]
    pub shared: bool,
    /// What setup has the workers run with: this process starts and supervises them, and
    /// adopts what changes in the file
    #[arg(long, value_name = "FILE", hide = true)]
    pub settings: Option<PathBuf>,
    /// Set by a process that supervises workers for those that it starts
    #[arg(long, hide = true)]
    pub one: bool,
    /// Only check whether the site's workers run on this host and a job server knows them;
    /// exit with 0 if so
    #[arg(long)]
    pub health: bool,
    /// Only load the site as for a job, with settings from standard input, and say
    /// whether that worked
    #[arg(long, hide = true, conflicts_with_all = ["workers", "one", "health"])]
    pub check: bool,
}

impl WorkerArgs {
    /// Where the log goes: standard error in a container, where this is the first process.
    pub fn log(&self) -> PathBuf {
        match &self.options.log {
            Some(path) => path.clone(),
            None if rustix::process::getpid().is_init() => PathBuf::from("-"),
            None => PathBuf::from(format!("/var/log/wp-gears/{}.log", self.name)),
        }
    }
}
