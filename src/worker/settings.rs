//! What can change while a site's crew runs: a file of root's, which setup writes, and
//! which the crew and its members look at between jobs. It holds no secrets.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::checksum;
use crate::base::problem::Problem;
use crate::gearman::server::Server;
use crate::worker::options::{WorkerArgs, WorkerOptions};
use crate::worker::plain;
use crate::worker::rules::HookRule;
use crate::worker::workers::Workers;

/// The maximum size of the file, in bytes.
const MAX_SIZE: u64 = 1 << 20;

const HEAD: &str = "# Made by wp-gears. Change it with 'wp-gears setup'.\n";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct CrewSettings {
    pub workers: Workers,
    /// How many jobs should run on the host at a time, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker_budget: Option<u32>,
    pub servers: Vec<Server>,
    /// Other hosts submit jobs to the same job server, and may not seal them.
    pub shared: bool,
    pub options: WorkerOptions,
    /// Rules for the jobs of some hooks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hook: Vec<HookRule>,
}

impl Default for CrewSettings {
    fn default() -> Self {
        CrewSettings {
            workers: Workers::fixed(1),
            worker_budget: None,
            servers: vec![Server::default()],
            shared: false,
            options: WorkerOptions::default(),
            hook: Vec::new(),
        }
    }
}

impl CrewSettings {
    /// The text of the file.
    ///
    /// # Errors
    /// If a path is not UTF-8.
    pub fn to_text(&self) -> Result<String, toml::ser::Error> {
        Ok(format!("{HEAD}{}", toml::to_string(self)?))
    }

    /// Reads the text of the file.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn of_text(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// What of them concerns a member: not the number.
    fn of_member(&self) -> Self {
        CrewSettings {
            workers: Workers::fixed(1),
            worker_budget: None,
            ..self.clone()
        }
    }

    /// Whether a member can go on with these settings instead of `other`.
    pub fn is_alike_for_members(&self, other: &Self) -> bool {
        self.of_member() == other.of_member()
    }

    /// Identifies what of them concerns a member; `None` if they have no text.
    pub fn member_hash(&self) -> Option<String> {
        let text = self.of_member().to_text().ok()?;
        Some(hash(text.as_bytes()))
    }
}

/// What a process runs with: its command line, and the settings of its crew where that
/// says nothing.
pub fn args(given: &WorkerArgs, settings: Option<&CrewSettings>) -> WorkerArgs {
    let Some(settings) = settings.cloned() else {
        return given.clone();
    };
    WorkerArgs {
        workers: settings.workers,
        worker_budget: settings.worker_budget,
        servers: settings.servers,
        shared: settings.shared,
        hook: settings.hook,
        options: given.options.clone().over(settings.options),
        ..given.clone()
    }
}

/// Identifies the text of a settings file.
pub fn hash(text: &[u8]) -> String {
    checksum::short(text, 16)
}

/// The settings of a process, and the file that has them.
#[derive(Debug, Clone)]
pub struct Adopted {
    pub path: PathBuf,
    pub hash: String,
    pub settings: CrewSettings,
}

impl Adopted {
    pub fn read(path: &Path) -> Result<Adopted, Problem> {
        Adopted::of_text(path, &text(path)?)
    }

    fn of_text(path: &Path, text: &str) -> Result<Adopted, Problem> {
        Ok(Adopted {
            path: path.to_owned(),
            hash: hash(text.as_bytes()),
            settings: CrewSettings::of_text(text).map_err(|e| failed(path, e))?,
        })
    }

    /// The settings that are in the file now, if they are others.
    pub fn changed(&self) -> Result<Option<Adopted>, Problem> {
        let text = text(&self.path)?;
        match hash(text.as_bytes()) == self.hash {
            true => Ok(None),
            false => Adopted::of_text(&self.path, &text).map(Some),
        }
    }
}

fn failed(path: &Path, why: impl std::fmt::Display) -> Problem {
    let what = format!("read the workers' settings in {}", path.display());
    Problem::new(what, why).help("run 'wp-gears setup', which writes it")
}

fn text(path: &Path) -> Result<String, Problem> {
    let mut text = String::new();
    plain::open(path)
        .and_then(|file| file.take(MAX_SIZE).read_to_string(&mut text))
        .map_err(|e| failed(path, e))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::options::Seconds;

    fn some() -> CrewSettings {
        CrewSettings {
            workers: Workers::fixed(4),
            worker_budget: Some(9),
            servers: vec!["127.0.0.1:4731".parse().unwrap(), "b".parse().unwrap()],
            shared: true,
            options: WorkerOptions {
                php: Some("/usr/bin/php".into()),
                job_timeout: Some(Seconds(7)),
                ..WorkerOptions::default()
            },
            hook: vec![HookRule::default()],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let text = some().to_text().unwrap();
        assert_eq!(CrewSettings::of_text(&text).unwrap(), some());
        assert_eq!(
            CrewSettings::of_text(HEAD).unwrap(),
            CrewSettings::default()
        );
    }

    #[test]
    fn a_change_is_seen_and_a_damaged_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.settings.toml");
        assert!(Adopted::read(&path).is_err());
        std::fs::write(&path, some().to_text().unwrap()).unwrap();
        let adopted = Adopted::read(&path).unwrap();
        assert!(adopted.changed().unwrap().is_none());
        let more = CrewSettings {
            workers: Workers { min: 2, max: 8 },
            ..some()
        };
        std::fs::write(&path, more.to_text().unwrap()).unwrap();
        assert_eq!(adopted.changed().unwrap().unwrap().settings, more);
        std::fs::write(&path, "workers = [").unwrap();
        assert!(adopted.changed().is_err());
    }

    #[test]
    fn the_number_does_not_concern_members() {
        let more = CrewSettings {
            workers: Workers { min: 2, max: 8 },
            ..some()
        };
        assert!(more.is_alike_for_members(&some()));
        let other = CrewSettings {
            shared: false,
            ..some()
        };
        assert!(!other.is_alike_for_members(&some()));
    }
}
