//! A log file: created empty for its owner, never read, removed only by --purge.

use std::path::PathBuf;

use anyhow::Result;

use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::files::{Attributes, Node};
use crate::resource::{Change, Company, Inverse, Place, Resource, ResourceId, State, Verb};

/// Output of jobs is in it, and sites' users often share a group.
const MODE: u32 = 0o600;

pub struct Log {
    pub path: PathBuf,
    /// The name of the user.
    pub owner: String,
}

impl Resource for Log {
    fn id(&self) -> ResourceId {
        ResourceId::Log(self.path.clone())
    }

    fn company(&self) -> Company {
        Company::Any
    }

    fn inspect(&self, host: &Host) -> Result<State> {
        let owner = || host.need_user(&self.owner);
        Ok(match host.look(&self.path)? {
            Node::Absent => State::Differs(
                Change::new(Verb::Create).detail(format!("{} {MODE:04o}", self.owner)),
            ),
            Node::File(_) if !rustix::process::geteuid().is_root() => State::Same,
            Node::File(now) if now.uid != owner()?.uid => {
                State::Differs(Change::new(Verb::Change).detail(format!("owner to {}", self.owner)))
            }
            Node::File(now) if now.mode & !MODE != 0 => State::Differs(
                Change::new(Verb::Change).detail(format!("from {:04o} to {MODE:04o}", now.mode)),
            ),
            Node::File(_) => State::Same,
            _ => {
                let what = format!("create the log {}", self.path.display());
                return Err(
                    Problem::new(what, "a file of another type already exists there")
                        .help("move it away, then run again")
                        .into(),
                );
            }
        })
    }

    fn place(&self) -> Option<Place<'_>> {
        Some(Place::Name(&self.path))
    }

    fn inverses(&self, _host: &Host) -> Result<Vec<Inverse>> {
        Ok(vec![Inverse::of_log(&self.path)])
    }

    fn apply(&self, host: &Host, _watch: &dyn Fn(&str)) -> Result<()> {
        let user = host.need_user(&self.owner)?;
        let attributes = Attributes {
            uid: user.uid,
            gid: user.gid,
            mode: MODE,
        };
        host.make_file(&self.path, attributes)
    }
}

/// Removes the log without reading it.
pub struct RemoveLog {
    pub path: PathBuf,
}

impl Resource for RemoveLog {
    fn id(&self) -> ResourceId {
        ResourceId::Log(self.path.clone())
    }

    fn company(&self) -> Company {
        Company::Any
    }

    fn inspect(&self, host: &Host) -> Result<State> {
        Ok(match host.look(&self.path)? {
            Node::Absent => State::Same,
            _ => State::Differs(Change::new(Verb::Remove)),
        })
    }

    fn apply(&self, host: &Host, _watch: &dyn Fn(&str)) -> Result<()> {
        host.remove_file(&self.path)
    }
}
