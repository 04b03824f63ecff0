//! Asking the running site: the request that ask.php gets on its standard
//! input, and the answer in what it prints. Root only ever parses this.

use serde::{Deserialize, Serialize};

use crate::base::problem::Problem;
use crate::base::random;

/// More than any answer; what is longer is no answer.
const LONGEST: usize = 1 << 20;

/// What ask.php is asked.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
enum Question {
    Facts,
    Prove,
}

#[derive(Debug, Clone, Serialize)]
pub struct Request {
    ask: Question,
    /// Random, so that nothing else that the site prints looks like the answer.
    mark: String,
    /// The WordPress root.
    site: String,
    /// The site's run folder, where the probe's trace appears.
    run: String,
    seconds: u64,
}

/// What the site is like, by its own account.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    pub wordpress: String,
    pub php: String,
    pub extensions: Vec<String>,
    pub name: String,
    pub home: String,
    pub network: bool,
    pub blogs: u64,
    /// WP Gears 1, WP Gears 2, WP Minions, bundled; none where `why_not` says why.
    pub plugin: Option<String>,
    /// The class that takes the site's jobs.
    pub client: Option<String>,
    /// The Gearman function of its jobs.
    pub function: Option<String>,
    pub why_not: Option<String>,
    /// Whether wp_async_task_add() exists.
    pub can_add: bool,
    pub wp_gears: bool,
    pub backend: Option<String>,
    pub servers: Option<Vec<String>>,
    /// The beginning of the salt's SHA-256, if there is a salt.
    pub salt: Option<String>,
    pub object_cache: bool,
    /// The database's; 0 where it did not say.
    pub max_connections: u64,
    pub max_allowed_packet: u64,
    /// As they were before any plugin was loaded.
    pub early: Option<Settings>,
}

/// What plugins read while they load.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    pub wp_gears: bool,
    pub backend: Option<String>,
    /// The beginning of the salt's SHA-256, if there is a salt.
    pub salt: Option<String>,
}

/// One job's way through the site. Milliseconds since it was about to be added.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Proof {
    pub handle: String,
    pub function: String,
    /// How long wp_async_task_add() took.
    pub add_ms: u64,
    pub started_ms: u64,
    pub done_ms: u64,
    pub forked: bool,
}

#[derive(Deserialize)]
struct Answer {
    facts: Option<Facts>,
    proof: Option<Proof>,
    error: Option<String>,
}

impl Request {
    pub fn facts(site: &str) -> Result<Request, Problem> {
        Request::new(Question::Facts, site, "", 0)
    }

    /// To send one job and wait so long for a worker to run it.
    pub fn prove(site: &str, run: &str, seconds: u64) -> Result<Request, Problem> {
        Request::new(Question::Prove, site, run, seconds)
    }

    fn new(ask: Question, site: &str, run: &str, seconds: u64) -> Result<Request, Problem> {
        Ok(Request {
            ask,
            mark: random::letters(32).map_err(|e| Problem::new("mark a question", e))?,
            site: site.into(),
            run: run.into(),
            seconds,
        })
    }

    /// For ask.php's standard input.
    pub fn to_json(&self) -> Result<String, Problem> {
        serde_json::to_string(self).map_err(|e| Problem::new("write the request to the site", e))
    }

    pub fn read_facts(&self, stdout: &[u8]) -> Result<Facts, Problem> {
        let facts = self.read(stdout)?.facts;
        facts.ok_or_else(|| self.problem("it answers something else than was asked"))
    }

    pub fn read_proof(&self, stdout: &[u8]) -> Result<Proof, Problem> {
        let proof = self.read(stdout)?.proof;
        proof.ok_or_else(|| self.problem("it answers something else than was asked"))
    }

    fn read(&self, stdout: &[u8]) -> Result<Answer, Problem> {
        let start = format!("{} ", self.mark);
        let line = stdout
            .split(|b| *b == b'\n')
            .find_map(|line| line.strip_prefix(start.as_bytes()))
            .filter(|line| line.len() <= LONGEST)
            .ok_or_else(|| self.problem("it ends without an answer"))?;
        let answer: Answer = serde_json::from_slice(line).map_err(|e| self.problem(e))?;
        match answer.error {
            Some(error) => Err(self.problem(printable(&error))),
            None => Ok(answer),
        }
    }

    fn problem(&self, why: impl std::fmt::Display) -> Problem {
        let what = match self.ask {
            Question::Prove => "run one job through",
            Question::Facts => "load",
        };
        Problem::new(format!("{what} WordPress in {}", self.site), why)
    }
}

/// The site's words, without what would steer a terminal.
fn printable(text: &str) -> String {
    text.chars()
        .take(2000)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_answer_in_what_a_site_prints() {
        let request = Request::facts("/srv/site").unwrap();
        let stdout = format!(
            "Warning: x\n<p>0123 {{}}\n{} {{\"facts\":{{\"wordpress\":\"6.1\",\"blogs\":2,\"new\":1}}}}\nbye",
            request.mark
        );
        let facts = request.read_facts(stdout.as_bytes()).unwrap();
        assert_eq!((facts.wordpress.as_str(), facts.blogs), ("6.1", 2));
        assert!(request.read_proof(stdout.as_bytes()).is_err());
    }

    #[test]
    fn says_what_the_site_says() {
        let request = Request::prove("/srv/site", "/run", 5).unwrap();
        let stdout = format!("{} {{\"error\":\"no\\u001b worker\"}}\n", request.mark);
        let error = request.read_proof(stdout.as_bytes()).unwrap_err();
        assert_eq!(error.why, "no  worker");
        let other = Request::prove("/srv/site", "/run", 5).unwrap();
        assert!(
            other
                .read_proof(stdout.as_bytes())
                .unwrap_err()
                .why
                .contains("without an answer")
        );
    }
}
