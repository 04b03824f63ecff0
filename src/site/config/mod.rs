//! The wp-config.php editor: bytes in, bytes out.

mod block;
mod change;
mod events;
mod facts;
mod includes;
mod layout;
mod locate;
mod network;
mod php;
mod place;
mod refusal;
mod shapes;
mod undo;
mod value;
mod walk;
mod worker;

pub use locate::{Located, locate};
pub use network::Network;
pub use refusal::Refusal;
pub use undo::{Undone, take_out, undo};

use block::{Missing, ServerLines};
use change::Change;
use facts::{Fact, Facts};
use network::Domain;
use value::Value;

use crate::site::plugins::{Switch, SwitchValue, switches};

/// Reads a file that wp-config.php includes: an absolute path, or one
/// relative to wp-config.php's own folder. None where it can't.
pub type Include<'i> = dyn Fn(&[u8]) -> Option<Vec<u8>> + 'i;

/// Whether this value turns the switch on.
fn is_on(switch: Switch, value: &Value) -> bool {
    match switch.value {
        // Whoever wrote 'false' meant it, although PHP takes it for true.
        SwitchValue::True => value.truthy() == Some(true) && !is_text_false(value),
        SwitchValue::Text(text) => *value == Value::Text(text.into()),
    }
}

/// A value that the person asked for, or only a default for where the file
/// has none.
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

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    pub switch: Switch,
    pub servers: Want<Vec<String>>,
    pub salt: Want<String>,
}

/// Something that a person should know; it stops nothing.
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

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    pub text: Vec<u8>,
    /// What the new text says.
    pub found: Found,
    pub warnings: Vec<Warning>,
}

/// What the file says, as far as it can be told without running it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The switches that are on.
    pub on: Vec<Switch>,
    pub servers: Option<Vec<String>>,
    pub salt: Option<String>,
    /// There is a salt, known at run time only.
    pub salt_computed: bool,
    pub network: Network,
    /// A worker's `HTTP_HOST` is set by the file.
    pub host: bool,
}

/// What the file says now. A refusal only where it can't be read at all;
/// what is there but can't be followed counts as not found.
pub fn scan(source: &[u8], include: &Include<'_>) -> Result<Found, Refusal> {
    facts::read(source, include).map(|facts| found(&facts))
}

/// Makes the file say what is wished, or says why it was left alone.
pub fn edit(source: &[u8], wish: &Wish, include: &Include<'_>) -> Result<Edited, Refusal> {
    edit_once(source, wish, include).map_err(|refusal| {
        let lines = by_hand(wish);
        let text = match refusal.by_hand.is_empty() {
            true => format!("add by hand, before the line that loads WordPress:\n{lines}"),
            false => format!("{}:\n{lines}", refusal.by_hand),
        };
        Refusal {
            by_hand: text,
            ..refusal
        }
    })
}

fn by_hand(wish: &Wish) -> String {
    let all = Missing {
        switch: Some(wish.switch),
        servers: Some(ServerLines::Set(wish.servers.value().clone())),
        salt: Some(wish.salt.value().clone()),
        ..Missing::default()
    };
    let lines: Vec<_> = all.lines().iter().map(|it| format!("  {it}")).collect();
    lines.join("\n")
}

fn edit_once(source: &[u8], wish: &Wish, include: &Include<'_>) -> Result<Edited, Refusal> {
    let facts = facts::read(source, include)?;
    let foreign = layout::foreign(&facts.seen, source);
    let mut plan = change::Plan::new(source, &facts, &foreign);
    plan.switch(wish.switch)?;
    plan.servers(&wish.servers)?;
    plan.salt(&wish.salt)?;
    plan.host()?;
    let (changes, mut warnings) = plan.finish()?;
    let text = Change::apply(source, changes);
    let new = match text == source {
        true => facts,
        false => facts::read(&text, include).map_err(|refusal| {
            let why = format!("our own reading of the new text failed: {}", refusal.reason);
            Refusal::new(refusal.line, why)
        })?,
    };
    check(&new, wish)?;
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
        host: facts.host,
    }
}

/// The list as the plugin would read it; None for anything else.
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

/// The new text must say what was asked; else nothing is written.
fn check(facts: &Facts, wish: &Wish) -> Result<(), Refusal> {
    let found = found(facts);
    let servers = match (&wish.servers, &found.servers) {
        (Want::Exactly(want), Some(has)) => want == has,
        (Want::Default(_), Some(_)) => true,
        _ => false,
    };
    let salt = match (&wish.salt, &found.salt) {
        (Want::Exactly(want), Some(has)) => want == has,
        (Want::Default(_), Some(_)) => true,
        (Want::Default(_), None) => found.salt_computed,
        (Want::Exactly(_), None) => false,
    };
    let host = found.network == Network::No || found.host || facts.domain == Domain::Missing;
    let missing = [
        (found.on.contains(&wish.switch), "the switch"),
        (servers, "the servers"),
        (facts.global, "the servers' global"),
        (salt, "the salt"),
        (host, "the host name"),
    ];
    match missing.iter().find(|(ok, _)| !ok) {
        None => Ok(()),
        Some((_, what)) => Err(Refusal::new(
            None,
            format!("the new text would not show {what} as asked"),
        )),
    }
}
