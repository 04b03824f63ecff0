//! A problem of this host.

use serde::{Deserialize, Serialize};

use crate::base::text::printable;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Waiting,
    Failed,
    Workers,
    Events,
    Server,
    Doctor,
}

impl Kind {
    /// For scripts: it never changes.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Waiting => "waiting",
            Kind::Failed => "failed",
            Kind::Workers => "workers",
            Kind::Events => "events",
            Kind::Server => "server",
            Kind::Doctor => "doctor",
        }
    }
}

/// A problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    pub kind: Kind,
    /// The site, the job server or the check that has it.
    pub subject: String,
    /// In one line.
    pub text: String,
}

impl Found {
    pub fn new(kind: Kind, subject: &str, text: String) -> Found {
        let line = text.lines().next().unwrap_or_default();
        Found {
            kind,
            subject: printable(subject),
            text: printable(line),
        }
    }

    /// Tells it from others.
    pub fn key(&self) -> String {
        format!("{} {}", self.kind.name(), self.subject)
    }
}
