//! WordPress's maintenance mode: while the file `.maintenance` in its folder is younger
//! than ten minutes, it answers every request with a page that says so, and exits. The
//! time is in the file: `<?php $upgrading = 1700000000; ?>`.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::OFlags;

pub const FILE: &str = ".maintenance";

/// After these seconds, WordPress takes the upgrade for failed.
const LONGEST: u64 = 600;

/// How much of the file is read, in bytes.
pub const LIMIT: usize = 4096;

/// Whether the site in this folder is in maintenance mode. For its own user.
pub fn is_on(site: &Path) -> bool {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits() as i32)
        .open(site.join(FILE));
    let Ok(file) = file else { return false };
    let mut text = Vec::new();
    let read = file.take(LIMIT as u64).read_to_end(&mut text);
    read.is_ok() && says_so(&text, SystemTime::now())
}

/// Whether a file with this text means maintenance at this time.
pub fn says_so(text: &[u8], now: SystemTime) -> bool {
    const NAME: &str = "$upgrading";
    let text = String::from_utf8_lossy(text);
    let value = text.split_once(NAME).map(|(_, rest)| rest.trim_start());
    let Some(value) = value.and_then(|rest| rest.strip_prefix('=')) else {
        return false;
    };
    let value = value.trim_start();
    let end = value
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(value.len());
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    match value[..end].parse::<u64>() {
        Ok(since) => now < since.saturating_add(LONGEST),
        // Such as time(): as long as the file is there.
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn it_lasts_for_ten_minutes_at_most() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let says = |text: &str, seconds| says_so(text.as_bytes(), at(seconds));
        let text = "<?php $upgrading = 1700000000; ?>";
        assert!(says(text, 1_700_000_000) && says(text, 1_700_000_599));
        assert!(!says(text, 1_700_000_600));
        assert!(says("<?php $upgrading=time();", 1) && says("<?php\n$upgrading\n= 5 ;", 604));
        assert!(!says("", 1) && !says("<?php // nothing", 1));
    }
}
