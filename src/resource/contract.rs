//! What every resource can do, and what it answers.

use std::fmt;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use crate::host::Host;
use crate::resource::{Inverse, ResourceId, file};

/// One thing that a plan brings into its wanted state. `inspect` never changes
/// anything; `apply` looks again and removes the difference.
/// What may go on for other sites while a resource is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Company {
    /// Nothing that is `Alone` as well.
    Alone,
    /// Everything, but only a few of these: it changes nothing, and loads a site.
    Few,
    /// Everything: it changes files and nothing else.
    Any,
}

pub trait Resource: Send + Sync {
    fn id(&self) -> ResourceId;

    fn inspect(&self, host: &Host) -> Result<State>;

    /// Work that has to be done before `inverses` can tell what `apply` will change.
    fn prepare(&self, _host: &Host, _watch: &dyn Fn(&str)) -> Result<()> {
        Ok(())
    }

    /// What remove needs to restore the present state, for the journal. Most
    /// acts change one thing; there may be nothing to restore, or several.
    fn inverses(&self, _host: &Host) -> Result<Vec<Inverse>> {
        Ok(Vec::new())
    }

    /// Removes the difference. `watch` receives lines of progress.
    fn apply(&self, host: &Host, watch: &dyn Fn(&str)) -> Result<()>;

    /// What may go on elsewhere while it is applied.
    fn company(&self) -> Company {
        Company::Alone
    }

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

/// What a step does. The words in JSON are for scripts and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Takes an existing file as the host's intent.
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

/// A difference to show. Secrets are masked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub verb: Verb,
    /// What a summary lists instead of the resource itself.
    pub names: Vec<String>,
    /// Further lines of explanation.
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

/// The part of the journal that records what one resource was before setup. It is
/// defined in the file of the resource that writes it.
pub trait Revert {
    /// The resource that it is about. Entries with the same identity are its history.
    fn id(&self) -> ResourceId;

    /// What it is about, if that is in the file system: a run that was cut off
    /// may have left a temporary file beside it.
    fn path(&self) -> Option<&Path> {
        None
    }

    /// Combines this entry with a later one about the same resource. By default
    /// the first one counts: it has the original state.
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
    /// Also remove packages, logs, queues and failed jobs.
    pub purge: bool,
    pub lose_queued_jobs: bool,
    /// All inverses in the same journal, in the order in which they were first written.
    pub inverses: Vec<&'a Inverse>,
}

/// How something is reverted.
#[derive(Default)]
pub struct Reverted {
    /// `None` to keep it.
    pub step: Option<(Phase, Box<dyn Resource>)>,
    /// What is kept, for the user.
    pub left: Vec<String>,
}

impl Reverted {
    pub fn by(phase: Phase, resource: impl Resource + 'static) -> Self {
        Reverted {
            step: Some((phase, Box::new(resource))),
            left: Vec::new(),
        }
    }

    pub fn kept(what: impl Into<String>) -> Self {
        Reverted {
            step: None,
            left: vec![format!("kept {}", what.into())],
        }
    }
}

/// The order of a removal. Within a phase, the last change is reverted first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Workers keep the settings that they need to run what is queued.
    Keep,
    /// Pages stop submitting jobs.
    Switch,
    /// No page runs the old wp-config.php any more.
    Pages,
    /// The jobs that were submitted are run.
    Drain,
    /// supervisor's files, so that its next reread drops the workers.
    Definitions,
    /// The workers, and our own supervisord.
    Workers,
    Files,
    Services,
    /// What services depend on: folders, databases, SELinux booleans.
    Foundations,
    Packages,
    Repositories,
    /// The web's PHP unloads what the packages installed.
    WebPhp,
}
