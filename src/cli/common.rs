//! What the commands share: the host, the lock, the question, and what was asked.

use anyhow::Result;

use crate::base::problem::Problem;
use crate::cli::options::Common;
use crate::host::Host;
use crate::host::lock::Lock;
use crate::intent::load::{Given, load, need_sites};
use crate::intent::options::{HostOptions, SiteOptions, Spec};
use crate::plan::{history, recovery};
use crate::report::Ui;
use crate::report::ask::Answer;
use crate::report::interrupt::{Cancelled, Interrupts};

pub const DONE: u8 = 0;
pub const FAILED: u8 = 1;
/// `plan --check` found changes.
pub const CHANGES: u8 = 3;

pub fn host_of(common: &Common, ui: Ui) -> Result<Host> {
    let mut host = Host::new(common.root.as_deref())?;
    if ui.verbose {
        host.trace = Some(|line| eprintln!("{line}"));
    }
    Ok(host)
}

/// What comes before every run that changes something: the right to, the lock,
/// and what an earlier run left torn.
pub fn begin(host: &Host, ui: Ui) -> Result<Lock> {
    need_root(host)?;
    let lock = host.lock()?;
    for file in recovery::run(host)? {
        ui.line(&format!(
            "restored {file}, which an earlier run had left half written"
        ));
    }
    Ok(lock)
}

/// Root, where the machine itself is changed.
pub fn need_root(host: &Host) -> Result<()> {
    if host.live() && !rustix::process::geteuid().is_root() {
        return Err(Problem::new("change this host", "you are not root")
            .help("run it with sudo; 'wp-gears plan' and --root DIR need no root rights")
            .into());
    }
    Ok(())
}

/// Asks before the first change, unless --yes answers.
pub fn confirm(ui: Ui, yes: bool, what: &str, question: &str, default: bool) -> Result<()> {
    if yes {
        return Ok(());
    }
    if !ui.asks {
        return Err(
            Problem::new(what, "there is no terminal to ask on, and no --yes")
                .help("see what 'wp-gears plan' shows, then run it again with --yes")
                .into(),
        );
    }
    let interrupts = Interrupts::take(ui)?;
    if ui.agrees(question, false, default)? == Answer::Yes {
        interrupts.lets_go();
        return Ok(());
    }
    Err(Cancelled::Answered.into())
}

/// What is wanted of the host: the command line over the file.
///
/// # Errors
/// What the file or the options get wrong, and no site where one is needed.
pub fn spec_of(
    host: &Host,
    common: &Common,
    over_host: &HostOptions,
    over_site: &SiteOptions,
) -> Result<Spec> {
    let given = Given {
        config: common.config.as_deref(),
        sites: &common.sites,
        host: over_host,
        site: over_site,
    };
    let spec = load(host, &given, history::past(host)?)?;
    need_sites(&spec, over_site)?;
    Ok(spec)
}
