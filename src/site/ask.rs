//! Queries a site: runs our own program in the site's PHP, as the site's user,
//! and reads the one line of output that the program marks as its answer. Root
//! only parses that line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::base::checksum;
use crate::base::problem::Problem;
use crate::base::random;
use crate::base::text::printable;
use crate::host::Host;
use crate::host::commands::{Command, explain};
use crate::host::files::Node;
use crate::site::answers::{Identity, Proof, SiteFacts, StoredJobs};
use crate::site::page::{PageProof, RunnerAnswer};
use crate::site::plugins::{PLUGINS, Plugin};
use crate::site::web::listeners::WebListener;
use crate::worker;

/// Part of this binary, so that a site can be queried before setup has installed
/// anything.
const PROGRAM: &str = concat!(
    include_str!("../../templates/ask.php"),
    "?>",
    include_str!("../../templates/http.php"),
    "?>",
    include_str!("../../templates/plugin.php"),
    "?>",
    include_str!("../../templates/request.php"),
    "?>",
    include_str!("../../templates/exits.php"),
    "?>",
    include_str!("../../templates/identity.php")
);
/// The longest line accepted as an answer, in bytes.
const LONGEST_ANSWER: usize = 1 << 20;
/// Longer site names are cut off when shown, in characters.
const LONGEST_NAME: usize = 60;
/// How long a site may take to identify itself. The wizard waits for this, and
/// relies on the site's files if it takes longer.
const IDENTIFY: Duration = Duration::from_secs(10);
/// How long it may take to describe itself: the report of all sites waits for it.
const FACTS: Duration = Duration::from_secs(15);
/// How long a page may take to drop files from its opcode cache: removal waits for it, and
/// has other ways.
const FORGET: Duration = Duration::from_secs(3);
/// How long PHP may take, not counting the wait for the job.
const PROVE: Duration = Duration::from_secs(30);

/// The site to query, and how to run its PHP.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// The WordPress folder.
    pub dir: &'a Path,
    pub php: &'a Path,
    /// The user that runs the site's code.
    pub user: &'a str,
    pub plugin: &'static Plugin,
    /// The workers' opcode cache, which makes WordPress load faster.
    pub cache: Option<&'a Path>,
    /// The host or URL that its code is to see as the request's, if not its home's.
    pub host: Option<&'a str>,
}

/// The questions that ask.php answers.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Question {
    Identify,
    Facts,
    Prove,
    Page,
    Web,
    Forget,
    Jobs,
    DropJobs,
}

/// How to hear of a test job.
pub struct Probe<'a> {
    /// The site's run folder, where workers leave their traces.
    pub run: &'a Path,
    /// Whether a worker on another host may run it, which says so in the database.
    pub elsewhere: bool,
    /// How long to wait for a worker.
    pub patience: Duration,
}

#[derive(Serialize)]
struct Request<'a> {
    ask: Question,
    /// Random, so that no other output of the site looks like the answer.
    mark: String,
    site: &'a Path,
    /// The folder in which the worker leaves a trace when it runs the job.
    run: Option<&'a Path>,
    /// How long to wait for that trace.
    seconds: u64,
    /// Whether a worker on another host may run it.
    elsewhere: bool,
    switch: Switch,
    main_files: Vec<&'static str>,
    listeners: &'a [WebListener],
    /// Files that the web's opcode caches are to read again.
    forget: &'a [PathBuf],
    host: &'a str,
    /// The runner's name, to ask web servers for it.
    runner: &'a str,
    #[serde(flatten)]
    start: Start,
}

/// What earlier starts of PHP found out about loading the site.
#[derive(Default, Serialize)]
struct Start {
    /// The URL of the site's home; empty if it is unknown.
    home: String,
    /// Another home must not be looked for again.
    settled: bool,
    /// Why WordPress exited while loading, if this start is to find out where.
    trace: String,
}

#[derive(Serialize)]
struct Switch {
    constant: &'static str,
    value: serde_json::Value,
}

#[derive(Deserialize)]
struct Reply<T> {
    answer: Option<T>,
    error: Option<String>,
    /// PHP has to start again, with this home of the site.
    home: Option<String>,
    /// PHP can start again, to find out where WordPress exited.
    exited: Option<String>,
}

enum Heard<T> {
    Answer(T),
    Home(String),
    Exited(String),
}

/// What a page says that was asked to drop files from its opcode cache.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Forgotten {
    /// How many it dropped; `None` if no page could be asked.
    forgotten: Option<u32>,
    /// Whether it has an opcode cache.
    opcache: bool,
}

/// What is in a site's table of jobs; `None` without one.
#[derive(Deserialize)]
struct Stored {
    jobs: Option<StoredJobs>,
}

