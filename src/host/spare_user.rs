//! A user for foreign work that needs no rights, such as compiling: an id that
//! belongs to no account and to no process, so that nobody else has its files.

use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::Result;
use rustix::process::Signal;

use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::users::User;

/// systemd takes its dynamic users from these, and distributions leave them alone.
const IDS: RangeInclusive<u32> = 61184..=65519;

impl Host {
    /// A user whose id nobody has.
    pub fn spare_user(&self) -> Result<User> {
        let taken: Vec<u32> = self.processes().iter().filter_map(|it| it.uid).collect();
        for id in IDS.rev() {
            let is_group = || -> Result<bool> {
                let group = nix::unistd::Gid::from_raw(id);
                Ok(nix::unistd::Group::from_gid(group)?.is_some())
            };
            if !taken.contains(&id) && self.user_by_id(id)?.is_none() && !is_group()? {
                return Ok(User {
                    name: id.to_string(),
                    uid: id,
                    gid: id,
                    groups: vec![id],
                    home: "/nonexistent".into(),
                });
            }
        }
        let why = format!("all ids from {} to {} are taken", IDS.start(), IDS.end());
        Err(Problem::new("find a user id that nobody has", why).into())
    }

    /// Ends what still runs as this user.
    pub fn end_all_of(&self, spare: &User) -> Result<()> {
        const TRIES: usize = 200;
        for _ in 0..TRIES {
            let mut processes = self.processes();
            processes.retain(|process| process.uid == Some(spare.uid));
            if processes.is_empty() {
                return Ok(());
            }
            for process in processes {
                let _ = self.signal(process.id(), Signal::KILL); // it may be gone already
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let why = "new ones keep appearing";
        Err(Problem::new(format!("end the processes of user id {}", spare.uid), why).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spare_user_belongs_to_nobody() {
        let host = Host::new(None).unwrap();
        let spare = host.spare_user().unwrap();
        assert!(IDS.contains(&spare.uid));
        assert!(host.user_by_id(spare.uid).unwrap().is_none());
        assert_eq!(spare.groups, [spare.gid]);
        host.end_all_of(&spare).unwrap();
    }
}
