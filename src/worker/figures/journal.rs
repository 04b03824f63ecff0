//! The log of attempts that the workers of a site share. Its first line is its number.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::base::clock::now_ms;
use crate::worker::figures::Attempt;
use crate::worker::figures::stored::{self, Stored};
use crate::worker::plain;
use crate::worker::store::new_id;

/// Each time that a log has grown by so much, it is added to the figures, in bytes.
const LONG: u64 = 96 << 10;

/// If that fails again and again, attempts are forgotten rather than a disk filled.
const MAX_SIZE: u64 = 4 << 20;

/// How often another worker may replace the log meanwhile.
const TRIES: usize = 20;

fn path(run: &Path) -> PathBuf {
    run.join("figures.log")
}

/// Records attempts. The log is opened by the first one.
pub struct Recorder {
    run: PathBuf,
    log: Option<File>,
}

impl Recorder {
    pub fn new(run: &Path) -> Recorder {
        Recorder {
            run: run.to_owned(),
            log: None,
        }
    }

    /// On return, no end of this process loses the attempt.
    pub fn record(&mut self, attempt: &Attempt) -> io::Result<()> {
        let mut line = serde_json::to_vec(attempt)?;
        line.push(b'\n');
        for _ in 0..TRIES {
            let (mut log, is_new) = match self.log.take() {
                Some(log) => (log, false),
                None => (open(&self.run)?, true),
            };
            log.lock()?;
            let before = log.metadata()?;
            if before.nlink() == 0 {
                continue; // another worker has added it to the figures
            }
            if is_new && number(&log) <= stored::generation(&self.run) {
                // A worker died before it had removed it.
                fs::remove_file(path(&self.run))?;
                continue;
            }
            log.write_all(&line)?;
            let size = before.len() + line.len() as u64;
            if size / LONG != before.len() / LONG {
                return self.fold(log, size);
            }
            log.unlock()?;
            self.log = Some(log);
            return Ok(());
        }
        Err(io::Error::other(
            "the log of attempts is replaced all the time",
        ))
    }

    /// Adds the log, which is locked, to the figures.
    fn fold(&mut self, log: File, size: u64) -> io::Result<()> {
        let added = (|| {
            let all = Log::of(plain::open(&path(&self.run))?)?;
            // What is damaged counts again from here.
            let mut stored = Stored::read(&self.run).unwrap_or_default();
            stored.add(&all.attempts, now_ms());
            stored.generation = all.generation;
            stored.write(&self.run)
        })();
        if added.is_ok() || size > MAX_SIZE {
            fs::remove_file(path(&self.run))?;
        }
        drop(log);
        added
    }
}

fn open(run: &Path) -> io::Result<File> {
    let path = path(run);
    for _ in 0..TRIES {
        let opened = OpenOptions::new()
            .read(true)
            .append(true)
            .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32)
            .open(&path);
        match opened {
            Err(e) if e.kind() == io::ErrorKind::NotFound => create(run, &path)?,
            result => return result,
        }
    }
    Err(io::Error::other(
        "the log of attempts vanishes all the time",
    ))
}

/// Complete from the first moment, and not in place of one that another worker makes.
fn create(run: &Path, path: &Path) -> io::Result<()> {
    let new = run.join(format!("new-figures.log-{}", new_id(now_ms())));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o640)
        .open(&new)?;
    let next = stored::generation(run).saturating_add(1);
    let made = writeln!(file, "{next}").and_then(|()| fs::hard_link(&new, path));
    let _ = fs::remove_file(&new);
    match made {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        _ => Ok(()),
    }
}

fn number(log: &File) -> u64 {
    use std::os::unix::fs::FileExt;
    let mut start = [0; 32];
    let length = log.read_at(&mut start, 0).unwrap_or(0);
    first_line(&String::from_utf8_lossy(&start[..length]))
}

fn first_line(text: &str) -> u64 {
    let line = text.lines().next();
    line.and_then(|line| line.parse().ok()).unwrap_or(0)
}

/// What is in a log.
pub struct Log {
    pub generation: u64,
    pub attempts: Vec<Attempt>,
}

