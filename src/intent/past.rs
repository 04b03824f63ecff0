//! What earlier runs did on this host, as far as it matters before the intent
//! file records it.

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
    /// The site's pages are served here and submit jobs
    Web,
}

/// What the journals record about earlier runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Past {
    /// An earlier run recorded its intent, so only the file counts.
    pub recorded: bool,
    /// The folders of the sites that were set up here.
    pub sites: Vec<PathBuf>,
    /// Whether a job server was set up here, and whether workers were;
    /// `None` if nothing was.
    pub served: Option<(bool, bool)>,
}

impl Past {
    /// The roles of this host so far, unless they are the default.
    pub fn role(&self) -> Option<Vec<Role>> {
        match self.served? {
            (true, true) => None,
            (true, false) => Some(vec![Role::Server, Role::Web]),
            (false, true) => Some(vec![Role::Worker, Role::Web]),
            (false, false) => Some(vec![Role::Web]),
        }
    }
}
