//! What a site's crew publishes of the jobs that the site keeps on disk: how many there
//! are, and why the latest failed, without their arguments. It is for readers who may
//! look into the site's run folder, but not into its jobs.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use crate::worker::plain;
use crate::worker::store::{self, JobRecord, JobStore};

pub const FILE: &str = "jobs.json";

/// A larger file is not read, in bytes.
const MAX_SIZE: u64 = 128 << 10;

/// How many of the latest failed jobs it names.
const LATEST: usize = 20;

/// Longer texts are cut off, in characters. `wp-gears failed show` has all of it.
const LONGEST_ERROR: usize = 300;
const LONGEST_HOOK: usize = 100;

/// How often a crew looks whether it is still true.
pub const EVERY: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bulletin {
    /// Failed jobs.
    pub failed: usize,
    /// Jobs that wait for a retry.
    pub retries: usize,
    /// Jobs that the rules of their hooks do not let run yet, by hook.
    pub limited: BTreeMap<String, usize>,
    /// Jobs that were refused since workers first ran.
    pub refused: u64,
    /// The latest failed jobs, the last one first.
    pub latest: Vec<FailedJob>,
}

/// A failed job. Times are milliseconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedJob {
    pub id: String,
    pub hook: Option<String>,
    pub at: u64,
    /// How often it was tried.
    pub tries: usize,
    pub error: String,
}

impl Bulletin {
    /// How many jobs are in this folder now, without naming any.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn counted(failed: &Path) -> io::Result<Bulletin> {
        let counts = store::count(failed)?;
        Ok(Bulletin {
            failed: counts.failed,
            retries: counts.retries,
            limited: store::limited(failed, counts)?,
            refused: store::refused(failed),
            latest: Vec::new(),
        })
    }

    fn of_jobs(failed: &Path) -> io::Result<Bulletin> {
        let mut bulletin = Bulletin::counted(failed)?;
        if bulletin.failed > 0 {
            let latest = JobStore::open_existing(failed)?.latest(LATEST)?;
            bulletin.latest = latest.into_iter().map(FailedJob::of).collect();
        }
        Ok(bulletin)
    }

    /// What is known to whoever asks: what is there, if they may look into the folder of
    /// jobs, and what was published, if not.
    ///
    /// # Errors
    /// If they may do neither.
    pub fn known(run: &Path, failed: &Path) -> io::Result<Bulletin> {
        let counted = match Bulletin::counted(failed) {
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                return Bulletin::read(run).map_err(|_| e);
            }
            counted => counted?,
        };
        let published = Bulletin::read(run).unwrap_or_default();
        let latest = published.latest.into_iter().take(counted.failed);
        Ok(Bulletin {
            latest: latest.collect(),
            ..counted
        })
    }

    /// What the site's crew published last. Like all that the run folder says, that is the
    /// worker user's word.
    ///
    /// # Errors
    /// If there is no such file, or it says something else.
    pub fn read(run: &Path) -> io::Result<Bulletin> {
        let mut text = String::new();
        let file = plain::open(&run.join(FILE))?;
        file.take(MAX_SIZE).read_to_string(&mut text)?;
        let mut read: Bulletin = serde_json::from_str(&text)?;
        read.latest.truncate(LATEST);
        for job in &mut read.latest {
            job.shorten();
        }
        Ok(read)
    }

    fn write(&self, run: &Path) -> io::Result<()> {
        plain::put(run, FILE, 0o640, &serde_json::to_vec(self)?)
    }
}

impl FailedJob {
    fn of(record: JobRecord) -> FailedJob {
        let last = record.tries.last();
        let mut job = FailedJob {
            at: last.map_or(record.taken, |last| last.at),
            error: last.map(|last| last.error.clone()).unwrap_or_default(),
            id: record.id,
            hook: record.hook,
            tries: record.tries.len(),
        };
        job.shorten();
        job
    }

    fn shorten(&mut self) {
        self.id = shortened(&self.id, LONGEST_HOOK);
        self.error = shortened(&self.error, LONGEST_ERROR);
        self.hook = self.hook.as_deref().map(|it| shortened(it, LONGEST_HOOK));
    }
}

fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// The crew's part: it looks now and then whether jobs came or went.
pub(super) struct Publisher {
    run: PathBuf,
    failed: PathBuf,
    /// When the folders of jobs last changed, as it was published.
    seen: Option<[SystemTime; 2]>,
    published: Option<Bulletin>,
    due: Instant,
}

