//! What `setup --export` has written on another host, read by `setup --from`: a folder
//! with the options and, in a file of its own, the secrets.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Result;

use crate::base::problem::Problem;
use crate::host::Host;
use crate::intent::file::{FileOptions, read};

pub const OPTIONS: &str = "wp-gears.toml";
pub const SECRETS: &str = "wp-gears.secrets.toml";

/// Reads the file, and over it the folder or file that `--from` names.
///
/// # Errors
/// Those of `read`, secrets that others can read, and those of a site that the options do
/// not name.
pub fn read_over(host: &Host, path: Option<&Path>, from: Option<&Path>) -> Result<FileOptions> {
    let file = read(host, path)?;
    let Some(from) = from else {
        return Ok(file);
    };
    if !from.exists() {
        let what = format!("read {} (--from)", from.display());
        return Err(Problem::usage(what, "there is no such file or folder")
            .help("copy the folder that 'wp-gears setup --export DIR' wrote on another host")
            .into());
    }
    if !from.is_dir() {
        return Ok(read(host, Some(from))?.over(file));
    }
    let secrets = from.join(SECRETS);
    closed(&secrets)?;
    let options = read(host, Some(&from.join(OPTIONS)))?;
    let secret = read(host, Some(&secrets))?;
    // With a salt of its own, this host's workers would never get a job.
    if let Some(dir) = secret.sites.keys().find(|dir| !options.has_site(dir)) {
        let what = format!("read {}", secrets.display());
        let why = format!(
            "it has a salt for {}, a site that {OPTIONS} does not name",
            dir.display()
        );
        return Err(Problem::usage(what, why)
            .help("where a site has another folder on this host, change its dir in both files")
            .into());
    }
    Ok(secret.over(options).over(file))
}

/// Refuses a file with secrets that others can read: a copy may have lost its mode.
fn closed(path: &Path) -> Result<()> {
    let is_open = std::fs::metadata(path).is_ok_and(|meta| meta.mode() & 0o077 != 0);
    if !is_open {
        return Ok(());
    }
    let what = format!("read {}", path.display());
    Err(Problem::usage(what, "other users can read or change it")
        .help(format!("run 'chmod 600 {}'", path.display()))
        .into())
}
