//! Whether a site is in maintenance mode, as root sees it.

use std::path::Path;
use std::time::SystemTime;

use crate::host::Host;
use crate::worker::maintenance::{FILE, LIMIT, says_so};

/// What to say of a site in maintenance mode.
pub const SENTENCE: &str = "the site is in maintenance mode, so its jobs wait until that ends";

/// What to do about it.
pub fn help(site: &Path) -> String {
    let file = site.join(FILE);
    format!("if no upgrade is going on, remove {}", file.display())
}

pub fn is_on(host: &Host, site: &Path) -> bool {
    let file = host.read_head(&site.join(FILE), LIMIT).ok().flatten();
    file.is_some_and(|file| says_so(&file.bytes, SystemTime::now()))
}
