//! The chosen queue store, and what to do about the jobs in it.

use anyhow::Result;
use clap::Args;

use crate::base::options::number;
use crate::host::Host;
use crate::intent::options::{HostOptions, Spec};
use crate::queue::Store;

/// What to do about queued jobs that a run would leave behind.
#[derive(Debug, Clone, Copy, Default, Args)]
#[command(next_help_heading = "Behavior")]
pub struct WaitingJobs {
    /// How long to wait for workers to run jobs that would be lost [default: 60 if workers run, otherwise refuse]
    #[arg(long, value_name = "SECONDS",
          value_parser = number::<u64>(1, 86_400))]
    pub drain: Option<u64>,
    /// Proceed even if queued jobs are lost
    #[arg(long, conflicts_with = "drain")]
    pub lose_queued_jobs: bool,
}

/// Opens the chosen store. `options` are those in effect: what was asked, over
/// what the host has.
///
/// # Errors
/// Options of another kind of store, or options that cannot be used.
pub fn open(host: &Host, spec: &Spec, options: &HostOptions) -> Result<Box<dyn Store>> {
    let queue = options.queue.unwrap_or_default();
    queue.refuse_others(&spec.host.store)?;
    queue.open(host, &options.store, spec.password.clone())
}
