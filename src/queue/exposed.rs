//! Which of gearmand's files other users can read: the arguments of jobs are in its
//! queue, and may be in its log.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::gearman::options;
use crate::host::Host;
use crate::host::files::Node;

/// gearmand's options that name a file in which arguments of jobs may be.
const FILES: [&str; 3] = ["libsqlite3-db", "tokyocabinet-file", "log-file"];
/// What a mode lets others do.
const OTHERS: u32 = 0o007;

/// A file or folder of gearmand's user that others can read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposed {
    pub path: PathBuf,
    pub uid: u32,
    pub mode: u32,
    pub is_folder: bool,
}

impl Exposed {
    /// Its mode without access for others.
    pub fn private(&self) -> u32 {
        self.mode & !OTHERS
    }
}

/// What others can read of this user, gearmand's: the files that these words of its
/// command line name, what SQLite and
/// logrotate put beside them, and their folders.
///
/// # Errors
/// If a folder cannot be read.
pub fn exposed(host: &Host, user: &str, words: &[String]) -> Result<Vec<Exposed>> {
    let Some(user) = host.user(user)? else {
        return Ok(Vec::new());
    };
    let mut found: Vec<Exposed> = Vec::new();
    let mut add = |exposed: Exposed| {
        if exposed.mode & OTHERS != 0 && !found.contains(&exposed) {
            found.push(exposed);
        }
    };
    for path in files(words) {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            continue;
        };
        let Node::Directory(meta) = host.look(folder)? else {
            continue;
        };
        let is_own = meta.uid == user.uid;
        if is_own && meta.mode & OTHERS == 0 {
            continue; // others do not reach what is in it
        }
        let name = name.to_string_lossy();
        for below in host.list(folder)? {
            if !below.to_string_lossy().starts_with(&*name) {
                continue;
            }
            let path = folder.join(below);
            if let Node::File(meta) = host.look(&path)?
                && meta.uid == user.uid
            {
                add(Exposed {
                    path,
                    uid: meta.uid,
                    mode: meta.mode,
                    is_folder: false,
                });
            }
        }
        if is_own {
            add(Exposed {
                path: folder.to_owned(),
                uid: meta.uid,
                mode: meta.mode,
                is_folder: true,
            });
        }
    }
    Ok(found)
}

/// The files that these words name.
pub fn files(words: &[String]) -> Vec<PathBuf> {
    let given = options::given(&words.join(" "));
    let named = given
        .into_iter()
        .filter(|(name, _)| FILES.contains(&name.as_str()));
    let paths = named.filter_map(|(_, value)| value).map(PathBuf::from);
    paths.filter(|path| is_file(path)).collect()
}

fn is_file(path: &Path) -> bool {
    path.is_absolute() && !path.starts_with("/dev")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown};

    use super::*;
    use crate::host::scratch;

    /// This test needs root.
    #[test]
    fn only_gearmands_own_files_that_others_reach_are_exposed() {
        let (dir, host) = scratch();
        let at = |path: &str| dir.path().join(path.trim_start_matches('/'));
        std::fs::create_dir_all(at("etc")).unwrap();
        std::fs::write(at("etc/passwd"), "gearman:x:4003:4003::/:/bin/sh\n").unwrap();
        let put = |path: &str, mode: u32, uid: u32, is_folder: bool| {
            match is_folder {
                true => std::fs::create_dir_all(at(path)).unwrap(),
                false => std::fs::write(at(path), "").unwrap(),
            }
            std::fs::set_permissions(at(path), std::fs::Permissions::from_mode(mode)).unwrap();
            chown(at(path), Some(uid), Some(uid)).unwrap();
        };
        put("/q", 0o755, 4003, true);
        put("/q/a.sqlite", 0o644, 4003, false);
        put("/q/a.sqlite-journal", 0o604, 4003, false);
        put("/q/a.sqlite-mine", 0o644, 0, false);
        put("/q/other", 0o644, 4003, false);
        put("/closed", 0o750, 4003, true);
        put("/closed/b.log", 0o644, 4003, false);
        put("/log", 0o755, 0, true);
        put("/log/c.log", 0o640, 4003, false);
        put("/log/c.log.1", 0o644, 4003, false);
        let of = |line: &str| -> Vec<(String, u32)> {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let all = exposed(&host, "gearman", &words).unwrap();
            let each = all.iter();
            each.map(|it| (it.path.display().to_string(), it.private()))
                .collect()
        };
        let is = |path: &str, mode| (path.to_owned(), mode);
        assert_eq!(
            of("--libsqlite3-db=/q/a.sqlite --log-file /closed/b.log"),
            [
                is("/q/a.sqlite", 0o640),
                is("/q/a.sqlite-journal", 0o600),
                is("/q", 0o750)
            ]
        );
        assert_eq!(of("-l /log/c.log"), [is("/log/c.log.1", 0o640)]);
        assert_eq!(of("--log-file none --libsqlite3-db=/gone/x"), []);
    }
}
