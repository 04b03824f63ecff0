//! The site's log, to which all its workers append: a line per job, and PHP's
//! output.

use crate::base::text::is_harmless;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::base::clock;

/// The maximum size of the log, and of the rotated one, in bytes.
const MAX_SIZE: u64 = 16 << 20;

/// Only its user may read what jobs print.
const MODE: u32 = 0o600;

/// The maximum length of a line, in bytes. The rest is cut off.
const MAX_LINE: usize = 8 << 10;

/// Can be shared by reference, as writing a line does not change this value.
pub struct SiteLog {
    file: Option<File>,
    path: PathBuf,
    writer: String,
}

impl SiteLog {
    /// Falls back to standard error if the file cannot be written. `writer`
    /// marks the lines of this process.
    pub fn open(path: &Path, writer: String) -> SiteLog {
        let mut log = SiteLog {
            file: None,
            path: path.to_path_buf(),
            writer,
        };
        if path != Path::new("-") {
            match append(path) {
                Ok(file) => log.file = Some(file),
                Err(e) => log.line(&format!(
                    "cannot write {}: {e}; logging to standard error",
                    path.display()
                )),
            }
        }
        log
    }

    pub fn line(&self, text: &str) {
        let mut line = format!(
            "{} {} ",
            clock::utc(clock::millis(SystemTime::now())),
            self.writer
        );
        push_printable(&mut line, text);
        line.push('\n');
        let written = match &self.file {
            Some(file) => write_locked(file, line.as_bytes()),
            None => io::stderr().write_all(line.as_bytes()).map(|()| 0),
        };
        // Jobs must run even if the log cannot be written.
        if written.unwrap_or(0) > MAX_SIZE {
            self.rotate();
        }
    }

    /// A line that PHP printed.
    pub fn php(&self, text: &str) {
        self.line(&format!("php: {text}"));
    }

    /// Copies and truncates instead of renaming, because the folder belongs to root
    /// and other workers have the file open.
    fn rotate(&self) {
        let Some(file) = &self.file else { return };
        if file.lock().is_err() {
            return;
        }
        let done = (|| -> io::Result<()> {
            if file.metadata()?.len() <= MAX_SIZE {
                return Ok(()); // another worker was first
            }
            let mut old = self.path.clone().into_os_string();
            old.push(".1");
            let copied = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(MODE)
                .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
                .open(&old)
                .and_then(|mut to| io::copy(&mut File::open(&self.path)?, &mut to));
            file.set_len(0)?;
            copied.map(|_| ())
        })();
        let _ = file.unlock();
        if let Err(e) = done {
            self.line(&format!(
                "the full log was truncated, but could not be saved: {e}"
            ));
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(MODE)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
        .open(path)
}

/// Appends a line and returns the size of the file. The lock prevents a rotation
/// from losing the line.
fn write_locked(mut file: &File, line: &[u8]) -> io::Result<u64> {
    file.lock_shared()?;
    let written = file.write_all(line).and_then(|()| file.metadata());
    file.unlock()?;
    Ok(written?.len())
}

/// Appends text without line breaks, so that it cannot forge another line.
fn push_printable(line: &mut String, text: &str) {
    let limit = line.len() + MAX_LINE;
    for c in text.chars() {
        if line.len() > limit {
            line.push('…');
            return;
        }
        if !is_harmless(c) && c != '\t' {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_lines() {
        let mut line = String::new();
        push_printable(&mut line, "a\nb\x1b[31m é");
        assert_eq!(line, r"a\nb\u{1b}[31m é");
        let mut line = String::new();
        push_printable(&mut line, &"x".repeat(MAX_LINE * 2));
        assert!(line.len() < MAX_LINE + 8);
    }

    #[test]
    fn a_full_log_is_kept_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("site.log");
        let log = SiteLog::open(&path, "t".into());
        File::create(&path).unwrap().set_len(MAX_SIZE).unwrap();
        log.line("the last of the old");
        log.line("the first of the new");
        let new = std::fs::read_to_string(&path).unwrap();
        assert!(new.contains("first of the new") && !new.contains("last of the old"));
        let old = std::fs::metadata(dir.path().join("site.log.1")).unwrap();
        assert!(old.len() > MAX_SIZE);
    }
}
