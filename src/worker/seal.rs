//! Whether a worker still takes jobs that are not sealed, and how long former keys are
//! kept. PHP has the keys; here are only their files.
//!
//! When a site's jobs begin to be sealed, others may wait already, and processes that
//! began before submit more for a while. So they are run until every queue was empty
//! after a grace, and never again.

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::gearman::server::Server;
use crate::worker::log::SiteLog;
use crate::worker::options::{WorkerArgs, WorkerSettings};
use crate::worker::plain;

/// How a sealed payload begins; of any version.
pub const SEALED: &[u8] = b"wp-gears-seal:";

/// Names the present key; written by PHP. Its time is when that key became the present
/// one.
const PRESENT: &str = "seal-present";
/// While it exists, no job runs that is not sealed.
const ONLY: &str = "seal-only";

/// The longest time for which other jobs run, whatever waits.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// A former key is kept for this many graces after the last job that it had sealed: a
/// PHP that does not look at files has it until it is reloaded.
const UNUSED: u32 = 10;

pub struct Seal {
    run: PathBuf,
    /// Jobs are to be sealed.
    pub wanted: bool,
    /// No others are to run, in the end.
    exclusive: bool,
    grace: Duration,
    /// Why they are not sealed, as PHP last said.
    why_not: String,
    /// Something is left for `settle` to end.
    pub is_unsettled: bool,
}

impl Seal {
    pub fn new(args: &WorkerArgs, settings: &WorkerSettings, run: &Path) -> Seal {
        Seal {
            run: run.to_owned(),
            wanted: settings.seal != Some(false),
            exclusive: is_exclusive(settings.seal, args.shared, &args.servers),
            grace: Duration::from_secs(args.seal_grace),
            why_not: String::new(),
            is_unsettled: false,
        }
    }

    /// PHP has loaded the site: why its jobs are not sealed, or nothing. Returns how long
    /// to wait before `settle` can have an effect.
    pub fn loaded(&mut self, unsealed: &str, log: &SiteLog) -> Option<Duration> {
        if unsealed.is_empty() {
            self.why_not.clear();
            self.is_unsettled = true;
            return self.wait();
        }
        for name in [ONLY, PRESENT] {
            let _ = fs::remove_file(self.run.join(name));
        }
        if self.wanted && self.why_not != unsealed {
            log.line(&format!("jobs are not sealed: {unsealed}"));
        }
        self.why_not = unsealed.to_owned();
        None
    }

    fn wait(&self) -> Option<Duration> {
        if !self.exclusive || self.run.join(ONLY).exists() {
            return None;
        }
        let age = age(&self.run.join(PRESENT))?;
        // A little later, so that it is over then.
        Some(self.grace.saturating_sub(age) + Duration::from_millis(50))
    }

    /// Whether a job may run that is not sealed.
    pub fn takes_plain(&self) -> bool {
        !self.exclusive || !self.run.join(ONLY).exists()
    }

    /// Ends what a grace allows. `is_empty`: nothing waits at any job server;
    /// `has_retries`: jobs wait on disk.
    pub fn settle(&mut self, is_empty: bool, has_retries: bool, log: &SiteLog) {
        let present = self.run.join(PRESENT);
        let Some(since) = age(&present).filter(|_| self.wanted) else {
            return;
        };
        if is_empty && !has_retries {
            self.forget_former(&present, log);
        }
        let is_over = since >= self.grace && (is_empty || since >= LONGEST);
        if self.exclusive && is_over {
            self.end_plain(log);
        }
        let sealing = Sealing::of(&self.run);
        self.is_unsettled = sealing.former > 0 || self.exclusive && !sealing.only;
    }

    fn end_plain(&self, log: &SiteLog) {
        let marker = self.run.join(ONLY);
        let mut options = OpenOptions::new();
        // Another worker of the site may have made it.
        match options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&marker)
        {
            Ok(_) => log.line("from now on, only sealed jobs are run"),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => log.line(&format!("cannot write {}: {e}", marker.display())),
        }
    }

    fn forget_former(&self, present: &Path, log: &SiteLog) {
        let Ok(id) = fs::read_to_string(present) else {
            return;
        };
        for path in former(&self.run, id.trim()) {
            if age(&path).is_some_and(|age| age >= self.grace * UNUSED)
                && fs::remove_file(&path).is_ok()
            {
                log.line("forgot a former key of sealed jobs: none is in use");
            }
        }
    }
}

/// Whether only sealed jobs are to run. On other hosts, pages may not seal theirs yet.
pub fn is_exclusive(asked: Option<bool>, is_shared: bool, servers: &[Server]) -> bool {
    asked.unwrap_or_else(|| !is_shared && servers.iter().all(Server::is_local))
}

