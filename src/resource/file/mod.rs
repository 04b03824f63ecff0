//! A file whose new content is a pure function of its present content.

mod inverse;
mod rebase;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use similar::TextDiff;

pub use inverse::FileInverse;
pub use rebase::{Content, Rebase, Step};

use crate::base::checksum::sha256;
use crate::base::paths::LIB;
use crate::base::problem::Problem;
use crate::base::secrets::{self, Secrets};
use crate::host::Host;
use crate::host::files::{Attributes, FileData, Meta, Node};
use crate::resource::originals::{self, Backup};
use crate::resource::{Change, Company, Inverse, Place, Resource, ResourceId, State, Verb};

/// Makes the new content from the present one (`None`: no file). The host is
/// for reading what the file includes.
pub type Make = dyn Fn(&Host, Option<&[u8]>) -> Result<Next> + Send + Sync;

/// What is done after a file was written.
pub type Then = dyn Fn(&Host) + Send + Sync;

/// What a file will be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Next {
    /// `None`: no file.
    pub bytes: Option<Vec<u8>>,
    /// Notes for the user.
    pub notes: Vec<String>,
}

impl From<Option<Vec<u8>>> for Next {
    fn from(bytes: Option<Vec<u8>>) -> Self {
        Next {
            bytes,
            notes: Vec::new(),
        }
    }
}

/// How a file was created or edited, which decides how it is restored if it was
/// edited again after that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Edit {
    /// The whole file is ours.
    Whole,
    /// gearmand's options in its package's defaults file.
    Options,
    /// gearmand's options in a file that holds nothing else.
    Arguments,
    WpConfig,
    /// A file of supervisor's that holds our program alone.
    Program,
    /// A marked block in a file of supervisor's.
    Block,
    /// A program's section in a file of supervisor's that was written by hand.
    Section,
    /// Empty, for others to fill.
    Log,
}

impl Edit {
    /// Whether the file's owner and mode are ours.
    fn is_whole(self) -> bool {
        matches!(self, Edit::Whole | Edit::Program | Edit::Arguments)
    }
}

pub struct File {
    pub path: PathBuf,
    pub edit: Edit,
    pub make: Box<Make>,
    /// Owner and mode of a new file. An existing file gets them only if the whole
    /// file is ours.
    pub owner: Owner,
    pub mode: u32,
    /// The package with the file, or with its folder if the file is ours.
    pub package: Option<&'static str>,
    pub secrets: Secrets,
    /// The file that this one is a copy of, if it is one.
    pub source: Option<&'static Path>,
    /// Called after it was written: whoever reads it only now and then learns of it.
    pub then: Option<Box<Then>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    Root,
    /// A user, by name, and their group.
    User(String),
    /// A user and a group, by name.
    UserInGroup(String, String),
    /// Root, readable for this group.
    Group(String),
    Ids(u32, u32),
}

/// Our program is larger than any text.
fn read(host: &Host, path: &Path) -> Result<Option<FileData>> {
    match path.starts_with(LIB) {
        true => host.read_large(path),
        false => host.read(path),
    }
}

impl Owner {
    /// Resolved late: a package may just have added the user.
    pub fn attributes(&self, host: &Host, mode: u32) -> Result<Attributes> {
        let (uid, gid) = match self {
            Owner::Root => (0, 0),
            Owner::Ids(uid, gid) => (*uid, *gid),
            Owner::User(name) => host.need_user(name).map(|user| (user.uid, user.gid))?,
            Owner::UserInGroup(user, group) => {
                let user = host.need_user(user)?;
                (user.uid, host.group_id(group)?.unwrap_or(user.gid))
            }
            Owner::Group(name) => (0, host.group_id(name)?.unwrap_or(0)),
        };
        Ok(Attributes { uid, gid, mode })
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Owner::Root => f.write_str("root"),
            Owner::User(name) => f.write_str(name),
            Owner::UserInGroup(user, group) => write!(f, "{user}:{group}"),
            Owner::Group(name) => write!(f, "root:{name}"),
            Owner::Ids(uid, gid) => write!(f, "{uid}:{gid}"),
        }
    }
}

