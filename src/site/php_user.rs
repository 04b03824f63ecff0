//! Who asks a PHP about itself. Its ini files may name a site's code, and a site's user
//! can kill and stop what runs as that user: so it is a user of our own without any
//! rights, if PHP is root's program. Any other PHP is asked by the worker user, who
//! runs it anyway.

use std::path::Path;

use anyhow::Result;

use crate::host::Host;
use crate::host::files::Node;
use crate::host::users::User;
use crate::site::php::Php;

/// The user that asks this PHP; `worker` is the one that runs jobs with it.
pub fn asker(host: &Host, php: &Php, worker: &User) -> Result<User> {
    let is_ours = host.is_own_program(&php.path) && host.everybody_may_run(&php.path);
    match is_ours && has_public_settings(host, php)? {
        true => host.stranger(),
        false => Ok(worker.clone()),
    }
}

/// Whether everybody can read its ini files: without them, its answers would be others.
fn has_public_settings(host: &Host, php: &Php) -> Result<bool> {
    let is_public = |path: &Path| match host.look_through(path) {
        Ok(Node::File(meta)) => meta.mode & 0o004 != 0,
        Ok(Node::Absent) => true,
        _ => false,
    };
    for dir in php.ini_dirs(host)? {
        let above = dir.parent().unwrap_or(&dir);
        if !is_public(&above.join("php.ini")) {
            return Ok(false);
        }
        let names = host.list(&dir)?;
        if !names.iter().all(|name| is_public(&dir.join(name))) {
            return Ok(false);
        }
    }
    Ok(true)
}
