//! The wp-config.php editor. It works on bytes and does not touch files itself.

mod block;
mod bounds;
mod change;
mod collected;
mod constants;
mod definitions;
mod entry;
mod events;
mod facts;
pub mod folders;
mod guards;
mod includes;
mod layout;
mod lines;
mod locate;
mod network;
mod ours;
mod php;
mod place;
mod reader;
mod refusal;
mod said;
mod servers;
mod shapes;
mod stated;
mod strange;
mod truth;
mod undo;
mod value;
mod walk;
mod worker;

pub use entry::{Entry, Stub, stub};
pub use locate::{Located, locate};
pub use network::Network;
pub use ours::Ours;
pub use refusal::Refusal;
pub use undo::{Undone, remove, undo, undo_ours};

use change::Change;
use facts::Facts;
use folders::Folders;
use includes::Fact;
use network::Domain;
use refusal::Lines;
use value::{Value, server_list};

use crate::site::plugins::{Switch, SwitchValue, switches};

/// The files that wp-config.php includes.
pub trait Include {
    /// Reads one, by an absolute path or one relative to wp-config.php's folder. `None`
    /// if that is not possible.
    fn read(&self, path: &[u8]) -> Option<Vec<u8>>;

    /// The folder of WordPress, `ABSPATH`, absolute or relative to wp-config.php's
    /// folder, with a slash at the end; empty if it is that folder.
    fn root(&self) -> &str {
        ""
    }

    /// The files that a path means that has `{WP_ENV}` in it.
    fn fit(&self, _path: &str) -> Fit {
        Fit::Unknown
    }

    /// The wp-config.php that includes the file that is edited, if that is another one.
    fn entry(&self) -> Option<&Entry> {
        None
    }
}

/// The files that a path means, of which a part is known to the environment only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fit {
    /// One file, if it is there.
    Surely(Option<String>),
    /// One of these, or none.
    Perhaps(Vec<String>),
    Unknown,
}

impl<F: Fn(&[u8]) -> Option<Vec<u8>>> Include for F {
    fn read(&self, path: &[u8]) -> Option<Vec<u8>> {
        self(path)
    }
}

/// Whether this value turns the switch on.
fn is_on(switch: Switch, value: &Value) -> bool {
    match switch.value {
        // 'false' is meant to be false, although PHP treats it as true.
        SwitchValue::True => value.truthy() == Some(true) && !is_text_false(value),
        SwitchValue::Text(text) => *value == Value::Text(text.into()),
    }
}

/// A requested value, or a default for files that have none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want<T> {
    Exactly(T),
    Default(T),
}

impl<T> Want<T> {
    fn value(&self) -> &T {
        match self {
            Want::Exactly(value) | Want::Default(value) => value,
        }
    }
}

/// The settings that the file should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    pub switch: Switch,
    pub servers: Want<Vec<String>>,
    pub salt: Want<String>,
}

/// Something that the user should know but that does not prevent the edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    pub line: Option<usize>,
    pub text: String,
}

impl Warning {
    fn new(line: Option<usize>, text: impl Into<String>) -> Self {
        Warning {
            line,
            text: text.into(),
        }
    }

    /// A warning about a line of wp-config.php, or of a file that it includes.
    fn at(file: Option<&str>, line: usize, text: impl std::fmt::Display) -> Self {
        match file {
            Some(file) => Warning::new(None, format!("{file}, line {line}: {text}")),
            None => Warning::new(Some(line), text.to_string()),
        }
    }
}

/// A successful edit, which may have changed nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    pub text: Vec<u8>,
    /// The settings in the new text.
    pub found: Found,
    pub warnings: Vec<Warning>,
    /// Those that are due unless workers are told a host.
    pub without_host: Vec<Warning>,
}

/// The settings in a file, as far as they are known without running it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The switches that are on.
    pub on: Vec<Switch>,
    pub servers: Option<Vec<String>>,
    pub salt: Option<String>,
    /// There is a salt, but it is computed at run time.
    pub salt_computed: bool,
    pub network: Network,
    pub folders: Folders,
    /// Whether the file sets `HTTP_HOST` for workers.
    pub host: bool,
    /// Whether it leaves the domain of a network to the request.
    pub domain_from_request: bool,
}

/// Reads the settings in a file. Fails only if the file cannot be read at all;
/// settings that cannot be evaluated count as not found.
pub fn scan(source: &[u8], include: &dyn Include) -> Result<Found, Refusal> {
    facts::read(source, include).map(|facts| found(&facts))
}

