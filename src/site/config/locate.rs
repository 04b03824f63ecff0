//! Which file is a site's wp-config.php, by WordPress's own search order.

use crate::site::config::refusal::Refusal;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    pub path: PathBuf,
    pub source: Vec<u8>,
    /// One folder above the site's root.
    pub above: bool,
}

/// `root` holds `wp-load.php`. As that does: the file in the root, else the
/// one above unless another WordPress lives there. Whether the file is a
/// stub (Bedrock's, Debian's) is for `edit` to say, which reads it.
pub fn locate(
    root: &Path,
    read: &dyn Fn(&Path) -> Option<Vec<u8>>,
    exists: &dyn Fn(&Path) -> bool,
) -> Result<Located, Refusal> {
    let here = root.join("wp-config.php");
    let unreadable = |path: &Path| Refusal::new(None, format!("{} can't be read", path.display()));
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
                    "no wp-config.php in {}; the one in {} belongs to another WordPress there",
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
        "no wp-config.php in {}, nor in the folder above",
        root.display()
    );
    Err(Refusal::new(None, reason)
        .by_hand("install WordPress there first, or name the file by --wp-config"))
}
