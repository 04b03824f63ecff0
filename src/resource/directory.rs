//! A folder with its owner and mode.

use std::path::PathBuf;

use anyhow::Result;

use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::files::{Attributes, Meta, Node};
use crate::resource::file::Owner;
use crate::resource::journal::Undo;
use crate::resource::{Change, Place, Resource, ResourceId, State, Verb};

pub struct Directory {
    pub path: PathBuf,
    pub owner: Owner,
    pub mode: u32,
    /// Left as it is where it is there already: others may own it.
    pub shared: bool,
}

impl Directory {
    fn attributes(&self, host: &Host) -> Result<Attributes> {
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
                let what = format!("make the folder {}", self.path.display());
                return Err(Problem::new(what, "something else stands there")
                    .help("move it away, then run again")
                    .into());
            }
        })
    }

    fn undo(&self, host: &Host) -> Result<Option<Undo>> {
        let was = match host.look(&self.path)? {
            Node::Directory(meta) => Some((meta.uid, meta.gid, meta.mode)),
            _ => None,
        };
        Ok(Some(Undo::Directory {
            path: self.path.clone(),
            was,
        }))
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

/// The other way: the folder goes if it is empty, or gets back its owner and mode.
pub struct RemoveDirectory {
    pub path: PathBuf,
    pub was: Option<(u32, u32, u32)>,
    /// With all that is in it: a folder of our own.
    pub contents: bool,
}

impl Resource for RemoveDirectory {
    fn id(&self) -> ResourceId {
        ResourceId::Directory(self.path.clone())
    }

    fn inspect(&self, host: &Host) -> Result<State> {
        let Node::Directory(now) = host.look(&self.path)? else {
            return Ok(State::Same);
        };
        Ok(match self.was {
            Some(was) if was == (now.uid, now.gid, now.mode) => State::Same,
            Some(_) => State::Differs(Change::new(Verb::Change).detail("owner and mode as before")),
            None if self.contents => State::Differs(Change::new(Verb::Remove)),
            // Whether it is empty is seen once what we put there is gone.
            None => State::Differs(Change::new(Verb::Remove).detail("if it is empty then")),
        })
    }

    fn undo(&self, _host: &Host) -> Result<Option<Undo>> {
        Ok(None)
    }

    fn apply(&self, host: &Host, watch: &dyn Fn(&str)) -> Result<()> {
        if let Some((uid, gid, mode)) = self.was {
            return host.make_dir(&self.path, Attributes { uid, gid, mode });
        }
        if self.contents {
            return host.remove_tree(&self.path);
        }
        if !host.remove_dir(&self.path)? {
            watch("it is not empty: left");
        }
        Ok(())
    }
}
