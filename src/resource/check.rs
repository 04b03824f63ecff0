//! A condition that the rest of the plan depends on: setup waits for it.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::host::Host;
use crate::resource::{Change, Company, Resource, ResourceId, State, Verb};

/// An error says why the condition does not hold.
pub type Probe = dyn Fn(&Host) -> Result<()> + Send + Sync;

pub struct Check {
    pub condition: Condition,
    pub probe: Box<Probe>,
    pub patience: Duration,
    /// The resource that makes the condition true, for the preview in the plan.
    pub after: ResourceId,
    pub when: When,
}

/// Whether to look at a condition at all.
pub type Needed = dyn Fn(&Host) -> Result<bool> + Send + Sync;

/// When a condition is checked.
pub enum When {
    /// Always: the probe is quick, so the plan uses it too.
    Always,
    /// If this holds: the probe takes long, or runs the site's code.
    Only(Box<Needed>),
}

/// What setup waits for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Condition {
    /// A job server answers here, as HOST:PORT.
    JobServerAnswers(String),
    /// This PHP has the gearman extension.
    PhpHasExtension(String),
    /// The workers of the site in this folder run with the settings in their file.
    SettingsAdopted(PathBuf),
    SupervisordAnswers,
    /// A worker of this user can load the site in this folder.
    WordPressLoads(PathBuf, String),
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Condition::JobServerAnswers(server) => write!(f, "the job server answers on {server}"),
            Condition::PhpHasExtension(php) => write!(
                f,
                "{php} has the gearman extension, on the command line and for the web"
            ),
            Condition::SettingsAdopted(dir) => {
                let dir = dir.display();
                write!(f, "the workers of {dir} have adopted their settings")
            }
            Condition::SupervisordAnswers => f.write_str("supervisord answers"),
            Condition::WordPressLoads(dir, user) => {
                let dir = dir.display();
                write!(f, "a worker can load WordPress in {dir} as {user}")
            }
        }
    }
}

impl Resource for Check {
    fn id(&self) -> ResourceId {
        ResourceId::Check(self.condition.clone())
    }

    fn inspect(&self, host: &Host) -> Result<State> {
        let holds = match &self.when {
            When::Always => (self.probe)(host).is_ok(),
            When::Only(needed) => !needed(host)?,
        };
        Ok(match holds {
            true => State::Same,
            false => State::After(self.after.clone(), Change::new(Verb::Wait)),
        })
    }

    fn company(&self) -> Company {
        match self.condition {
            Condition::WordPressLoads(..) => Company::Few,
            _ => Company::Alone,
        }
    }

    fn apply(&self, host: &Host, _watch: &dyn Fn(&str)) -> Result<()> {
        let start = Instant::now();
        loop {
            match (self.probe)(host) {
                Ok(()) => return Ok(()),
                Err(error) if start.elapsed() > self.patience => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }
}
