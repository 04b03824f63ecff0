//! Why a worker takes no jobs, although it could: its site is paused, or not switched
//! on yet. Both are marker files in a folder of root's.

use std::path::Path;

use crate::worker::Paths;
use crate::worker::heartbeat::Activity;
use crate::worker::staleness::Stamps;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// `wp-gears pause` was run.
    Paused,
    /// Setup has started the worker, but wp-config.php is still the one without the
    /// switch. The site is not loaded before that: there would be no plugin to serve.
    Unswitched,
}

impl Rest {
    pub fn of(paths: &Paths) -> Option<Rest> {
        if paths.paused.exists() {
            return Some(Rest::Paused);
        }
        let marker = std::fs::read(&paths.unswitched).ok()?;
        let config: Stamps = serde_json::from_slice(&marker).ok()?;
        config.changed().is_none().then_some(Rest::Unswitched)
    }

    pub fn activity(now: Option<Rest>) -> Activity {
        match now {
            Some(Rest::Paused) => Activity::Paused,
            Some(Rest::Unswitched) | None => Activity::Idle,
        }
    }

    /// What the log says when it changes.
    pub fn line(before: Option<Rest>, now: Option<Rest>) -> &'static str {
        match (before, now) {
            (_, Some(Rest::Paused)) => "paused",
            (_, Some(Rest::Unswitched)) => "waiting until setup has switched the site on",
            (Some(Rest::Unswitched), None) => "the site's wp-config.php has changed",
            (Some(Rest::Paused) | None, None) => "resumed",
        }
    }
}

/// The marker by which workers wait until this wp-config.php changes.
pub fn unswitched(site: &Path, config: &Path) -> serde_json::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(&Stamps::take(site, [config.to_owned()]))?;
    text.push(b'\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_worker_waits_as_long_as_the_config_is_the_one_in_the_marker() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path(), "a");
        fs::create_dir_all(&paths.run).unwrap();
        assert_eq!(Rest::of(&paths), None);
        let config = dir.path().join("wp-config.php");
        fs::write(&config, "off").unwrap();
        fs::write(&paths.unswitched, unswitched(dir.path(), &config).unwrap()).unwrap();
        assert_eq!(Rest::of(&paths), Some(Rest::Unswitched));
        fs::write(&paths.paused, "").unwrap();
        assert_eq!(Rest::of(&paths), Some(Rest::Paused));
        fs::remove_file(&paths.paused).unwrap();
        fs::write(&config, "it is on").unwrap();
        assert_eq!(Rest::of(&paths), None);
        fs::write(&paths.unswitched, "{").unwrap();
        assert_eq!(Rest::of(&paths), None);
    }
}
