//! Evaluates the events of a file and of the files that it includes, to one
//! result for each setting.

use crate::site::config::events::{Event, Kind, Opaque, Place, Seen, is_watched};
use crate::site::config::folders::Folders;
use crate::site::config::includes::{From, Lines, splice};
use crate::site::config::network::{Domain, Network, domain, network};
use crate::site::config::php::{self, line_of};
use crate::site::config::refusal::Refusal;
use crate::site::config::stated;
use crate::site::config::value::Value;
use crate::site::config::worker::Truth;
use crate::site::config::{Include, Warning};
use crate::site::plugins::{SALT, Switch, constants, switches};
use std::ops::Range;

/// A value that is certain to be set when WordPress loads.
#[derive(Debug, Clone)]
pub struct Fact {
    pub value: Value,
    /// The position of the value in wp-config.php; `None` if it is in an included
    /// file.
    pub value_at: Option<Range<usize>>,
    pub line: usize,
    /// The included file that sets it.
    pub file: Option<String>,
}

/// All results.
#[derive(Debug)]
pub struct Facts {
    pub seen: Seen,
    /// The top-level statement that loads WordPress.
    pub load: usize,
    /// The value of each plugin's switch.
    pub switches: Vec<(Switch, Result<Option<Fact>, Refusal>)>,
    pub salt: Result<Option<Fact>, Refusal>,
    pub servers: Result<Option<Fact>, Refusal>,
    /// Whether the elements of the list are appended one by one.
    pub pushed: bool,
    /// Whether the list is a global variable even if the file is included inside a
    /// function.
    pub global: bool,
    pub network: Network,
    pub domain: Domain,
    pub folders: Folders,
    /// Whether the file sets `HTTP_HOST` for workers.
    pub host: bool,
    /// Code before the load that cannot be read and may define our settings, with
    /// its line.
    pub opaque: Option<(usize, String)>,
    pub warnings: Vec<Warning>,
}

impl Facts {
    /// The value of a switch.
    pub fn switch(&self, switch: Switch) -> Result<Option<&Fact>, Refusal> {
        let found = self.switches.iter().find(|(it, _)| *it == switch);
        match found {
            Some((_, Ok(fact))) => Ok(fact.as_ref()),
            Some((_, Err(refusal))) => Err(refusal.clone()),
            None => Ok(None),
        }
    }
}

/// Reads a file, or explains why it must not be edited.
pub fn read(source: &[u8], include: &Include<'_>) -> Result<Facts, Refusal> {
    let seen = php::parse(source, |program, view, trivia, old| {
        crate::site::config::walk::see(program, view, source, trivia, old)
    })?;
    let mut warnings = Vec::new();
    if seen.old_grammar {
        warnings.push(Warning::new(
            None,
            "only PHP 7.4 and older accept the syntax of this file",
        ));
    }
    let load = find_load(&seen, source, include)?;
    let lines = Lines::new(source);
    let mut events = Vec::new();
    let mut files = Vec::new();
    for event in &seen.events {
        let from = From {
            line: lines.at(event.at),
            event: event.clone(),
            file: None,
        };
        splice(from, include, &mut files, &mut events);
    }
    let (mut before, mut after) = (Vec::new(), Vec::new());
    let load_at = seen.tops[load].at.start;
    let mut loaded = false;
    for from in events {
        // Code in the same statement as the load counts as before it; if it is
        // nested there, it is in a branch anyway.
        loaded |= from.file.is_none() && from.event.top > load;
        if loaded { &mut after } else { &mut before }.push(from);
    }
    check_flow(&before, load_at, &mut warnings)?;
    let opaque = opaque(&before);
    let includes = |event: &Event| matches!(event.kind, Kind::Include(_));
    let unseen = opaque.is_some() || seen.events.iter().any(includes);
    let constant = |name| constant(name, &before, &after, unseen);
    let (servers, pushed, global) = servers(&before, &after);
    similar_names(&before, &mut warnings);
    let host = before.iter().any(|from| {
        matches!(
            from.event.kind,
            Kind::Host {
                worker: Truth::Yes,
                usable: true
            }
        ) && !from.event.place.function
    });
    Ok(Facts {
        switches: switches()
            .iter()
            .map(|switch| (*switch, constant(switch.constant)))
            .collect(),
        salt: constant(SALT),
        servers,
        pushed,
        global,
        network: network(&before, opaque.is_some()),
        domain: domain(&before, opaque.is_some()),
        folders: stated::read(&before),
        host,
        opaque,
        warnings,
        load,
        seen,
    })
}

/// The statement that loads WordPress, or the reason why there is none.
fn find_load(seen: &Seen, source: &[u8], include: &Include<'_>) -> Result<usize, Refusal> {
    crate::site::config::layout::stub(seen, source)?;
    let loads = |event: &&Event| event.kind == Kind::Load;
    let Some(event) = seen.events.iter().find(loads) else {
        return Err(super::layout::no_load(seen, source, include));
    };
    if seen.tops[event.top].declares {
        return Err(Refusal::new(
            Some(line_of(source, event.at)),
            "WordPress is loaded inside a function, and it is unknown when that is called",
        ));
    }
    Ok(event.top)
}

