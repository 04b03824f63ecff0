//! What the journal records of a file, and how the original is restored with the edits
//! that people made since.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::base::secrets::Secrets;
use crate::gearman::options;
use crate::host::Host;
use crate::resource::file::{Edit, File, Next, Owner};
use crate::resource::log::RemoveLog;
use crate::resource::originals::{self, Backup};
use crate::resource::{Phase, ResourceId, Revert, RevertContext, Reverted};
use crate::site::{config, plugins, settings};
use crate::supervisor::block;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileInverse {
    pub path: PathBuf,
    pub edit: Edit,
    #[serde(flatten)]
    pub act: Act,
    /// What is folded into this entry, in its order.
    #[serde(skip)]
    folded: Folded,
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

/// Several acts on the same file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Folded {
    /// Each begins where people had edited what the one before had left. Empty for a
    /// single act.
    rows: Vec<Act>,
    last: Option<Act>,
}

impl FileInverse {
    pub fn new(path: PathBuf, edit: Edit, before: Option<Backup>, after: Option<String>) -> Self {
        FileInverse {
            path,
            edit,
            act: Act { before, after },
            folded: Folded::default(),
        }
    }

    /// The last of the acts, which a crash may have cut off.
    pub fn last(&self) -> &Act {
        self.folded.last.as_ref().unwrap_or(&self.act)
    }

    /// The original file with later edits of the user, and notes on our edits that
    /// are kept in it.
    pub fn restored(&self, host: &Host) -> Result<(File, Vec<String>)> {
        let before = self.act.before.as_ref();
        let rows = match self.folded.rows.is_empty() {
            true => std::slice::from_ref(&self.act),
            false => &self.folded.rows,
        };
        let rows = rows.iter().map(|act| Restore::of(host, self.edit, act));
        let rows: Vec<Restore> = rows.collect::<Result<_>>()?;
        let now = host.read(&self.path).ok().flatten();
        let left = restored(&rows, now.as_ref().map(|file| file.bytes.as_slice()));
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
                Ok(restored(&rows, now))
            }),
            owner: before.map_or(Owner::Root, |it| Owner::Ids(it.uid, it.gid)),
            mode: before.map_or(0o644, |it| it.mode),
            package: None,
            secrets: match self.edit {
                Edit::WpConfig => Secrets::Php(plugins::shown_words()),
                Edit::Options => Secrets::Options,
                Edit::Whole => Secrets::Hidden,
                Edit::Program | Edit::Block | Edit::Section | Edit::Log => Secrets::None,
            },
            source: None,
            then: None,
        };
        Ok((file, left))
    }
}

/// Reverts the acts, the last one first.
fn restored(rows: &[Restore], now: Option<&[u8]>) -> Next {
    let mut next = Next::from(now.map(<[u8]>::to_vec));
    for row in rows.iter().rev() {
        let one = row.next(next.bytes.as_deref());
        next.bytes = one.bytes;
        next.notes.extend(one.notes);
    }
    next
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
        let mut rows = self.folded.rows;
        if rows.is_empty() {
            rows.push(self.act.clone());
        }
        let read = later.act.before.as_ref().map(|it| &it.sha);
        match rows.last_mut() {
            // Of a file that is wholly ours, edits are not kept.
            Some(last) if self.edit.is_whole() || last.after.as_ref() == read => {
                last.after.clone_from(&later.act.after);
            }
            _ => rows.push(later.act.clone()),
        }
        FileInverse {
            path: self.path,
            edit: self.edit,
            act: Act {
                before: self.act.before,
                after: later.act.after.clone(),
            },
            folded: Folded {
                rows,
                last: Some(later.act),
            },
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
            Edit::Whole | Edit::Options => Phase::Files,
        };
        let (file, left) = self.restored(context.host)?;
        Ok(Reverted {
            left,
            ..Reverted::by(phase, file)
        })
    }
}

/// What a file was and what setup made of it.
struct Restore {
    edit: Edit,
    original: Option<Vec<u8>>,
    /// The text that setup left, unless the whole file is ours.
    ours: Option<Vec<u8>>,
    /// Its hash.
    after: Option<String>,
    /// The variable that holds gearmand's options.
    variable: &'static str,
}

impl Restore {
    fn of(host: &Host, edit: Edit, act: &Act) -> Result<Restore> {
        let load = |sha: &String| originals::load(host, sha);
        let before = act.before.as_ref();
        Ok(Restore {
            edit,
            original: before.map(|it| load(&it.sha)).transpose()?.flatten(),
            ours: match edit {
                Edit::Whole => None,
                _ => act.after.as_ref().map(load).transpose()?.flatten(),
            },
            after: act.after.clone(),
            variable: host.platform()?.family.gearmand.options_variable,
        })
    }

    /// The original, or if the file was edited after setup, its present text with
    /// only our edits reverted.
    fn next(&self, now: Option<&[u8]>) -> Next {
        let Some(current) = now else {
            // The file was removed: restore only an original.
            return self.original.clone().into();
        };
        if self.after == Some(originals::hash(current)) || self.original.as_deref() == Some(current)
        {
            return self.original.clone().into();
        }
        let next = |bytes: Vec<u8>, notes| Next {
            bytes: Some(bytes),
            notes,
        };
        match (self.edit, &self.original, &self.ours) {
            (Edit::WpConfig, original, ours) => {
                let undone = match (original, ours) {
                    (Some(original), Some(ours)) => config::undo(current, original, ours),
                    _ => config::remove(current),
                };
                next(undone.text, undone.left_alone)
            }
            (Edit::Options, Some(original), Some(ours)) => {
                match options::undo(current, original, ours, self.variable) {
                    Ok(text) => next(text, Vec::new()),
                    Err(problem) => next(current.to_vec(), vec![problem.to_string()]),
                }
            }
            (Edit::Block, Some(original), Some(ours)) => {
                next(block::without_new(current, original, ours), Vec::new())
            }
            (Edit::Section, Some(original), Some(ours)) => next(
                block::with_old_sections(current, original, ours),
                Vec::new(),
            ),
            (Edit::Program, original, _) => Next {
                bytes: original.clone(),
                notes: vec!["removed together with edits made after setup".into()],
            },
            (Edit::Whole | Edit::Options | Edit::Block | Edit::Section | Edit::Log, ..) => next(
                current.to_vec(),
                vec!["kept, because it was edited after setup".into()],
            ),
        }
    }
}
