//! What the events of a file say about the list of servers.

use crate::site::config::constants::surely;
use crate::site::config::events::Kind;
use crate::site::config::guards::SERVERS;
use crate::site::config::includes::{Fact, From, refuse};
use crate::site::config::refusal::{self, Refusal, places};
use crate::site::config::value::{Element, Value};

/// The servers, whether they are appended one by one, and whether they are global.
pub fn servers(
    before: &[From],
    after: &[From],
) -> (Result<Option<Fact>, Refusal>, Option<Fact>, bool, bool) {
    let (mut fact, mut pushed, mut global) = (None, false, false);
    let result = follow_servers(before, after, &mut fact, &mut pushed, &mut global);
    let result = result.map_err(|refusal| {
        let uses = before.iter().chain(after).filter(|from| {
            matches!(
                from.event.kind,
                Kind::Servers { .. } | Kind::Push(..) | Kind::Touched
            )
        });
        refusal.by_hand_servers(format!(
            "write the servers as one plain list, outside of any condition or function, in place of what is in {}, and run setup again",
            places(uses.map(From::place))
        ))
    });
    (result.map(|()| fact.clone()), fact, pushed, global)
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
        return Err(refuse(late, reason));
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
            return Err(refuse(from, reason));
        }
        if *kind == Kind::Global && !place.sure() {
            continue;
        }
        let guarded = place.unless.iter().any(|it| it == SERVERS)
            || matches!(kind, Kind::Servers { yields: true, .. });
        if guarded && fact.is_some() && !place.function {
            continue;
        }
        if let (true, Kind::Servers { .. }, Some(found)) = (place.environment, kind, fact.as_mut())
            && !place.function
        {
            found.value = Value::Environment(Some(Box::new(found.value.clone())));
            continue;
        }
        if !surely(place, SERVERS, before, from) {
            let reason = match place.function {
                true => "$gearman_servers is set inside a function",
                false => {
                    "$gearman_servers is set under a condition that cannot be evaluated without running the file"
                }
            };
            return Err(refuse(from, reason));
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
                        "$gearman_servers is set a second time (first in {})",
                        refusal::place(first.file.as_deref(), first.line)
                    );
                    return Err(refuse(from, reason));
                }
                *global |= straight;
                *fact = Some(Fact {
                    value: value.clone(),
                    value_at: from.file.is_none().then(|| value_at.clone()),
                    line: from.line,
                    file: from.file.clone(),
                    collected: false,
                });
            }
            Kind::Push(value, straight) => {
                *pushed = true;
                *global |= straight;
                let element = Element {
                    value: value.clone(),
                    at: 0..0,
                    key: None,
                };
                match fact {
                    Some(Fact {
                        value: Value::List(list),
                        ..
                    }) => list.push(element),
                    Some(_) => {
                        return Err(refuse(
                            from,
                            "$gearman_servers[] is used on a value that is not a list",
                        ));
                    }
                    None => {
                        *fact = Some(Fact {
                            value: Value::List(vec![element]),
                            value_at: None,
                            line: from.line,
                            file: from.file.clone(),
                            collected: false,
                        });
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}
