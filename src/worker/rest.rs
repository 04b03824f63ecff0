//! Why a worker takes no jobs, although it could: its site is paused or not switched on
//! yet, of which marker files in a folder of root's tell, or in maintenance mode.

use std::path::Path;
use std::time::Duration;

use crate::worker::Paths;
use crate::worker::backoff::pause;
use crate::worker::heartbeat::Activity;
use crate::worker::maintenance;
use crate::worker::staleness::Stamps;

/// How often an idle worker checks for markers, retries and changed files.
pub const LOOK: Duration = Duration::from_secs(60);

/// How often a worker looks whether maintenance mode has ended.
pub const MAINTENANCE: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// `wp-gears pause` was run.
    Paused,
    /// Setup has started the worker, but wp-config.php is still the one without the
    /// switch. The site is not loaded before that: there would be no plugin to serve.
    Unswitched,
    /// WordPress is being upgraded, or somebody asked for it.
    Maintenance,
}

impl Rest {
    pub fn of(paths: &Paths, site: &Path) -> Option<Rest> {
        if paths.paused.exists() {
            Some(Rest::Paused)
        } else if is_unswitched(paths) {
            Some(Rest::Unswitched)
        } else {
            maintenance::is_on(site).then_some(Rest::Maintenance)
        }
    }

    pub fn activity(now: Option<Rest>) -> Activity {
        match now {
            Some(Rest::Paused) => Activity::Paused,
            Some(Rest::Maintenance) => Activity::Maintenance,
            Some(Rest::Unswitched) | None => Activity::Idle,
        }
    }

    /// When to look again.
    pub fn look_again(now: Option<Rest>) -> Duration {
        match now {
            Some(Rest::Maintenance) => MAINTENANCE,
            _ => pause(0, LOOK, LOOK),
        }
    }

    /// What the log says when it changes.
    pub fn line(before: Option<Rest>, now: Option<Rest>) -> &'static str {
        match (before, now) {
            (_, Some(Rest::Paused)) => "paused",
            (_, Some(Rest::Unswitched)) => "waiting until setup has switched the site on",
            (_, Some(Rest::Maintenance)) => "waiting: the site is in maintenance mode",
            (Some(Rest::Unswitched), None) => "the site's wp-config.php has changed",
            (Some(Rest::Maintenance), None) => "the site's maintenance mode has ended",
            (Some(Rest::Paused) | None, None) => "resumed",
        }
    }
}

fn is_unswitched(paths: &Paths) -> bool {
    let marker = std::fs::read(&paths.unswitched).ok();
    let config = marker.and_then(|text| serde_json::from_slice::<Stamps>(&text).ok());
    config.is_some_and(|config| config.changed().is_none())
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
        assert_eq!(Rest::of(&paths, dir.path()), None);
        let config = dir.path().join("wp-config.php");
        fs::write(&config, "off").unwrap();
        fs::write(&paths.unswitched, unswitched(dir.path(), &config).unwrap()).unwrap();
        assert_eq!(Rest::of(&paths, dir.path()), Some(Rest::Unswitched));
        fs::write(&paths.paused, "").unwrap();
        assert_eq!(Rest::of(&paths, dir.path()), Some(Rest::Paused));
        fs::remove_file(&paths.paused).unwrap();
        fs::write(&config, "it is on").unwrap();
        assert_eq!(Rest::of(&paths, dir.path()), None);
        fs::write(&paths.unswitched, "{").unwrap();
        assert_eq!(Rest::of(&paths, dir.path()), None);
        fs::write(
            dir.path().join(maintenance::FILE),
            "<?php $upgrading = time();",
        )
        .unwrap();
        assert_eq!(Rest::of(&paths, dir.path()), Some(Rest::Maintenance));
    }
}
