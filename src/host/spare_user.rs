//! Users for foreign work that needs no rights: ids that belong to no account and to no
//! process, so that nobody else has their files or can touch their processes.

use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::Result;
use nix::errno::Errno;
use nix::unistd::{Gid, Group};
use rustix::process::Signal;

use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::users::User;

/// systemd takes its dynamic users from these, and distributions leave them alone.
const IDS: RangeInclusive<u32> = 61184..=65519;

impl Host {
    /// A user whose id nobody has, for work that makes files, such as compiling.
    pub fn spare_user(&self) -> Result<User> {
        self.unused(IDS.rev())
    }

    /// A user whose id nobody has, to start programs as that are only asked something. It
    /// is the same one for all of them, and never a `spare_user`.
    pub fn stranger(&self) -> Result<User> {
        if let Some(known) = self.stranger.get() {
            return Ok(known.clone());
        }
        let found = self.unused(IDS)?;
        Ok(self.stranger.get_or_init(|| found).clone())
    }

    fn unused(&self, ids: impl Iterator<Item = u32>) -> Result<User> {
        let taken: Vec<u32> = self.processes().iter().filter_map(|it| it.uid).collect();
        for id in ids {
            let is_group = || -> Result<bool> {
                match Group::from_gid(Gid::from_raw(id)) {
                    Ok(group) => Ok(group.is_some()),
                    // There is no /etc/group.
                    Err(Errno::ENOENT) => Ok(false),
                    Err(error) => Err(error.into()),
                }
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
        let stranger = host.stranger().unwrap();
        assert_eq!(stranger, host.stranger().unwrap());
        assert!(stranger.uid < spare.uid);
        assert!(IDS.contains(&spare.uid));
        assert!(host.user_by_id(spare.uid).unwrap().is_none());
        assert_eq!(spare.groups, [spare.gid]);
        host.end_all_of(&spare).unwrap();
    }
}