impl File {
    /// A file that is wholly ours.
    pub fn whole(
        path: impl Into<PathBuf>,
        bytes: impl Into<Cow<'static, [u8]>>,
        mode: u32,
    ) -> Self {
        let bytes = bytes.into();
        File {
            path: path.into(),
            edit: Edit::Whole,
            make: Box::new(move |_, _| Ok(Some(bytes.to_vec()).into())),
            owner: Owner::Root,
            mode,
            package: None,
            secrets: Secrets::None,
            source: None,
            then: None,
        }
    }

    /// A copy of a file, which may be large: as long as they are equal, neither
    /// is held in memory.
    pub fn copy_of(source: &'static Path, path: impl Into<PathBuf>, mode: u32) -> Self {
        let read = move || {
            let what = || format!("read {}", source.display());
            std::fs::read(source).with_context(what)
        };
        File {
            make: Box::new(move |_, _| Ok(Some(read()?).into())),
            source: Some(source),
            ..File::whole(path, Vec::new(), mode)
        }
    }

    pub fn owner(mut self, owner: Owner) -> Self {
        self.owner = owner;
        self
    }

    pub fn secrets(mut self, secrets: Secrets) -> Self {
        self.secrets = secrets;
        self
    }

    pub fn edit(mut self, edit: Edit) -> Self {
        self.edit = edit;
        self
    }

    fn has_folder(&self, host: &Host) -> bool {
        self.path.parent().is_some_and(|folder| host.is_dir(folder))
    }

    /// Whether a package has to be installed first.
    pub fn is_pending(&self, host: &Host) -> bool {
        self.package.is_some()
            && !host.exists(&self.path)
            && !(self.is_ours() && self.has_folder(host))
    }

    /// Whether its owner and mode are ours.
    fn is_ours(&self) -> bool {
        self.edit.is_whole()
    }

    /// The present file and what it will be.
    pub fn texts(&self, host: &Host) -> Result<(Option<FileData>, Next)> {
        let now = read(host, &self.path)?;
        let next = (self.make)(host, now.as_ref().map(|file| file.bytes.as_slice()))
            .with_context(|| format!("edit {}", self.path.display()))?;
        Ok((now, next))
    }

    /// Whether nothing but the whole file is ever restored.
    fn is_new(&self, before: Option<&Backup>) -> bool {
        match self.edit {
            Edit::Whole => before.is_none() || self.source.is_some(),
            // It holds a password, which is to be in that file only.
            Edit::Arguments => before.is_none(),
            _ => false,
        }
    }

    /// Refuses to write a file of ours through a link.
    fn is_no_link(&self, host: &Host) -> Result<()> {
        if self.is_ours()
            && let Node::Link { .. } = host.look(&self.path)?
        {
            let what = format!("write {}", self.path.display());
            return Err(Problem::new(what, "it is a link")
                .help("move it away, then run again")
                .into());
        }
        Ok(())
    }

    fn attributes(&self, host: &Host) -> Result<Attributes> {
        self.owner.attributes(host, self.mode)
    }

    /// Whether the file is a right copy of its source.
    fn is_copied(&self, host: &Host) -> Result<bool> {
        let Some(source) = self.source else {
            return Ok(false);
        };
        let what = || format!("read {}", source.display());
        let mut source = std::fs::File::open(source).with_context(what)?;
        match host.equals(&self.path, &mut source)? {
            Some(meta) => Ok(!self.misowned(host, &meta)?),
            None => Ok(false),
        }
    }

