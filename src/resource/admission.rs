//! The peers that a firewall of the host's own admits to the job server's port
//! (`--firewall`). Its rules of ours are known by their name, so nothing has to be
//! remembered to take them out.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::host::Host;
use crate::host::firewall::Firewall;
use crate::resource::{
    Change, Inverse, Phase, Resource, ResourceId, Revert, RevertContext, Reverted, State, Verb,
};

pub struct Admission {
    pub firewall: Firewall,
    pub port: u16,
    /// Nobody: none of our rules are left.
    pub peers: Vec<String>,
}

impl Admission {
    pub fn none(firewall: Firewall) -> Self {
        Admission {
            firewall,
            port: 0,
            peers: Vec::new(),
        }
    }

    /// What the firewall has to change; for people.
    ///
    /// # Errors
    /// If its rules cannot be read.
    pub fn differences(&self, host: &Host) -> Result<Vec<String>> {
        match self.firewall.admission() {
            Some(it) if host.live() => it.differences(host, self.port, &self.peers),
            _ => Ok(Vec::new()),
        }
    }
}

impl Resource for Admission {
    fn id(&self) -> ResourceId {
        ResourceId::Admission(self.firewall)
    }

    fn inspect(&self, host: &Host) -> Result<State> {
        let lines = self.differences(host)?;
        if lines.is_empty() {
            return Ok(State::Same);
        }
        let change = lines
            .into_iter()
            .fold(Change::new(Verb::Edit), Change::detail);
        Ok(State::Differs(change))
    }

    fn inverses(&self, _host: &Host) -> Result<Vec<Inverse>> {
        Ok(vec![Inverse::Admission(AdmissionInverse {
            firewall: self.firewall,
        })])
    }

    fn apply(&self, host: &Host, _watch: &dyn Fn(&str)) -> Result<()> {
        match self.firewall.admission() {
            Some(it) => it.admit(host, self.port, &self.peers),
            None => Ok(()),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdmissionInverse {
    firewall: Firewall,
}

impl Revert for AdmissionInverse {
    fn id(&self) -> ResourceId {
        ResourceId::Admission(self.firewall)
    }

    fn revert(&self, _context: &RevertContext) -> Result<Reverted> {
        // After its file.
        Ok(Reverted::by(
            Phase::Foundations,
            Admission::none(self.firewall),
        ))
    }
}
