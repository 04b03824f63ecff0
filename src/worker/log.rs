//! The site's log, which all its workers append to: one line per job, and
//! what PHP printed.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::base::clock;

/// The most bytes that the log holds, and the rotated one before it.
const LARGEST: u64 = 16 << 20;

/// The most bytes of a line; the rest is cut off.
const LONGEST: usize = 8 << 10;

/// Shared by reference: writing a line changes nothing in this value.
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
        // A log that cannot be written must not stop the work.
        if written.unwrap_or(0) > LARGEST {
            self.rotate();
        }
    }

    /// A line that PHP printed.
    pub fn php(&self, text: &str) {
        self.line(&format!("php: {text}"));
    }

    /// Copies and truncates instead of renaming: the folder is root's, and
    /// the other workers have the file open.
    fn rotate(&self) {
        let Some(file) = &self.file else { return };
        if file.lock().is_err() {
            return;
        }
        let done = (|| -> io::Result<()> {
            if file.metadata()?.len() <= LARGEST {
                return Ok(()); // Another worker was faster.
            }
            let mut old = self.path.clone().into_os_string();
            old.push(".1");
            let copied = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o640)
                .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
                .open(&old)
                .and_then(|mut to| io::copy(&mut File::open(&self.path)?, &mut to));
            file.set_len(0)?;
            copied.map(|_| ())
        })();
        let _ = file.unlock();
        if let Err(e) = done {
            self.line(&format!("the old log was truncated but not saved: {e}"));
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
        .open(path)
}

/// Returns the size of the file. The lock keeps a rotation from losing the line.
fn write_locked(mut file: &File, line: &[u8]) -> io::Result<u64> {
    file.lock_shared()?;
    let written = file.write_all(line).and_then(|()| file.metadata());
    file.unlock()?;
    Ok(written?.len())
}

/// Appends any text as part of one line, so that no text can forge another.
fn push_printable(line: &mut String, text: &str) {
    let limit = line.len() + LONGEST;
    for c in text.chars() {
        if line.len() > limit {
            line.push('…');
            return;
        }
        if c.is_control() && c != '\t' {
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
        push_printable(&mut line, &"x".repeat(LONGEST * 2));
        assert!(line.len() < LONGEST + 8);
    }

    #[test]
    fn a_full_log_is_kept_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("site.log");
        let log = SiteLog::open(&path, "t".into());
        File::create(&path).unwrap().set_len(LARGEST).unwrap();
        log.line("the last of the old");
        log.line("the first of the new");
        let new = std::fs::read_to_string(&path).unwrap();
        assert!(new.contains("first of the new") && !new.contains("last of the old"));
        let old = std::fs::metadata(dir.path().join("site.log.1")).unwrap();
        assert!(old.len() > LARGEST);
    }
}
