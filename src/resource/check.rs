//! Something that must hold before the plan goes on: it is waited for, not made.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::host::Host;
use crate::resource::journal::Undo;
use crate::resource::{Change, Resource, State};

/// Whether it holds, and why not.
pub type Probe = dyn Fn(&Host) -> Result<()> + Send + Sync;

pub struct Check {
    /// "the job server answers on 127.0.0.1:4730".
    pub what: String,
    pub probe: Box<Probe>,
    pub patience: Duration,
    /// What must have been done before: said where it does not hold yet.
    pub after: String,
}

impl Resource for Check {
    fn name(&self) -> String {
        format!("check that {}", self.what)
    }

    fn inspect(&self, host: &Host) -> Result<State> {
        Ok(match (self.probe)(host) {
            Ok(()) => State::Same,
            Err(_) => State::After(self.after.clone(), Change::new("wait")),
        })
    }

    fn undo(&self, _host: &Host) -> Result<Option<Undo>> {
        Ok(None)
    }

    fn apply(&self, host: &Host, _watch: &dyn Fn(&str)) -> Result<()> {
        let begun = Instant::now();
        loop {
            match (self.probe)(host) {
                Ok(()) => return Ok(()),
                Err(error) if begun.elapsed() > self.patience => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }
}
