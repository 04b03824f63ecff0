//! The wp-config.php editor. It works on bytes and does not touch files itself.

mod block;
mod change;
mod events;
mod facts;
pub mod folders;
mod includes;
mod layout;
mod locate;
mod network;
mod php;
mod place;
mod refusal;
mod shapes;
mod stated;
mod undo;
mod value;
mod walk;
mod worker;

pub use locate::{Located, locate};
pub use network::Network;
pub use refusal::Refusal;
pub use undo::{Undone, remove, undo};

use block::{Missing, ServerLines};
use change::Change;
use facts::{Fact, Facts};
use folders::Folders;
use network::Domain;
use value::Value;

use crate::site::plugins::{Switch, SwitchValue, switches};

/// Reads a file that wp-config.php includes, by an absolute path or one relative
/// to wp-config.php's folder. `None` if that is not possible.
pub type Include<'i> = dyn Fn(&[u8]) -> Option<Vec<u8>> + 'i;

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
}

/// A successful edit, which may have changed nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    pub text: Vec<u8>,
    /// The settings in the new text.
    pub found: Found,
    pub warnings: Vec<Warning>,
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
}

/// Reads the settings in a file. Fails only if the file cannot be read at all;
/// settings that cannot be evaluated count as not found.
pub fn scan(source: &[u8], include: &Include<'_>) -> Result<Found, Refusal> {
    facts::read(source, include).map(|facts| found(&facts))
}

/// Edits the file so that it has the desired settings, or explains why that is
/// not possible.
pub fn edit(source: &[u8], desired: &Desired, include: &Include<'_>) -> Result<Edited, Refusal> {
    edit_once(source, desired, include).map_err(|refusal| {
        let lines = by_hand(desired);
        let text = match refusal.by_hand.is_empty() {
            true => {
                format!("add these lines by hand, before the line that loads WordPress:\n{lines}")
            }
            false => format!("{}:\n{lines}", refusal.by_hand),
        };
        Refusal {
            by_hand: text,
            ..refusal
        }
    })
}

fn by_hand(desired: &Desired) -> String {
    let all = Missing {
        switch: Some(desired.switch),
        servers: Some(ServerLines::Set(desired.servers.value().clone())),
        salt: Some(desired.salt.value().clone()),
        ..Missing::default()
    };
    let lines: Vec<_> = all.lines().iter().map(|it| format!("  {it}")).collect();
    lines.join("\n")
}

fn edit_once(source: &[u8], desired: &Desired, include: &Include<'_>) -> Result<Edited, Refusal> {
    let facts = facts::read(source, include)?;
    let foreign = layout::foreign(&facts.seen, source);
    let mut plan = change::Plan::new(source, &facts, &foreign);
    plan.switch(desired.switch)?;
    plan.servers(&desired.servers)?;
    plan.salt(&desired.salt)?;
    plan.host()?;
    let (changes, mut warnings) = plan.finish()?;
    let text = Change::apply(source, changes);
    let new = match text == source {
        true => facts,
        false => facts::read(&text, include).map_err(|refusal| {
            let why = format!("the edited file cannot be read back: {}", refusal.reason);
            Refusal::new(refusal.line, why)
        })?,
    };
    check(&new, desired)?;
    warnings.extend(new.warnings.iter().cloned());
    Ok(Edited {
        found: found(&new),
        text,
        warnings,
    })
}

fn found(facts: &Facts) -> Found {
    let on = |switch: &Switch| matches!(facts.switch(*switch), Ok(Some(fact)) if is_on(*switch, &fact.value));
    let known = |fact: &Result<Option<Fact>, Refusal>| fact.clone().ok().flatten();
    let salt = known(&facts.salt);
    Found {
        on: switches().iter().copied().filter(on).collect(),
        servers: known(&facts.servers).and_then(|fact| server_list(&fact.value)),
        salt_computed: salt
            .as_ref()
            .is_some_and(|fact| matches!(fact.value, Value::Computed { .. } | Value::Odd)),
        salt: salt
            .and_then(|fact| fact.value.text())
            .filter(|it| !it.is_empty()),
        network: facts.network,
        folders: facts.folders.clone(),
        host: facts.host,
    }
}

/// The list of servers; `None` if it has an element that is not a string.
fn server_list(value: &Value) -> Option<Vec<String>> {
    let Value::List(list) = value else {
        return None;
    };
    list.iter()
        .map(|element| match &element.value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        })
        .collect()
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
    let host = found.network == Network::No || found.host || facts.domain == Domain::Missing;
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
        )),
    }
}
