//! What earlier runs did on this host, as far as a later one has to know
//! before the intent file says it.

use std::path::PathBuf;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The job server runs here
    Server,
    /// Workers run here
    Worker,
    /// Pages of the site are served here, and submit jobs
    Web,
}

/// What the journals know of earlier runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Past {
    /// An earlier run recorded its intent: the file is the whole truth.
    pub recorded: bool,
    /// The folders of the sites that were set up here.
    pub sites: Vec<PathBuf>,
    /// Whether a job server was set up here, and whether workers were;
    /// `None` where nothing was.
    pub served: Option<(bool, bool)>,
}

impl Past {
    /// What this host did so far, where that is not what a host does by default.
    pub fn role(&self) -> Option<Vec<Role>> {
        match self.served? {
            (true, true) => None,
            (true, false) => Some(vec![Role::Server, Role::Web]),
            (false, true) => Some(vec![Role::Worker, Role::Web]),
            (false, false) => Some(vec![Role::Web]),
        }
    }
}
