//! What `wp-gears reload` makes the workers begin anew: not only PHP, but all that they
//! keep for its next start. Who ran code as the worker user could write that, too, so
//! what was there before a reload is never used after it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Between two reloads. Its name is the text of root's marker, which is random: nobody
/// can prepare files for a generation that has not begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation(String);

/// Before the first reload.
const FIRST: &str = "first";

impl Generation {
    pub fn of(marker: &Path) -> Generation {
        let mut text = String::new();
        let read = File::open(marker).and_then(|file| file.take(64).read_to_string(&mut text));
        text.retain(|c| c.is_ascii_alphanumeric());
        match read.is_ok() && !text.is_empty() {
            true => Generation(text),
            false => Generation(FIRST.into()),
        }
    }

    /// A name for files.
    pub fn name(&self) -> &str {
        &self.0
    }
}
