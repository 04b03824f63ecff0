//! The paths of our files on a host.

use std::path::{Path, PathBuf};

/// Owned by root: the binary that supervisor runs as a worker, and the PHP code
/// that the worker runs.
pub const LIB: &str = "/usr/local/lib/wp-gears";
pub const LOGS: &str = "/var/log/wp-gears";
/// What workers store. Each site's folders below it belong to its worker user.
pub const BASE: &str = "/var/lib/wp-gears";
/// Owned by root: journals, and originals of the files that setup changed.
pub const STATE: &str = "/var/lib/wp-gears/state";

/// The timer that runs `alert check`.
pub const ALERT_TIMER: &str = "wp-gears-alert.timer";

/// A virtual environment with supervisor, for platforms without a package of
/// it. Everything in it is ours.
pub const VENV: &str = "/opt/wp-gears";
/// Logs of that supervisor and its programs. Everything in it is ours.
pub const VENV_LOGS: &str = "/var/log/wp-gears/supervisor";

pub fn binary() -> PathBuf {
    Path::new(LIB).join("wp-gears")
}

pub fn runner() -> PathBuf {
    Path::new(LIB).join("runner.php")
}
