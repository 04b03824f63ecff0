//! Downloads whose content is known: a user without rights fetches them by https, and
//! root uses nothing whose checksum differs.

use std::time::Duration;

use anyhow::Result;

use crate::base::checksum::sha256;
use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::commands::{Command, explain};
use crate::host::users::User;

const LIMIT: Duration = Duration::from_secs(300);
/// In bytes; more than anything that is downloaded.
const LARGEST: &str = "10000000";

pub struct Download<'a> {
    pub url: &'a str,
    /// In hexadecimal.
    pub sha256: &'a str,
    /// What it is for, for an error.
    pub what: &'a str,
    /// What to do without it.
    pub other_way: &'a str,
}

impl Download<'_> {
    /// # Errors
    /// If it cannot be fetched, or is not what was expected.
    pub fn fetch(&self, host: &Host, spare: &User, watch: &dyn Fn(&str)) -> Result<Vec<u8>> {
        let curl = Command::new("curl")
            .args(["--fail", "--silent", "--show-error", "--location"])
            .args(["--proto", "=https", "--max-filesize", LARGEST])
            .operands([self.url])
            .user(spare)
            .caller_env(|_| false)
            .changes()
            .limit(LIMIT);
        watch(self.url);
        let output = host.run(&curl)?;
        let what = format!("{} ({})", self.what, self.url);
        if !output.success() {
            let server = self.url.split('/').nth(2).unwrap_or(self.url);
            let help = format!("allow access to {server}, or {}", self.other_way);
            return Err(Problem::new(what, explain(&output)).help(help).into());
        }
        let sum = sha256(&output.stdout);
        if sum != self.sha256 {
            let why = format!("its SHA-256 checksum is {sum}, not {}", self.sha256);
            let help = format!("do not use what this network delivers; {}", self.other_way);
            return Err(Problem::new(what, why).help(help).into());
        }
        Ok(output.stdout)
    }
}
