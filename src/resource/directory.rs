//! A folder with its owner and mode.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::base::paths::{BASE, VENV, VENV_LOGS};
use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::files::{Attributes, Meta, Node};
use crate::resource::file::Owner;
use crate::resource::{
    Change, Company, Inverse, Phase, Place, Resource, ResourceId, Revert, RevertContext, Reverted,
    State, Verb,
};
use crate::worker::store::MARKS;

/// How deep jobs are below the folders that keep them.
const JOB_LEVELS: usize = 4;

pub struct Directory {
    pub path: PathBuf,
    pub owner: Owner,
    pub mode: u32,
    /// An existing folder keeps its owner and mode, as others may use it too.
    pub shared: bool,
}

impl Directory {
    pub fn attributes(&self, host: &Host) -> Result<Attributes> {
        self.owner.attributes(host, self.mode)
    }

    fn fits(&self, host: &Host, now: &Meta) -> Result<bool> {
        let wanted = self.attributes(host)?;
        let owned =
            (now.uid, now.gid) == (wanted.uid, wanted.gid) || !rustix::process::geteuid().is_root();
        Ok(self.shared || (owned && now.mode == wanted.mode))
    }
}

impl Resource for Directory {
    fn id(&self) -> ResourceId {
        ResourceId::Directory(self.path.clone())
    }

    fn company(&self) -> Company {
        Company::Any
    }

    fn inspect(&self, host: &Host) -> Result<State> {
        Ok(match host.look(&self.path)? {
            Node::Absent => State::Differs(
                Change::new(Verb::Create).detail(format!("{} {:04o}", self.owner, self.mode)),
            ),
            Node::Directory(now) if self.fits(host, &now)? => State::Same,
            Node::Link { .. } if self.shared && host.is_dir(&self.path) => State::Same,
            Node::Directory(_) => State::Differs(Change::new(Verb::Change).detail(format!(
                "owner and mode to {} {:04o}",
                self.owner, self.mode
            ))),
            _ => {
                let what = format!("create the folder {}", self.path.display());
                return Err(
                    Problem::new(what, "a file of another type already exists there")
                        .help("move it away, then run again")
                        .into(),
                );
            }
        })
    }

    fn inverses(&self, host: &Host) -> Result<Vec<Inverse>> {
        let before = match host.look(&self.path)? {
            Node::Directory(meta) => Some((meta.uid, meta.gid, meta.mode)),
            _ => None,
        };
        Ok(vec![Inverse::Directory(DirectoryInverse {
            path: self.path.clone(),
            before,
        })])
    }

    fn apply(&self, host: &Host, _watch: &dyn Fn(&str)) -> Result<()> {
        let is_new = matches!(host.look(&self.path)?, Node::Absent);
        host.make_dir(&self.path, self.attributes(host)?)?;
        match is_new {
            true => host.relabel(&self.path),
            false => Ok(()),
        }
    }

    fn place(&self) -> Option<Place<'_>> {
        Some(Place::Folder(&self.path))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryInverse {
    pub path: PathBuf,
    /// Owner, group and mode; `None` if there was no folder.
    #[serde(rename = "was")]
    pub before: Option<(u32, u32, u32)>,
}

impl Revert for DirectoryInverse {
    fn id(&self) -> ResourceId {
        ResourceId::Directory(self.path.clone())
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn revert(&self, context: &RevertContext) -> Result<Reverted> {
        let (host, path) = (context.host, self.path.as_path());
        let is_new = self.before.is_none();
        let queue = host.platform()?.family.gearmand.queue_dir;
        // Those of owners are below the shared one.
        let is_queue = is_new && path.starts_with(queue);
        let failed = Path::new(BASE).join("failed");
        let has_jobs = is_new && (is_queue || path.starts_with(&failed));
        if has_jobs && !context.purge && host.has_files(path, JOB_LEVELS, MARKS)? {
            return Ok(if is_queue {
                let queue = path.display();
                Reverted::kept(format!(
                    "the job server's queue in {queue} (--purge removes it)"
                ))
            } else if path == failed {
                Reverted::default() // the sites' folders in it are listed
            } else {
                let jobs = path.display();
                Reverted::kept(format!("failed jobs in {jobs} (--purge removes them)"))
            });
        }
        let is_ours = is_queue
            || path.starts_with(BASE)
            || [VENV, VENV_LOGS].iter().any(|ours| path == Path::new(ours));
        let restored = RestoreDirectory {
            path: self.path.clone(),
            before: self.before,
            contents: is_new && is_ours,
        };
        Ok(Reverted::by(Phase::Foundations, restored))
    }
}

/// Restores the folder's owner and mode, or removes it if it was new.
struct RestoreDirectory {
    path: PathBuf,
    before: Option<(u32, u32, u32)>,
    /// Remove it with its contents: a folder of our own.
    contents: bool,
}

impl Resource for RestoreDirectory {
    fn id(&self) -> ResourceId {
        ResourceId::Directory(self.path.clone())
    }

    fn company(&self) -> Company {
        Company::Any
    }

    fn inspect(&self, host: &Host) -> Result<State> {
        let Node::Directory(now) = host.look(&self.path)? else {
            return Ok(State::Same);
        };
        Ok(match self.before {
            Some(before) if before == (now.uid, now.gid, now.mode) => State::Same,
            Some(_) => {
                State::Differs(Change::new(Verb::Change).detail("to its former owner and mode"))
            }
            None if self.contents => State::Differs(Change::new(Verb::Remove)),
            // Known only after our files in it have been removed.
            None => State::Differs(Change::new(Verb::Remove).detail("if it is empty by then")),
        })
    }

    fn apply(&self, host: &Host, watch: &dyn Fn(&str)) -> Result<()> {
        if let Some((uid, gid, mode)) = self.before {
            return host.make_dir(&self.path, Attributes { uid, gid, mode });
        }
        if self.contents {
            return host.remove_tree(&self.path);
        }
        if !host.remove_dir(&self.path)? {
            watch("it is not empty, so it is kept");
        }
        Ok(())
    }
}
