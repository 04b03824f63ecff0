//! The journal: what a step is about to change, and what was there before. There
//! is one per site and one for what sites share. It is append-only and flushed
//! before each change. remove reads it; plans only look for a switch on trial.

use std::collections::{BTreeMap, HashSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::paths::STATE;
use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::files::Node;
use crate::intent::salts;
use crate::resource::{Inverse, ResourceId, originals};

/// The version of the format. Older versions stay readable as long as hosts have them.
const VERSION: u32 = 1;

/// What a resource belongs to, which decides its journal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    Host,
    /// The job server of an owner.
    Owner(String),
    /// A site, by its name.
    Site(String),
}

impl Scope {
    fn file(&self) -> PathBuf {
        match self {
            Scope::Host => Path::new(STATE).join("host.jsonl"),
            Scope::Owner(name) => Path::new(STATE).join(format!("owner-{name}.jsonl")),
            Scope::Site(name) => Path::new(STATE).join(format!("site-{name}.jsonl")),
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
enum Record {
    /// First line: the version of the format and, for a site, its folder.
    Opened {
        version: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        site: Option<PathBuf>,
        at: u64,
    },
    Begin {
        number: usize,
        at: u64,
        /// Whether it counts only once a run has proved it.
        #[serde(default, skip_serializing_if = "is_false")]
        trial: bool,
        #[serde(rename = "undo")]
        act: Act,
    },
    Done {
        number: usize,
    },
    /// A run has proved that jobs run with everything that was done until then.
    Proved {
        at: u64,
    },
}

#[expect(clippy::trivially_copy_pass_by_ref)] // as serde calls it
fn is_false(it: &bool) -> bool {
    !it
}

/// What one step changes: usually one resource. Several are written as a kind of
/// their own, "all".
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", try_from = "Value")]
enum Act {
    All {
        parts: Vec<Inverse>,
    },
    #[serde(untagged)]
    One(Inverse),
}

/// Replaces serde's own error, which names neither the kind nor the field that is
/// wrong.
impl TryFrom<Value> for Act {
    type Error = serde_json::Error;

    fn try_from(mut value: Value) -> Result<Self, serde_json::Error> {
        if value["kind"] == "all" {
            let parts = serde_json::from_value(value["parts"].take())?;
            return Ok(Act::All { parts });
        }
        serde_json::from_value(value).map(Act::One)
    }
}

impl Act {
    fn of(mut inverses: Vec<Inverse>) -> Act {
        match inverses.pop() {
            Some(only) if inverses.is_empty() => Act::One(only),
            last => {
                inverses.extend(last);
                Act::All { parts: inverses }
            }
        }
    }

    fn inverses(self) -> Vec<Inverse> {
        match self {
            Act::All { parts } => parts,
            Act::One(inverse) => vec![inverse],
        }
    }
}

/// The history of one resource, folded: the first original and the last result.
#[derive(Debug, Clone)]
pub struct Entry {
    pub inverse: Inverse,
    /// Its last change began, but its end was not written.
    pub unfinished: bool,
}

/// A journal that was read.
#[derive(Debug, Clone, Default)]
pub struct History {
    pub site: Option<PathBuf>,
    /// In the order of the first change to each resource.
    pub entries: Vec<Entry>,
    /// What was done since a run last proved that jobs run, in the same order.
    pub trial: Vec<Inverse>,
    count: usize,
    /// Whether its first line exists.
    opened: bool,
}

impl History {
    /// Adds an act on trial, or one that needs none.
    fn try_out(&mut self, inverse: &Inverse, trial: bool) {
        let id = inverse.kind().id();
        let known = self.trial.iter().position(|it| it.kind().id() == id);
        match (known, trial) {
            (Some(at), true) => {
                self.trial[at] = self.trial[at].clone().fold(inverse.clone());
            }
            (None, true) => self.trial.push(inverse.clone()),
            (Some(at), false) => drop(self.trial.remove(at)),
            (None, false) => {}
        }
    }

    fn add(&mut self, inverse: Inverse, known: &mut BTreeMap<ResourceId, usize>) -> usize {
        let id = inverse.kind().id();
        if let Some(at) = known.get(&id) {
            let entry = &mut self.entries[*at];
            entry.inverse = entry.inverse.clone().fold(inverse);
            entry.unfinished = true;
            return *at;
        }
        self.entries.push(Entry {
            inverse,
            unfinished: true,
        });
        known.insert(id, self.entries.len() - 1);
        self.entries.len() - 1
    }
}

pub struct Journal<'a> {
    host: &'a Host,
    scope: Scope,
    site: Option<PathBuf>,
    /// Whether its acts count only once a run has proved them.
    trial: bool,
    next: usize,
    opened: bool,
    /// Whether its last line may not be on the disk yet.
    unflushed: bool,
}

impl<'a> Journal<'a> {
    pub fn open(host: &'a Host, scope: Scope, site: Option<PathBuf>) -> Result<Self> {
        let history = read(host, &scope)?;
        Ok(Journal {
            host,
            scope,
            site,
            trial: false,
            next: history.as_ref().map_or(0, |h| h.count),
            opened: history.is_some_and(|history| history.opened),
            unflushed: false,
        })
    }

    /// Its acts count only once a run has proved them.
    pub fn on_trial(self) -> Self {
        Journal {
            trial: true,
            ..self
        }
    }

    /// A run has proved that jobs run with what was done until now.
    pub fn proved(&mut self) -> Result<()> {
        match self.opened {
            true => self.append(&line(&Record::Proved { at: now() })?),
            false => Ok(()),
        }
    }

    /// Records a change before it is made, with its inverses. Returns its number
    /// for `done`.
    pub fn begin(&mut self, inverses: Vec<Inverse>) -> Result<usize> {
        let mut lines = Vec::new();
        if !self.opened {
            originals::make_folders(self.host)?;
            lines = line(&Record::Opened {
                version: VERSION,
                site: self.site.clone(),
                at: now(),
            })?;
        }
        let number = self.next;
        lines.extend(line(&Record::Begin {
            number,
            at: now(),
            trial: self.trial,
            act: Act::of(inverses),
        })?);
        self.append(&lines)?;
        self.opened = true;
        self.next += 1;
        Ok(number)
    }

    /// Records that a change was made. The line is flushed with the next one, or by
    /// `settle`: a change that is done but seems not to be does no harm.
    pub fn done(&mut self, number: usize) -> Result<()> {
        let line = line(&Record::Done { number })?;
        self.host.append_unflushed(&self.scope.file(), &line)?;
        self.unflushed = true;
        Ok(())
    }

    /// Flushes the last line.
    pub fn settle(&mut self) -> Result<()> {
        if std::mem::take(&mut self.unflushed) {
            self.host.flush_file(&self.scope.file())?;
        }
        Ok(())
    }

    fn append(&mut self, lines: &[u8]) -> Result<()> {
        self.host.append(&self.scope.file(), lines)?;
        self.unflushed = false;
        Ok(())
    }
}

fn line(record: &Record) -> Result<Vec<u8>> {
    let mut line = serde_json::to_vec(record)?;
    line.push(b'\n');
    Ok(line)
}

/// Reads a journal; `None` where there is none. A last line that was cut off
/// does not count: nothing was done after it.
pub fn read(host: &Host, scope: &Scope) -> Result<Option<History>> {
    let path = scope.file();
    if let Node::Link { .. } = host.look(&path)? {
        let what = format!("read {}", path.display());
        return Err(Problem::new(what, "it is a symbolic link")
            .help("replace it with the file itself, then run again")
            .into());
    }
    let Some(file) = host.read_large(&path)? else {
        return Ok(None);
    };
    let mut history = History::default();
    let mut known = BTreeMap::new();
    let mut open: Vec<(usize, usize)> = Vec::new();
    let mut lines: Vec<&[u8]> = file.bytes.split(|byte| *byte == b'\n').collect();
    // After the last line break there is nothing, or a line that a crash cut off.
    lines.pop();
    for (index, line) in lines.into_iter().enumerate() {
        if line.is_empty() {
            continue;
        }
        let record: Record = serde_json::from_slice(line).map_err(|error| {
            let what = format!("read line {} of {}", index + 1, path.display());
            Problem::new(what, error)
                .help("fix or delete that line; if you move the file away, 'wp-gears remove --site DIR' still removes everything it recognizes")
        })?;
        match record {
            Record::Opened { version, .. } if version > VERSION => {
                let what = format!("read {}", path.display());
                return Err(
                    Problem::new(what, "it was written by a newer version of wp-gears")
                        .help("install that version or a newer one")
                        .into(),
                );
            }
            Record::Opened { site, .. } => {
                history.site = history.site.or(site);
                history.opened = true;
            }
            Record::Proved { .. } => history.trial.clear(),
            Record::Begin {
                number, act, trial, ..
            } => {
                history.count = number + 1;
                for inverse in act.inverses() {
                    history.try_out(&inverse, trial);
                    open.push((number, history.add(inverse, &mut known)));
                }
            }
            Record::Done { number } => {
                for (_, at) in open.iter().filter(|(begun, _)| *begun == number) {
                    history.entries[*at].unfinished = false;
                }
            }
        }
    }
    Ok(Some(history))
}

/// All scopes that have a journal: sites, then what they depend on; the host comes last.
pub fn scopes(host: &Host) -> Result<Vec<Scope>> {
    let (mut scopes, mut owners) = (Vec::new(), Vec::new());
    for name in host.list(Path::new(STATE))? {
        let name = name.to_string_lossy().into_owned();
        let Some(name) = name.strip_suffix(".jsonl") else {
            continue;
        };
        if let Some(site) = name.strip_prefix("site-") {
            scopes.push(Scope::Site(site.to_owned()));
        } else if let Some(owner) = name.strip_prefix("owner-") {
            owners.push(Scope::Owner(owner.to_owned()));
        }
    }
    scopes.extend(owners);
    if !matches!(host.look(&Scope::Host.file())?, Node::Absent) {
        scopes.push(Scope::Host);
    }
    Ok(scopes)
}

/// Removes the originals that no journal mentions any more.
pub fn prune_originals(host: &Host) -> Result<()> {
    let mut mentioned: HashSet<Vec<u8>> = HashSet::new();
    for scope in scopes(host)? {
        if let Some(file) = host.read_large(&scope.file())? {
            let words = file.bytes.split(|byte| *byte == b'"');
            mentioned.extend(words.filter(|it| is_hash(it)).map(<[u8]>::to_vec));
        }
    }
    let folder = Path::new(STATE).join("originals");
    if !host.is_dir(&folder) {
        return Ok(());
    }
    for name in host.list(&folder)? {
        if !mentioned.contains(name.as_bytes()) {
            host.remove_file(&folder.join(name))?;
        }
    }
    host.remove_dir(&folder).map(|_| ())
}

fn is_hash(word: &[u8]) -> bool {
    word.len() == 64 && word.iter().all(u8::is_ascii_hexdigit)
}

/// After a removal: only what it kept stays in the journal.
pub fn reduce(host: &Host, scope: &Scope, kept: &[ResourceId]) -> Result<()> {
    let path = scope.file();
    let Some(file) = host.read_large(&path)? else {
        return Ok(());
    };
    if let Scope::Site(name) = scope {
        salts::forget(host, name)?;
    }
    let mut text = Vec::new();
    let mut stay = Vec::new();
    for line in file.bytes.split(|byte| *byte == b'\n') {
        let Ok(record) = serde_json::from_slice(line) else {
            continue; // the last line, cut off
        };
        let record = match record {
            Record::Begin {
                number, at, act, ..
            } => {
                let mut parts = act.inverses();
                parts.retain(|it| kept.contains(&it.kind().id()));
                if parts.is_empty() {
                    continue;
                }
                stay.push(number);
                let (trial, act) = (false, Act::of(parts));
                Record::Begin {
                    number,
                    at,
                    trial,
                    act,
                }
            }
            Record::Done { number } if !stay.contains(&number) => continue,
            Record::Proved { .. } => continue,
            record => record,
        };
        text.extend(serde_json::to_vec(&record)?);
        text.push(b'\n');
    }
    if text == file.bytes {
        return Ok(());
    }
    host.write(&path, &text, None, Some(&file.meta))
}

/// Deletes a journal after everything in it was restored.
pub fn close(host: &Host, scope: &Scope) -> Result<()> {
    if let Scope::Site(name) = scope {
        salts::forget(host, name)?;
    }
    host.remove_file(&scope.file())
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
