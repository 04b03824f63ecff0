//! Working in a folder of another user with that user's file system ids: the kernel
//! then refuses what they could not do themselves, whatever they swap in meanwhile.
//! The ids belong to the thread.

use std::os::fd::OwnedFd;

use anyhow::{Result, ensure};
use nix::unistd::{Gid, Uid, setfsgid, setfsuid};

/// While it lives, this thread has the file system ids of a folder's owner.
pub(super) struct AsOwner {
    uid: Uid,
    gid: Gid,
}

impl AsOwner {
    /// `None` if nobody but root and this user can change the names in the folder.
    pub(super) fn of(dir: &OwnedFd) -> Result<Option<AsOwner>> {
        let stat = rustix::fs::fstat(dir)?;
        let (we, group) = (Uid::effective(), Gid::effective());
        if !we.is_root() || stat.st_uid == 0 {
            return Ok(None);
        }
        let guard = AsOwner {
            uid: we,
            gid: group,
        };
        let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        setfsgid(gid);
        setfsuid(uid);
        // These calls return the ids before them and report no errors.
        let took = (setfsgid(gid), setfsuid(uid)) == (gid, uid);
        ensure!(took, "cannot take the user {uid} and the group {gid}");
        Ok(Some(guard))
    }
}

impl Drop for AsOwner {
    fn drop(&mut self) {
        setfsuid(self.uid);
        setfsgid(self.gid);
    }
}
