//! The web page that shows the queues, and what its events carry. The data goes into the
//! page as JSON, and from there into text nodes, so nothing of a site becomes markup.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use serde_json::{Value, json};

use crate::base::clock;
use crate::queue::probe::Snapshot;
use crate::report::status::{lines, notes, problems};
use crate::report::status_document::{Document, document};

const PAGE: &str = include_str!("../../templates/dashboard/page.html");
const LOGIN: &str = include_str!("../../templates/dashboard/login.html");
const STYLE: &str = include_str!("../../templates/dashboard/page.css");
const SCRIPT: &str = include_str!("../../templates/dashboard/page.js");

/// How far back charts go, in milliseconds, and the most points that they have.
const BACK: u64 = 3 * 60 * 1000;
const MOST_POINTS: usize = 90;
/// With more sites than this, the page starts with fewer points of each.
const MOST_NUMBERS: usize = 6000;

/// How many hooks of all sites the page shows: the busiest of each, and at least one.
const MOST_HOOKS: usize = 200;

/// Marks the scripts and styles of one answer as ours.
#[derive(Debug, Clone, Copy)]
pub struct Nonce(u128);

impl Nonce {
    /// # Errors
    /// Without random numbers.
    pub fn new() -> Result<Nonce, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Nonce(u128::from_ne_bytes(bytes)))
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// What was seen in the last minutes: by site, waiting and running jobs, and those done
/// since the first, if that is known.
#[derive(Debug, Default)]
pub struct History(VecDeque<Point>);

#[derive(Debug)]
struct Point {
    at: u64,
    sites: BTreeMap<String, (u64, u64, Option<u64>)>,
}

impl History {
    pub fn add(&mut self, snapshot: &Snapshot) {
        let at = clock::millis(snapshot.at);
        let known = snapshot.sites.iter().map(|site| {
            let done = site.counts.as_ref().ok().map(|counts| counts.done_ever);
            (site.name.clone(), (0, 0, done))
        });
        let mut sites: BTreeMap<_, (u64, u64, Option<u64>)> = known.collect();
        for queue in &snapshot.queues {
            let name = queue.site.clone().unwrap_or_default();
            let sums = sites.entry(name).or_default();
            sums.0 = sums.0.saturating_add(queue.waiting);
            sums.1 = sums.1.saturating_add(queue.running);
        }
        self.0.push_back(Point { at, sites });
        let is_old = |point: &Point| point.at.saturating_add(BACK) < at || point.at > at;
        while self.0.len() > MOST_POINTS || self.0.front().is_some_and(is_old) {
            self.0.pop_front();
        }
    }

    fn document(&self) -> Value {
        let sites = self.0.back().map_or(1, |point| point.sites.len().max(1));
        let points = (MOST_NUMBERS / sites).clamp(2, MOST_POINTS);
        let skipped = self.0.len().saturating_sub(points);
        let points = self.0.iter().skip(skipped);
        points
            .map(|point| json!({ "at": point.at, "sites": point.sites }))
            .collect()
    }
}

/// A state of the queues, ready to be sent.
pub struct View {
    /// The document of `status --json` as the page needs it.
    status: String,
    /// The rest of an event.
    more: String,
    history: String,
    text: String,
    problems: Vec<String>,
}

impl View {
    pub fn new(snapshot: &Snapshot, history: &History) -> View {
        let problems = problems(snapshot);
        let plain = |line: &String| console::strip_ansi_codes(line).into_owned();
        let text: Vec<String> = lines(snapshot).iter().map(plain).collect();
        let (said, noted) = (json!(problems), json!(notes(snapshot)));
        let hooks = (MOST_HOOKS / snapshot.sites.len().max(1)).max(1);
        View {
            status: one_line(&document(snapshot).with_hooks(hooks)),
            more: format!("\"problems\":{said},\"notes\":{noted}"),
            history: history.document().to_string(),
            text: text.join("\n"),
            problems,
        }
    }

    /// What keeps jobs from running; empty if nothing does.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// A server-sent event.
    pub fn event(&self) -> Vec<u8> {
        // JSON on one line, as every line would be data of its own.
        format!("data: {{\"status\":{},{}}}\n\n", self.status, self.more).into_bytes()
    }

    pub fn page(&self, nonce: &Nonce) -> String {
        let (status, more, history) = (&self.status, &self.more, &self.history);
        let data = format!("{{\"status\":{status},{more},\"history\":{history}}}");
        filled(
            PAGE,
            &[
                ("nonce", &nonce.to_string()),
                ("style", STYLE),
                ("script", SCRIPT),
                ("data", &in_script(&data)),
                ("text", &in_text(&self.text)),
            ],
        )
    }
}

