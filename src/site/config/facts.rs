//! Evaluates the events of a file and of the files that it includes, to one
//! result for each setting.

use crate::site::config::constants::{constant, entry, similar_names};
use crate::site::config::entry;
use crate::site::config::events::{End, Event, Kind, Opaque, Seen};
use crate::site::config::folders::Folders;
use crate::site::config::includes::{Fact, From, refuse, splice};
use crate::site::config::lines::{Lines, line_of};
use crate::site::config::network::{Domain, Network, domain, faked_host, network};
use crate::site::config::php;
use crate::site::config::reader::Location;
use crate::site::config::refusal::Refusal;
use crate::site::config::servers::servers;
use crate::site::config::stated;
use crate::site::config::truth::Truth;
use crate::site::config::value::likely_servers;
use crate::site::config::{Include, Warning};
use crate::site::plugins::{SALT, Switch, switches};

/// All results.
#[derive(Debug)]
pub struct Facts {
    pub seen: Seen,
    /// The top-level statement before which our lines have to be: the one that loads
    /// WordPress, or what `entry::last` finds, or why there is none.
    pub load: Result<usize, Refusal>,
    /// The class by which the file defines constants, which that statement applies.
    pub collector: Option<String>,
    /// Whether the file itself is certain to collect DOMAIN_CURRENT_SITE.
    pub has_domain: bool,
    /// The value of each plugin's switch.
    pub switches: Vec<(Switch, Result<Option<Fact>, Refusal>)>,
    pub salt: Result<Option<Fact>, Refusal>,
    /// The salt in the data of an included file, which may or may not define it.
    pub salt_in_data: Option<String>,
    pub servers: Result<Option<Fact>, Refusal>,
    /// Those that the file has before anything unclear.
    pub servers_so_far: Option<Vec<String>>,
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
    pub opaque: Option<(usize, Option<String>, Opaque)>,
    pub warnings: Vec<Warning>,
    /// Those that are due unless workers are told a host.
    pub without_host: Vec<Warning>,
}

