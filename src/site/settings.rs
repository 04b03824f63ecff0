//! The wp-config.php of a site on a host: which file it is, what it includes,
//! and the editor's refusals as errors for users.

use std::cell::RefCell;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::files::{Meta, Node};
use crate::site::config::{self, Include, Refusal, Warning};

/// The file that WordPress loads for this site.
pub fn locate(host: &Host, dir: &Path) -> Result<PathBuf> {
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
}

/// The files that the config of the site in `dir` may include.
pub fn includes<'h>(host: &'h Host, dir: &Path, config: &Path) -> Includes<'h> {
    let config = match host.look_through(config) {
        Ok(Node::File(meta)) => meta.path,
        _ => config.to_owned(),
    };
    let root = root(host, dir);
    let root = match config.parent() == Some(&*root) {
        true => String::new(),
        false => format!("{}/", root.display()),
    };
    Includes { host, config, root }
}

impl Include for Includes<'_> {
    fn read(&self, name: &[u8]) -> Option<Vec<u8>> {
        let name = Path::new(std::ffi::OsStr::from_bytes(name));
        let path = only(self.host, &self.config.parent()?.join(name))?;
        let file = self.host.read(&path).ok()??;
        may_read(self.host, &self.config, &file.meta)?.then_some(file.bytes)
    }

    fn root(&self) -> &str {
        &self.root
    }
}

/// The only file with a name that may contain a `*`.
fn only(host: &Host, path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str();
    let Some((start, end)) = name.and_then(|name| name.split_once('*')) else {
        return Some(path.to_owned());
    };
    let folder = path.parent()?;
    let mut fit = host.list(folder).ok()?.into_iter().filter(|name| {
        name.to_str()
            .is_some_and(|it| it.starts_with(start) && it.ends_with(end))
    });
    match (fit.next(), fit.next()) {
        (Some(only), None) => Some(folder.join(only)),
        _ => None,
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
