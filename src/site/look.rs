//! What a site says of itself before anything is set up: its name, whether it
//! is a network, and whether the plugin is active. Its worker user asks it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::base::random;
use crate::base::secrets::plain;
use crate::host::Host;
use crate::site::extension;

const PROGRAM: &str = include_str!("../../templates/look.php");
/// A site that takes longer is shown as its files tell.
const PATIENCE: Duration = Duration::from_secs(10);
/// No name on a screen is longer.
const LONGEST: usize = 60;

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct SiteInfo {
    pub name: String,
    pub network: bool,
    /// Whether what takes jobs is: WP Gears or WP Minions.
    pub active: bool,
}

/// Starts the site's PHP as its worker user.
pub fn ask(host: &Host, dir: &Path, php: &Path, user: &str) -> Result<SiteInfo> {
    let mark = random::letters(32)?;
    let command = extension::quiet(php)
        .args(["-d", "memory_limit=512M", "--"])
        .args([dir.as_os_str(), mark.as_ref()])
        .stdin(PROGRAM)
        .user(&host.need_user(user)?)
        .limit(PATIENCE);
    read(&host.run(&command)?.stdout, &mark)
}

fn read(stdout: &[u8], mark: &str) -> Result<SiteInfo> {
    let text = String::from_utf8_lossy(stdout);
    let line = text.lines().find_map(|line| line.strip_prefix(mark));
    let mut told: SiteInfo = serde_json::from_str(line.context("it gives no answer")?)?;
    told.name = plain(&told.name).chars().take(LONGEST).collect();
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_found_in_what_a_site_prints_and_steers_no_terminal() {
        let answer = r#"{"name":"A\u001b[2J","network":true,"active":false}"#;
        let told = read(format!("Notice: x\nm1 {answer}\nbye").as_bytes(), "m1").unwrap();
        assert_eq!(told.name, "A\u{fffd}[2J");
        assert!(told.network && !told.active);
        assert!(read(b"m1 {}\n", "m1").is_err());
        assert!(read(answer.as_bytes(), "m1").is_err());
    }
}
