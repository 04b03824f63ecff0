//! Runs the chosen command, reports its error and sets the exit code.

use std::process::ExitCode;

use clap::FromArgMatches;
use rustix::process::DumpableBehavior;

use wp_gears::base::problem::Problem;
use wp_gears::cli::common::DONE;
use wp_gears::cli::manual;
use wp_gears::cli::pause::{self, Action};
use wp_gears::cli::{self, Cli, Command};
use wp_gears::intent::usage;
use wp_gears::report::interrupt::Cancelled;
use wp_gears::report::{Ui, message};

fn main() -> ExitCode {
    let parsed = cli::command()
        .try_get_matches()
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            let Some(line) = usage::line(&error) else {
                error.exit(); // Help or version was requested.
            };
            return fail(&anyhow::Error::msg(line), true);
        }
    };
    // This process handles secrets from wp-config.php, which must not end up in
    // a core dump. A worker runs as its own user and sees none of them.
    if !matches!(cli.command, Command::Worker(_)) {
        let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
    let result = match &cli.command {
        Command::Setup(args) => cli::setup::run(args),
        Command::Plan(args) => cli::plan::run(args),
        Command::Remove(args) => cli::remove::run(args),
        Command::Doctor(args) => cli::doctor::run(args),
        Command::Status(args) => cli::status::run(args),
        Command::Alert(args) => cli::alert::run(args),
        Command::Pause(args) => pause::run(Action::Pause, args),
        Command::Resume(args) => pause::run(Action::Resume, args),
        Command::Reload(args) => pause::run(Action::Reload, args),
        Command::Failed(args) => cli::failed::run(args),
        Command::Completions(args) => manual::completions(args),
        Command::Man => manual::man(),
        Command::Worker(args) => wp_gears::worker::run(args).map(|()| DONE),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            if let Some(cancelled) = error.downcast_ref::<Cancelled>() {
                Ui::new(false, false, false).line(&cancelled.to_string());
                return ExitCode::from(cancelled.code());
            }
            let usage = error
                .chain()
                .filter_map(|cause| cause.downcast_ref::<Problem>())
                .any(|problem| problem.usage);
            fail(&error, usage)
        }
    }
}

fn fail(error: &anyhow::Error, usage: bool) -> ExitCode {
    let verbose = std::env::args_os().any(|arg| arg == "-v" || arg == "--verbose");
    let ui = Ui::new(false, false, verbose);
    ui.error("", error);
    if std::env::args_os().any(|arg| arg == "--json") {
        ui.document(&serde_json::json!({ "error": message(error, false) }));
    }
    ExitCode::from(if usage { 2 } else { 1 })
}
