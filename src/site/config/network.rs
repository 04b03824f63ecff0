//! Whether the file defines a network, by WordPress's own rules, and what is known
//! about its main domain.

use crate::site::config::events::Kind;
use crate::site::config::includes::From;
use crate::site::config::value::Value;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    No,
    Yes,
    /// Possibly, by a definition in a branch or by unreadable code.
    Maybe,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Domain {
    Missing,
    Sure,
    Maybe,
    /// Taken from the request's host name, in this line.
    FromHost(usize),
}

fn defines<'f>(
    name: &'static str,
    before: &'f [From],
) -> impl Iterator<Item = (&'f From, &'f Value)> {
    before
        .iter()
        .filter_map(move |from| match &from.event.kind {
            Kind::Define {
                name: it, value, ..
            } if it == name && !from.event.place.function => Some((from, value)),
            _ => None,
        })
}

/// WordPress's own rule: `MULTISITE` decides. If it is not defined, any of the
/// three old constants makes a network.
pub fn network(before: &[From], opaque: bool) -> Network {
    if let Some((from, value)) = defines("MULTISITE", before).next() {
        let place = &from.event.place;
        let own_guard = place.unless == ["MULTISITE"] && !place.branch;
        return match value.truthy() {
            Some(truth) if place.sure() || (own_guard && !opaque) => match truth {
                true => Network::Yes,
                false => Network::No,
            },
            _ => Network::Maybe,
        };
    }
    let old = ["SUBDOMAIN_INSTALL", "VHOST", "SUNRISE"];
    let sure = |from: &From| from.event.place.sure();
    let mut any = old.iter().flat_map(|name| defines(name, before));
    if any.any(|(from, _)| sure(from)) && !opaque {
        return Network::Yes;
    }
    match opaque
        || old
            .iter()
            .any(|name| defines(name, before).next().is_some())
    {
        true => Network::Maybe,
        false => Network::No,
    }
}

pub fn domain(before: &[From], opaque: bool) -> Domain {
    let mut found = if opaque {
        Domain::Maybe
    } else {
        Domain::Missing
    };
    for (from, value) in defines("DOMAIN_CURRENT_SITE", before) {
        if matches!(value, Value::Computed { from_host: true }) {
            return Domain::FromHost(from.line);
        }
        let place = &from.event.place;
        let sure = place.sure() || (place.unless == ["DOMAIN_CURRENT_SITE"] && !place.branch);
        if sure {
            return Domain::Sure;
        }
        found = Domain::Maybe;
    }
    found
}
