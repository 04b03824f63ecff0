//! The program that this process runs, and the one that has replaced it. A process of
//! ours goes on as the new program: a worker between two jobs, a crew at any time. The
//! process stays, so supervisor restarts nothing.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where a process finds its own program.
const OWN: &str = "/proc/self/exe";

#[derive(Debug)]
pub struct Binary {
    path: PathBuf,
    file: (u64, u64),
}

impl Binary {
    /// The program of this process; `None` if the system does not tell.
    pub fn of_this_process() -> Option<Self> {
        Some(Binary {
            path: named(&std::fs::read_link(OWN).ok()?),
            file: file(Path::new(OWN))?,
        })
    }

    /// Whether a wp-gears that starts has taken its place.
    pub fn is_replaced(&self) -> bool {
        file(&self.path).is_some_and(|file| file != self.file) && is_wp_gears(&self.path)
    }

    /// Goes on as the new program, with the same arguments, and `more` in its
    /// environment. Returns only if it cannot.
    pub fn run_new(&self, more: &[(&str, String)]) -> io::Error {
        run(&self.path, more)
    }

    /// The same with the program that this process runs already.
    pub fn run_again() -> io::Error {
        run(Path::new(OWN), &[])
    }
}

/// Executes a program in this process, with the signals blocked that are blocked now:
/// std's `exec` would unblock them, and one that is pending would kill the process.
fn run(program: &Path, more: &[(&str, String)]) -> io::Error {
    let words = std::env::args_os().skip(1);
    // Others recognize a worker by its name and its first argument.
    let words = std::iter::once(OsString::from("wp-gears")).chain(words);
    let kept = std::env::vars_os().filter(|(name, _)| more.iter().all(|(key, _)| name != key));
    let more = more.iter().map(|(key, value)| (key.into(), value.into()));
    let variables = kept.chain(more).map(|(key, value): (OsString, OsString)| {
        [key.as_bytes(), b"=", value.as_bytes()].concat()
    });
    let texts = |all: &mut dyn Iterator<Item = Vec<u8>>| -> Result<Vec<CString>, _> {
        all.map(CString::new).collect()
    };
    let texts = CString::new(program.as_os_str().as_bytes()).and_then(|program| {
        let words = texts(&mut words.map(OsString::into_vec))?;
        Ok((program, words, texts(&mut { variables })?))
    });
    match texts {
        Ok((program, words, variables)) => nix::unistd::execve(&program, &words, &variables)
            .map_or_else(io::Error::from, |no| match no {}),
        Err(e) => e.into(),
    }
}

/// The path of a program that was removed or replaced while it ran.
fn named(path: &Path) -> PathBuf {
    let bytes = path.as_os_str().as_bytes();
    let bytes = bytes.strip_suffix(b" (deleted)").unwrap_or(bytes);
    PathBuf::from(OsStr::from_bytes(bytes))
}

fn file(path: &Path) -> Option<(u64, u64)> {
    let meta = std::fs::metadata(path).ok()?;
    meta.is_file().then(|| (meta.dev(), meta.ino()))
}

fn is_wp_gears(path: &Path) -> bool {
    let mut command = Command::new(path);
    command
        .arg("--version")
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    let output = command.output();
    output.is_ok_and(|it| it.status.success() && it.stdout.starts_with(b"wp-gears "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_file_in_its_place_counts_only_if_it_is_wp_gears() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        std::fs::copy("/bin/true", &path).unwrap();
        // As a process keeps its program: no other file may get the inode.
        let _running = std::fs::File::open(&path).unwrap();
        let binary = Binary {
            file: file(&path).unwrap(),
            path: path.clone(),
        };
        assert!(!binary.is_replaced());
        let replace = |text: &str| {
            use std::os::unix::fs::PermissionsExt;
            let new = dir.path().join("new");
            std::fs::write(&new, text).unwrap();
            std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
            std::fs::rename(&new, &path).unwrap();
        };
        replace("#!/bin/sh\necho something else\n");
        assert!(!binary.is_replaced());
        replace("#!/bin/sh\necho wp-gears 9.9.9\n");
        assert!(binary.is_replaced());
        std::fs::remove_file(&path).unwrap();
        assert!(!binary.is_replaced());
    }
}