impl<'a> Request<'a> {
    fn with(self, probe: &Probe<'a>) -> Self {
        Request {
            run: Some(probe.run),
            seconds: probe.patience.as_secs(),
            elsewhere: probe.elsewhere,
            ..self
        }
    }
}

impl Target<'_> {
    /// Asks the site to identify itself.
    pub fn identify(&self, host: &Host) -> Result<Identity> {
        let mut identity: Identity = self.ask(host, self.request(Question::Identify)?, IDENTIFY)?;
        identity.name = shown_name(&identity.name);
        Ok(identity)
    }

    /// Asks the site for everything it reports about itself, and these web servers
    /// for its runner.
    pub fn facts(&self, host: &Host, listeners: &[WebListener]) -> Result<SiteFacts> {
        let request = Request {
            listeners,
            runner: self.plugin.runner,
            ..self.request(Question::Facts)?
        };
        let mut facts: SiteFacts = self.ask(host, request, FACTS)?;
        facts.runner = facts.runner.map(RunnerAnswer::shown);
        Ok(facts)
    }

    /// Asks a page of the site, through a web server of this host, which PHP it runs in.
    pub fn describe_page(&self, host: &Host, listeners: &[WebListener]) -> Result<PageProof> {
        let request = Request {
            listeners,
            ..self.request(Question::Page)?
        };
        self.ask(host, request, FACTS).map(PageProof::shown)
    }

    /// Submits one job and waits for a worker to run it.
    pub fn prove(&self, host: &Host, probe: &Probe) -> Result<Proof> {
        let request = self.request(Question::Prove)?.with(probe);
        let proof: Proof = self.ask(host, request, probe.patience + PROVE)?;
        Ok(Proof {
            host: proof.host.as_deref().map(shown_name),
            ..proof
        })
    }

    /// Has a page submit one job, through a web server of this host, and waits until a
    /// worker has run it.
    pub fn prove_by_a_page(
        &self,
        host: &Host,
        probe: &Probe,
        listeners: &[WebListener],
        forget: &[PathBuf],
    ) -> Result<PageProof> {
        let request = Request {
            listeners,
            forget,
            ..self.request(Question::Web)?.with(probe)
        };
        self.ask(host, request, probe.patience * 2 + PROVE)
            .map(PageProof::shown)
    }

    /// Has a page drop these files from its opcode cache. Whether none of them is in
    /// there now.
    ///
    /// # Errors
    /// A site that cannot be asked.
    pub fn forget(
        &self,
        host: &Host,
        listeners: &[WebListener],
        files: &[PathBuf],
    ) -> Result<bool> {
        let request = Request {
            listeners,
            forget: files,
            ..self.request(Question::Forget)?
        };
        let told: Forgotten = self.ask(host, request, FORGET)?;
        Ok(told
            .forgotten
            .is_some_and(|files| files > 0 || !told.opcache))
    }

    /// What is in the site's table of jobs, if it has one.
    ///
    /// # Errors
    /// A site that cannot be asked.
    pub fn stored_jobs(&self, host: &Host) -> Result<Option<StoredJobs>> {
        let told: Stored = self.ask(host, self.request(Question::Jobs)?, FACTS)?;
        Ok(told.jobs)
    }

    /// Takes that table out of its database.
    ///
    /// # Errors
    /// A site that cannot be asked, or a database that refuses.
    pub fn drop_stored_jobs(&self, host: &Host) -> Result<()> {
        self.ask::<Stored>(host, self.request(Question::DropJobs)?, FACTS)
            .map(drop)
    }

    fn request(&self, ask: Question) -> Result<Request<'_>> {
        let brought = PLUGINS.iter().filter(|plugin| !plugin.bundled);
        let switch = self.plugin.switch;
        Ok(Request {
            ask,
            mark: random::letters(32)?,
            site: self.dir,
            run: None,
            seconds: 0,
            elsewhere: false,
            switch: Switch {
                constant: switch.constant,
                value: switch.json(),
            },
            main_files: brought.map(|plugin| plugin.main_file).collect(),
            listeners: &[],
            forget: &[],
            host: self.host.unwrap_or_default(),
            runner: "",
            start: Start::default(),
        })
    }

    fn ask<T: DeserializeOwned>(
        &self,
        host: &Host,
        mut request: Request,
        limit: Duration,
    ) -> Result<T> {
        let memory = request.run.and_then(worker::home_of);
        request.start.home = memory.unwrap_or_default();
        let mut homes = 0;
        loop {
            match self.ask_once(host, &request, limit)? {
                Heard::Answer(answer) => return Ok(answer),
                Heard::Home(home) => {
                    homes += 1;
                    request.start.home = home;
                    request.start.settled = homes >= 2;
                }
                Heard::Exited(why) => request.start.trace = why,
            }
        }
    }

    fn ask_once<T: DeserializeOwned>(
        &self,
        host: &Host,
        request: &Request,
        limit: Duration,
    ) -> Result<Heard<T>> {
        let user = host.need_user(self.user)?;
        let command = self
            .with_opcode_cache(host, user.uid)
            .args(["-d", "display_errors=stderr", "-d", "memory_limit=512M"])
            .operands([serde_json::to_string(request)?])
            .stdin(PROGRAM)
            .user(&user)
            .limit(limit);
        let command = match request.ask {
            // They last as long as a worker takes.
            Question::Prove | Question::Web => command,
            _ => command.of_site(self.dir),
        };
        let mut output = host.run(&command)?;
        read(&output.stdout, &request.mark).map_err(|mut why| {
            if has_answer(&output.stdout, &request.mark) {
                output.stdout.clear(); // the reason is its answer
            }
            if !output.success() || !output.stderr.is_empty() {
                why = format!("{why}\nPHP ended with {}", explain(&output));
            }
            let what = match request.ask {
                Question::Prove | Question::Web => "run a test job in",
                Question::Forget => "ask a page of",
                Question::Jobs | Question::DropJobs => "look for the table of jobs of",
                Question::Identify | Question::Facts | Question::Page => "load",
            };
            Problem::new(format!("{what} WordPress in {}", self.dir.display()), why).into()
        })
    }

    /// PHP, which loads WordPress from the cache if it can.
    fn with_opcode_cache(&self, host: &Host, uid: u32) -> Command {
        let php = Command::new(self.php);
        let Some(dir) = self.cache else {
            return php;
        };
        match host.look(dir) {
            // PHP exits at once if it may not use the folder.
            Ok(Node::Directory(meta)) if meta.uid == uid && meta.mode == 0o700 => php
                .args([
                    "-d",
                    "opcache.enable_cli=1",
                    "-d",
                    "opcache.file_cache_only=1",
                ])
                .option("-dopcache.file_cache=", dir),
            _ => php,
        }
    }
}