impl Publisher {
    pub fn new(run: &Path, failed: &Path) -> Publisher {
        Publisher {
            run: run.to_owned(),
            failed: failed.to_owned(),
            seen: None,
            published: None,
            due: Instant::now(),
        }
    }

    pub fn due(&self) -> Instant {
        self.due
    }

    /// The next look is due at once.
    pub fn hurry(&mut self, now: Instant) {
        self.due = now;
    }

    /// Publishes what has changed, if it is time to look.
    pub fn look(&mut self, now: Instant) {
        if now < self.due {
            return;
        }
        self.due = now + EVERY;
        let times = self.times();
        let waits = self
            .published
            .as_ref()
            .is_some_and(|it| it.retries > 0 || !it.limited.is_empty());
        // What waits for a retry becomes what waits for a rule without a change on disk.
        if times.is_some() && times == self.seen && !waits {
            return;
        }
        let Ok(bulletin) = Bulletin::of_jobs(&self.failed) else {
            return;
        };
        if self.published.as_ref() != Some(&bulletin) {
            // Only others need it, so the next look may do it as well.
            if bulletin.write(&self.run).is_err() {
                return;
            }
            self.published = Some(bulletin);
        }
        self.seen = times;
    }

    fn times(&self) -> Option<[SystemTime; 2]> {
        let of = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
        Some([of(&self.failed)?, of(&self.failed.join("waiting"))?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::store::Try;

    fn record(at: u64, error: &str) -> JobRecord {
        JobRecord {
            id: format!("{at:013}-00000000"),
            name: "n".into(),
            site: "s".into(),
            server: String::new(),
            function: "secret:WP_Async_Task".into(),
            unique: String::new(),
            handle: String::new(),
            hook: Some("<script>".into()),
            blog: None,
            size: 6,
            whole: true,
            taken: at,
            submitted: None,
            arguments: Some("{\"password\":1}".into()),
            refused: false,
            tries: vec![Try {
                at,
                ms: 1,
                error: error.into(),
                output: "password".into(),
            }],
        }
    }

    #[test]
    fn it_follows_the_jobs_and_says_nothing_of_their_arguments() {
        let dir = tempfile::tempdir().unwrap();
        let (run, failed) = (dir.path().join("run"), dir.path().join("failed"));
        fs::create_dir(&run).unwrap();
        fs::create_dir(&failed).unwrap();
        let store = JobStore::open(&failed).unwrap();
        let mut publisher = Publisher::new(&run, &failed);
        let mut now = publisher.due();
        let mut look = || {
            publisher.look(now);
            now = publisher.due();
            Bulletin::read(&run).unwrap()
        };
        assert_eq!(look(), Bulletin::default());
        for at in 1..=30 {
            let error = format!("{at} {}", "é".repeat(1000));
            store.keep(&record(at, &error), b"secret").unwrap();
        }
        let seen = look();
        assert_eq!((seen.failed, seen.latest.len()), (30, LATEST));
        let first = &seen.latest[0];
        assert_eq!((first.at, first.hook.as_deref()), (30, Some("<script>")));
        assert!(first.error.starts_with("30 é") && first.error.chars().count() == 301);
        let text = fs::read_to_string(run.join(FILE)).unwrap();
        assert!(
            !text.contains("password") && !text.contains("secret"),
            "{text}"
        );
        for at in 1..=30 {
            store.forget(&record(at, "").id).unwrap();
        }
        assert_eq!(look(), Bulletin::default());
    }

    #[test]
    fn what_a_site_wrote_itself_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let long = "x".repeat(1000);
        let job = FailedJob {
            error: long.clone(),
            hook: Some(long),
            ..FailedJob::default()
        };
        let bulletin = Bulletin {
            latest: vec![job; 50],
            ..Bulletin::default()
        };
        bulletin.write(dir.path()).unwrap();
        let seen = Bulletin::read(dir.path()).unwrap();
        assert_eq!(seen.latest.len(), LATEST);
        assert_eq!(seen.latest[0].error.chars().count(), LONGEST_ERROR + 1);
        fs::remove_file(dir.path().join(FILE)).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join(FILE)).unwrap();
        assert!(Bulletin::read(dir.path()).is_err());
    }
}
