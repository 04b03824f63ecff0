//! What every resource can do, and what it answers.

use std::fmt;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use crate::host::Host;
use crate::resource::{Inverse, ResourceId, file};

/// One thing that a plan brings into its wanted state. `inspect` never changes
/// anything; `apply` looks again and removes the difference.
pub trait Resource: Send + Sync {
    fn id(&self) -> ResourceId;

    fn inspect(&self, host: &Host) -> Result<State>;

    /// What must happen before anyone can say what the act will do.
    fn prepare(&self, _host: &Host, _watch: &dyn Fn(&str)) -> Result<()> {
        Ok(())
    }

    /// What remove needs to restore the present state, for the journal. Most
    /// acts change one thing; there may be nothing to restore, or several.
    fn inverses(&self, _host: &Host) -> Result<Vec<Inverse>> {
        Ok(Vec::new())
    }

    /// Removes the difference. `watch` is told what goes on meanwhile.
    fn apply(&self, host: &Host, watch: &dyn Fn(&str)) -> Result<()>;

    /// Where it writes, for checks before the first change.
    fn place(&self) -> Option<Place<'_>> {
        None
    }

    /// The resource whose change restarts this one.
    fn follows(&self) -> Option<&ResourceId> {
        None
    }

    /// The resource itself if it is a file, for checks of its new text before
    /// the first change.
    fn as_file(&self) -> Option<&file::File> {
        None
    }
}

/// What a resource creates, replaces or removes.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// A file, through links that lead to it.
    File(&'a Path),
    /// A folder; its parent must exist by then.
    Folder(&'a Path),
    /// The name itself, whatever it is.
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
    /// What is known depends on another resource that comes first; the change
    /// is a preview.
    After(ResourceId, Change),
}

/// What an act does. The words in JSON are for scripts and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Takes a file that is there as the host's intent.
    Adopt,
    Build,
    /// Changes owner, mode, or what a link leads to.
    Change,
    Create,
    Disable,
    Drain,
    Edit,
    Enable,
    Install,
    Purge,
    Reload,
    Remove,
    Restart,
    Start,
    Stop,
    Wait,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verb::Adopt => "adopt",
            Verb::Build => "build",
            Verb::Change => "change",
            Verb::Create => "create",
            Verb::Disable => "disable",
            Verb::Drain => "drain",
            Verb::Edit => "edit",
            Verb::Enable => "enable",
            Verb::Install => "install",
            Verb::Purge => "purge",
            Verb::Reload => "reload",
            Verb::Remove => "remove",
            Verb::Restart => "restart",
            Verb::Start => "start",
            Verb::Stop => "stop",
            Verb::Wait => "wait",
        })
    }
}

/// A difference as people read it; secrets are masked already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub verb: Verb,
    /// What a summary lists, where it is not the resource itself.
    pub names: Vec<String>,
    /// Lines that say more.
    pub details: Vec<String>,
    /// A unified diff.
    pub diff: Option<String>,
}

impl Change {
    pub fn new(verb: Verb) -> Self {
        Change {
            verb,
            names: Vec::new(),
            details: Vec::new(),
            diff: None,
        }
    }

    pub fn detail(mut self, line: impl Into<String>) -> Self {
        self.details.push(line.into());
        self
    }
}

/// The part of the journal that tells what one thing was before setup. It
/// stands beside the resource that writes it.
pub trait Revert {
    /// What it is about: entries of one identity are one thing's history.
    fn id(&self) -> ResourceId;

    /// What it is about, if that is in the file system: a run that was cut off
    /// may have left a temporary file beside it.
    fn path(&self) -> Option<&Path> {
        None
    }

    /// Joins a later entry about the same thing. Most often the first one says
    /// what there was, and the later one says nothing more.
    fn fold(self, _later: Self) -> Self
    where
        Self: Sized,
    {
        self
    }

    fn revert(&self, context: &RevertContext) -> Result<Reverted>;
}

/// The removal in which something is reverted.
pub struct RevertContext<'a> {
    pub host: &'a Host,
    /// Packages, logs, queues and failed jobs go too.
    pub purge: bool,
    pub lose_queued_jobs: bool,
    /// All that the same journal tells of, in the order of the first act.
    pub inverses: Vec<&'a Inverse>,
}

/// How something is reverted.
#[derive(Default)]
pub struct Reverted {
    /// `None` where it stays.
    pub step: Option<(Phase, Box<dyn Resource>)>,
    /// What stays, for people.
    pub left: Vec<String>,
}

impl Reverted {
    pub fn by(phase: Phase, resource: impl Resource + 'static) -> Self {
        Reverted {
            step: Some((phase, Box::new(resource))),
            left: Vec::new(),
        }
    }

    pub fn stays(why: impl Into<String>) -> Self {
        Reverted {
            step: None,
            left: vec![why.into()],
        }
    }
}

/// The order of a removal. Within a phase the last act is reverted first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Pages submit no more jobs.
    Switch,
    /// The jobs that were submitted are run.
    Drain,
    /// supervisor's files, so that its next reread drops the workers.
    Definitions,
    /// The workers, and our own supervisord.
    Workers,
    Files,
    Services,
    /// What they rest on: folders, databases, booleans of SELinux.
    Foundations,
    Packages,
    Repositories,
    /// The web's PHP drops what the packages brought.
    WebPhp,
}
