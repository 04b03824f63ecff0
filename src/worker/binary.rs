//! The program that this process runs, and the one that has replaced it. A
//! worker goes on as the new program between two jobs: its process stays, so
//! supervisor restarts nothing.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where a process finds its own program.
const OWN: &str = "/proc/self/exe";

#[derive(Debug)]
pub(super) struct Binary {
    path: PathBuf,
    file: (u64, u64),
}

impl Binary {
    /// The program of this process; `None` if the system does not tell.
    pub fn of_this_process() -> Option<Self> {
        Some(Binary {
            path: std::fs::read_link(OWN).ok()?,
            file: file(Path::new(OWN))?,
        })
    }

    /// Whether a wp-gears that starts has taken its place.
    pub fn is_replaced(&self) -> bool {
        file(&self.path).is_some_and(|file| file != self.file) && is_wp_gears(&self.path)
    }

    /// Goes on as the new program, with the same arguments. Returns only if it
    /// cannot.
    pub fn run_new(&self) -> io::Error {
        Command::new(&self.path)
            .args(std::env::args_os().skip(1))
            .exec()
    }
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
