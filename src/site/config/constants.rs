//! What the events of a file say about one of our constants.

use crate::site::config::events::{Kind, Place, is_watched};
use crate::site::config::guards::SERVERS;
use crate::site::config::includes::{Fact, From, refuse};
use crate::site::config::refusal::Refusal;
use crate::site::config::truth::Truth;
use crate::site::config::value::Value;
use crate::site::config::{Warning, is_on};
use crate::site::plugins::{constants, switches};

pub fn constant(
    name: &str,
    before: &[From],
    after: &[From],
    unseen: bool,
) -> Result<Option<Fact>, Refusal> {
    let ours =
        |from: &&From| matches!(&from.event.kind, Kind::Define { name: it, .. } if it == name);
    if let Some(late) = after.iter().find(ours) {
        let reason = format!("{name} is defined after WordPress is loaded, which is too late");
        return Err(refuse(late, reason));
    }
    let mut fact: Option<Fact> = None;
    for from in before.iter().filter(ours) {
        let Kind::Define {
            value, value_at, ..
        } = &from.event.kind
        else {
            continue;
        };
        let place = &from.event.place;
        if place.unless.iter().any(|it| it == name) && fact.is_some() {
            continue;
        }
        if place.function {
            return Err(refuse(from, format!("{name} is defined inside a function")));
        }
        if !surely(place, name, before, from) {
            let reason = format!(
                "{name} is defined under a condition that cannot be evaluated without running the file"
            );
            return Err(refuse(from, reason));
        }
        if let Some(first) = &fact {
            let reason = format!(
                "{name} is defined a second time (first in line {})",
                first.line
            );
            return Err(refuse(from, reason));
        }
        match value {
            Value::Bareword(word) if word == name => {
                return Err(refuse(
                    from,
                    format!("{name} is not in quotes, which is a fatal error since PHP 8"),
                ));
            }
            // The constant may come from an included file, or from PHP itself.
            Value::Bareword(word) if unseen || word == "ABSPATH" => {}
            Value::Bareword(word) => {
                let reason = format!(
                    "{name} is set to {word} without quotes, and no such constant is defined"
                );
                return Err(refuse(from, reason));
            }
            _ => {}
        }
        fact = Some(Fact {
            value: match value {
                Value::Bareword(_) => Value::computed(Truth::No),
                value => value.clone(),
            },
            value_at: from.file.is_none().then(|| value_at.clone()),
            line: from.line,
            file: from.file.clone(),
        });
    }
    if fact.is_some() {
        return Ok(fact);
    }
    for from in before.iter().chain(after) {
        let unclear = match &from.event.kind {
            Kind::Mention(it) => it == name,
            // Data of an included file: guarded lines of ours work, whether the file
            // makes constants of it or not, if the value is the same.
            Kind::Entry { name: it, value } => {
                it == name && !(from.file.is_some() && is_wanted(name, value))
            }
            _ => false,
        };
        if unclear {
            let reason = format!(
                "{name} is used in a way that cannot be evaluated without running the file"
            );
            return Err(refuse(from, reason));
        }
    }
    Ok(None)
}

/// Whether a value is one that setup would keep.
fn is_wanted(name: &str, value: &Value) -> bool {
    let mut switches = switches().iter().filter(|it| it.constant == name);
    match switches.next() {
        Some(switch) => is_on(*switch, value),
        None => value.text().is_some_and(|text| !text.is_empty()),
    }
}

/// The value of a constant in the data of an included file, which may define it.
pub fn entry(name: &str, before: &[From]) -> Option<String> {
    before.iter().find_map(|from| match &from.event.kind {
        Kind::Entry { name: it, value } if it == name && from.file.is_some() => value.text(),
        _ => None,
    })
}

/// Whether a line is certain to run, or has only the usual guard against a second
/// definition of its constant.
pub fn surely(place: &Place, name: &str, before: &[From], here: &From) -> bool {
    if place.branch || place.if_file.is_some() || place.function {
        return false;
    }
    let earlier = || before.iter().take_while(|it| !std::ptr::eq(*it, here));
    place.unless.iter().all(|guard| {
        // A guard on another setting of ours that is not there yet.
        guard == name
            || (constants().contains(&guard.as_str()) || guard == SERVERS)
                && !earlier().any(|from| match &from.event.kind {
                    Kind::Define { name, .. } => name == guard,
                    Kind::Servers { .. } | Kind::Push(..) => guard == SERVERS,
                    Kind::Opaque(_) => true,
                    _ => false,
                })
    })
}

/// Warns about constants that differ from ours only in the case of their names.
pub fn similar_names(before: &[From], warnings: &mut Vec<Warning>) {
    for from in before {
        if let Kind::Define { name, .. } = &from.event.kind
            && !is_watched(name)
        {
            warnings.push(Warning::at(
                from.file.as_deref(),
                from.line,
                format!(
                    "{name} is not the constant {}: names are case-sensitive",
                    name.to_ascii_uppercase()
                ),
            ));
        }
    }
}
