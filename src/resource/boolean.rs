//! A boolean of SELinux, kept over reboots.

use anyhow::Result;

use crate::host::Host;
use crate::resource::journal::Undo;
use crate::resource::{Change, Resource, ResourceId, State, Verb};

pub struct Boolean {
    pub name: String,
    pub on: bool,
}

impl Boolean {
    /// `None` where SELinux is off. A permissive one counts: it is mostly so for
    /// a while only, and would block from its next start on.
    fn now(&self, host: &Host) -> Result<Option<bool>> {
        if !host.selinux_is_on()? {
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
                    .detail("without it PHP under the web server reaches no job server"),
            ),
            Some(_) => State::Differs(Change::new(verb)),
        })
    }

    fn undo(&self, host: &Host) -> Result<Option<Undo>> {
        Ok(self.now(host)?.map(|was| Undo::Boolean {
            name: self.name.clone(),
            was,
        }))
    }

    fn apply(&self, host: &Host, watch: &dyn Fn(&str)) -> Result<()> {
        watch("building the policy");
        host.set_selinux_boolean(&self.name, self.on)
    }
}
