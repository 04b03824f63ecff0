//! Whether the file defines a network, by WordPress's own rules, and what is known
//! about its main domain.

use crate::site::config::Warning;
use crate::site::config::events::Kind;
use crate::site::config::includes::{From, refuse};
use crate::site::config::refusal::Refusal;
use crate::site::config::truth::Truth;
use crate::site::config::value::Value;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    No,
    Yes,
    /// Possibly, by a definition in a branch or by unreadable code.
    Maybe,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Domain {
    Missing,
    /// It is, or may be, defined. The warning says what a worker may lack.
    Sure(Option<Warning>),
    Maybe(Option<Warning>),
    /// Taken from the request's host name, without another value for a worker.
    FromHost(Refusal),
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
        Domain::Maybe(None)
    } else {
        Domain::Missing
    };
    for (from, value) in defines("DOMAIN_CURRENT_SITE", before) {
        let place = &from.event.place;
        let sure = place.sure() || (place.unless == ["DOMAIN_CURRENT_SITE"] && !place.branch);
        let empty = value.truthy() == Some(false);
        if sure && (empty || value.lacks_host() == Truth::Yes) {
            let reason = "DOMAIN_CURRENT_SITE comes from the request's host name, which a worker does not have";
            let advice = format!(
                "give it a value for the command line in {}, and run setup again:\n  define( 'DOMAIN_CURRENT_SITE', $_SERVER['HTTP_HOST'] ?? 'the domain of the main site' );",
                from.place()
            );
            return Domain::FromHost(refuse(from, reason).by_hand(advice));
        }
        let warning = (empty || value.lacks_host() != Truth::No).then(|| {
            let text = "DOMAIN_CURRENT_SITE may come from the request's host name, which a worker does not have: check that it is right without one";
            Warning::at(from.file.as_deref(), from.line, text)
        });
        if sure {
            return Domain::Sure(warning);
        }
        found = Domain::Maybe(warning);
    }
    found
}

/// A host name for the command line with which no worker finds a network's site.
pub fn faked_host(before: &[From]) -> Option<Warning> {
    let domain = defines("DOMAIN_CURRENT_SITE", before).find_map(|(_, value)| value.text())?;
    before.iter().find_map(|from| match &from.event.kind {
        Kind::Host {
            worker: Truth::Yes | Truth::Unknown,
            name: Some(name),
            ..
        } if !from.event.place.function && !is_below(name, &domain) => {
            let text = format!(
                "HTTP_HOST becomes {name} on the command line, but the network's domain is {domain}: a worker may not find its site"
            );
            Some(Warning::at(from.file.as_deref(), from.line, text))
        }
        _ => None,
    })
}

/// Whether a host is the domain or one below it, or the other way round.
fn is_below(host: &str, domain: &str) -> bool {
    let (host, domain) = (host.to_ascii_lowercase(), domain.to_ascii_lowercase());
    let within = |inner: &str, outer: &str| {
        inner == outer
            || inner
                .strip_suffix(outer)
                .is_some_and(|it| it.ends_with('.'))
    };
    within(&host, &domain) || within(&domain, &host)
}
