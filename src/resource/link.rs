//! A symbolic link.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::files::{Attributes, Node};
use crate::resource::originals::{self, Backup};
use crate::resource::{
    Change, Company, Inverse, Phase, Place, Resource, ResourceId, Revert, RevertContext, Reverted,
    State, Verb,
};

pub struct Link {
    pub path: PathBuf,
    /// Its target; `None` to remove the link.
    pub to: Option<PathBuf>,
    pub owner: (u32, u32),
    /// The target of our own link: a link to anything else is not removed.
    pub ours: PathBuf,
    /// Whether a file with that name may be replaced: a copy of the target.
    pub replaces: fn(&[u8]) -> bool,
    /// The file that replaces the link: its bytes, owner and mode.
    pub back: Option<(Vec<u8>, Attributes)>,
}

impl Link {
    pub fn to(path: PathBuf, to: PathBuf) -> Self {
        Link {
            path,
            to: Some(to.clone()),
            owner: (0, 0),
            ours: to,
            replaces: |_| false,
            back: None,
        }
    }
}

impl Resource for Link {
    fn id(&self) -> ResourceId {
        ResourceId::Link(self.path.clone())
    }

    fn company(&self) -> Company {
        Company::Any
    }

    fn inspect(&self, host: &Host) -> Result<State> {
        let now = host.look(&self.path)?;
        // setup saw the folder; nothing is restored into one that no longer exists.
        if self
            .path
            .parent()
            .is_some_and(|folder| !host.is_dir(folder))
        {
            return Ok(State::Same);
        }
        let Some(wanted) = &self.to else {
            return Ok(match now {
                Node::Link { to, .. } if to == self.ours => match &self.back {
                    Some(_) => State::Differs(
                        Change::new(Verb::Change).detail("back to the file that it replaced"),
                    ),
                    None => State::Differs(Change::new(Verb::Remove)),
                },
                _ => State::Same,
            });
        };
        Ok(match now {
            Node::Absent => {
                State::Differs(Change::new(Verb::Create).detail(format!("to {}", wanted.display())))
            }
            Node::Link { to, .. } if to == *wanted => State::Same,
            Node::Link { to, .. } => State::Differs(Change::new(Verb::Change).detail(format!(
                "from {} to {}",
                to.display(),
                wanted.display()
            ))),
            Node::File(_)
                if host
                    .read(&self.path)?
                    .is_some_and(|file| (self.replaces)(&file.bytes)) =>
            {
                State::Differs(
                    Change::new(Verb::Change)
                        .detail(format!("from a copy to a link to {}", wanted.display())),
                )
            }
            _ => {
                let what = format!("create the link {}", self.path.display());
                return Err(Problem::new(what, "a file already exists there")
                    .help("move it away, then run again")
                    .into());
            }
        })
    }

    fn place(&self) -> Option<Place<'_>> {
        Some(Place::Name(&self.path))
    }

    fn inverses(&self, host: &Host) -> Result<Vec<Inverse>> {
        let Some(to) = &self.to else {
            return Ok(Vec::new());
        };
        let mut inverse = LinkInverse::new(self.path.clone(), to.clone());
        match host.look(&self.path)? {
            Node::Link { to, meta } => {
                inverse.before = Some(to);
                inverse.owner = Some((meta.uid, meta.gid));
            }
            Node::File(_) => {
                if let Some(data) = host.read(&self.path)? {
                    inverse.file = Some(Backup::of(host, &data)?);
                }
            }
            _ => {}
        }
        Ok(vec![Inverse::Link(inverse)])
    }

    fn apply(&self, host: &Host, _watch: &dyn Fn(&str)) -> Result<()> {
        match (&self.to, &self.back) {
            (Some(to), _) => host.make_link(&self.path, to, self.owner),
            (None, None) => host.remove_file(&self.path),
            (None, Some((bytes, attributes))) => {
                host.remove_file(&self.path)?;
                host.write(&self.path, bytes, Some(*attributes), None)
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkInverse {
    pub path: PathBuf,
    /// The previous target; `None` if there was no link.
    #[serde(rename = "was")]
    before: Option<PathBuf>,
    /// That link's owner and group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<(u32, u32)>,
    /// The file that was in its place: a copy of the runner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<Backup>,
    #[serde(rename = "will")]
    after: PathBuf,
}

impl LinkInverse {
    /// Of a link where there was nothing.
    pub fn new(path: PathBuf, after: PathBuf) -> Self {
        LinkInverse {
            path,
            before: None,
            owner: None,
            file: None,
            after,
        }
    }
}

impl Revert for LinkInverse {
    fn id(&self) -> ResourceId {
        ResourceId::Link(self.path.clone())
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn fold(self, later: Self) -> Self {
        LinkInverse {
            after: later.after,
            ..self
        }
    }

    fn revert(&self, context: &RevertContext) -> Result<Reverted> {
        let mut back = None;
        if let Some(backup) = &self.file
            && let Some(bytes) = originals::load(context.host, &backup.sha)?
        {
            back = Some((bytes, backup.attributes()));
        }
        let link = Link {
            to: self.before.clone(),
            owner: self.owner.unwrap_or((0, 0)),
            back,
            ..Link::to(self.path.clone(), self.after.clone())
        };
        Ok(Reverted::by(Phase::Files, link))
    }
}
