//! Shared by the commands: host, lock, confirmation and options.

use anyhow::Result;

use crate::base::problem::Problem;
use crate::cli::options::{Common, SetupArgs};
use crate::host::Host;
use crate::host::lock::Lock;
use crate::intent::load::{Given, load, need_sites};
use crate::intent::options::Spec;
use crate::plan::{history, recovery};
use crate::report::ask::Answer;
use crate::report::interrupt::{Cancelled, Interrupts};
use crate::report::{Ui, sink};

pub const DONE: u8 = 0;
pub const FAILED: u8 = 1;
/// `plan --check` found changes.
pub const CHANGES: u8 = 3;

pub fn host_of(common: &Common, ui: Ui) -> Result<Host> {
    let mut host = Host::new(common.root.as_deref())?;
    if ui.verbose {
        host.trace = Some(sink::err);
    }
    Ok(host)
}

/// Prepares a run that changes the host: checks for root, takes the lock and
/// restores files that an interrupted run left half written.
pub fn begin(host: &Host, ui: Ui) -> Result<Lock> {
    need_root(host)?;
    let lock = host.lock()?;
    for file in recovery::run(host)? {
        ui.line(&format!(
            "restored {file}, which an interrupted run had left half written"
        ));
    }
    Ok(lock)
}

/// Requires root on a live host.
pub fn need_root(host: &Host) -> Result<()> {
    if host.live() && !rustix::process::geteuid().is_root() {
        return Err(
            Problem::new("change this host", "root privileges are required")
                .help("run it with sudo; 'wp-gears plan' and --root DIR work without root")
                .into(),
        );
    }
    Ok(())
}

/// Asks for consent before the first change, unless `--yes` gave it. `what`
/// names the action in the error if nobody can be asked, and `review` the command that
/// only shows the changes.
pub fn confirm(ui: Ui, yes: bool, what: &str, review: &str, default: bool) -> Result<()> {
    if yes {
        return Ok(());
    }
    if !ui.asks {
        return Err(Problem::new(what, "confirmation needs a terminal or --yes")
            .help(format!(
                "review the changes with '{review}', then run it again with --yes"
            ))
            .into());
    }
    let interrupts = Interrupts::take(ui)?;
    if ui.consents(false, default)? == Answer::Yes {
        interrupts.release();
        return Ok(());
    }
    Err(Cancelled::Declined.into())
}

/// Combines the command line with the config file.
///
/// # Errors
/// An invalid file or option, or no site where one is needed.
pub fn spec_of(host: &Host, args: &SetupArgs) -> Result<Spec> {
    let given = Given {
        config: args.common.config.as_deref(),
        from: args.from.as_deref(),
        sites: &args.common.sites,
        host: &args.host,
        site: &args.site,
    };
    let spec = load(host, &given, history::past(host)?)?;
    need_sites(&spec, &args.site)?;
    Ok(spec)
}
