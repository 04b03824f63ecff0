//! A system user with a group of the same name, who has no home and cannot log in.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::commands::Command;
use crate::resource::{
    Change, Inverse, Phase, Resource, ResourceId, Revert, RevertContext, Reverted, State, Verb,
};

pub struct SystemUser {
    pub name: &'static str,
}

impl SystemUser {
    fn is_there(&self, host: &Host) -> Result<bool> {
        let Some(user) = host.user(self.name)? else {
            return Ok(false);
        };
        let what = || format!("have the user {} of our own", self.name);
        if user.uid == 0 {
            return Err(Problem::new(what(), "it is another name of root").into());
        }
        if host.group_id(self.name)? != Some(user.gid) {
            let why = "its group has another name, so wp-gears did not create it";
            return Err(Problem::new(what(), why)
                .help("rename that user, or leave the dashboard out with --dashboard=false")
                .into());
        }
        Ok(true)
    }
}

impl Resource for SystemUser {
    fn id(&self) -> ResourceId {
        ResourceId::User(self.name.to_owned())
    }

    fn inspect(&self, host: &Host) -> Result<State> {
        Ok(match self.is_there(host)? {
            true => State::Same,
            false => {
                State::Differs(Change::new(Verb::Create).detail("a system user without a home"))
            }
        })
    }

    fn inverses(&self, host: &Host) -> Result<Vec<Inverse>> {
        Ok(match self.is_there(host)? {
            true => Vec::new(),
            false => vec![Inverse::User(UserInverse {
                name: self.name.to_owned(),
            })],
        })
    }

    fn apply(&self, host: &Host, _watch: &dyn Fn(&str)) -> Result<()> {
        if self.is_there(host)? {
            return Ok(());
        }
        let command = Command::new("useradd")
            .args(["--system", "--no-create-home"])
            .args(["--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin"])
            .args(["--comment", "wp-gears dashboard"]);
        let command = match host.group_id(self.name)? {
            // A removal left it behind.
            Some(_) => command.args(["--gid", self.name]),
            None => command.args(["--user-group"]),
        };
        host.check(&command.names([self.name]).changes())
            .map(|_| ())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserInverse {
    name: String,
}

impl Revert for UserInverse {
    fn id(&self) -> ResourceId {
        ResourceId::User(self.name.clone())
    }

    fn revert(&self, _context: &RevertContext) -> Result<Reverted> {
        let name = self.name.clone();
        // Folders have its group until then.
        Ok(Reverted::by(Phase::Foundations, RemoveUser { name }))
    }
}

struct RemoveUser {
    name: String,
}

impl Resource for RemoveUser {
    fn id(&self) -> ResourceId {
        ResourceId::User(self.name.clone())
    }

    fn inspect(&self, host: &Host) -> Result<State> {
        let is_there = host.user(&self.name)?.is_some() || host.group_id(&self.name)?.is_some();
        Ok(match is_there && host.live() {
            true => State::Differs(Change::new(Verb::Remove)),
            false => State::Same,
        })
    }

    fn apply(&self, host: &Host, _watch: &dyn Fn(&str)) -> Result<()> {
        if host.user(&self.name)?.is_some() {
            let command = Command::new("userdel").names([&self.name]).changes();
            host.check(&command)?;
        }
        // userdel does that as well, unless the host is configured otherwise.
        if host.group_id(&self.name)?.is_some() {
            let command = Command::new("groupdel").names([&self.name]).changes();
            host.check(&command)?;
        }
        Ok(())
    }
}
