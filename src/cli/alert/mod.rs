//! `wp-gears alert`: tells somebody of problems, once when one begins and once when it ends.

mod deliver;
mod found;
mod memory;
mod problems;

use anyhow::Result;
use clap::Subcommand;

use crate::base::clock::now_ms;
use crate::base::problem::Problem;
use crate::cli::alert::deliver::{Event, Moment, Way};
use crate::cli::alert::memory::{Memory, Open};
use crate::cli::common::{DONE, FAILED, need_root};
use crate::host::Host;
use crate::intent::alert::Alert;
use crate::intent::file;
use crate::report::Ui;

#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
The [alert] table of /etc/wp-gears.toml says what to check and how to send alerts.
After setup, a systemd timer runs 'wp-gears alert check' every half minute.

Exit codes: 0 done; 1 an alert could not be sent; 2 bad usage

Examples:
  wp-gears alert test
  wp-gears alert check")]
pub struct AlertArgs {
    #[command(subcommand)]
    pub action: Action,
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub enum Action {
    /// Check for problems, and send alerts for those that began or ended
    Check,
    /// Send a test alert in every way that [alert] sets up
    Test,
}

pub fn run(args: &AlertArgs) -> Result<u8> {
    let ui = Ui::new(false, false, false);
    let host = Host::new(None)?;
    need_root(&host)?;
    let intent = file::read(&host, None)?;
    let Some(alert) = &intent.alert else {
        let what = format!("read [alert] in {}", file::DEFAULT);
        return Err(Problem::usage(what, "there is no such table")
            .help("add one with command, webhook-file or mail")
            .into());
    };
    match args.action {
        Action::Test => test(&host, alert, ui),
        Action::Check => {
            // A run that changes the host stops workers on purpose.
            let Ok(lock) = host.lock() else {
                ui.line("another run is changing this host: the check runs after it");
                return Ok(DONE);
            };
            drop(lock);
            let mut memory = Memory::lock(&host)?;
            let found = problems::find(&host, &intent, alert, &mut memory, ui)?;
            memory.note(found, now_ms());
            tell(&host, alert, &mut memory, ui)
        }
    }
}

fn test(host: &Host, alert: &Alert, ui: Ui) -> Result<u8> {
    let event = Event {
        moment: Moment::Test,
        kind: "test".into(),
        subject: host.name()?,
        text: "this is a test alert of wp-gears".into(),
        since: now_ms(),
    };
    let mut code = DONE;
    for way in Way::of(alert) {
        match deliver::by(host, alert, way, &event) {
            Ok(()) => ui.line(&format!("sent a test alert by {way}")),
            Err(error) => {
                ui.error("", &error);
                code = FAILED;
            }
        }
    }
    Ok(code)
}

/// Tells of what is new. What fails is tried again by the next check.
fn tell(host: &Host, alert: &Alert, memory: &mut Memory, ui: Ui) -> Result<u8> {
    let mut code = DONE;
    let keys: Vec<String> = memory.open().keys().cloned().collect();
    for key in keys {
        for way in Way::of(alert) {
            let Some(open) = memory.open().get(&key) else {
                break;
            };
            let Some(event) = open.due(way) else { continue };
            match deliver::by(host, alert, way, &event) {
                Ok(()) => {
                    ui.line(&format!("{}: {} (by {way})", event.moment, event.text));
                    memory.told(&key, way);
                    // One that is told is not told again, even if this run is killed.
                    memory.save(host)?;
                }
                Err(error) => {
                    ui.error("", &error);
                    code = FAILED;
                }
            }
        }
    }
    memory.close(Open::is_over);
    memory.save(host)?;
    Ok(code)
}