/// Edits the file so that it has the desired settings, or explains why that is
/// not possible.
pub fn edit(source: &[u8], desired: &Desired, include: &dyn Include) -> Result<Edited, Refusal> {
    let facts = facts::read(source, include)?;
    edit_as_read(source, &facts, desired, include).map_err(|refusal| {
        let lines = match refusal.lines {
            Lines::None => return refusal,
            Lines::Missing => change::Plan::new(source, &facts, &[]).lines(desired),
            Lines::Servers => block::plain_servers(&servers_in(&facts, desired), facts.global),
        };
        let lines: String = lines.iter().map(|it| format!("\n  {it}")).collect();
        let text = format!("{}:{lines}", refusal.by_hand);
        Refusal {
            lines: Lines::None,
            ..refusal.by_hand(text)
        }
    })
}

/// The servers that are wanted, or those that the file seems to have.
fn servers_in(facts: &Facts, desired: &Desired) -> Vec<String> {
    match &desired.servers {
        Want::Exactly(servers) => servers.clone(),
        Want::Default(servers) => match &facts.servers_so_far {
            Some(found) if !found.is_empty() => found.clone(),
            _ => servers.clone(),
        },
    }
}

fn edit_as_read(
    source: &[u8],
    facts: &Facts,
    desired: &Desired,
    include: &dyn Include,
) -> Result<Edited, Refusal> {
    let foreign = layout::foreign(&facts.seen, source);
    let mut plan = change::Plan::new(source, facts, &foreign);
    plan.all(desired)?;
    if plan.changes_something() {
        layout::stub(&facts.seen, source)?;
        said::generated(facts, source)?;
    }
    let (changes, mut warnings) = plan.finish()?;
    let text = Change::apply(source, changes);
    let new = match text == source {
        true => None,
        false => Some(facts::read(&text, include).map_err(|refusal| {
            let why = format!("the edited file cannot be read back: {}", refusal.reason);
            Refusal::new(refusal.line, why).by_hand_lines(BY_HAND)
        })?),
    };
    let new = new.as_ref().unwrap_or(facts);
    check(new, desired)?;
    warnings.extend(new.warnings.iter().cloned());
    Ok(Edited {
        found: found(new),
        without_host: new.without_host.clone(),
        text,
        warnings,
    })
}

const BY_HAND: &str = "add these lines by hand, before the line that loads WordPress";

fn found(facts: &Facts) -> Found {
    let on = |switch: &Switch| matches!(facts.switch(*switch), Ok(Some(fact)) if is_on(*switch, &fact.value));
    let known = |fact: &Result<Option<Fact>, Refusal>| fact.clone().ok().flatten();
    let salt = known(&facts.salt);
    Found {
        on: switches().iter().copied().filter(on).collect(),
        servers: known(&facts.servers).and_then(|fact| server_list(&fact.value)),
        salt_computed: salt.as_ref().is_some_and(|fact| {
            matches!(
                fact.value,
                Value::Computed { .. } | Value::Environment(_) | Value::Odd
            )
        }),
        salt: salt
            .and_then(|fact| fact.value.text())
            .filter(|it| !it.is_empty()),
        network: facts.network,
        folders: facts.folders.clone(),
        host: facts.host,
        domain_from_request: from_request(facts),
    }
}

/// Whether only the request tells the domain of a network.
fn from_request(facts: &Facts) -> bool {
    let open = matches!(facts.domain, Domain::Missing | Domain::FromHost(_));
    facts.network != Network::No && open
}

fn is_text_false(value: &Value) -> bool {
    matches!(value, Value::Text(text) if ["false", "off", "no"].contains(&&*text.to_ascii_lowercase()))
}

/// Verifies that the new text has the desired settings. If not, nothing is written.
fn check(facts: &Facts, desired: &Desired) -> Result<(), Refusal> {
    let found = found(facts);
    let servers = match (&desired.servers, &found.servers) {
        (Want::Exactly(want), Some(has)) => want == has,
        (Want::Default(_), Some(_)) => true,
        _ => false,
    };
    let salt = match (&desired.salt, &found.salt) {
        (Want::Exactly(want), Some(has)) => want == has,
        (Want::Default(_), Some(_)) => true,
        (Want::Default(_), None) => found.salt_computed,
        (Want::Exactly(_), None) => false,
    };
    let host = found.network == Network::No
        || found.host
        || found.domain_from_request
        || facts.lacks_domain();
    let missing = [
        (found.on.contains(&desired.switch), "the switch"),
        (servers, "the servers"),
        (facts.global, "the servers as a global variable"),
        (salt, "the salt"),
        (host, "the host name"),
    ];
    match missing.iter().find(|(ok, _)| !ok) {
        None => Ok(()),
        Some((_, what)) => Err(Refusal::new(
            None,
            format!("the edited file would not set {what} as requested"),
        )
        .by_hand_lines(BY_HAND)),
    }
}
