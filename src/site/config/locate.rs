//! Finds a site's wp-config.php, in WordPress's own search order.

use crate::site::config::refusal::Refusal;
use std::path::{Path, PathBuf};

/// A site's wp-config.php.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    pub path: PathBuf,
    pub source: Vec<u8>,
    /// Whether it is in the folder above the site's root.
    pub above: bool,
}

/// Finds the file like `wp-load.php` in `root` does: in that folder, otherwise in
/// the folder above unless that has a WordPress of its own. Whether the file is a
/// stub, such as Bedrock's or Debian's, is checked by `edit`.
pub fn locate(
    root: &Path,
    read: &dyn Fn(&Path) -> Option<Vec<u8>>,
    exists: &dyn Fn(&Path) -> bool,
) -> Result<Located, Refusal> {
    let here = root.join("wp-config.php");
    let unreadable = |path: &Path| Refusal::new(None, format!("{} cannot be read", path.display()));
    if exists(&here) {
        let source = read(&here).ok_or_else(|| unreadable(&here))?;
        return Ok(Located {
            path: here,
            source,
            above: false,
        });
    }
    if let Some(up) = root.parent() {
        let path = up.join("wp-config.php");
        if exists(&path) {
            if exists(&up.join("wp-settings.php")) {
                let reason = format!(
                    "there is no wp-config.php in {}, and the one in {} belongs to another WordPress",
                    root.display(),
                    up.display()
                );
                return Err(Refusal::new(None, reason));
            }
            let source = read(&path).ok_or_else(|| unreadable(&path))?;
            return Ok(Located {
                path,
                source,
                above: true,
            });
        }
    }
    let reason = format!(
        "there is no wp-config.php in {} or in the folder above",
        root.display()
    );
    Err(Refusal::new(None, reason)
        .by_hand("install WordPress there first, or name the file with --wp-config"))
}
