//! The users that the machine, or the folder under `--root`, knows.

use std::ffi::CString;
use std::path::Path;

use anyhow::Result;

use crate::base::problem::Problem;
use crate::host::Host;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    /// All groups, including the primary one; only that one under `--root`.
    pub groups: Vec<u32>,
    pub home: String,
}

impl Host {
    pub fn user(&self, name: &str) -> Result<Option<User>> {
        if self.live() {
            return Ok(nix::unistd::User::from_name(name)?.map(from_system));
        }
        self.passwd(|fields| fields[0] == name)
    }

    pub fn user_by_id(&self, uid: u32) -> Result<Option<User>> {
        if self.live() {
            let found = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid))?;
            return Ok(found.map(from_system));
        }
        self.passwd(|fields| fields[2] == uid.to_string())
    }

    /// The user's name, or its number if it has none.
    pub fn user_name(&self, uid: u32) -> String {
        match self.user_by_id(uid) {
            Ok(Some(user)) => user.name,
            _ => uid.to_string(),
        }
    }

    /// The user; a missing one is an error.
    pub fn need_user(&self, name: &str) -> Result<User> {
        self.user(name)?.ok_or_else(|| {
            Problem::new(format!("look up the user {name}"), "there is no such user")
                .help("name another user, or create this one first")
                .into()
        })
    }

    pub fn group_id(&self, name: &str) -> Result<Option<u32>> {
        if self.live() {
            return Ok(nix::unistd::Group::from_name(name)?.map(|g| g.gid.as_raw()));
        }
        let Some(file) = self.read(Path::new("/etc/group"))? else {
            return Ok(None);
        };
        Ok(String::from_utf8_lossy(&file.bytes)
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find(|fields| fields.len() >= 3 && fields[0] == name)
            .and_then(|fields| fields[2].parse().ok()))
    }

    fn passwd(&self, matches: impl Fn(&[&str]) -> bool) -> Result<Option<User>> {
        let Some(file) = self.read(Path::new("/etc/passwd"))? else {
            return Ok(None);
        };
        for line in String::from_utf8_lossy(&file.bytes).lines() {
            let fields: Vec<&str> = line.split(':').collect();
            if fields.len() < 6 || !matches(&fields) {
                continue;
            }
            if let (Ok(uid), Ok(gid)) = (fields[2].parse(), fields[3].parse()) {
                return Ok(Some(User {
                    name: fields[0].to_owned(),
                    uid,
                    gid,
                    groups: vec![gid],
                    home: fields[5].to_owned(),
                }));
            }
        }
        Ok(None)
    }
}

fn from_system(user: nix::unistd::User) -> User {
    let groups = CString::new(user.name.as_str())
        .ok()
        .and_then(|name| nix::unistd::getgrouplist(&name, user.gid).ok())
        .map(|list| list.into_iter().map(|g| g.as_raw()).collect())
        .unwrap_or_else(|| vec![user.gid.as_raw()]);
    User {
        name: user.name,
        uid: user.uid.as_raw(),
        gid: user.gid.as_raw(),
        groups,
        home: user.dir.to_string_lossy().into_owned(),
    }
}
