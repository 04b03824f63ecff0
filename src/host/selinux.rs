//! SELinux: whether it is on, its booleans, and the labels of new folders.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::host::Host;
use crate::host::commands::Command;

impl Host {
    /// Enforcing or permissive.
    pub fn selinux_is_on(&self) -> Result<bool> {
        if !self.live() || !self.has_program("getenforce") {
            return Ok(false);
        }
        let answer = self.run(&Command::new("getenforce"))?;
        let mode = answer.text();
        Ok(answer.success() && matches!(mode.trim(), "Enforcing" | "Permissive"))
    }

    /// `None` if the policy does not know the boolean.
    pub fn selinux_boolean(&self, name: &str) -> Result<Option<bool>> {
        let answer = self.run(&Command::new("getsebool").args([name]))?;
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
        let command = Command::new("setsebool").args(["-P", name, value]);
        self.check(&command.changes().limit(Duration::from_secs(300)))?;
        Ok(())
    }

    /// Gives a new folder the label that the policy has for it.
    pub fn relabel(&self, path: &Path) -> Result<()> {
        if self.live() && self.has_program("restorecon") {
            self.check(&Command::new("restorecon").args([path]).changes())?;
        }
        Ok(())
    }

    fn has_program(&self, name: &str) -> bool {
        ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
            .iter()
            .any(|folder| self.exists(&Path::new(folder).join(name)))
    }
}
