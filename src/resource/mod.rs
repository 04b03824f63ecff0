//! Resources: one thing each that can be looked at and made so.

pub mod boolean;
pub mod check;
pub mod database;
pub mod directory;
pub mod drained;
pub mod extension;
pub mod file;
pub mod journal;
pub mod link;
pub mod log;
pub mod package;
pub mod program;
pub mod reload_php;
pub mod repository;
pub mod service;

use std::path::Path;

use anyhow::Result;

use crate::host::Host;
use crate::resource::journal::Undo;

/// One thing that the plan makes so. `inspect` never changes anything;
/// `apply` looks again and makes the difference vanish.
pub trait Resource: Send + Sync {
    /// "file /etc/…", "service gearman-job-server".
    fn name(&self) -> String;

    fn inspect(&self, host: &Host) -> Result<State>;

    /// What must happen before it can be said what the act will do.
    fn prepare(&self, _host: &Host, _watch: &dyn Fn(&str)) -> Result<()> {
        Ok(())
    }

    /// What remove needs, to be written down before the act; `None` where
    /// there is nothing to give back.
    fn undo(&self, host: &Host) -> Result<Option<Undo>>;

    /// Makes it so. `watch` is told what goes on meanwhile.
    fn apply(&self, host: &Host, watch: &dyn Fn(&str)) -> Result<()>;

    /// Where it writes, for checks before the first change.
    fn place(&self) -> Option<Place<'_>> {
        None
    }

    /// The resource, by its name, that this one is restarted for.
    fn follows(&self) -> Option<&str> {
        None
    }

    /// A file's text as it will be, for checks before the first change.
    fn next_text(&self) -> Option<&file::File> {
        None
    }
}

/// What a resource makes, replaces or removes.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// A file, through links that lead to it.
    File(&'a Path),
    /// A folder, whose parent must be there by then.
    Folder(&'a Path),
    /// Whatever stands there itself.
    Name(&'a Path),
}

impl<'a> Place<'a> {
    pub fn path(&self) -> &'a Path {
        match self {
            Place::File(path) | Place::Folder(path) | Place::Name(path) => path,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    Same,
    Differs(Change),
    /// It can only be told once something else is there; the change is a
    /// preview on what is there now.
    After(String, Change),
}

/// A difference, in words for people; secrets are masked already.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// "create", "edit", "restart" …
    pub verb: String,
    /// Lines that say more.
    pub details: Vec<String>,
    /// A unified diff.
    pub diff: Option<String>,
}

impl Change {
    pub fn new(verb: impl Into<String>) -> Self {
        Change {
            verb: verb.into(),
            ..Change::default()
        }
    }

    pub fn detail(mut self, line: impl Into<String>) -> Self {
        self.details.push(line.into());
        self
    }
}
