//! The settings of a site on a host: which file has them, what it includes, and the
//! editor's refusals as errors for users.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::files::{Meta, Node};
use crate::site::config::{self, Entry, Fit, Include, Refusal, Stub, Warning};
use crate::site::stub;

/// The file with the settings of this site: wp-config.php, or the one that it includes
/// for them. `of` is the host of the site's requests, if it is known.
pub fn locate(host: &Host, dir: &Path, of: Option<&str>) -> Result<PathBuf> {
    let path = loaded(host, dir)?;
    let Some(entry) = entry(host, &path, &root(host, dir)) else {
        return Ok(path);
    };
    match entry.stub {
        Stub::ByHost => stub::of_host(host, dir, of),
        Stub::File(settings) => {
            let settings = PathBuf::from(settings);
            let why = match host.look_through(&settings)? {
                Node::File(meta) => return Ok(meta.path),
                Node::Absent => "this file, which it includes for the settings, is missing",
                _ => "this file, which it includes for the settings, is no plain file",
            };
            let what = format!("edit {} for {}", settings.display(), path.display());
            Err(Problem::new(what, why)
                .help("restore it, or name the file with the settings with --wp-config")
                .into())
        }
    }
}

/// A wp-config.php that has its settings in another file.
fn entry(host: &Host, path: &Path, root: &Path) -> Option<Entry> {
    let file = host.read(path).ok()??;
    let name = file.meta.path.to_str()?.to_owned();
    let root = format!("{}/", root.display());
    let stub = config::stub(&name, &file.bytes, &root)?;
    Some(Entry {
        name,
        text: file.bytes,
        stub,
    })
}

/// The wp-config.php that WordPress loads for this site.
fn loaded(host: &Host, dir: &Path) -> Result<PathBuf> {
    // An unreadable file is an error, not a reason to fall back to another file.
    let unreadable = RefCell::new(None);
    let read = |path: &Path| {
        let file = host.read(path).map_err(|error| {
            unreadable.borrow_mut().get_or_insert(error);
        });
        file.ok().flatten().map(|file| file.bytes)
    };
    let exists = |path: &Path| match host.look_through(path) {
        Ok(node) => !matches!(node, Node::Absent),
        Err(_) => read(path).is_some(),
    };
    let root = root(host, dir);
    let located = config::locate(&root, &read, &exists);
    if let Some(error) = unreadable.take() {
        return Err(error);
    }
    let path = root.join("wp-config.php");
    let located = located.map_err(|refusal| match host.look(&path) {
        Ok(Node::Link { to, .. }) => {
            let why = format!("it is a link to {}, which does not exist", to.display());
            Problem::new(format!("edit {}", path.display()), why)
                .help("correct the link, or name the file with --wp-config")
        }
        _ => explain(&path, refusal),
    })?;
    Ok(located.path)
}

/// The folder of WordPress as PHP names it in `ABSPATH`, with links resolved.
fn root(host: &Host, dir: &Path) -> PathBuf {
    if let Ok(Node::File(meta)) = host.look_through(&dir.join("wp-load.php"))
        && let Some(folder) = meta.path.parent()
    {
        return folder.to_owned();
    }
    match host.look_through(dir) {
        Ok(Node::Directory(meta)) => meta.path,
        _ => dir.to_owned(),
    }
}

/// Reads the files that the config includes by a literal path, relative to its
/// folder, but only those that the config's owner or group may read: root must
/// not read other files on their behalf.
pub struct Includes<'h> {
    host: &'h Host,
    /// With links resolved, as PHP does.
    config: PathBuf,
    root: String,
    entry: Option<Entry>,
}

/// The files that the config of the site in `dir` may include.
pub fn includes<'h>(host: &'h Host, dir: &Path, config: &Path) -> Includes<'h> {
    let config = match host.look_through(config) {
        Ok(Node::File(meta)) => meta.path,
        _ => config.to_owned(),
    };
    let folder = root(host, dir);
    let root = match config.parent() == Some(&*folder) {
        true => String::new(),
        false => format!("{}/", folder.display()),
    };
    // What WordPress loads always has this name.
    let is_entry = config.file_name() == Some(OsStr::new("wp-config.php"));
    let entry = (!is_entry)
        .then(|| loaded(host, dir).ok())
        .flatten()
        .and_then(|path| entry(host, &path, &folder))
        .filter(|entry| has_settings_in(host, entry, &config));
    Includes {
        host,
        config,
        root,
        entry,
    }
}

