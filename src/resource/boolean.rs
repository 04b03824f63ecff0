//! An SELinux boolean, set permanently.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::host::Host;
use crate::host::selinux::Enforcement;
use crate::resource::{
    Change, Inverse, Phase, Resource, ResourceId, Revert, RevertContext, Reverted, State, Verb,
};

pub struct Boolean {
    pub name: String,
    pub on: bool,
}

impl Boolean {
    /// `None` if SELinux is off. Permissive mode counts as on: it is usually
    /// temporary, and the boolean is needed as soon as SELinux enforces.
    fn now(&self, host: &Host) -> Result<Option<bool>> {
        if host.selinux()? == Enforcement::Off {
            return Ok(None);
        }
        host.selinux_boolean(&self.name)
    }
}

impl Resource for Boolean {
    fn id(&self) -> ResourceId {
        ResourceId::Boolean(self.name.clone())
    }

    fn inspect(&self, host: &Host) -> Result<State> {
        let verb = if self.on { Verb::Enable } else { Verb::Disable };
        Ok(match self.now(host)? {
            None => State::Same,
            Some(now) if now == self.on => State::Same,
            Some(_) if self.on => State::Differs(
                Change::new(verb)
                    .detail("without it, PHP in the web server cannot connect to the job server"),
            ),
            Some(_) => State::Differs(Change::new(verb)),
        })
    }

    fn inverses(&self, host: &Host) -> Result<Vec<Inverse>> {
        let inverse = |before| {
            Inverse::Boolean(BooleanInverse {
                name: self.name.clone(),
                before,
            })
        };
        Ok(self.now(host)?.map(inverse).into_iter().collect())
    }

    fn apply(&self, host: &Host, watch: &dyn Fn(&str)) -> Result<()> {
        watch("rebuilding the policy");
        host.set_selinux_boolean(&self.name, self.on)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BooleanInverse {
    name: String,
    #[serde(rename = "was")]
    before: bool,
}

impl Revert for BooleanInverse {
    fn id(&self) -> ResourceId {
        ResourceId::Boolean(self.name.clone())
    }

    fn revert(&self, _context: &RevertContext) -> Result<Reverted> {
        let boolean = Boolean {
            name: self.name.clone(),
            on: self.before,
        };
        Ok(Reverted::by(Phase::Foundations, boolean))
    }
}
