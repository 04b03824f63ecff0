//! Asks a running site: starts its PHP as its user with a program of ours, and
//! reads the one line that the program marks. Root only parses that line.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::base::problem::Problem;
use crate::base::random;
use crate::base::secrets::plain;
use crate::host::Host;
use crate::host::commands::{Command, explain};
use crate::host::files::Node;
use crate::site::plugins::{PLUGINS, Plugin, SwitchValue};

/// It comes from this binary, so that a site can be asked before setup has
/// installed anything.
const PROGRAM: &str = concat!(
    include_str!("../../templates/ask.php"),
    "?>",
    include_str!("../../templates/plugin.php")
);
/// The longest line that counts as an answer, in bytes.
const LONGEST_ANSWER: usize = 1 << 20;
/// The longest name that is shown of a site, in characters.
const LONGEST_NAME: usize = 60;
/// How long a site may take to say what it is. The wizard waits for it, and
/// goes by the site's files where it takes longer.
const IDENTIFY: Duration = Duration::from_secs(10);
const FACTS: Duration = Duration::from_secs(30);
/// How long PHP may take beside the waiting for a job.
const PROVE: Duration = Duration::from_secs(30);

/// The site to ask, and how.
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
}

/// What ask.php is asked.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Question {
    Identify,
    Facts,
    Prove,
}

#[derive(Serialize)]
struct Request<'a> {
    ask: Question,
    /// Random, so that nothing else that the site prints looks like the answer.
    mark: String,
    site: &'a Path,
    /// The folder in which the worker that runs the job says so.
    run: Option<&'a Path>,
    /// How long to wait for that.
    seconds: u64,
    switch: Switch,
    main_files: Vec<&'static str>,
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
}

/// What a site says it is, before setup or after.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Identity {
    pub name: String,
    pub network: bool,
    /// A plugin that submits jobs is active, though it may be switched off.
    pub active: bool,
}

/// What a site is like.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct SiteFacts {
    #[serde(flatten)]
    pub identity: Identity,
    /// WordPress's version.
    pub wordpress: String,
    /// PHP's version.
    pub php: String,
    pub home: String,
    /// How many sites there are in the network.
    pub blogs: u64,
    /// WP Gears 1, WP Gears 2, WP Minions, bundled; `None` where `why_not` says why.
    pub plugin: Option<String>,
    /// The class that takes the site's jobs.
    pub client: Option<String>,
    /// The Gearman function of its jobs.
    pub function: Option<String>,
    pub why_not: Option<String>,
    /// Whether `wp_async_task_add()` exists.
    pub can_add: bool,
    pub servers: Option<Vec<String>>,
    /// The database's limits; 0 where it did not say.
    pub max_connections: u64,
    /// In bytes.
    pub max_allowed_packet: u64,
    pub settings: Settings,
    /// The settings as they were before any plugin was loaded.
    pub early: Option<Settings>,
}

/// What plugins read while they load.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// The plugin's switch.
    pub on: bool,
    /// The salt's [`fingerprint`], if there is a salt.
    pub salt: Option<String>,
}

/// A job's way through the site, in milliseconds since it was about to be submitted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Proof {
    pub handle: String,
    pub function: String,
    /// How long `wp_async_task_add()` took.
    pub add_ms: u64,
    pub started_ms: u64,
    pub done_ms: u64,
    pub forked: bool,
}

