//! Whether services can get mount namespaces. Some containers forbid them, or what
//! systemd does in them, and a service that needs one does not start there.

use nix::sched::{CloneFlags, unshare};
use rustix::mount::{MountFlags, MountPropagationFlags, mount_bind, mount_change, mount_remount};

use crate::host::Host;

impl Host {
    /// Without root, and under `--root`, nothing is known to forbid it.
    pub fn can_make_mount_namespaces(&self) -> bool {
        if !self.live() || !rustix::process::geteuid().is_root() {
            return true;
        }
        *self.mount_namespaces.get_or_init(attempt)
    }
}

/// Tries it in a thread of its own, whose namespace ends with it.
fn attempt() -> bool {
    let made = std::thread::Builder::new().spawn(|| {
        let folder = c"/usr";
        unshare(CloneFlags::CLONE_NEWNS)?;
        let private = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
        mount_change(c"/", private)?;
        mount_bind(folder, folder)?;
        mount_remount(folder, MountFlags::BIND | MountFlags::RDONLY, c"")?;
        Ok::<(), std::io::Error>(())
    });
    made.is_ok_and(|thread| thread.join().is_ok_and(|made| made.is_ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This test needs root.
    #[test]
    fn the_attempt_leaves_the_mounts_of_this_process_alone() {
        let mounts = || std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let before = mounts();
        assert!(Host::new(None).unwrap().can_make_mount_namespaces());
        assert_eq!(mounts(), before);
    }
}
