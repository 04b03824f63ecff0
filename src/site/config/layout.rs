//! Detects files that must not be edited: stubs of frameworks and packages,
//! generated files, and files that load WordPress through another file.

use crate::site::config::Include;
use crate::site::config::events::{Kind, Seen};
use crate::site::config::includes::folder;
use crate::site::config::lines::line_of;
use crate::site::config::php::parse;
use crate::site::config::reader::Location;
use crate::site::config::refusal::Refusal;
use crate::site::config::walk;
use std::ops::Range;

/// Refuses a stub with its settings in another file.
pub fn stub(seen: &Seen, source: &[u8]) -> Result<(), Refusal> {
    for event in &seen.events {
        let (Kind::Sign(sign) | Kind::Include(Some(sign))) = &event.kind else {
            continue;
        };
        let line = || Some(line_of(source, event.at));
        if sign.ends_with("config/application.php") {
            return Err(Refusal::new(
                line(),
                "this is Bedrock's stub: the settings are in config/application.php, and this file must not be edited",
            )
            .by_hand("name that file with --wp-config, and run setup again"));
        }
        if sign == "/etc/wordpress/config-" {
            return Err(Refusal::new(
                line(),
                "this is the stub of Debian's wordpress package: the settings are in /etc/wordpress/config-HOST.php, and this file must not be edited",
            )
            .by_hand("name that file with --wp-config, and run setup again"));
        }
    }
    Ok(())
}

/// Why a file that does not load WordPress must not be edited.
pub fn no_load(seen: &Seen, source: &[u8], include: &dyn Include) -> Refusal {
    for event in &seen.events {
        let Kind::Include(Some(path)) = &event.kind else {
            continue;
        };
        let Some(text) = include.read(path.as_bytes()) else {
            continue;
        };
        let root = include.root();
        let inner = parse(&text, |program, view, trivia, old| {
            let location = Location {
                own: folder(path),
                root,
            };
            walk::see(program, view, &text, trivia, old, location)
        });
        if inner.is_ok_and(|inner| inner.events.iter().any(|event| event.kind == Kind::Load)) {
            return Refusal::new(
                Some(line_of(source, event.at)),
                format!("WordPress is loaded by {path}, which this file includes"),
            )
            .by_hand_lines(format!(
                "name that file with --wp-config, or add these lines to {path}, before the line that loads WordPress"
            ));
        }
    }
    Refusal::new(None, "nothing in this file loads wp-settings.php").by_hand(
        "if this is the right file, add these lines at its end, and run setup again; otherwise name the right one with --wp-config:\n  defined( 'ABSPATH' ) || define( 'ABSPATH', __DIR__ . '/' );\n  require_once ABSPATH . 'wp-settings.php';",
    )
}

/// A comment that begins (true) or ends a part of the file managed by some tool,
/// and the name of that part.
pub fn marker(source: &[u8], comment: Range<usize>) -> Option<(bool, String)> {
    let text = &source[comment];
    let first = text.iter().find(|b| b.is_ascii_alphanumeric())?;
    if !b"BEbe".contains(first) {
        return None;
    }
    let text = String::from_utf8_lossy(text);
    let text = text.trim_matches(|c: char| c.is_whitespace() || "/*#@+-=<>!".contains(c));
    let (word, rest) = text.split_once(char::is_whitespace)?;
    let begin = match () {
        () if word.eq_ignore_ascii_case("begin") => true,
        () if word.eq_ignore_ascii_case("end") => false,
        () => return None,
    };
    // A marker is a single line: prose that happens to begin like one is not.
    let one_line = !rest.contains(['\n', '\r']);
    one_line.then(|| (begin, rest.trim().to_ascii_lowercase()))
}

/// Whether a BEGIN and an END match; some tools name them differently after the
/// first word.
fn same(begin: &str, end: &str) -> bool {
    begin.split_whitespace().next() == end.split_whitespace().next()
}

/// So many parts may be open at the same time.
const MAX_PARTS: usize = 16;

/// A part of the file between two comments.
#[derive(Debug)]
pub struct Part {
    /// Where it is, including the comments.
    pub at: Range<usize>,
    pub name: String,
}

impl Part {
    /// Whether it is certain that a program writes it, and not a person.
    pub fn is_tool(&self) -> bool {
        let by = ["managed", "ansible", "puppet", "chef", "generated"];
        by.iter().any(|word| self.name.contains(word))
    }

    /// The docblock template around the salts, which WordPress comes with.
    pub fn is_template(&self) -> bool {
        self.name.is_empty()
    }
}

/// The parts of the file that other tools manage, and the docblock template around
/// the salts.
pub fn foreign(seen: &Seen, source: &[u8]) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut open: Vec<(String, usize)> = Vec::new();
    let mut template = None;
    for comment in &seen.trivia.comments {
        let text = &source[comment.clone()];
        if text.starts_with(b"/**#@+") {
            template = Some(comment.start);
        } else if text.starts_with(b"/**#@-") {
            if let Some(start) = template.take() {
                parts.push(Part {
                    at: start..comment.end,
                    name: String::new(),
                });
            }
        } else if crate::site::config::block::is_marker(text) {
            continue;
        } else if let Some((begin, name)) = marker(source, comment.clone()) {
            if begin {
                open.push((name, comment.start));
                if open.len() > MAX_PARTS {
                    open.remove(0);
                }
            } else if let Some(at) = open.iter().rposition(|(it, _)| same(it, &name)) {
                let (name, start) = open.swap_remove(at);
                open.truncate(at);
                parts.push(Part {
                    at: start..comment.end,
                    name,
                });
            }
        }
    }
    parts
}
