//! The command line, with one file per subcommand.

pub mod alert;
pub mod common;
pub mod doctor;
pub mod export;
pub mod failed;
pub mod manual;
pub mod options;
pub mod pause;
pub mod plan;
pub mod remove;
mod serve;
pub mod setup;
mod sites;
pub mod status;
mod talk;
mod watch;
pub mod wizard;

use clap::{CommandFactory, Parser, Subcommand};

use crate::cli::alert::AlertArgs;
use crate::cli::doctor::DoctorArgs;
use crate::cli::failed::FailedArgs;
use crate::cli::manual::CompletionsArgs;
use crate::cli::options::{PlanArgs, RemoveArgs, SetupArgs};
use crate::cli::pause::PauseArgs;
use crate::cli::status::StatusArgs;
use crate::intent::effective;
use crate::intent::options::{HostOptions, SiteOptions};
use crate::worker::options::WorkerArgs;

/// Set up and run background jobs for WordPress with Gearman and supervisor
#[derive(Debug, Parser)]
#[command(
    name = "wp-gears",
    version,
    max_term_width = 100,
    after_help = "\
Options that take a value can also be set by environment variables, such as
WP_GEARS_WORKERS for --workers. 'wp-gears COMMAND -h' prints the common options,
'wp-gears COMMAND --help' all of them.

Exit codes: 0 success; 1 failure; 2 bad usage; 3 'plan --check' found changes;
130 interrupted by Ctrl-C

Examples:
  wp-gears plan  --site /var/www/site     show what setup would change
  wp-gears setup --site /var/www/site     apply it and run a test job
  wp-gears status --watch                 watch the queues live"
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Set up background jobs on this host and verify them with a test job
    Setup(SetupArgs),
    /// Show what setup would change, without changing anything
    Plan(PlanArgs),
    /// Undo setup: restore the files it changed and remove what it created
    Remove(RemoveArgs),
    /// Check this host for problems and show how to fix them
    Doctor(DoctorArgs),
    /// Show waiting, running and failed jobs, once or live
    Status(StatusArgs),
    /// Send alerts about problems, by a command, a webhook or mail
    Alert(AlertArgs),
    /// Let workers finish their jobs and take no new ones, for deployments
    Pause(PauseArgs),
    /// Let paused workers take jobs again
    Resume(PauseArgs),
    /// Reload WordPress before the next jobs
    Reload(PauseArgs),
    /// List, show, retry or delete failed jobs
    Failed(FailedArgs),
    /// Take jobs and run them in PHP; started by supervisor
    Worker(WorkerArgs),
    /// Generate shell completions
    Completions(CompletionsArgs),
    /// Print the manual page; view it with 'man -l'
    Man,
}

/// The definition of the command line, with defaults and environment variables.
pub fn command() -> clap::Command {
    let with_defaults = [
        effective::set_words::<HostOptions>(&HostOptions::defaults()),
        effective::set_words::<SiteOptions>(&SiteOptions::defaults()),
    ]
    .concat();
    Cli::command().mut_subcommands(|sub| {
        let has_variables = HAVE_VARIABLES.contains(&sub.get_name());
        sub.mut_args(|arg| {
            let Some(long) = arg.get_long().map(str::to_owned) else {
                return arg;
            };
            let default = with_defaults.iter().find(|(name, _)| *name == long);
            let arg = match (default, arg.get_help().map(ToString::to_string)) {
                (Some((_, words)), Some(help)) if !help.contains("[default") => {
                    arg.help(format!("{help} [default: {words}]"))
                }
                _ => arg,
            };
            let takes_value = arg.get_action().takes_values() || long == "plain";
            match has_variables && takes_value {
                true => arg.env(variable(&long)),
                false => arg,
            }
            // The help explains the variables once, not at every option.
            .hide_env(true)
        })
    })
}

/// Commands whose options can be set by environment variables.
const HAVE_VARIABLES: [&str; 5] = ["setup", "plan", "remove", "doctor", "worker"];

/// The environment variable for an option: `WP_GEARS_JOB_TIMEOUT` for `job-timeout`.
fn variable(option: &str) -> String {
    format!("WP_GEARS_{}", option.to_ascii_uppercase().replace('-', "_"))
}