impl Target<'_> {
    /// What the site says it is.
    pub fn identify(&self, host: &Host) -> Result<Identity> {
        let mut identity: Identity = self.ask(host, self.request(Question::Identify)?, IDENTIFY)?;
        identity.name = shown_name(&identity.name);
        Ok(identity)
    }

    pub fn facts(&self, host: &Host) -> Result<SiteFacts> {
        self.ask(host, self.request(Question::Facts)?, FACTS)
    }

    /// Submits one job and waits up to `patience` until a worker has run it.
    /// `run` is the site's run folder, where workers leave their traces.
    pub fn prove(&self, host: &Host, run: &Path, patience: Duration) -> Result<Proof> {
        let request = Request {
            run: Some(run),
            seconds: patience.as_secs(),
            ..self.request(Question::Prove)?
        };
        self.ask(host, request, patience + PROVE)
    }

    fn request(&self, ask: Question) -> Result<Request<'_>> {
        let brought = PLUGINS.iter().filter(|plugin| plugin.bundled.is_none());
        let switch = self.plugin.switch;
        Ok(Request {
            ask,
            mark: random::letters(32)?,
            site: self.dir,
            run: None,
            seconds: 0,
            switch: Switch {
                constant: switch.constant,
                value: match switch.value {
                    SwitchValue::True => true.into(),
                    SwitchValue::Text(text) => text.into(),
                },
            },
            main_files: brought.map(|plugin| plugin.main_file).collect(),
        })
    }

    fn ask<T: DeserializeOwned>(
        &self,
        host: &Host,
        request: Request,
        limit: Duration,
    ) -> Result<T> {
        let user = host.need_user(self.user)?;
        let command = Command::new(self.php)
            .args(["-d", "display_errors=stderr", "-d", "memory_limit=512M"])
            .args(self.opcode_cache(host, user.uid))
            .args(["--", &serde_json::to_string(&request)?])
            .stdin(PROGRAM)
            .user(&user)
            .limit(limit);
        let output = host.run(&command)?;
        read(&output.stdout, &request.mark).map_err(|mut why| {
            if !output.success() || !output.stderr.is_empty() {
                why = format!("{why}\nPHP ended with {}", explain(&output));
            }
            let what = match request.ask {
                Question::Prove => "run one job through",
                Question::Identify | Question::Facts => "load",
            };
            Problem::new(format!("{what} WordPress in {}", self.dir.display()), why).into()
        })
    }

    /// The options that let PHP take WordPress from the cache.
    fn opcode_cache(&self, host: &Host, uid: u32) -> Vec<String> {
        let Some(dir) = self.cache else {
            return Vec::new();
        };
        match host.look(dir) {
            // PHP ends at once where it may not use the folder.
            Ok(Node::Directory(meta)) if meta.uid == uid && meta.mode == 0o700 => [
                "opcache.enable_cli=1".to_owned(),
                "opcache.file_cache_only=1".to_owned(),
                format!("opcache.file_cache={}", dir.display()),
            ]
            .into_iter()
            .flat_map(|option| ["-d".to_owned(), option])
            .collect(),
            _ => Vec::new(),
        }
    }
}

/// The answer in what a site printed, or why there is none.
fn read<T: DeserializeOwned>(stdout: &[u8], mark: &str) -> Result<T, String> {
    let start = format!("{mark} ");
    let line = stdout
        .split(|byte| *byte == b'\n')
        .find_map(|line| line.strip_prefix(start.as_bytes()))
        .filter(|line| line.len() <= LONGEST_ANSWER)
        .ok_or("it ends without an answer")?;
    let reply: Reply<T> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    match (reply.answer, reply.error) {
        (_, Some(error)) => Err(printable(&error)),
        (Some(answer), None) => Ok(answer),
        (None, None) => Err("its answer is empty".into()),
    }
}

/// A site's name as a screen may show it.
fn shown_name(name: &str) -> String {
    plain(name).chars().take(LONGEST_NAME).collect()
}

/// A site's words, without what would steer a terminal.
fn printable(text: &str) -> String {
    text.chars()
        .take(2000)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// The beginning of a salt's SHA-256, as sites tell it: enough to compare
/// salts, and nothing to use one with.
pub fn fingerprint(salt: &str) -> String {
    let digest = Sha256::digest(salt.as_bytes());
    digest
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_found_in_what_a_site_prints() {
        let stdout = "Warning: x\n<p>0123 {}\nm1 {\"answer\":{\"wordpress\":\"6.1\",\"blogs\":2,\"network\":true,\"new\":1}}\nbye";
        let facts: SiteFacts = read(stdout.as_bytes(), "m1").unwrap();
        assert_eq!((facts.wordpress.as_str(), facts.blogs), ("6.1", 2));
        assert!(facts.identity.network);
        for (stdout, why) in [
            (stdout, "without an answer"),
            ("m2 {\"error\":\"no\u{1b} worker\"}\n", "control"),
            ("m2 {\"error\":\"no\\u001b worker\"}\n", "no  worker"),
            ("m2 {}\n", "empty"),
            ("{\"answer\":{}}\n", "without an answer"),
        ] {
            let error = read::<Proof>(stdout.as_bytes(), "m2").unwrap_err();
            assert!(error.contains(why), "{stdout}: {error}");
        }
    }

    #[test]
    fn a_name_steers_no_terminal() {
        assert_eq!(shown_name("A\u{1b}[2J"), "A\u{fffd}[2J");
    }
}
