//! The store in an SQLite file.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::base::problem::Problem;
use crate::gearman::options::Wanted;
use crate::gearman::password::Password;
use crate::host::Host;
use crate::host::files::Node;
use crate::host::platform::Gearmand;
use crate::queue::{Condition, Fault, Kind, Repair, Running, Store, StoreOptions};

/// gearmand's option that names the file.
const FILE: &str = "libsqlite3-db";
const NAME: &str = "queue.sqlite";
/// With less free space, in bytes, not even a few jobs fit.
const MIN_SPACE: u64 = 1 << 20;

pub struct Sqlite;

impl Kind for Sqlite {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn help(&self) -> &'static str {
        "A file on this host: durable, needs no database server"
    }

    fn summary(&self) -> &'static str {
        "a file; survives restarts"
    }

    fn queue_type(&self) -> &'static str {
        "libsqlite3"
    }

    fn place(&self) -> Option<&'static [(&'static str, &'static str)]> {
        Some(&[(FILE, "")])
    }

    fn open(&self, host: &Host, _: &StoreOptions, _: Option<Password>) -> Result<Box<dyn Store>> {
        let gearmand = &host.platform()?.family.gearmand;
        Ok(Box::new(SqliteStore { gearmand }))
    }
}

/// The file is in the folder where the platform's gearmand keeps its data.
struct SqliteStore {
    gearmand: &'static Gearmand,
}

impl SqliteStore {
    fn file(&self) -> PathBuf {
        Path::new(self.gearmand.queue_dir).join(NAME)
    }
}

impl Store for SqliteStore {
    fn wanted(&self) -> Vec<Wanted> {
        vec![Wanted::new(FILE, None, &self.file().to_string_lossy())]
    }

    fn wanted_in(&self, folder: &Path) -> Option<Vec<Wanted>> {
        let file = folder.join(NAME);
        Some(vec![Wanted::new(FILE, None, &file.to_string_lossy())])
    }

    fn folder(&self) -> Option<PathBuf> {
        Some(self.gearmand.queue_dir.into())
    }

    fn check(&self, host: &Host) -> Result<()> {
        let file = self.file();
        let mut faults = faults(host, self.gearmand, &file)?;
        let ours = self.folder().map(Repair::Folder);
        faults.retain(|fault| fault.repair.is_none() || fault.repair != ours);
        let join = |part: fn(&Fault) -> &str| {
            let all: Vec<&str> = faults.iter().map(part).collect();
            all.join("; ")
        };
        if faults.is_empty() {
            return Ok(());
        }
        let what = format!("store jobs in {}", file.display());
        Err(Problem::new(what, join(|fault| &fault.message))
            .help(format!("{}, then run again", join(|fault| &fault.help)))
            .into())
    }

    fn examine(&self, host: &Host, running: &Running) -> Result<Vec<Condition>> {
        let path = running.option(FILE).map_or(self.file(), PathBuf::from);
        let (shown, restart) = (path.display(), running.restart);
        let faults = faults(host, self.gearmand, &path)?;
        let mut conditions: Vec<Condition> = faults
            .into_iter()
            .map(|fault| {
                let help = format!("{}, then run '{restart}'", fault.help);
                Condition::Fault(Fault { help, ..fault })
            })
            .collect();
        let mut sound = String::new();
        let mut lost = |message: String| {
            let help = format!("wait until no more jobs are waiting, then run '{restart}'");
            conditions.push(Condition::Fault(Fault {
                message,
                help,
                repair: Some(Repair::Restart),
            }));
        };
        match host.look(&path) {
            Ok(Node::Absent) if running.pid == 0 => {
                sound = format!("{shown} will be created by gearmand");
            }
            Ok(Node::Absent) => lost(format!(
                "{shown} is gone: waiting jobs will not survive a restart"
            )),
            node => {
                let files = host.files_of(running.pid);
                let deleted = PathBuf::from(format!("{shown} (deleted)"));
                if files.contains(&deleted) && !files.contains(&path) {
                    lost(format!("gearmand still writes to the deleted file {shown}"));
                }
                if let Ok(Node::File(meta)) = node {
                    sound = format!("jobs wait in {shown} ({} KB)", meta.size.div_ceil(1024));
                }
            }
        }
        if conditions.is_empty() {
            conditions.push(Condition::Sound(sound));
        }
        Ok(conditions)
    }
}

/// Everything wrong with the file or its folder. A missing file is no fault: gearmand
/// creates it.
fn faults(host: &Host, gearmand: &Gearmand, path: &Path) -> Result<Vec<Fault>> {
    let mut faults = Vec::new();
    let mut wrong = |message: String, help: String, folder: Option<&Path>| {
        let repair = folder.map(|folder| Repair::Folder(folder.to_owned()));
        faults.push(Fault {
            message,
            help,
            repair,
        });
    };
    let shown = path.display();
    let user = host.user(gearmand.user).ok().flatten();
    if let Some(folder) = path.parent().filter(|folder| host.is_dir(folder)) {
        if let Some(user) = &user
            && let Some(why) = host.cannot_write_in(folder, user)?
        {
            let help = format!("run 'chown {} {}'", user.name, folder.display());
            let message = format!("{why}, so no jobs can be stored");
            wrong(message, help, Some(folder));
        }
        let space = host.space(folder)?;
        if space.bytes < MIN_SPACE || space.files == Some(0) {
            let message = format!("{} is full, so no jobs can be stored", folder.display());
            let help = format!("free some space (see 'df {}')", folder.display());
            wrong(message, help, None);
        }
    }
    let mut add = |message: String, help: String| wrong(message, help, None);
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
            format!("run 'chown {user} {shown}'"),
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
