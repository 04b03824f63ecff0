//! A folder of a site's workers. If they become another user's, what is in it must not
//! stay with the old one, who could read it, or keep the new one from using it.

use std::path::Path;

use anyhow::Result;

use crate::host::Host;
use crate::host::files::{Attributes, Node};
use crate::resource::directory::Directory;
use crate::resource::file::Owner;
use crate::resource::{Company, Inverse, Place, Resource, ResourceId, State};
use crate::worker::is_published;

/// What becomes of the files in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    /// They are made again.
    Removed,
    /// They become the new user's.
    Given,
}

pub struct WorkerFolder {
    folder: Directory,
    contents: Contents,
}

impl WorkerFolder {
    pub fn new(path: &Path, user: &str, contents: Contents) -> Self {
        let folder = Directory {
            path: path.to_owned(),
            owner: Owner::User(user.to_owned()),
            mode: 0o700,
            shared: false,
        };
        WorkerFolder { folder, contents }
    }
}

impl WorkerFolder {
    /// New files in it belong to this group, which may look at those that let it. Without
    /// one, nobody else reaches them.
    pub fn shown_to(mut self, group: Option<&str>) -> Self {
        if let (Some(group), Owner::User(user)) = (group, &self.folder.owner) {
            self.folder.owner = Owner::UserInGroup(user.clone(), group.to_owned());
            self.folder.mode = 0o2750;
        }
        self
    }
}

impl Resource for WorkerFolder {
    fn id(&self) -> ResourceId {
        self.folder.id()
    }

    fn company(&self) -> Company {
        Company::Any
    }

    fn inspect(&self, host: &Host) -> Result<State> {
        self.folder.inspect(host)
    }

    fn inverses(&self, host: &Host) -> Result<Vec<Inverse>> {
        self.folder.inverses(host)
    }

    fn apply(&self, host: &Host, watch: &dyn Fn(&str)) -> Result<()> {
        let path = self.folder.path.as_path();
        let wanted = self.folder.attributes(host)?;
        let now = match host.look(path)? {
            Node::Directory(now) => Some(now),
            _ => None,
        };
        if let Some(now) = &now
            && now.uid != wanted.uid
        {
            // Until it has its new owner, nobody else reaches what is in it. A run that
            // is cut off here finds it as root's, and does this again.
            host.make_dir(path, Attributes::root(0o700))?;
            match self.contents {
                Contents::Removed => host.empty_dir(path)?,
                Contents::Given => host.give_contents(path, wanted.uid, wanted.gid)?,
            }
        }
        self.folder.apply(host, watch)?;
        match now.is_some_and(|now| now.uid == wanted.uid && now.gid != wanted.gid) {
            // What its workers have written so far.
            true => host.regroup_contents(path, (wanted.uid, wanted.gid), is_published),
            false => Ok(()),
        }
    }

    fn place(&self) -> Option<Place<'_>> {
        self.folder.place()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, chown};

    use super::*;

    /// This test needs root.
    #[test]
    fn a_new_user_gets_failed_jobs_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        std::fs::create_dir_all(at("etc")).unwrap();
        std::fs::write(at("etc/passwd"), "new:x:4002:4002::/:/bin/sh\n").unwrap();
        std::fs::write(at("roots"), "").unwrap();
        for folder in ["run", "failed"] {
            std::fs::create_dir_all(at(folder).join("below")).unwrap();
            std::fs::write(at(folder).join("file"), "").unwrap();
            std::os::unix::fs::symlink("/roots", at(folder).join("link")).unwrap();
            std::fs::hard_link(at("roots"), at(folder).join("hard")).unwrap();
            std::fs::write(at(folder).join("below/job"), "").unwrap();
            let all = ["", "/file", "/below", "/below/job"];
            for path in all.map(|path| format!("{folder}{path}")) {
                chown(at(&path), Some(4001), Some(4001)).unwrap();
            }
        }
        let host = Host::new(Some(dir.path())).unwrap();
        let apply = |folder: &str, contents| {
            let folder = WorkerFolder::new(&Path::new("/").join(folder), "new", contents);
            assert_ne!(folder.inspect(&host).unwrap(), State::Same);
            folder.apply(&host, &|_| {}).unwrap();
            assert_eq!(folder.inspect(&host).unwrap(), State::Same);
        };
        apply("run", Contents::Removed);
        apply("failed", Contents::Given);
        assert_eq!(std::fs::read_dir(at("run")).unwrap().count(), 0);
        let owner = |path: &str| std::fs::symlink_metadata(at(path)).unwrap().uid();
        for path in ["failed/file", "failed/below", "failed/below/job"] {
            assert_eq!(owner(path), 4002, "{path}");
        }
        assert_eq!(owner("roots"), 0);
    }
}
