//! Options shared by several commands, and those of setup, plan and remove.

use std::path::PathBuf;

use clap::Args;

use crate::intent::options::{HostOptions, SiteOptions};
use crate::intent::queue::WaitingJobs;
use crate::plan::Run;

/// Which sites to work on, and how to print.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Config file [default: /etc/wp-gears.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// WordPress folder; repeat for several sites
    #[arg(long = "site", value_name = "DIR")]
    pub sites: Vec<PathBuf>,
    /// Change only files below DIR, without packages or services
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Print one JSON document to standard output
    #[arg(long)]
    pub json: bool,
    /// Print only errors
    #[arg(short, long)]
    pub quiet: bool,
    /// Print every command that runs, and all causes of an error
    #[arg(short, long)]
    pub verbose: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wp-gears setup          find the sites and ask
  wp-gears setup --site /var/www/site --yes
  wp-gears setup --site /srv/a --site /srv/b --yes --json
  wp-gears setup --site /var/www/site --print-config >wp-gears.toml

The options are saved in /etc/wp-gears.toml. Environment variables such as
WP_GEARS_WORKERS=4 override that file; options override both.")]
pub struct SetupArgs {
    #[command(flatten)]
    pub common: Common,
    /// Also take options and sites from FILE, or from a folder that --export wrote; they override the config file
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub from: Option<PathBuf>,
    #[command(flatten)]
    pub host: HostOptions,
    #[command(flatten)]
    pub site: SiteOptions,
    /// Apply changes without asking
    #[arg(short, long, help_heading = "Behavior")]
    pub yes: bool,
    /// Ask in plain lines of text, for screen readers [default: if TERM=dumb]
    #[arg(long, help_heading = "Behavior", hide_short_help = true)]
    pub plain: bool,
    /// Install packages and write files, but start no services (for images)
    #[arg(long, help_heading = "Behavior")]
    pub no_start: bool,
    /// Run a test job even if nothing changed
    #[arg(long, conflicts_with = "no_prove", help_heading = "Behavior")]
    pub prove: bool,
    /// Print a complete config file, without changing anything
    #[arg(long, help_heading = "Behavior", conflicts_with = "json")]
    pub print_config: bool,
    /// Write what another host of these sites needs to two files in DIR, one of them with the secrets, without changing anything
    #[arg(long, value_name = "DIR", help_heading = "Behavior", hide_short_help = true,
          conflicts_with_all = ["json", "print_config"])]
    pub export: Option<PathBuf>,
    /// Run no test job
    #[arg(long, help_heading = "Behavior")]
    pub no_prove: bool,
    #[command(flatten)]
    pub waiting: WaitingJobs,
}

impl SetupArgs {
    pub fn run(&self) -> Run {
        Run {
            start: !self.no_start,
            prove: !self.no_prove,
            waiting: self.waiting,
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 success; 1 failure; 2 bad usage; 3 --check found changes

Examples:
  wp-gears plan --site /var/www/site
  wp-gears plan --check --quiet || echo \"the host has drifted\"")]
pub struct PlanArgs {
    /// The options of setup; those that control a run are ignored.
    #[command(flatten)]
    pub setup: SetupArgs,
    /// Exit with 3 if setup would change something
    #[arg(long, help_heading = "Behavior")]
    pub check: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wp-gears remove --site /var/www/site --yes
  wp-gears remove --yes --purge")]
pub struct RemoveArgs {
    #[command(flatten)]
    pub common: Common,
    /// Apply changes without asking
    #[arg(short, long)]
    pub yes: bool,
    /// Show what would be undone, without changing anything
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,
    /// Also remove logs, failed jobs and the packages that setup installed
    #[arg(long)]
    pub purge: bool,
    #[command(flatten)]
    pub waiting: WaitingJobs,
}