    /// Whether a file of ours has the wrong owner or mode.
    fn misowned(&self, host: &Host, meta: &Meta) -> Result<bool> {
        if !self.is_ours() {
            return Ok(false);
        }
        let wanted = self.attributes(host)?;
        let owned = (meta.uid, meta.gid) == (wanted.uid, wanted.gid)
            || !rustix::process::geteuid().is_root();
        Ok(!owned || meta.mode != wanted.mode)
    }

    fn diff(&self, now: Option<&[u8]>, next: Option<&[u8]>) -> Option<String> {
        if self.secrets == Secrets::Hidden {
            return None;
        }
        let text =
            |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
        let (old, new) = (text(now), text(next));
        // Context lines could hold a secret.
        let context = if self.secrets == Secrets::None { 2 } else { 0 };
        let diff = TextDiff::from_lines(&old, &new);
        let unified = diff.unified_diff().context_radius(context).to_string();
        Some(secrets::diff(&unified, self.secrets))
    }
}

impl Resource for File {
    fn id(&self) -> ResourceId {
        ResourceId::File(self.path.clone())
    }

    fn company(&self) -> Company {
        Company::Any
    }

    fn inspect(&self, host: &Host) -> Result<State> {
        self.is_no_link(host)?;
        if self.is_copied(host)? {
            return Ok(State::Same);
        }
        let (now, next) = self.texts(host)?;
        let Next { bytes: next, notes } = next;
        let bytes = now.as_ref().map(|file| file.bytes.as_slice());
        let verb = match (&now, &next) {
            (None, None) => return Ok(State::Same),
            (None, Some(_)) => Verb::Create,
            (Some(_), None) => Verb::Remove,
            (Some(file), Some(next)) if file.bytes == *next => {
                if !self.misowned(host, &file.meta)? {
                    return Ok(State::Same);
                }
                let to = self.attributes(host)?;
                return Ok(State::Differs(Change::new(Verb::Change).detail(format!(
                    "owner and mode to {}:{} {:04o}",
                    to.uid, to.gid, to.mode
                ))));
            }
            (Some(_), Some(_)) => Verb::Edit,
        };
        let mut change = Change::new(verb);
        change.details = notes;
        change.diff = self.diff(bytes, next.as_deref());
        Ok(match now {
            None if self.is_pending(host) => State::After(ResourceId::Packages, change),
            _ => State::Differs(change),
        })
    }

    fn inverses(&self, host: &Host) -> Result<Vec<Inverse>> {
        let (now, next) = self.texts(host)?;
        let before = now.map(|file| Backup::of(host, &file)).transpose()?;
        // The new text of an edited file is stored too: it tells our edits
        // from those that people make later.
        let after = match &next.bytes {
            None => None,
            Some(bytes) if self.is_new(before.as_ref()) => Some(sha256(bytes)),
            Some(bytes) => Some(originals::store(host, bytes)?),
        };
        let inverse = FileInverse::new(self.path.clone(), self.edit, before, after);
        Ok(vec![Inverse::File(inverse)])
    }

    fn apply(&self, host: &Host, _watch: &dyn Fn(&str)) -> Result<()> {
        let (now, next) = self.texts(host)?;
        let Some(next) = next.bytes else {
            return host.remove_file(&self.path);
        };
        // The package may not have it, or somebody deleted it: the folder is enough.
        if now.is_none()
            && let Some(package) = self.package
            && !self.has_folder(host)
        {
            anyhow::bail!(
                "write {}: its folder does not exist, and the package {package} did not create it",
                self.path.display()
            );
        }
        self.is_no_link(host)?;
        let attributes = match &now {
            Some(_) if !self.is_ours() => None,
            _ => Some(self.attributes(host)?),
        };
        host.write(&self.path, &next, attributes, now.as_ref().map(|f| &f.meta))?;
        if let Some(then) = &self.then {
            then(host);
        }
        Ok(())
    }

    fn place(&self) -> Option<Place<'_>> {
        Some(Place::File(&self.path))
    }

    fn as_file(&self) -> Option<&File> {
        Some(self)
    }
}
