//! The wp-config.php of a site on a host: which file it is, what it includes,
//! and the editor's refusals in words for people.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::config::{self, Refusal, Warning};
use crate::host::Host;
use crate::problem::Problem;

/// The file that WordPress loads for this site.
pub fn locate(host: &Host, dir: &Path) -> Result<PathBuf> {
    let read = |path: &Path| host.read(path).ok().flatten().map(|file| file.bytes);
    let located = config::locate(dir, &read, &|path| host.exists(path))
        .map_err(|refusal| explain(&dir.join("wp-config.php"), refusal))?;
    Ok(located.path)
}

/// Reads what the config includes by a literal path, relative to its own folder.
pub fn includes<'a>(host: &'a Host, config: &'a Path) -> impl Fn(&[u8]) -> Option<Vec<u8>> + 'a {
    move |name| {
        let name = Path::new(std::ffi::OsStr::from_bytes(name));
        let path = config.parent()?.join(name);
        host.read(&path).ok()?.map(|file| file.bytes)
    }
}

pub fn explain(path: &Path, refusal: Refusal) -> Problem {
    let place = match refusal.line {
        Some(line) => format!("{}, line {line}", path.display()),
        None => path.display().to_string(),
    };
    Problem::new(format!("edit {place}"), refusal.reason).advice(without_salt(&refusal.by_hand))
}

/// Lines for a person to add, without the salt that stands in them.
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
