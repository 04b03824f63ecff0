//! What the journal records of a file, and how the original is restored with the edits
//! that people made since.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::base::paths::binary;
use crate::base::secrets::Secrets;
use crate::host::Host;
use crate::resource::file::{Content, Edit, File, Next, Owner, Rebase, Step, read};
use crate::resource::log::RemoveLog;
use crate::resource::originals::{self, Backup};
use crate::resource::{
    Change, Company, Phase, Place, Resource, ResourceId, Revert, RevertContext, Reverted, State,
    Verb,
};
use crate::site::{config, plugins, settings};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileInverse {
    pub path: PathBuf,
    pub edit: Edit,
    #[serde(flatten)]
    pub act: Act,
    /// The acts that are folded into this entry, in their order; none if it is one.
    #[serde(skip)]
    acts: Vec<Act>,
}

/// What one act, or several in a row, did to a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// `None` if there was no file.
    #[serde(rename = "was")]
    pub before: Option<Backup>,
    /// SHA-256 of what setup writes; `None` if it removes the file.
    #[serde(rename = "will")]
    pub after: Option<String>,
}

impl FileInverse {
    pub fn new(path: PathBuf, edit: Edit, before: Option<Backup>, after: Option<String>) -> Self {
        FileInverse {
            path,
            edit,
            act: Act { before, after },
            acts: Vec::new(),
        }
    }

    /// The last of the acts, which a crash may have cut off.
    pub fn last(&self) -> &Act {
        self.acts.last().unwrap_or(&self.act)
    }

    fn rebase(&self, host: &Host) -> Result<Rebase> {
        let load = |sha: &str| -> Result<Content> {
            let stored = originals::load(host, sha)?;
            Ok(stored.map_or(Content::Unknown, Content::Text))
        };
        let mut rebase = Rebase::new(self.edit, host.platform()?.family.gearmand.options_variable);
        let acts = match self.acts.is_empty() {
            true => std::slice::from_ref(&self.act),
            false => &self.acts,
        };
        for act in acts {
            let before = act.before.as_ref();
            rebase.add(Step {
                before: before.map_or(Ok(Content::Absent), |it| load(&it.sha))?,
                after: match &act.after {
                    Some(sha) => load(sha)?,
                    None => Content::Absent,
                },
                sha: act.after.clone(),
            });
        }
        Ok(rebase)
    }

    /// The checksum of our program, if this is it and nothing stood in its place before.
    fn of_program(&self) -> Option<&str> {
        let is_ours = self.edit == Edit::Whole && self.path == binary();
        let is_first = self.act.before.is_none() && self.acts.iter().all(|it| it.after.is_some());
        self.last().after.as_deref().filter(|_| is_ours && is_first)
    }

    /// The original file with later edits of the user, and notes on our edits that
    /// are kept in it.
    pub fn restored(&self, host: &Host) -> Result<(File, Vec<String>)> {
        let before = self.act.before.as_ref();
        let rebase = self.rebase(host)?;
        let now = read(host, &self.path).ok().flatten();
        let left = rebase.revert(now.as_ref().map(|file| file.bytes.as_slice()));
        let shown = self.path.display();
        let left = left.notes.iter();
        let left = left.map(|note| format!("{shown}: {}", settings::without_salt(note)));
        let left = left.collect();
        let folder = self.path.parent().map(Path::to_owned);
        let file = File {
            path: self.path.clone(),
            edit: self.edit,
            make: Box::new(move |host, now| {
                // Nothing is restored into a folder that no longer exists.
                if now.is_none() && !folder.as_deref().is_some_and(|folder| host.is_dir(folder)) {
                    return Ok(Next::default());
                }
                Ok(rebase.revert(now))
            }),
            owner: before.map_or(Owner::Root, |it| Owner::Ids(it.uid, it.gid)),
            mode: before.map_or(0o644, |it| it.mode),
            package: None,
            secrets: match self.edit {
                Edit::WpConfig => Secrets::Php(plugins::shown_words()),
                Edit::Options | Edit::Arguments => Secrets::Options,
                Edit::Whole => Secrets::Hidden,
                Edit::Program | Edit::Block | Edit::Section | Edit::Log => Secrets::None,
            },
            source: None,
            then: None,
        };
        Ok((file, left))
    }
}

/// Removes our program, which is too large to be held in memory, unless somebody replaces it.
struct RemoveProgram {
    path: PathBuf,
    sha: String,
}

impl Resource for RemoveProgram {
    fn id(&self) -> ResourceId {
        ResourceId::File(self.path.clone())
    }

    fn company(&self) -> Company {
        Company::Any
    }

    fn inspect(&self, host: &Host) -> Result<State> {
        Ok(match host.sha256(&self.path)? == Some(self.sha.clone()) {
            true => State::Differs(Change::new(Verb::Remove)),
            false => State::Same,
        })
    }

    fn place(&self) -> Option<Place<'_>> {
        Some(Place::File(&self.path))
    }

    fn apply(&self, host: &Host, _watch: &dyn Fn(&str)) -> Result<()> {
        match self.inspect(host)? {
            State::Differs(_) => host.remove_file(&self.path),
            _ => Ok(()),
        }
    }
}

impl Revert for FileInverse {
    fn id(&self) -> ResourceId {
        match self.edit {
            Edit::Log => ResourceId::Log(self.path.clone()),
            _ => ResourceId::File(self.path.clone()),
        }
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn fold(self, later: Self) -> Self {
        let mut acts = self.acts;
        if acts.is_empty() {
            acts.push(self.act.clone());
        }
        acts.push(later.act.clone());
        FileInverse {
            path: self.path,
            edit: self.edit,
            act: Act {
                before: self.act.before,
                after: later.act.after,
            },
            acts,
        }
    }

    fn revert(&self, context: &RevertContext) -> Result<Reverted> {
        let phase = match self.edit {
            Edit::Log if !context.purge => {
                let log = self.path.display();
                return Ok(Reverted::kept(format!(
                    "the log {log} (--purge removes it)"
                )));
            }
            Edit::Log => {
                let path = self.path.clone();
                return Ok(Reverted::by(Phase::Files, RemoveLog { path }));
            }
            Edit::WpConfig => Phase::Switch,
            Edit::Program | Edit::Block | Edit::Section => Phase::Definitions,
            Edit::Whole | Edit::Options | Edit::Arguments => Phase::Files,
        };
        if let Some(sha) = self.of_program()
            && context.host.sha256(&self.path)?.as_deref() == Some(sha)
        {
            let path = self.path.clone();
            return Ok(Reverted::by(
                phase,
                RemoveProgram {
                    path,
                    sha: sha.to_owned(),
                },
            ));
        }
        let (mut file, left) = self.restored(context.host)?;
        if self.edit == Edit::WpConfig {
            // The original may have a block whose journal is lost.
            let make = file.make;
            file.make = Box::new(move |host, now| {
                let mut next = make(host, now)?;
                next.bytes = next.bytes.map(|text| config::remove(&text).text);
                Ok(next)
            });
        }
        Ok(Reverted {
            left,
            ..Reverted::by(phase, file)
        })
    }
}