impl Log {
    pub fn read(run: &Path) -> io::Result<Option<Log>> {
        match plain::open(&path(run)) {
            Ok(file) => Log::of(file).map(Some),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn of(file: File) -> io::Result<Log> {
        let mut bytes = Vec::new();
        file.take(MAX_SIZE + LONG).read_to_end(&mut bytes)?;
        let mut lines = bytes.split(|byte| *byte == b'\n');
        let first = lines.next().unwrap_or_default();
        Ok(Log {
            generation: first_line(&String::from_utf8_lossy(first)),
            // A full disk cuts a line off.
            attempts: lines
                .filter_map(|line| serde_json::from_slice(line).ok())
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::worker::figures::{Ending, MAX_HOOKS, OTHER, read};

    const NOW: u64 = 1_800_000_000_000;

    fn attempt(hook: &str, wait: u64) -> Attempt {
        let now = now_ms();
        Attempt {
            at: now,
            hook: Some(hook.into()),
            first: true,
            submitted: Some(now - wait),
            began: now,
            ran: 3,
            ending: Ending::Done,
        }
    }

    #[test]
    fn sums_are_exact_whatever_number_of_workers_records() {
        const WORKERS: u64 = 4;
        const JOBS: u64 = 3000;
        let failed = AtomicBool::new(false);
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..WORKERS {
                scope.spawn(|| {
                    let mut recorder = Recorder::new(dir.path());
                    for n in 0..JOBS {
                        if n == JOBS / 2 {
                            // It is killed, and another one starts.
                            recorder = Recorder::new(dir.path());
                        }
                        if let Err(e) = recorder.record(&attempt("hook", n)) {
                            failed.store(true, Ordering::Relaxed);
                            panic!("{e}");
                        }
                    }
                });
            }
            // Whoever reads meanwhile sees no job twice, and none vanish.
            let mut before = 0;
            while before < WORKERS * JOBS && !failed.load(Ordering::Relaxed) {
                let seen = read(dir.path(), now_ms()).unwrap().all.done;
                assert!(seen >= before && seen <= WORKERS * JOBS, "{before}, {seen}");
                before = seen;
            }
        });
        let figures = read(dir.path(), now_ms()).unwrap();
        let all = &figures.all;
        assert_eq!((all.submitted, all.done), (WORKERS * JOBS, WORKERS * JOBS));
        assert_eq!(all.wait_ever.count(), WORKERS * JOBS);
        assert_eq!(all.wait_ever.sum_ms, WORKERS * JOBS * (JOBS - 1) / 2);
        assert_eq!(all.day.jobs, WORKERS * JOBS);
        assert_eq!(all.day.wait_ms.unwrap().max, JOBS - 1);
        assert_eq!(figures.hooks[0].figures, *all);
    }

    #[test]
    fn recording_a_job_takes_less_than_a_tenth_of_a_millisecond() {
        use rustix::time::{ClockId, clock_gettime};
        const JOBS: u64 = 20_000;
        let dir = tempfile::tempdir().unwrap();
        let mut recorder = Recorder::new(dir.path());
        let processor_us = || {
            let time = clock_gettime(ClockId::ThreadCPUTime);
            (time.tv_sec as u64) * 1_000_000 + (time.tv_nsec as u64) / 1000
        };
        let before = processor_us();
        for n in 0..JOBS {
            let hook = format!("hook_{}", n % MAX_HOOKS as u64);
            recorder.record(&attempt(&hook, n * n % 100_000)).unwrap();
        }
        let each = (processor_us() - before) / JOBS;
        let size = fs::metadata(dir.path().join("figures")).unwrap().len();
        println!("{each} µs of processor time for each job, {size} bytes of figures");
        assert!(each < 100, "{each} µs");
    }

    #[test]
    fn a_worker_that_dies_between_the_two_files_counts_nothing_twice() {
        let dir = tempfile::tempdir().unwrap();
        let mut recorder = Recorder::new(dir.path());
        recorder.record(&attempt("hook", 1)).unwrap();
        let log = fs::read(path(dir.path())).unwrap();
        let held = recorder.log.take().unwrap();
        recorder.fold(held, 0).unwrap();
        assert!(!path(dir.path()).exists());
        fs::write(path(dir.path()), log).unwrap();
        let done = || read(dir.path(), now_ms()).unwrap().all.done;
        assert_eq!(done(), 1);
        recorder.record(&attempt("hook", 1)).unwrap();
        assert_eq!(done(), 2);
    }

    #[test]
    fn hooks_are_bounded_and_damage_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let mut recorder = Recorder::new(dir.path());
        for n in 0..MAX_HOOKS + 10 {
            recorder.record(&attempt(&format!("h{n}"), 1)).unwrap();
        }
        let figures = read(dir.path(), now_ms()).unwrap();
        assert_eq!(figures.hooks.len(), MAX_HOOKS + 1);
        let other = figures.hooks.iter().find(|it| it.hook == OTHER).unwrap();
        assert_eq!(other.figures.done, 10);
        assert_eq!(figures.all.done, MAX_HOOKS as u64 + 10);
        fs::write(dir.path().join("figures"), "1\n{").unwrap();
        assert!(read(dir.path(), NOW).is_err());
        // Neither a link nor half a line of a full disk does harm.
        fs::remove_file(dir.path().join("figures")).unwrap();
        fs::write(path(dir.path()), "1\n{\"at\":1,\"hoo").unwrap();
        assert_eq!(read(dir.path(), NOW).unwrap().all.done, 0);
    }

    #[test]
    fn an_attempt_without_a_submission_time_has_no_wait() {
        let dir = tempfile::tempdir().unwrap();
        let mut recorder = Recorder::new(dir.path());
        let plain = Attempt {
            submitted: None,
            ..attempt("hook", 0)
        };
        let retry = Attempt {
            first: false,
            ..attempt("hook", 9)
        };
        recorder.record(&plain).unwrap();
        recorder.record(&retry).unwrap();
        let all = read(dir.path(), now_ms()).unwrap().all;
        assert_eq!((all.submitted, all.done, all.unstamped), (1, 2, 1));
        assert_eq!(all.wait_ever.count(), 0);
        assert_eq!(all.minute.wait_ms, None);
        assert_eq!(all.run_ever.count(), 2);
    }
}
