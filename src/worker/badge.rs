//! How a worker identifies itself to job servers, for whoever looks at the fleet: its host,
//! site and process, and short hashes by which hosts of one site are told from copies of
//! the site. Everybody who reaches a job server can read it, and nothing in it is secret.

use serde::{Deserialize, Serialize};

use crate::host::this_name;

/// gearmand cuts off longer ones.
const LONGEST: usize = 127;

/// Of what comes from PHP.
const LONGEST_HASH: usize = 16;

/// What has to be the same on all hosts of a site.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mark {
    /// Tells the site's database from others; empty if that is unknown.
    pub database: String,
    /// The id of the key that seals the site's jobs; empty if they are not sealed.
    pub key: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Badge {
    pub host: String,
    /// That of the site; the end of a long one may be missing.
    pub name: String,
    pid: u32,
    /// `None` for a worker that does not know it yet, and for those of earlier versions.
    pub mark: Option<Mark>,
    /// The number of its job servers.
    pub servers: usize,
}

impl Mark {
    /// From PHP; what could not be part of an id is left out.
    pub fn new(database: &str, key: &str) -> Mark {
        let hash = |text: &str| match is_hash(text) {
            true => text.to_owned(),
            false => String::new(),
        };
        Mark {
            database: hash(database),
            key: hash(key),
        }
    }
}

fn is_hash(text: &str) -> bool {
    text.len() <= LONGEST_HASH && text.bytes().all(|b| b.is_ascii_hexdigit())
}

impl Badge {
    /// That of a worker on this host.
    pub fn new(name: &str, pid: u32, mark: Option<Mark>, servers: usize) -> Badge {
        Badge {
            host: this_name(),
            name: name.to_owned(),
            pid,
            mark,
            servers,
        }
    }

    /// Reads the id of a worker; `None` for those of other software.
    pub fn read(id: &str) -> Option<Badge> {
        let (start, end) = id.rsplit_once('/')?;
        let told = |end: &str| {
            let [database, key, servers] = end.split('.').collect::<Vec<_>>().try_into().ok()?;
            let mark = (is_hash(database) && is_hash(key)).then(|| Mark::new(database, key))?;
            Some((Some(mark), servers.parse().ok()?))
        };
        let (start, pid, (mark, servers)) = match (end.parse(), told(end)) {
            (Ok(pid), _) => (start, pid, (None, 0)),
            (_, Some(told)) => {
                let (start, pid) = start.rsplit_once('/')?;
                (start, pid.parse().ok()?, told)
            }
            _ => return None,
        };
        let (host, name) = start.rsplit_once('/')?;
        let (host, name) = (host.to_owned(), name.to_owned());
        Some(Badge {
            host,
            name,
            pid,
            mark,
            servers,
        })
    }

    /// Whether it is that of a worker of this site on this host.
    pub fn is_here(&self, name: &str) -> bool {
        self.host == this_name() && name.starts_with(&self.name)
    }

    /// Whether it is of the same process. Its name may have been cut off.
    pub fn is_of(&self, other: &Badge) -> bool {
        (&self.host, self.pid) == (&other.host, other.pid)
    }
}

impl std::fmt::Display for Badge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rest = self.mark.as_ref().map_or_else(String::new, |mark| {
            format!("/{}.{}.{}", mark.database, mark.key, self.servers)
        });
        let end = format!("/{}{rest}", self.pid);
        let room = LONGEST.saturating_sub(end.len() + self.host.len() + 1);
        // Its name is of letters that are one byte each.
        let name = self.name.get(..room).unwrap_or(&self.name);
        write!(f, "{}/{name}{end}", self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_says_can_be_read() {
        let mark = Mark::new("0123456789ab", "fedcba9876543210");
        let badge = Badge::new("site", 7, Some(mark), 2);
        let id = badge.to_string();
        assert!(
            id.ends_with("/site/7/0123456789ab.fedcba9876543210.2"),
            "{id}"
        );
        assert_eq!(Badge::read(&id), Some(badge.clone()));
        let early = Badge::new("site", 7, None, 2);
        let old = Badge::read(&early.to_string()).unwrap();
        assert!(old.mark.is_none() && old.is_of(&badge), "{old:?}");
        let unknown = Badge::new("site", 7, Some(Mark::default()), 1);
        let read = Badge::read(&unknown.to_string()).unwrap();
        assert_eq!(read.mark, Some(Mark::default()));
    }

    #[test]
    fn it_has_room_at_the_job_server() {
        let mark = Mark::new("0123456789ab", "fedcba9876543210");
        let id = Badge::new(&"n".repeat(100), 4_194_304, Some(mark.clone()), 12).to_string();
        assert!(id.len() <= LONGEST, "{id}");
        assert_eq!(Badge::read(&id).and_then(|it| it.mark), Some(mark));
    }

    #[test]
    fn a_site_cannot_write_into_what_job_servers_answer() {
        assert_eq!(Mark::new("a b", "c\n.\n"), Mark::default());
        assert_eq!(Mark::new(&"a".repeat(17), "0"), Mark::new("", "0"));
        for id in ["-", "", "host", "host/name/x", "host/name"] {
            assert_eq!(Badge::read(id), None, "{id}");
        }
    }
}
