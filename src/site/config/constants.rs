//! What the events of a file say about one of our constants.

use crate::site::config::events::{Kind, Place, is_watched};
use crate::site::config::guards::SERVERS;
use crate::site::config::includes::{Fact, From, refuse};
use crate::site::config::refusal::{Refusal, place, places};
use crate::site::config::truth::Truth;
use crate::site::config::value::Value;
use crate::site::config::{Warning, is_on};
use crate::site::plugins::{SALT, constants, switches};

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
        let all = after.iter().filter(ours).map(From::place);
        return Err(refuse(late, reason).by_hand(take_out(name, all)));
    }
    let all = || take_out(name, before.iter().filter(ours).map(From::place));
    let mut fact: Option<Fact> = None;
    for from in before.iter().filter(ours) {
        let Kind::Define {
            value,
            value_at,
            collected,
            ..
        } = &from.event.kind
        else {
            continue;
        };
        let here = &from.event.place;
        // Until it is applied, what is collected is not defined, and can be replaced.
        let replaces = *collected
            && (fact.as_ref()).is_none_or(|fact| fact.collected && !fact.is_defined(before, from));
        if here.unless.iter().any(|it| it == name) && fact.is_some() && !replaces {
            continue;
        }
        let same = || match &fact {
            Some(fact) => fact.value == *value,
            None => name != SALT && is_wanted(name, value),
        };
        if replaces && from.file.is_some() && here.branch && !here.function && same() {
            continue; // whatever the environment is
        }
        if here.function {
            let reason = format!("{name} is defined inside a function");
            return Err(refuse(from, reason).by_hand(all()));
        }
        if !surely(here, name, before, from) {
            let reason = format!(
                "{name} is defined under a condition that cannot be evaluated without running the file"
            );
            return Err(refuse(from, reason).by_hand(all()));
        }
        if let Some(first) = fact.as_ref().filter(|_| !replaces) {
            let reason = format!(
                "{name} is defined a second time (first in {})",
                place(first.file.as_deref(), first.line)
            );
            let again = format!(
                "take the definition of {name} out of {} (put true in its place where something has to stand there), and run setup again",
                from.place()
            );
            return Err(refuse(from, reason).by_hand(again));
        }
        match value {
            Value::Bareword(word) if word == name => {
                let reason = format!("{name} is not in quotes, which is a fatal error since PHP 8");
                let quote = format!("write '{name}' in {}, and run setup again", from.place());
                return Err(refuse(from, reason).by_hand(quote));
            }
            // The constant may come from an included file, or from PHP itself.
            Value::Bareword(word) if unseen || word == "ABSPATH" => {}
            Value::Bareword(word) => {
                let reason = format!(
                    "{name} is set to {word} without quotes, and no such constant is defined"
                );
                let quote = format!("write '{word}' in {}, and run setup again", from.place());
                return Err(refuse(from, reason).by_hand(quote));
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
            collected: *collected,
        });
    }
    if let Some(last) = before.iter().rfind(ours)
        && (fact.as_ref()).is_some_and(|fact| fact.collected)
        && !applied(before, last)
    {
        let reason = format!("{name} is collected here, but Config::apply() does not follow");
        return Err(refuse(last, reason).by_hand(all()));
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
            let advice = format!(
                "take {name} out of {}, and run setup again{}",
                from.place(),
                keep(name)
            );
            return Err(refuse(from, reason).by_hand(advice));
        }
    }
    Ok(None)
}

/// Whether `Config::apply` is certain to run after an event.
fn applied(before: &[From], here: &From) -> bool {
    let later = before.iter().skip_while(|it| !std::ptr::eq(*it, here));
    later
        .into_iter()
        .any(|it| it.event.kind == Kind::Apply && it.event.place.sure())
}

impl Fact {
    /// Whether `Config::apply` runs between this definition and another one.
    fn is_defined(&self, before: &[From], later: &From) -> bool {
        let is_here = |it: &&From| it.line == self.line && it.file == self.file;
        let since = before.iter().skip_while(|it| !is_here(it));
        since
            .take_while(|it| !std::ptr::eq(*it, later))
            .any(|it| it.event.kind == Kind::Apply)
    }
}

/// Advice to take definitions out.
fn take_out(name: &str, all: impl IntoIterator<Item = String>) -> String {
    format!(
        "take the definition of {name} out of {} (put true in its place where something has to stand there), and run setup again{}",
        places(all),
        keep(name)
    )
}

/// How setup's own definition gets the same value.
fn keep(name: &str) -> &'static str {
    match name == SALT {
        true => " with --salt and the present value",
        false => ": it adds its own",
    }
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
