//! The file of an SQLite queue, and faults that keep gearmand from storing jobs
//! in it.

use std::path::Path;

use anyhow::Result;

use crate::host::Host;
use crate::host::files::Node;
use crate::host::platform::Gearmand;

/// What is wrong, and what to do before restarting gearmand.
pub struct Fault {
    pub message: String,
    pub help: String,
}

/// With less free space, not even a few jobs fit.
const LEAST_SPACE: u64 = 1 << 20;

/// Everything wrong with a queue's file or its folder. A missing file is no
/// fault: gearmand creates it.
pub fn faults(host: &Host, gearmand: &Gearmand, path: &Path) -> Result<Vec<Fault>> {
    let mut faults = Vec::new();
    let mut add = |message: String, help: String| faults.push(Fault { message, help });
    let shown = path.display();
    let user = host.user(gearmand.user).ok().flatten();
    if let Some(folder) = path.parent().filter(|folder| host.is_dir(folder)) {
        if let Some(user) = &user
            && let Some(why) = host.cannot_write_in(folder, user)?
        {
            let help = format!("chown {} {}", user.name, folder.display());
            add(format!("{why}, so no jobs can be stored"), help);
        }
        let space = host.space(folder)?;
        if space.bytes < LEAST_SPACE || space.files == Some(0) {
            let message = format!("{} is full, so no jobs can be stored", folder.display());
            add(
                message,
                format!("free some space (see 'df {}')", folder.display()),
            );
        }
    }
    let meta = match host.look(path)? {
        Node::File(meta) => meta,
        Node::Absent => return Ok(faults),
        _ => {
            add(
                format!("{shown} is not a regular file"),
                format!("move {shown} away"),
            );
            return Ok(faults);
        }
    };
    let owner = host.user_name(meta.uid);
    if owner != gearmand.user {
        let user = gearmand.user;
        add(
            format!(
                "{shown} belongs to {owner}, so gearmand, which runs as {user}, cannot store jobs"
            ),
            format!("chown {user} {shown}"),
        );
    }
    if let Some(head) = host.read_head(path, 100)?
        && let Some(why) = damage(&head.bytes, head.meta.size)
    {
        add(
            format!("{shown} {why}"),
            format!("move {shown} away (sqlite3's .recover may save its jobs)"),
        );
    }
    Ok(faults)
}

/// What is wrong with an SQLite file, judging by its header.
fn damage(head: &[u8], size: u64) -> Option<String> {
    if size == 0 {
        return None; // created, and never written to
    }
    if head.len() < 100 || !head.starts_with(b"SQLite format 3\0") {
        return Some("is not an SQLite database: it is damaged".into());
    }
    let number = |at: usize| {
        head[at..at + 4]
            .iter()
            .fold(0u64, |n, b| n << 8 | u64::from(*b))
    };
    let page = match u64::from(head[16]) << 8 | u64::from(head[17]) {
        1 => 65536,
        page => page,
    };
    // The page count is valid only if the two change counters agree.
    let whole = page * number(28);
    (number(24) == number(92) && size < whole)
        .then(|| format!("has only {size} of {whole} bytes: its end is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_is_detected() {
        let mut head = b"SQLite format 3\0".to_vec();
        head.resize(100, 0);
        head[16..18].copy_from_slice(&4096u16.to_be_bytes());
        head[28..32].copy_from_slice(&3u32.to_be_bytes());
        assert_eq!(damage(&head, 3 * 4096), None);
        assert!(damage(&head, 2 * 4096).unwrap().contains("end is missing"));
        assert!(damage(b"rubbish", 7).unwrap().contains("damaged"));
        assert_eq!(damage(b"", 0), None);
    }
}
