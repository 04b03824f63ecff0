//! Whether the file defines a network, by WordPress's own rules, and what is known
//! about its main domain.

use crate::site::config::Warning;
use crate::site::config::events::Kind;
use crate::site::config::includes::From;
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
    /// Not defined: WordPress finds the site by the request's host name.
    Missing,
    /// It is, or may be, defined. The warning says what PHP that is run by hand may lack.
    Sure(Option<Warning>),
    Maybe(Option<Warning>),
    /// Taken from the request's host name, without another value.
    FromHost(Warning),
}

/// Workers get it from the database, or from an option.
const BY_HAND: &str =
    "which workers have, but PHP that is run by hand has only with HTTP_HOST in its environment";

/// A network whose site only the request's host name tells.
pub fn without_domain() -> Warning {
    let text =
        format!("without DOMAIN_CURRENT_SITE the request's host name tells the site, {BY_HAND}");
    Warning::new(None, text)
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

/// The definition that counts: the first, or the last of those that are collected.
fn deciding<'f>(name: &'static str, before: &'f [From]) -> Option<(&'f From, &'f Value)> {
    let collected = |from: &From| {
        matches!(
            from.event.kind,
            Kind::Define {
                collected: true,
                ..
            }
        )
    };
    let mut all = defines(name, before);
    let first = all.next()?;
    match collected(first.0) {
        true => all.last().or(Some(first)),
        false => Some(first),
    }
}

/// WordPress's own rule: `MULTISITE` decides. If it is not defined, any of the
/// three old constants makes a network.
pub fn network(before: &[From], opaque: bool) -> Network {
    if let Some((from, value)) = deciding("MULTISITE", before) {
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
            let text = format!("DOMAIN_CURRENT_SITE comes from the request's host name, {BY_HAND}");
            return Domain::FromHost(Warning::at(from.file.as_deref(), from.line, text));
        }
        let warning = (empty || value.lacks_host() != Truth::No).then(|| {
            let text =
                format!("DOMAIN_CURRENT_SITE may come from the request's host name, {BY_HAND}");
            Warning::at(from.file.as_deref(), from.line, text)
        });
        if sure {
            return Domain::Sure(warning);
        }
        found = Domain::Maybe(warning);
    }
    found
}

/// A host name for the command line with which no worker finds a network's site. One
/// that is only for PHP without a host does no harm.
pub fn faked_host(before: &[From]) -> Option<Warning> {
    let domain = defines("DOMAIN_CURRENT_SITE", before).find_map(|(_, value)| value.text())?;
    before.iter().find_map(|from| match &from.event.kind {
        Kind::Host {
            worker: Truth::Yes | Truth::Unknown,
            name: Some(name),
            by_host: false,
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

#[cfg(test)]
mod tests {
    use crate::site::config::{Desired, Edited, Want, edit};
    use crate::site::plugins::BUNDLED;

    fn edited(lines: &str) -> Edited {
        let source = format!(
            "<?php\n{lines}\nif ( ! defined( 'ABSPATH' ) ) {{ define( 'ABSPATH', __DIR__ . '/' ); }}\nrequire_once ABSPATH . 'wp-settings.php';\n"
        );
        let desired = Desired {
            switch: BUNDLED.switch,
            servers: Want::Default(vec!["127.0.0.1:4730".into()]),
            salt: Want::Default("salt".into()),
        };
        edit(source.as_bytes(), &desired, &|_: &[u8]| None).unwrap()
    }

    #[test]
    fn a_domain_that_is_left_to_the_request_is_not_refused() {
        let network = "define( 'MULTISITE', true );";
        for (domain, from_request) in [
            ("", true),
            (
                "define( 'DOMAIN_CURRENT_SITE', $_SERVER['HTTP_HOST'] );",
                true,
            ),
            (
                "define( 'DOMAIN_CURRENT_SITE', getenv( 'HTTP_HOST' ) );",
                true,
            ),
            ("define( 'DOMAIN_CURRENT_SITE', 'a.example' );", false),
            (
                "define( 'DOMAIN_CURRENT_SITE', $_SERVER['HTTP_HOST'] ?? 'a.example' );",
                false,
            ),
        ] {
            let edited = edited(&format!("{network}\n{domain}"));
            assert_eq!(edited.found.domain_from_request, from_request, "{domain}");
            let by_hand = edited.warnings.iter().any(|it| it.text.contains("by hand"));
            assert_eq!(by_hand, from_request, "{domain}");
            let text = String::from_utf8(edited.text).unwrap();
            let readme = text.contains("= DOMAIN_CURRENT_SITE;");
            assert_eq!(readme, !from_request, "{text}");
        }
        assert!(
            !edited("define( 'DOMAIN_CURRENT_SITE', $_SERVER['HTTP_HOST'] );")
                .found
                .domain_from_request
        );
    }

    #[test]
    fn a_script_that_ends_without_a_host_is_about_workers_without_one() {
        for (line, always, without_host) in [
            ("if ( 'cli' === PHP_SAPI ) exit;", 1, 0),
            ("if ( empty( $_SERVER['HTTP_HOST'] ) ) exit;", 0, 1),
            ("isset( $_SERVER['HTTP_HOST'] ) || die( 'no' );", 0, 1),
            (
                "if ( ! in_array( $_SERVER['HTTP_HOST'], $known ) ) exit;",
                0,
                1,
            ),
            ("if ( isset( $_GET['x'] ) ) exit;", 0, 0),
        ] {
            let edited = edited(line);
            let found = (edited.warnings.len(), edited.without_host.len());
            assert_eq!(
                found,
                (always, without_host),
                "{line}: {:?} {:?}",
                edited.warnings,
                edited.without_host
            );
        }
    }
}