/// The files of keys other than this one.
fn former(run: &Path, present: &str) -> Vec<PathBuf> {
    let is_former = |name: &str| {
        let id = name
            .strip_prefix("seal-")
            .and_then(|rest| rest.strip_suffix(".key"));
        id.is_some_and(|id| id != present)
    };
    let entries = fs::read_dir(run).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_str().is_some_and(is_former))
        .map(|entry| entry.path())
        .collect()
}

fn age(path: &Path) -> Option<Duration> {
    let modified = fs::symlink_metadata(path).ok()?.modified().ok()?;
    Some(
        SystemTime::now()
            .duration_since(modified)
            .unwrap_or_default(),
    )
}

/// How far a site's jobs are sealed, for others than its workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealing {
    /// They are sealed, as far as the workers know.
    pub on: bool,
    /// No others are run.
    pub only: bool,
    /// Keys that are no longer the site's, and may still have sealed jobs that wait.
    pub former: usize,
}

impl Sealing {
    /// The folder belongs to the worker user: names are looked at, and one short text.
    pub fn of(run: &Path) -> Sealing {
        let present = present(run);
        Sealing {
            on: present.is_some(),
            only: fs::symlink_metadata(run.join(ONLY)).is_ok(),
            former: present.map_or(0, |id| former(run, &id).len()),
        }
    }
}

fn present(run: &Path) -> Option<String> {
    let file = plain::open(&run.join(PRESENT)).ok()?;
    let mut text = String::new();
    file.take(64).read_to_string(&mut text).ok()?;
    Some(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(run: &Path, grace: u64) -> Seal {
        Seal {
            run: run.to_owned(),
            wanted: true,
            exclusive: true,
            grace: Duration::from_secs(grace),
            why_not: String::new(),
            is_unsettled: false,
        }
    }

    fn log() -> SiteLog {
        SiteLog::open(Path::new("/dev/null"), "test".into())
    }

    fn write(run: &Path, name: &str, text: &str, seconds_ago: u64) {
        let path = run.join(name);
        fs::write(&path, text).unwrap();
        let file = OpenOptions::new().write(true).open(path).unwrap();
        let at = SystemTime::now() - Duration::from_secs(seconds_ago);
        file.set_modified(at).unwrap();
    }

    #[test]
    fn plain_jobs_run_until_the_queue_is_empty_after_the_grace() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path();
        let mut seal = seal(run, 60);
        seal.settle(true, false, &log());
        assert!(seal.takes_plain(), "nothing is sealed yet");
        write(run, PRESENT, "a\n", 30);
        seal.settle(true, false, &log());
        assert!(seal.takes_plain(), "the grace is not over");
        write(run, PRESENT, "a\n", 61);
        seal.settle(false, false, &log());
        assert!(seal.takes_plain(), "something waits");
        seal.settle(true, true, &log());
        assert!(!seal.takes_plain());
        assert!(Sealing::of(run).only);
        // The plugin that seals is gone, and comes back.
        assert!(seal.loaded("no plugin", &log()).is_none());
        assert!(seal.takes_plain());
        assert_eq!(
            Sealing::of(run),
            Sealing {
                on: false,
                only: false,
                former: 0
            }
        );
        write(run, PRESENT, "a\n", 25 * 3600);
        seal.settle(false, false, &log());
        assert!(!seal.takes_plain(), "not for ever");
    }

    #[test]
    fn a_former_key_is_kept_while_something_may_be_sealed_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path();
        let mut seal = seal(run, 60);
        write(run, PRESENT, "b\n", 700);
        write(run, "seal-b.key", "", 9000);
        write(run, "seal-a.key", "", 590);
        let former = || Sealing::of(run).former;
        seal.settle(true, false, &log());
        assert_eq!(former(), 1, "used not long ago");
        write(run, "seal-a.key", "", 601);
        seal.settle(false, false, &log());
        seal.settle(true, true, &log());
        assert_eq!(former(), 1, "jobs wait");
        seal.settle(true, false, &log());
        assert_eq!(former(), 0);
        assert!(run.join("seal-b.key").exists());
    }

    #[test]
    fn jobs_of_other_hosts_are_not_refused_unless_asked() {
        let servers = |text: &str| -> Vec<Server> {
            text.split(',').map(|one| one.parse().unwrap()).collect()
        };
        for (asked, shared, at, exclusive) in [
            (None, false, "127.0.0.1:4730", true),
            (None, false, "localhost,::1", true),
            (None, true, "127.0.0.1", false),
            (None, false, "127.0.0.1,10.0.0.2", false),
            (None, false, "jobs.example", false),
            (Some(true), true, "jobs.example", true),
            (Some(false), false, "127.0.0.1", false),
        ] {
            assert_eq!(
                is_exclusive(asked, shared, &servers(at)),
                exclusive,
                "{asked:?} {at}"
            );
        }
    }
}
