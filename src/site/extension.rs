//! What a PHP reports about itself and about the gearman extension.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::commands::Command;
use crate::host::users::User;
use crate::site::release::numbers;

/// What a PHP reports about itself.
pub struct PhpInfo {
    /// "8.2.29".
    pub version: String,
    pub extension_dir: PathBuf,
    /// It lacks json, the format of jobs.
    pub lacks_json: bool,
    /// It lacks pcntl, so it cannot fork.
    pub lacks_pcntl: bool,
    /// The version of the gearman extension's library; `None` without the extension.
    pub libgearman: Option<String>,
}

impl PhpInfo {
    /// Whether it is too old for the runner, which needs PHP 7.1.
    pub fn is_too_old(&self) -> bool {
        numbers(&self.version) < vec![7, 1]
    }
}

/// Starts PHP as this user, with its ini files, to query it. The program works in any
/// PHP, even if that is old or lacks extensions.
pub fn ask(host: &Host, php: &Path, user: &User) -> Result<PhpInfo> {
    const PROGRAM: &str = r#"
        echo "\n", PHP_VERSION, "\n", ini_get('extension_dir'), "\n";
        echo extension_loaded('json') ? 'json' : 'none', "\n";
        echo function_exists('pcntl_fork') ? 'pcntl' : 'none', "\n";
        echo extension_loaded('gearman') ? gearman_version() : 'none', "\n";"#;
    let command = quiet(php).args(["-r", PROGRAM]).user(user);
    let text = host.check(&command)?.text();
    let lines: Vec<&str> = text.trim().lines().collect();
    let [version, extension_dir, json, pcntl, gearman] = lines[..] else {
        let what = format!("query {}", php.display());
        return Err(Problem::new(what, format!("it printed {text:?}")).into());
    };
    Ok(PhpInfo {
        version: version.to_owned(),
        extension_dir: extension_dir.into(),
        lacks_json: json == "none",
        lacks_pcntl: pcntl == "none",
        libgearman: (gearman != "none").then(|| gearman.to_owned()),
    })
}

/// A command that runs PHP without the files that its ini files prepend and
/// append to every program.
pub fn quiet(php: &Path) -> Command {
    const SETTINGS: [&str; 4] = [
        "auto_prepend_file=",
        "auto_append_file=",
        "display_errors=stderr",
        "display_startup_errors=0",
    ];
    Command::new(php)
        .args(SETTINGS.iter().flat_map(|setting| ["-d", setting]))
        .limit(Duration::from_secs(60))
}
