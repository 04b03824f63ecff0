//! SELinux: whether it is on, its booleans, and the labels of new folders.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::host::Host;
use crate::host::commands::Command;

/// What SELinux does about a forbidden access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enforcement {
    /// Nothing: the kernel has no SELinux, or it is disabled.
    Off,
    /// Logs it.
    Permissive,
    Enforcing,
}

impl Host {
    pub fn selinux(&self) -> Result<Enforcement> {
        if !self.live() || !self.has_program("getenforce") {
            return Ok(Enforcement::Off);
        }
        let answer = self.run(&Command::new("getenforce"))?;
        Ok(match answer.text().trim() {
            "Enforcing" if answer.success() => Enforcement::Enforcing,
            "Permissive" if answer.success() => Enforcement::Permissive,
            _ => Enforcement::Off,
        })
    }

    /// `None` if the policy does not know the boolean.
    pub fn selinux_boolean(&self, name: &str) -> Result<Option<bool>> {
        let answer = self.run(&Command::new("getsebool").names([name]))?;
        let text = answer.text();
        Ok(match text.trim().rsplit(' ').next() {
            Some("on") if answer.success() => Some(true),
            Some("off") if answer.success() => Some(false),
            _ => None,
        })
    }

    /// Permanently, so the whole policy is rebuilt.
    pub fn set_selinux_boolean(&self, name: &str, on: bool) -> Result<()> {
        let value = if on { "on" } else { "off" };
        let command = Command::new("setsebool").args(["-P"]).names([name, value]);
        self.check(&command.changes().limit(Duration::from_secs(300)))?;
        Ok(())
    }

    /// Gives a new folder the label that the policy has for it.
    pub fn relabel(&self, path: &Path) -> Result<()> {
        if self.live() && self.has_program("restorecon") {
            self.check(&Command::new("restorecon").names([path]).changes())?;
        }
        Ok(())
    }

    pub(super) fn has_program(&self, name: &str) -> bool {
        ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
            .iter()
            .any(|folder| self.exists(&Path::new(folder).join(name)))
    }
}