impl Facts {
    /// Whether lines in the file cannot read DOMAIN_CURRENT_SITE, because it is collected
    /// elsewhere, if at all. Workers know it nevertheless.
    pub fn lacks_domain(&self) -> bool {
        self.collector.is_some() && !self.has_domain
    }

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
pub fn read(source: &[u8], include: &dyn Include) -> Result<Facts, Refusal> {
    let root = include.root();
    let mut seen = php::parse(source, |program, view, trivia, old| {
        let location = Location { own: "", root };
        crate::site::config::walk::see(program, view, source, trivia, old, location)
    })?
    .complete(source)?;
    let mut warnings = Vec::new();
    if seen.old_grammar {
        warnings.push(Warning::new(
            None,
            "only PHP 7.4 and older accept the syntax of this file",
        ));
    }
    let mut collector = None;
    let (load, before, after) = match include.entry() {
        Some(entry) => {
            let (load, collects) = entry::last(&mut seen, source);
            collector = seen.collector.clone().filter(|_| collects);
            let (before, after) = entry::around(entry, &seen, source, include, &mut Vec::new())?;
            (Ok(load), before, after)
        }
        None => {
            let load = find_load(&seen, source, include);
            let (before, after) = around_load(&seen, source, &load, include);
            (load, before, after)
        }
    };
    let load_at = match (&load, include.entry()) {
        (Ok(load), None) => seen.tops[*load].at.start,
        _ => usize::MAX,
    };
    let mut without_host = Vec::new();
    check_flow(&before, load_at, &mut warnings, &mut without_host)?;
    let opaque = opaque(&before);
    let includes = |event: &Event| matches!(event.kind, Kind::Include(_));
    let unseen = opaque.is_some() || seen.events.iter().any(includes);
    let constant = |name| constant(name, &before, &after, unseen);
    let (servers, so_far, pushed, global) = servers(&before, &after);
    let servers_so_far = so_far.and_then(|fact| likely_servers(&fact.value));
    similar_names(&before, &mut warnings);
    warnings.extend(faked_host(&before));
    let host = before.iter().any(|from| {
        matches!(
            from.event.kind,
            Kind::Host {
                worker: Truth::Yes,
                usable: true,
                ..
            }
        ) && !from.event.place.function
    });
    Ok(Facts {
        switches: switches()
            .iter()
            .map(|switch| (*switch, constant(switch.constant)))
            .collect(),
        salt: constant(SALT),
        salt_in_data: entry(SALT, &before),
        servers,
        servers_so_far,
        pushed,
        global,
        network: network(&before, opaque.is_some()),
        domain: domain(&before, opaque.is_some()),
        folders: stated::read(&before),
        host,
        opaque,
        warnings,
        without_host,
        load,
        has_domain: has_domain(&before),
        collector,
        seen,
    })
}

/// The events of a file that loads WordPress itself, before and after that.
fn around_load(
    seen: &Seen,
    source: &[u8],
    load: &Result<usize, Refusal>,
    include: &dyn Include,
) -> (Vec<From>, Vec<From>) {
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
    let load_top = load.as_ref().copied().unwrap_or(usize::MAX);
    let mut loaded = false;
    for from in events {
        // Code in the same statement as the load counts as before it; if it is
        // nested there, it is in a branch anyway.
        loaded |= from.file.is_none() && from.event.top > load_top;
        if loaded { &mut after } else { &mut before }.push(from);
    }
    (before, after)
}

fn has_domain(before: &[From]) -> bool {
    before.iter().any(|from| {
        from.file.is_none()
            && from.event.place.sure()
            && matches!(&from.event.kind, Kind::Define { name, collected: true, .. } if name == "DOMAIN_CURRENT_SITE")
    })
}

/// The statement that loads WordPress, or the reason why there is none. A function
/// that would load it counts where it is called.
fn find_load(seen: &Seen, source: &[u8], include: &dyn Include) -> Result<usize, Refusal> {
    let mut loads = seen.events.iter().filter(|it| it.kind == Kind::Load);
    let Some(first) = loads.clone().next() else {
        return Err(super::layout::no_load(seen, source, include));
    };
    match loads.find(|event| !seen.tops[event.top].declares) {
        Some(event) => Ok(event.top),
        None => Err(Refusal::new(
            Some(line_of(source, first.at)),
            "WordPress is loaded inside a function, and it is unknown when that is called",
        )
        .by_hand_lines(
            "add these lines by hand, at the top level of the file and above that function",
        )),
    }
}

fn check_flow(
    before: &[From],
    load_at: usize,
    warnings: &mut Vec<Warning>,
    without_host: &mut Vec<Warning>,
) -> Result<(), Refusal> {
    for from in before
        .iter()
        .filter(|from| from.event.at < load_at || from.file.is_some())
    {
        let warn = |text: &str| Warning::at(from.file.as_deref(), from.line, text);
        match from.event.kind {
            Kind::Exit {
                worker, by_host, ..
            } => match (from.event.place.end(), worker) {
                (End::Sure, _) => {
                    return Err(refuse(
                        from,
                        "the script ends here, before it loads WordPress",
                    )
                    .by_hand("remove what ends it, and run setup again"));
                }
                // The database tells a worker its host, and is asked only after this.
                (End::Possible, Truth::Yes) if by_host => without_host.push(warn(
                    "without a host name, the script ends here, before a worker can learn the site's: name it with --host",
                )),
                (End::Possible, Truth::Yes) => warnings.push(warn(
                    "on the command line, the script ends here, so a worker never loads WordPress",
                )),
                (End::Possible, Truth::Unknown) if by_host => without_host.push(warn(
                    "whether the script ends here depends on the request's host name, which a worker learns only after that: name it with --host",
                )),
                _ => {}
            },
            Kind::Jump => {
                return Err(refuse(
                    from,
                    "a goto makes it impossible to tell which lines run",
                )
                .by_hand("remove the goto, and run setup again"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn opaque(before: &[From]) -> Option<(usize, Option<String>, Opaque)> {
    before.iter().find_map(|from| match &from.event.kind {
        Kind::Opaque(what) => Some((from.line, from.file.clone(), what.clone())),
        _ => None,
    })
}
