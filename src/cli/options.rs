//! The options that several commands share, and those of setup, plan and remove.

use std::path::PathBuf;

use clap::Args;

use crate::intent::options::{HostOptions, SiteOptions};
use crate::intent::queue::WaitingJobs;

/// Which sites, from where, and how to print.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// The configuration file [default: /etc/wp-gears.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A WordPress folder; may be given many times
    #[arg(long = "site", value_name = "DIR")]
    pub sites: Vec<PathBuf>,
    /// Work on the files below DIR only: no packages, no services
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Print one JSON document to standard output
    #[arg(long)]
    pub json: bool,
    /// Print errors only
    #[arg(short, long)]
    pub quiet: bool,
    /// Print each command and each cause of an error
    #[arg(short, long)]
    pub verbose: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wp-gears setup          find the sites, and ask
  wp-gears setup --site /var/www/site --yes
  wp-gears setup --site /srv/a --site /srv/b --yes --json
  wp-gears setup --site /var/www/site --print-config >/etc/wp-gears.toml

What you ask for is recorded in /etc/wp-gears.toml. Environment variables such
as WP_GEARS_WORKERS=4 override it; options override both.")]
pub struct SetupArgs {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub host: HostOptions,
    #[command(flatten)]
    pub site: SiteOptions,
    /// Answer yes to every question
    #[arg(short, long, help_heading = "How to act")]
    pub yes: bool,
    /// Ask in plain lines, for screen readers [default: if TERM=dumb]
    #[arg(long, help_heading = "How to act", hide_short_help = true)]
    pub plain: bool,
    /// Install and write files, but start nothing (for images)
    #[arg(long, help_heading = "How to act")]
    pub no_start: bool,
    /// Send a test job even if nothing changed
    #[arg(long, conflicts_with = "no_prove", help_heading = "How to act")]
    pub prove: bool,
    /// Print a complete configuration file; change nothing
    #[arg(long, help_heading = "How to act", conflicts_with = "json")]
    pub print_config: bool,
    /// Send no test job
    #[arg(long, help_heading = "How to act")]
    pub no_prove: bool,
    #[command(flatten)]
    pub waiting: WaitingJobs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 shown; 1 failed; 2 bad usage; 3 with --check: something would change

Examples:
  wp-gears plan --site /var/www/site
  wp-gears plan --check --quiet || echo \"the host has drifted\"")]
pub struct PlanArgs {
    /// The same options as setup's; those that tell how to act are ignored.
    #[command(flatten)]
    pub setup: SetupArgs,
    /// Exit with 3 if something would change
    #[arg(long, help_heading = "How to act")]
    pub check: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wp-gears remove --site /var/www/site --yes
  wp-gears remove --yes --purge")]
pub struct RemoveArgs {
    #[command(flatten)]
    pub common: Common,
    /// Ask nothing
    #[arg(short, long)]
    pub yes: bool,
    /// Also take out the packages that setup brought, logs and failed jobs
    #[arg(long)]
    pub purge: bool,
    #[command(flatten)]
    pub waiting: WaitingJobs,
}