/// Whether a wp-config.php includes this file for its settings.
fn has_settings_in(host: &Host, entry: &Entry, config: &Path) -> bool {
    match &entry.stub {
        Stub::File(settings) => match host.look_through(Path::new(settings)) {
            Ok(Node::File(meta)) => meta.path == config,
            _ => false,
        },
        Stub::ByHost => Path::new(&entry.name) != config,
    }
}

impl Include for Includes<'_> {
    fn read(&self, name: &[u8]) -> Option<Vec<u8>> {
        let name = Path::new(OsStr::from_bytes(name));
        let file = self.host.read(&self.config.parent()?.join(name)).ok()??;
        may_read(self.host, &self.config, &file.meta)?.then_some(file.bytes)
    }

    fn fit(&self, path: &str) -> Fit {
        let parts = path.split_once('{').and_then(|(start, rest)| {
            let (variable, end) = rest.split_once('}')?;
            let (folder, start) = start.rsplit_once('/')?;
            (!end.contains(['{', '/'])).then_some((folder, start, variable, end))
        });
        let Some((folder, start, variable, end)) = parts else {
            return Fit::Unknown;
        };
        let above = self.config.parent().unwrap_or(Path::new("/"));
        let Ok(names) = self.host.list(&above.join(folder)) else {
            return Fit::Unknown;
        };
        let path = |name: &str| format!("{folder}/{name}");
        let mut names = names.iter().filter_map(|name| name.to_str());
        let read = |path: &Path| self.read(path.as_os_str().as_bytes());
        match stub::in_environment(variable, &self.config, &read) {
            Some(value) => {
                let name = format!("{start}{value}{end}");
                Fit::Surely(names.find(|it| **it == name).map(path))
            }
            None => {
                let fit = names.filter(|it| it.starts_with(start) && it.ends_with(end));
                Fit::Perhaps(fit.map(path).collect())
            }
        }
    }

    fn entry(&self) -> Option<&Entry> {
        self.entry.as_ref()
    }

    fn root(&self) -> &str {
        &self.root
    }
}

fn may_read(host: &Host, config: &Path, file: &Meta) -> Option<bool> {
    let Node::File(own) = host.look_through(config).ok()? else {
        return None;
    };
    let by_owner = own.uid == 0 || own.uid == file.uid || file.mode & 0o004 != 0;
    let by_group = || {
        let user = host.user_by_id(own.uid).ok().flatten();
        own.gid == file.gid || user.is_some_and(|user| user.groups.contains(&file.gid))
    };
    Some(by_owner || (file.mode & 0o040 != 0 && by_group()))
}

/// A refusal of the editor as an error for the user.
pub fn explain(path: &Path, refusal: Refusal) -> Problem {
    let place = match refusal.line {
        Some(line) => format!("{}, line {line}", path.display()),
        None => path.display().to_string(),
    };
    let help = match refusal.by_hand.is_empty() {
        // The editor could not read the file as PHP.
        true => format!(
            "run 'php -l {}' to see whether PHP accepts the file; nothing was changed",
            path.display()
        ),
        false => without_salt(&refusal.by_hand),
    };
    Problem::new(format!("edit {place}"), refusal.reason).help(help)
}

/// Replaces the salt in lines for the user to add.
pub fn without_salt(lines: &str) -> String {
    const NAME: &str = "'WP_ASYNC_TASK_SALT', '";
    let mut shown = String::new();
    let mut rest = lines;
    while let Some(at) = rest.find(NAME) {
        let from = at + NAME.len();
        shown.push_str(&rest[..from]);
        shown.push_str("64 random letters of your own");
        rest = rest[from..]
            .find('\'')
            .map_or("", |end| &rest[from + end..]);
    }
    shown + rest
}

/// A warning of the editor as text, with its line.
pub fn note(warning: &Warning) -> String {
    match warning.line {
        Some(line) => format!("line {line}: {}", warning.text),
        None => warning.text.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_salt_is_not_shown() {
        let shown = without_salt("a\n  define( 'WP_ASYNC_TASK_SALT', 'geheim' );\nb");
        assert!(
            !shown.contains("geheim") && shown.ends_with("' );\nb"),
            "{shown}"
        );
    }
}