/// The same document as `status --json`.
pub fn status(snapshot: &Snapshot) -> String {
    format!("{}\n", one_line(&document(snapshot)))
}

fn one_line(document: &Document) -> String {
    // Writing to a string cannot fail.
    serde_json::to_string(document).unwrap_or_default()
}

/// The form for the token.
pub fn login_page(nonce: &Nonce, failed: bool) -> String {
    let (class, hint) = match failed {
        true => ("bad", "This is not the token."),
        false => (
            "dim",
            "It is in the file that --token-file, or dashboard-token-file, names.",
        ),
    };
    let nonce = nonce.to_string();
    let values = [
        ("nonce", nonce.as_str()),
        ("style", STYLE),
        ("class", class),
        ("hint", hint),
    ];
    filled(LOGIN, &values)
}

/// The template with its values, in one pass: no value is looked at for further names.
fn filled(template: &str, values: &[(&str, &str)]) -> String {
    let length: usize = values.iter().map(|(_, value)| value.len()).sum();
    let mut text = String::with_capacity(template.len() + length);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        let known = values.iter().find_map(|(name, value)| {
            let rest = after.strip_prefix(name)?.strip_prefix('}')?;
            Some((*value, rest))
        });
        match known {
            Some((value, after)) => {
                text.push_str(value);
                rest = after;
            }
            None => {
                text.push('{');
                rest = after;
            }
        }
    }
    text.push_str(rest);
    text
}

/// JSON between script tags: nothing in it ends them, or begins a comment.
fn in_script(json: &str) -> String {
    json.replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
}

fn in_text(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::queue::probe::{QueueStatus, ServerStatus};

    fn snapshot(at: u64, function: &str) -> Snapshot {
        Snapshot {
            at: SystemTime::UNIX_EPOCH + Duration::from_millis(at),
            servers: vec![ServerStatus {
                server: "127.0.0.1:4730".into(),
                ms: 1,
                answer: Err("</script><img onerror=x>{script}".into()),
                closed: false,
            }],
            queues: vec![QueueStatus {
                server: "127.0.0.1:4730".into(),
                function: function.into(),
                site: None,
                waiting: 1,
                running: 0,
                workers: 0,
            }],
            sites: Vec::new(),
        }
    }

    #[test]
    fn markup_of_others_stays_data() {
        let snapshot = snapshot(1, "<script>alert(1)</script>{nonce}\u{2028}");
        let view = View::new(&snapshot, &History::default());
        let nonce = Nonce(7);
        let page = view.page(&nonce);
        // The data, ours, and none of theirs.
        assert_eq!(page.matches("<script").count(), 2, "{page}");
        assert_eq!(page.matches("</script").count(), 2);
        assert!(!page.contains("<img") && page.contains("\\u003cimg"));
        assert_eq!(page.matches(&nonce.to_string()).count(), 3);
        let event = String::from_utf8(view.event()).unwrap();
        assert_eq!(event.lines().count(), 2, "{event}");
        let data: Value = serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(data["status"], json!(document(&snapshot)));
        assert_eq!(view.problems().len(), 2);
    }

    #[test]
    fn no_resource_of_others_is_named_and_no_markup_is_made_of_text() {
        for text in [PAGE, LOGIN, STYLE, SCRIPT] {
            let text = text.replace("http://www.w3.org/2000/svg", "");
            for bad in [
                "http://",
                "https://",
                "innerHTML",
                "outerHTML",
                "insertAdjacent",
            ] {
                assert!(!text.contains(bad), "{bad}");
            }
            for bad in [
                "document.write",
                "eval(",
                "@import",
                "url(",
                " style=",
                " onclick=",
            ] {
                assert!(!text.contains(bad), "{bad}");
            }
        }
    }

    #[test]
    fn history_is_bounded_in_time_and_number() {
        let mut history = History::default();
        for n in 0..200u64 {
            history.add(&snapshot(n * 10_000, "f"));
        }
        assert_eq!(history.0.len(), 19);
        for n in 0..200u64 {
            history.add(&snapshot(2_000_000 + n, "f"));
        }
        assert_eq!(history.0.len(), MOST_POINTS);
        // The clock was set back.
        history.add(&snapshot(5, "f"));
        assert_eq!(history.0.len(), 1);
    }
}
