//! Reads included files, and puts their events in place of the `include`.

use crate::site::config::events::{End, Event, Kind, MAX_EVENTS, Opaque, Place, Seen};
use crate::site::config::lines::Lines;
use crate::site::config::reader::Location;
use crate::site::config::refusal::{self, Refusal};
use crate::site::config::value::Value;
use crate::site::config::{Fit, Include};
use crate::site::config::{php, walk};
use std::ops::Range;

const MAX_INCLUDES: usize = 40;

/// An event and the file it comes from.
#[derive(Debug)]
pub struct From {
    pub event: Event,
    pub line: usize,
    pub file: Option<String>,
}

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
    /// By `Config::define`, not by `define`.
    pub collected: bool,
}

pub fn refuse(from: &From, reason: impl std::fmt::Display) -> Refusal {
    Refusal::at(from.file.as_deref(), from.line, reason)
}

impl Fact {
    /// Its line, and its file if that is another one, for advice.
    pub fn place(&self) -> String {
        refusal::place(self.file.as_deref(), self.line)
    }
}

impl From {
    /// Its line, and its file if that is another one, for advice.
    pub fn place(&self) -> String {
        refusal::place(self.file.as_deref(), self.line)
    }
}

/// Appends an event; for an `include`, the events of the included file instead.
pub fn splice(from: From, include: &dyn Include, files: &mut Vec<String>, out: &mut Vec<From>) {
    let Kind::Include(path) = &from.event.kind else {
        return out.push(from);
    };
    let unread = |why: String, from: &From| From {
        event: Event {
            kind: Kind::Opaque(Opaque::UnreadableFile(why)),
            ..from.event.clone()
        },
        line: from.line,
        file: from.file.clone(),
    };
    let Some(path) = path.clone() else {
        return out.push(unread("a computed path".into(), &from));
    };
    if path.contains('{') {
        let (names, branch) = match include.fit(&path) {
            Fit::Surely(name) => (name.into_iter().collect(), false),
            Fit::Perhaps(names) if names.len() <= MAX_INCLUDES => (names, true),
            Fit::Perhaps(_) | Fit::Unknown => return out.push(unread(path, &from)),
        };
        for name in names {
            let mut from = From {
                event: from.event.clone(),
                line: from.line,
                file: from.file.clone(),
            };
            from.event.kind = Kind::Include(Some(name));
            from.event.place.branch |= branch;
            splice(from, include, files, out);
        }
        return;
    }
    // Included before, possibly in a cycle: its events are already there.
    if files.contains(&path) {
        return;
    }
    files.push(path.clone());
    let text = (files.len() <= MAX_INCLUDES)
        .then(|| include.read(path.as_bytes()))
        .flatten();
    let location = Location {
        own: folder(&path),
        root: include.root(),
    };
    let seen = text.as_ref().and_then(|text| {
        php::parse(text, |program, view, trivia, old| {
            walk::see(program, view, text, trivia, old, location)
        })
        .and_then(|seen| seen.complete(text))
        .ok()
    });
    let seen = seen.filter(|seen| out.len() + seen.events.len() <= MAX_EVENTS);
    let (Some(text), Some(seen)) = (text, seen) else {
        return out.push(unread(path, &from));
    };
    let at = At {
        place: &from.event.place,
        top: Some(from.event.top),
        file: Some(path),
    };
    inline(&seen, &text, &at, include, files, out);
}

/// Where a file is included, and the name by which it is reported.
pub struct At<'a> {
    pub place: &'a Place,
    /// The statement that includes it; `None` if its own statements are what counts.
    pub top: Option<usize>,
    /// `None` if it is the file that is edited.
    pub file: Option<String>,
}

/// Appends the events of an included file.
pub fn inline(
    seen: &Seen,
    text: &[u8],
    at: &At<'_>,
    include: &dyn Include,
    files: &mut Vec<String>,
    out: &mut Vec<From>,
) {
    let lines = Lines::new(text);
    // Whether what follows runs only under some condition.
    let mut doubtful = false;
    for event in &seen.events {
        let mut event = event.clone();
        match event.kind {
            Kind::Exit { returns: true, .. } => match event.place.end() {
                End::Sure => break,
                End::Possible => {
                    doubtful = true;
                    continue;
                }
                End::Never => continue,
            },
            Kind::Jump if at.file.is_some() => doubtful = true,
            _ => {}
        }
        if event.kind == Kind::Load || (event.kind == Kind::Jump && at.file.is_some()) {
            continue;
        }
        let outer = at.place;
        let mut place = Place {
            unless: outer.unless.clone(),
            if_file: outer.if_file.clone().or(event.place.if_file),
            branch: outer.branch || event.place.branch || doubtful,
            // That of an included file is one of several values.
            environment: at.file.is_none() && event.place.environment,
            function: outer.function || event.place.function,
        };
        for name in std::mem::take(&mut event.place.unless) {
            place.enter_unless(name);
        }
        event.place = place;
        if let (Kind::Folder { folder, .. }, Some(path)) = (&mut event.kind, &at.file) {
            *folder = folder.take().map(|folder| folder.in_file(path));
        }
        let line = lines.at(event.at);
        if let Some(top) = at.top {
            event.top = top;
        }
        let inner = From {
            event,
            line,
            file: at.file.clone(),
        };
        splice(inner, include, files, out);
    }
}

/// The folder of a file, with a slash at the end.
pub fn folder(file: &str) -> &str {
    file.rfind('/').map_or("", |end| &file[..=end])
}
