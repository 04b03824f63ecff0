//! The whole command line on one page; one file a subcommand.

pub mod common;
pub mod doctor;
pub mod failed;
pub mod manual;
pub mod options;
pub mod pause;
pub mod plan;
pub mod remove;
pub mod setup;
pub mod status;
mod talk;
mod watch;
pub mod wizard;

use clap::{CommandFactory, Parser, Subcommand};

use crate::cli::doctor::DoctorArgs;
use crate::cli::failed::FailedArgs;
use crate::cli::manual::CompletionsArgs;
use crate::cli::options::{PlanArgs, RemoveArgs, SetupArgs};
use crate::cli::pause::PauseArgs;
use crate::cli::status::StatusArgs;
use crate::intent::effective;
use crate::intent::options::{HostOptions, SiteOptions};
use crate::worker::options::WorkerArgs;

/// Background jobs for WordPress: sets up Gearman, supervisor and the workers, and proves it by running a job.
#[derive(Debug, Parser)]
#[command(
    name = "wp-gears",
    version,
    max_term_width = 100,
    after_help = "\
Each option with a value has a variable too: WP_GEARS_WORKERS for --workers.
'wp-gears COMMAND -h' is short, 'wp-gears COMMAND --help' says more.

Exit codes: 0 done; 1 failed; 2 bad usage; 3 'plan --check' found changes;
130 ended by Ctrl-C

Examples:
  wp-gears plan  --site /var/www/site     what setup would change
  wp-gears setup --site /var/www/site     make it so, and prove it
  wp-gears status --watch                 the queues as they change"
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make this host run the site's background jobs, and prove it
    Setup(SetupArgs),
    /// Show what setup would change; change nothing
    Plan(PlanArgs),
    /// Give back what was there before setup
    Remove(RemoveArgs),
    /// What is wrong on this host, and what to do about it
    Doctor(DoctorArgs),
    /// The queues: what waits, runs, works and failed, now or as it changes
    Status(StatusArgs),
    /// Let the workers finish their jobs and take no more, for deployments
    Pause(PauseArgs),
    /// Let paused workers take jobs again
    Resume(PauseArgs),
    /// Let the next jobs run with WordPress loaded anew
    Reload(PauseArgs),
    /// The jobs that failed: list them, send them again, forget them
    Failed(FailedArgs),
    /// What supervisor runs: takes jobs and hands each to PHP
    Worker(WorkerArgs),
    /// Print what makes a shell complete wp-gears' words
    Completions(CompletionsArgs),
    /// Print the manual page, for man -l
    Man,
}

/// The command line as it is read, shown and completed.
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
            // One sentence explains the variables, rather than a word at each option.
            .hide_env(true)
        })
    })
}

/// The commands whose options can come from the environment.
const HAVE_VARIABLES: [&str; 5] = ["setup", "plan", "remove", "doctor", "worker"];

/// The environment variable of an option: `WP_GEARS_JOB_TIMEOUT` of `job-timeout`.
fn variable(option: &str) -> String {
    format!("WP_GEARS_{}", option.to_ascii_uppercase().replace('-', "_"))
}
