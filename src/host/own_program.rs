//! The programs that run with our own rights, mostly root's: only those that nobody
//! else can replace or change. What others can name on the way to a program is not
//! trusted: no folder, no link and not the program itself. That does not change between
//! this and exec, because nobody else could change it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rustix::fs::{Stat, fstat};
use rustix::io::Errno;

use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::walk::{Found, others_write, path_of, stat_in};

pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Host {
    /// The path of a program that may run with our own rights. A bare name is looked up
    /// in the folders of `PATH`, and those of others are passed over.
    pub(super) fn own_program(&self, name: &OsStr) -> Result<PathBuf> {
        if name.as_encoded_bytes().contains(&b'/') {
            let path = Path::new("/").join(name);
            return match self.refuse_program(&path)? {
                Some(problem) => Err(problem.into()),
                None => Ok(path),
            };
        }
        let mut refused = None;
        for folder in PATH.split(':') {
            let path = Path::new(folder).join(name);
            if !std::fs::metadata(&path).is_ok_and(|meta| meta.is_file()) {
                continue;
            }
            match self.refuse_program(&path)? {
                Some(problem) => refused = Some(problem),
                None => return Ok(path),
            }
        }
        Err(match refused {
            Some(problem) => problem.into(),
            None => missing(),
        })
    }

    /// Whether a program is only ours or root's, and nobody else can replace it.
    pub fn is_own_program(&self, path: &Path) -> bool {
        matches!(self.refuse_program(path), Ok(None))
    }

    /// Whether any user can run the program.
    pub fn everybody_may_run(&self, path: &Path) -> bool {
        let may = || -> Result<bool> {
            let Found::Leaf(stack, leaf) = self.walk_all(path, true)? else {
                return Ok(false);
            };
            for (folder, _) in &stack {
                if fstat(folder)?.st_mode & 0o001 == 0 {
                    return Ok(false);
                }
            }
            let program = stat_in(&stack, &leaf)?;
            Ok(program.is_some_and(|stat| stat.st_mode & 0o005 == 0o005))
        };
        may().unwrap_or(false)
    }

    /// Why a program may not run with our rights, if somebody else can have put it there.
    fn refuse_program(&self, path: &Path) -> Result<Option<Problem>> {
        let what = || format!("run {} as {}", path.display(), self.own_name());
        let refuse = |it: &Path, why: String| {
            let why = format!("{} {why}", it.display());
            let help = format!(
                "run a program that is root's, such as one from a package; or make root the owner of {} and the folders that it is in, and let nobody else write there",
                path.display()
            );
            Ok(Some(Problem::new(what(), why).help(help)))
        };
        // It follows a link of others only to what is theirs.
        let (stack, leaf) = match self.walk_all(path, true)? {
            Found::Leaf(stack, leaf) => (stack, leaf),
            Found::Directory(stack) => return refuse(&path_of(&stack), "is a folder".into()),
            Found::Nowhere(_) => {
                return Err(missing());
            }
        };
        let mut folder = PathBuf::from("/");
        for (fd, name) in &stack {
            folder.push(name);
            let stat = fstat(fd)?;
            if let Some(why) = self.of_others(&stat, others_write(&stat)) {
                return refuse(&folder, why);
            }
        }
        let Some(stat) = stat_in(&stack, &leaf)? else {
            return Err(missing());
        };
        let file = folder.join(&leaf);
        match self.of_others(&stat, stat.st_mode & 0o022 != 0) {
            Some(why) => refuse(&file, why),
            None => Ok(None),
        }
    }

    fn of_others(&self, stat: &Stat, others_write: bool) -> Option<String> {
        if stat.st_uid != 0 && stat.st_uid != rustix::process::geteuid().as_raw() {
            return Some(format!("belongs to {}", self.user_name(stat.st_uid)));
        }
        others_write.then(|| "can be written by others".to_owned())
    }

    fn own_name(&self) -> String {
        self.user_name(rustix::process::geteuid().as_raw())
    }
}

fn missing() -> anyhow::Error {
    std::io::Error::from(Errno::NOENT).into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, lchown, symlink};

    use super::*;
    use crate::host::commands::Command;

    /// These tests need root.
    #[test]
    fn programs_of_others_are_not_run_with_our_rights() {
        let host = Host::new(None).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o755)).unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("bin")).unwrap();
        std::fs::copy("/bin/true", at("bin/true")).unwrap();
        symlink(at("bin/true"), at("link")).unwrap();
        let runs = |name: &str| {
            let ran = host.run(&Command::new(at(name)));
            assert_eq!(ran.is_ok(), host.is_own_program(&at(name)));
            ran.map(drop).map_err(|error| format!("{error:#}"))
        };
        let chmod = |name: &str, mode| {
            std::fs::set_permissions(at(name), PermissionsExt::from_mode(mode)).unwrap()
        };
        let give = |name: &str, uid| lchown(at(name), Some(uid), Some(uid)).unwrap();
        let good = || {
            for name in ["bin", "bin/true", "link"] {
                give(name, 0);
            }
            chmod("bin", 0o755);
            chmod("bin/true", 0o755);
            assert!(runs("bin/true").is_ok() && runs("link").is_ok());
        };
        good();
        for (name, mode) in [("bin", 0o775), ("bin", 0o777), ("bin/true", 0o775)] {
            chmod(name, mode);
            for path in ["bin/true", "link"] {
                assert!(runs(path).unwrap_err().contains("written by others"));
            }
            good();
        }
        for name in ["bin", "bin/true"] {
            give(name, 4001);
            for path in ["bin/true", "link"] {
                assert!(runs(path).unwrap_err().contains("belongs to 4001"));
            }
            good();
        }
        give("link", 4001);
        assert!(runs("link").unwrap_err().contains("4001"));
        // Her link to her program.
        give("bin/true", 4001);
        assert!(runs("link").is_err());
    }
}
