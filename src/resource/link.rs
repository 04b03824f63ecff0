//! A symbolic link.

use std::path::PathBuf;

use anyhow::Result;

use super::{Change, Resource, State};
use crate::host::Host;
use crate::host::files::Node;
use crate::journal::Undo;
use crate::problem::Problem;

pub struct Link {
    pub path: PathBuf,
    /// Where it shall lead; `None`: there shall be none.
    pub to: Option<PathBuf>,
    /// Removed only if it leads there: another link is somebody else's.
    pub ours: PathBuf,
}

impl Resource for Link {
    fn name(&self) -> String {
        format!("link {}", self.path.display())
    }

    fn inspect(&self, host: &Host) -> Result<State> {
        let now = host.look(&self.path)?;
        let Some(wanted) = &self.to else {
            return Ok(match now {
                Node::Link { to, .. } if to == self.ours => State::Differs(Change::new("remove")),
                _ => State::Same,
            });
        };
        Ok(match now {
            Node::Absent => {
                State::Differs(Change::new("create").detail(format!("to {}", wanted.display())))
            }
            Node::Link { to, .. } if to == *wanted => State::Same,
            Node::Link { to, .. } => State::Differs(Change::new("change").detail(format!(
                "from {} to {}",
                to.display(),
                wanted.display()
            ))),
            _ => {
                let what = format!("make the link {}", self.path.display());
                return Err(Problem::new(what, "a file stands there")
                    .advice("move it away, then run again")
                    .into());
            }
        })
    }

    fn undo(&self, host: &Host) -> Result<Option<Undo>> {
        let Some(will) = &self.to else {
            return Ok(None);
        };
        let was = match host.look(&self.path)? {
            Node::Link { to, .. } => Some(to),
            _ => None,
        };
        Ok(Some(Undo::Link {
            path: self.path.clone(),
            was,
            will: will.clone(),
        }))
    }

    fn apply(&self, host: &Host, _watch: &dyn Fn(&str)) -> Result<()> {
        match &self.to {
            Some(to) => host.make_link(&self.path, to),
            None => host.remove_file(&self.path),
        }
    }
}
