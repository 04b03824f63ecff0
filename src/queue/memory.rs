//! The store in gearmand's memory.

use std::path::Path;

use anyhow::Result;

use crate::gearman::options::Wanted;
use crate::gearman::password::Password;
use crate::host::Host;
use crate::queue::{Condition, Kind, Running, Store, StoreOptions};

pub struct Memory;

impl Kind for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn help(&self) -> &'static str {
        "In memory: jobs are lost when the job server stops"
    }

    fn summary(&self) -> &'static str {
        "fastest; lost on restart"
    }

    fn queue_type(&self) -> &'static str {
        "builtin"
    }

    fn place(&self) -> Option<&'static [(&'static str, &'static str)]> {
        None
    }

    fn open(&self, _: &Host, _: &StoreOptions, _: Option<Password>) -> Result<Box<dyn Store>> {
        Ok(Box::new(Memory))
    }
}

impl Store for Memory {
    fn wanted_in(&self, _folder: &Path) -> Option<Vec<Wanted>> {
        Some(Vec::new())
    }

    fn examine(&self, _: &Host, _: &Running) -> Result<Vec<Condition>> {
        let message = "jobs wait in gearmand's memory, as configured: they are lost when it stops";
        Ok(vec![Condition::Sound(message.into())])
    }
}
