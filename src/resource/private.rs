//! The job server's files, which other users must not read: it made them without a
//! umask before setup gave it one.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::host::Host;
use crate::host::files::Node;
use crate::host::platform::Gearmand;
use crate::queue::exposed::{Exposed, exposed};
use crate::resource::{
    Change, Inverse, Phase, Resource, ResourceId, Revert, RevertContext, Reverted, State, Verb,
};

/// The words of gearmand's planned command line; `None` until it is installed.
pub type Words = dyn Fn(&Host) -> Result<Option<Vec<String>>> + Send + Sync;

pub struct Private {
    pub gearmand: &'static Gearmand,
    pub words: Box<Words>,
    /// A folder whose mode another resource sets.
    pub apart_from: Option<PathBuf>,
}

impl Private {
    /// What others can read; `None` if that is not known yet.
    fn all(&self, host: &Host) -> Result<Option<Vec<Exposed>>> {
        let Some(words) = (self.words)(host)? else {
            return Ok(None);
        };
        let mut found = exposed(host, self.gearmand.user, &words)?;
        found.retain(|it| !it.is_folder || self.apart_from.as_deref() != Some(it.path.as_path()));
        Ok(Some(found))
    }
}

impl Resource for Private {
    fn id(&self) -> ResourceId {
        ResourceId::Private
    }

    fn inspect(&self, host: &Host) -> Result<State> {
        let change = Change::new(Verb::Change);
        let Some(found) = self.all(host)? else {
            let change = change.detail("no access for other users");
            return Ok(State::After(ResourceId::Packages, change));
        };
        if found.is_empty() {
            return Ok(State::Same);
        }
        let lines = found.iter().map(|it| {
            let (path, private) = (it.path.display(), it.private());
            format!("{path} from {:04o} to {private:04o}", it.mode)
        });
        Ok(State::Differs(lines.fold(change, Change::detail)))
    }

    fn inverses(&self, host: &Host) -> Result<Vec<Inverse>> {
        let found = self.all(host)?.unwrap_or_default();
        let modes = found.into_iter().map(|it| Mode {
            will: it.private(),
            path: it.path,
            uid: it.uid,
            was: it.mode,
        });
        Ok(vec![Inverse::Private(PrivateInverse {
            modes: modes.collect(),
        })])
    }

    fn apply(&self, host: &Host, _watch: &dyn Fn(&str)) -> Result<()> {
        for it in self.all(host)?.unwrap_or_default() {
            host.set_mode(&it.path, it.uid, it.private())?;
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrivateInverse {
    pub modes: Vec<Mode>,
}

/// The mode of a file or folder, before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mode {
    pub path: PathBuf,
    pub uid: u32,
    pub was: u32,
    pub will: u32,
}

impl Mode {
    /// Whether it is as setup left it.
    fn stands(&self, host: &Host) -> Result<bool> {
        let (Node::File(now) | Node::Directory(now)) = host.look(&self.path)? else {
            return Ok(false);
        };
        Ok((now.uid, now.mode) == (self.uid, self.will))
    }
}

impl Revert for PrivateInverse {
    fn id(&self) -> ResourceId {
        ResourceId::Private
    }

    fn fold(mut self, later: Self) -> Self {
        for mode in later.modes {
            match self.modes.iter_mut().find(|it| it.path == mode.path) {
                Some(first) => first.will = mode.will,
                None => self.modes.push(mode),
            }
        }
        self
    }

    fn revert(&self, _context: &RevertContext) -> Result<Reverted> {
        let restored = RestoreModes {
            modes: self.modes.clone(),
        };
        Ok(Reverted::by(Phase::Foundations, restored))
    }
}

struct RestoreModes {
    modes: Vec<Mode>,
}

impl RestoreModes {
    fn standing<'a>(&'a self, host: &'a Host) -> impl Iterator<Item = Result<&'a Mode>> {
        self.modes
            .iter()
            .filter_map(|mode| match mode.stands(host) {
                Ok(true) => Some(Ok(mode)),
                Ok(false) => None,
                Err(error) => Some(Err(error)),
            })
    }
}

impl Resource for RestoreModes {
    fn id(&self) -> ResourceId {
        ResourceId::Private
    }

    fn inspect(&self, host: &Host) -> Result<State> {
        let mut change = Change::new(Verb::Change);
        for mode in self.standing(host) {
            let Mode { path, was, .. } = mode?;
            change = change.detail(format!("{} to {was:04o}", Path::display(path)));
        }
        Ok(match change.details.is_empty() {
            true => State::Same,
            false => State::Differs(change),
        })
    }

    fn apply(&self, host: &Host, _watch: &dyn Fn(&str)) -> Result<()> {
        for mode in self.standing(host) {
            let mode = mode?;
            host.set_mode(&mode.path, mode.uid, mode.was)?;
        }
        Ok(())
    }
}