fn check_flow(before: &[From], load_at: usize, warnings: &mut Vec<Warning>) -> Result<(), Refusal> {
    for from in before
        .iter()
        .filter(|from| from.event.at < load_at || from.file.is_some())
    {
        let place = &from.event.place;
        match from.event.kind {
            Kind::Exit { .. } if place.sure() => {
                return Err(Refusal::new(
                    Some(from.line),
                    "the script ends here, before it loads WordPress",
                ));
            }
            Kind::Exit { worker: Truth::Yes } if !place.function => warnings.push(Warning::new(
                Some(from.line),
                "on the command line and without a host name, the script ends here, so a worker never loads WordPress",
            )),
            Kind::Jump => {
                return Err(Refusal::new(
                    Some(from.line),
                    "a goto makes it impossible to tell which lines run",
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

fn opaque(before: &[From]) -> Option<(usize, String)> {
    before.iter().find_map(|from| match from.event.kind {
        Kind::Opaque(what) => {
            let what = match &from.file {
                Some(file) if what == Opaque::UnreadableFile => format!("{what} ({file})"),
                _ => what.to_string(),
            };
            Some((from.line, what))
        }
        _ => None,
    })
}

fn refuse(from: &From, reason: String) -> Refusal {
    Refusal::at(from.file.as_deref(), from.line, reason)
}

fn constant(
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
                Value::Bareword(_) => Value::Computed { from_host: false },
                value => value.clone(),
            },
            value_at: from.file.is_none().then(|| value_at.clone()),
            line: from.line,
            file: from.file.clone(),
        });
    }
    let mentions = |from: &&From| matches!(&from.event.kind, Kind::Mention(it) if it == name);
    if fact.is_none()
        && let Some(from) = before.iter().chain(after).find(mentions)
    {
        return Err(refuse(
            from,
            format!("{name} is used in a way that cannot be evaluated without running the file"),
        ));
    }
    Ok(fact)
}

/// Whether a line is certain to run, or has only the usual guard against a second
/// definition of its constant.
fn surely(place: &Place, name: &str, before: &[From], here: &From) -> bool {
    if place.branch || place.if_file.is_some() || place.function {
        return false;
    }
    place.unless.iter().all(|guard| {
        // A guard on another constant of ours that is not defined yet.
        guard == name
            || constants().contains(&guard.as_str())
                && !before
                    .iter()
                    .take_while(|from| !std::ptr::eq(*from, here))
                    .any(|from| match &from.event.kind {
                        Kind::Define { name, .. } => name == guard,
                        Kind::Opaque(_) => true,
                        _ => false,
                    })
    })
}

/// The servers, whether they are appended one by one, and whether they are global.
fn servers(before: &[From], after: &[From]) -> (Result<Option<Fact>, Refusal>, bool, bool) {
    let (mut fact, mut pushed, mut global) = (None, false, false);
    let result = follow_servers(before, after, &mut fact, &mut pushed, &mut global);
    (result.map(|()| fact), pushed, global)
}

fn follow_servers(
    before: &[From],
    after: &[From],
    fact: &mut Option<Fact>,
    pushed: &mut bool,
    global: &mut bool,
) -> Result<(), Refusal> {
    let late = |from: &&From| {
        matches!(from.event.kind, Kind::Servers { .. } | Kind::Push(..))
            && !from.event.place.function
    };
    if let Some(late) = after.iter().find(late) {
        let reason = "$gearman_servers is set after WordPress is loaded, which is too late";
        return Err(refuse(late, reason.into()));
    }
    for from in before {
        let place = &from.event.place;
        let kind = &from.event.kind;
        if !matches!(
            kind,
            Kind::Servers { .. } | Kind::Push(..) | Kind::Global | Kind::Touched
        ) {
            continue;
        }
        if *kind == Kind::Touched {
            let reason = "$gearman_servers is used in a way that cannot be evaluated without running the file";
            return Err(refuse(from, reason.into()));
        }
        if !place.sure() {
            let reason = match place.function {
                true => "$gearman_servers is set inside a function",
                false => {
                    "$gearman_servers is set under a condition that cannot be evaluated without running the file"
                }
            };
            return Err(refuse(from, reason.into()));
        }
        match kind {
            Kind::Global => *global = true,
            Kind::Servers {
                value,
                value_at,
                global: straight,
                ..
            } => {
                if let Some(first) = fact {
                    let reason = format!(
                        "$gearman_servers is set a second time (first in line {})",
                        first.line
                    );
                    return Err(refuse(from, reason));
                }
                *global |= straight;
                *fact = Some(Fact {
                    value: value.clone(),
                    value_at: from.file.is_none().then(|| value_at.clone()),
                    line: from.line,
                    file: from.file.clone(),
                });
            }
            Kind::Push(value, straight) => {
                *pushed = true;
                *global |= straight;
                let element = crate::site::config::value::Element {
                    value: value.clone(),
                    at: 0..0,
                    keyed: false,
                };
                match fact {
                    Some(Fact {
                        value: Value::List(list),
                        ..
                    }) => list.push(element),
                    Some(_) => {
                        return Err(refuse(
                            from,
                            "$gearman_servers[] is used on a value that is not a list".into(),
                        ));
                    }
                    None => {
                        *fact = Some(Fact {
                            value: Value::List(vec![element]),
                            value_at: None,
                            line: from.line,
                            file: from.file.clone(),
                        });
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Warns about constants that differ from ours only in the case of their names.
fn similar_names(before: &[From], warnings: &mut Vec<Warning>) {
    for from in before {
        if let Kind::Define { name, .. } = &from.event.kind
            && !is_watched(name)
        {
            warnings.push(Warning::new(
                Some(from.line),
                format!(
                    "{name} is not the constant {}: names are case-sensitive",
                    name.to_ascii_uppercase()
                ),
            ));
        }
    }
}
