//! Where things of ours stand on a host.

use std::path::{Path, PathBuf};

/// Root's folder: the binary that workers run and the PHP that they run it with.
pub const LIB: &str = "/usr/local/lib/wp-gears";
pub const LOGS: &str = "/var/log/wp-gears";
/// What workers keep; each site's folders below it are its worker user's.
pub const BASE: &str = "/var/lib/wp-gears";
/// Root's own folder below that: journals and originals.
pub const STATE: &str = "/var/lib/wp-gears/state";

/// supervisor in a virtual environment, where there is no package of it; all of it ours.
pub const VENV: &str = "/opt/wp-gears";
/// Its log, and those of its programs; all of it ours.
pub const VENV_LOGS: &str = "/var/log/wp-gears/supervisor";

pub fn binary() -> PathBuf {
    Path::new(LIB).join("wp-gears")
}

pub fn runner() -> PathBuf {
    Path::new(LIB).join("runner.php")
}
