//! What a PHP reports about itself and about the gearman extension.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::commands::Command;
use crate::host::users::User;
use crate::site::php::Php;
use crate::site::php_user::asker;
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
    /// The ini files that it reads, in their order.
    pub ini_files: Vec<PathBuf>,
}

impl PhpInfo {
    /// Whether it is too old for the runner, which needs PHP 7.1.
    pub fn is_too_old(&self) -> bool {
        numbers(&self.version) < vec![7, 1]
    }
}

/// Starts PHP with its ini files, to query it; `worker` is the user that runs jobs with
/// it. The program works in any PHP, even if that is old or lacks extensions.
pub fn ask(host: &Host, php: &Php, worker: &User) -> Result<PhpInfo> {
    const PROGRAM: &str = r#"
        echo "\n", PHP_VERSION, "\n", ini_get('extension_dir'), "\n";
        echo extension_loaded('json') ? 'json' : 'none', "\n";
        echo function_exists('pcntl_fork') ? 'pcntl' : 'none', "\n";
        echo extension_loaded('gearman') ? gearman_version() : 'none', "\n";
        echo str_replace("\n", '', php_ini_loaded_file() . ',' . php_ini_scanned_files()), "\n";"#;
    // It answers whatever its ini files disable.
    let command = quiet(&php.path)
        .args(["-d", "disable_functions=", "-d", "disable_classes="])
        .args(["-d", "open_basedir=", "-d", "memory_limit=128M"])
        .args(["-r", PROGRAM])
        .user(&asker(host, php, worker)?);
    let text = host.check(&command)?.text();
    let lines: Vec<&str> = text.trim().lines().collect();
    let [version, extension_dir, json, pcntl, gearman, ini] = lines[..] else {
        let what = format!("query {}", php.path.display());
        return Err(Problem::new(what, format!("it printed {text:?}")).into());
    };
    Ok(PhpInfo {
        version: version.to_owned(),
        extension_dir: extension_dir.into(),
        lacks_json: json == "none",
        lacks_pcntl: pcntl == "none",
        libgearman: (gearman != "none").then(|| gearman.to_owned()),
        ini_files: ini
            .split(',')
            .map(str::trim)
            .filter(|file| !file.is_empty())
            .map(PathBuf::from)
            .collect(),
    })
}

/// A command that runs PHP without the files that its ini files prepend and
/// append to every program, or load before it.
pub fn quiet(php: &Path) -> Command {
    const SETTINGS: [&str; 5] = [
        "auto_prepend_file=",
        "auto_append_file=",
        "opcache.preload=",
        "display_errors=stderr",
        "display_startup_errors=0",
    ];
    Command::new(php)
        .args(SETTINGS.into_iter().flat_map(|setting| ["-d", setting]))
        .limit(Duration::from_secs(60))
}
