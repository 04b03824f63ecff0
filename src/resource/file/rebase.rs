//! What edited files become when our edits are reverted, whatever people have
//! edited between our edits and since the last one.

use crate::base::checksum::sha256;
use crate::base::merge::{self, Unit};
use crate::gearman::undo as options;
use crate::resource::file::{Edit, Next};
use crate::site::config::{self, Ours};
use crate::supervisor::undo as programs;

/// The edits of one file, in order.
///
/// After each of them, its original is what remove would have left right before
/// it. So if people edited the file between two of our edits, that is in the
/// original of the later one.
#[derive(Debug, Clone)]
pub struct Rebase {
    edit: Edit,
    /// The variable that holds gearmand's options.
    variable: &'static str,
    versions: Vec<Version>,
    ours: Ours,
    /// What was kept of our edits in an original.
    notes: Vec<String>,
}

/// A state of the file that setup left.
#[derive(Debug, Clone)]
struct Version {
    original: Content,
    /// Its text, where it was stored.
    after: Option<Vec<u8>>,
    sha: Option<String>,
}

/// What a file was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    Absent,
    Text(Vec<u8>),
    /// It was not stored, or that is lost.
    Unknown,
}

impl Content {
    fn text(&self) -> Option<&[u8]> {
        match self {
            Content::Text(text) => Some(text),
            Content::Absent | Content::Unknown => None,
        }
    }
}

/// One edit of ours.
#[derive(Debug, Clone)]
pub struct Step {
    pub before: Content,
    pub after: Content,
    /// The hash of what it left; `None` if it removed the file.
    pub sha: Option<String>,
}

impl Step {
    /// An edit whose texts are known.
    pub fn of(before: Option<&[u8]>, after: &[u8]) -> Step {
        Step {
            before: before.map_or(Content::Absent, |text| Content::Text(text.to_vec())),
            after: Content::Text(after.to_vec()),
            sha: Some(sha256(after)),
        }
    }
}

impl Rebase {
    pub fn new(edit: Edit, variable: &'static str) -> Rebase {
        Rebase {
            edit,
            variable,
            versions: Vec::new(),
            ours: Ours::default(),
            notes: Vec::new(),
        }
    }

    /// Adds the next edit.
    pub fn add(&mut self, step: Step) {
        let original = self.original(&step);
        let after = step.after.text().map(<[u8]>::to_vec);
        if self.edit == Edit::WpConfig
            && let (Some(before), Some(after)) = (step.before.text(), &after)
        {
            self.ours.add(before, after);
        }
        self.versions.push(Version {
            original,
            after,
            sha: step.sha,
        });
    }

    /// What remove would have left before this edit.
    fn original(&mut self, step: &Step) -> Content {
        if let (Some(last), Content::Text(text)) = (self.versions.last(), &step.before) {
            if self.edit == Edit::Whole && last.original == Content::Absent {
                // A file of ours that somebody edited before setup replaced it.
                return Content::Absent;
            }
            let next = self.next(text);
            if self.edit != Edit::Program {
                self.notes.extend(next.notes);
            }
            return next.bytes.map_or(Content::Absent, Content::Text);
        }
        step.before.clone()
    }

    /// The present content without our edits, and notes on what was kept of them.
    pub fn revert(&self, now: Option<&[u8]>) -> Next {
        let Some(now) = now else {
            // The file was removed: restore only an original.
            let original = self.versions.last().and_then(|last| last.original.text());
            return original.map(<[u8]>::to_vec).into();
        };
        let mut next = self.next(now);
        next.notes.splice(0..0, self.notes.iter().cloned());
        let mut seen = Vec::new();
        next.notes.retain(|note| {
            let new = !seen.contains(note);
            seen.push(note.clone());
            new
        });
        next
    }

    fn next(&self, now: &[u8]) -> Next {
        let sha = Some(sha256(now));
        let left = self.versions.iter().rev().find(|it| it.sha == sha);
        if let Some(version) = left
            && version.original != Content::Unknown
        {
            return version.original.text().map(<[u8]>::to_vec).into();
        }
        if self
            .versions
            .iter()
            .any(|it| it.original.text() == Some(now))
        {
            return Some(now.to_vec()).into();
        }
        match self.nearest(now) {
            Some((version, after)) => self.undo(now, version, after),
            None => self.unknown(now),
        }
    }

    /// The version that the present text comes from: the last one, unless somebody
    /// has restored an older one.
    fn nearest(&self, now: &[u8]) -> Option<(&Version, &[u8])> {
        let known = self.versions.iter().rev().filter_map(|version| {
            let after = version.after.as_deref()?;
            (version.original != Content::Unknown).then_some((version, after))
        });
        known.min_by_key(|(_, after)| distance(after, now))
    }

    fn undo(&self, now: &[u8], version: &Version, after: &[u8]) -> Next {
        let original = version.original.text();
        let old = original.unwrap_or_default();
        let next = |bytes: Vec<u8>, notes| Next {
            bytes: Some(bytes),
            notes,
        };
        let named = |(bytes, names): (Vec<u8>, Vec<String>)| {
            let notes = names
                .iter()
                .map(|name| format!("{name} was changed since setup, so kept"));
            Next {
                bytes: (original.is_some() || !bytes.trim_ascii().is_empty()).then_some(bytes),
                notes: notes.collect(),
            }
        };
        match self.edit {
            Edit::WpConfig => {
                let undone = config::undo_ours(now, old, after, &self.ours);
                next(undone.text, undone.left_alone)
            }
            Edit::Options => named(options::undo(now, old, after, self.variable)),
            Edit::Arguments => named(options::undo_plain(now, old, after)),
            Edit::Program | Edit::Block | Edit::Section => {
                let undone = programs::undo(now, original, after);
                Next {
                    bytes: undone.text,
                    notes: undone.notes,
                }
            }
            Edit::Whole if original.is_some() => {
                let lines = |text| merge::lines(text, |_| Vec::new());
                let merged = merge::revert(&lines(old), &lines(after), &lines(now), Unit::Piece);
                let note = "kept lines of it that were changed since setup";
                let note = (!merged.kept.is_empty()).then(|| note.to_owned());
                next(merged.text, note.into_iter().collect())
            }
            Edit::Whole | Edit::Log => self.unknown(now),
        }
    }

    /// Without the texts, only marked lines are known to be ours.
    fn unknown(&self, now: &[u8]) -> Next {
        if self.edit == Edit::WpConfig {
            let undone = config::remove(now);
            return Next {
                bytes: Some(undone.text),
                notes: undone.left_alone,
            };
        }
        Next {
            bytes: Some(now.to_vec()),
            notes: vec!["kept, because it was edited after setup".into()],
        }
    }
}

/// In how many lines two texts differ.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let lines = |text: &[u8]| -> Vec<Vec<u8>> {
        let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let mut lines: Vec<Vec<u8>> = lines.map(<[u8]>::to_vec).collect();
        lines.sort();
        lines
    };
    let (a, b) = (lines(a), lines(b));
    let (mut i, mut j, mut same) = (0, 0, 0);
    while let (Some(one), Some(other)) = (a.get(i), b.get(j)) {
        match one.cmp(other) {
            std::cmp::Ordering::Equal => {
                same += 1;
                i += 1;
                j += 1;
            }
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
        }
    }
    a.len() + b.len() - 2 * same
}