fn has_answer(stdout: &[u8], mark: &str) -> bool {
    let mut lines = stdout.split(|byte| *byte == b'\n');
    lines.any(|line| line.starts_with(mark.as_bytes()))
}

/// Finds the answer in a site's output, or the reason why there is none.
fn read<T: DeserializeOwned>(stdout: &[u8], mark: &str) -> Result<Heard<T>, String> {
    let start = format!("{mark} ");
    let line = stdout
        .split(|byte| *byte == b'\n')
        .find_map(|line| line.strip_prefix(start.as_bytes()))
        .filter(|line| line.len() <= LONGEST_ANSWER)
        .ok_or("PHP exited without an answer")?;
    let reply: Reply<T> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    match reply {
        Reply {
            error: Some(error), ..
        } => Err(shown_error(&error)),
        Reply {
            answer: Some(answer),
            ..
        } => Ok(Heard::Answer(answer)),
        Reply {
            home: Some(home), ..
        } => Ok(Heard::Home(shown_error(&home))),
        Reply {
            exited: Some(why), ..
        } => Ok(Heard::Exited(shown_error(&why))),
        _ => Err("its answer is empty".into()),
    }
}

/// A site's name, safe to show.
fn shown_name(name: &str) -> String {
    printable(name).chars().take(LONGEST_NAME).collect()
}

/// A site's error message, safe to show.
fn shown_error(text: &str) -> String {
    text.chars()
        .take(2000)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// The first bytes of a salt's SHA-256, as sites report it: enough to compare
/// salts, and useless to anyone who wants the salt.
pub fn fingerprint(salt: &str) -> String {
    checksum::short(salt.as_bytes(), 12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_found_in_the_output_of_a_site() {
        let stdout = "Warning: x\n<p>0123 {}\nm1 {\"answer\":{\"wordpress\":\"6.1\",\"blogs\":2,\"network\":true,\"new\":1}}\nbye";
        let Heard::Answer(facts) = read::<SiteFacts>(stdout.as_bytes(), "m1").unwrap() else {
            panic!("no answer");
        };
        assert_eq!((facts.wordpress.as_str(), facts.blogs), ("6.1", 2));
        assert!(facts.identity.network);
        for (stdout, why) in [
            (stdout, "without an answer"),
            ("m2 {\"error\":\"no\u{1b} worker\"}\n", "control"),
            ("m2 {\"error\":\"no\\u001b worker\"}\n", "no  worker"),
            ("m2 {}\n", "empty"),
            ("{\"answer\":{}}\n", "without an answer"),
        ] {
            let error = read::<Proof>(stdout.as_bytes(), "m2").err().unwrap();
            assert!(error.contains(why), "{stdout}: {error}");
        }
    }

    #[test]
    fn a_name_cannot_drive_the_terminal() {
        assert_eq!(shown_name("A\u{1b}[2J"), "A\u{fffd}[2J");
    }
}
