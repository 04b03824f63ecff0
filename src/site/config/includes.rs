//! Reads included files, and puts their events in place of the `include`.

use crate::site::config::Include;
use crate::site::config::events::{End, Event, Kind, Opaque, Place};
use crate::site::config::lines::Lines;
use crate::site::config::reader::Location;
use crate::site::config::refusal::{self, Refusal};
use crate::site::config::value::Value;
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
        .ok()
    });
    let (Some(text), Some(seen)) = (text, seen) else {
        return out.push(unread(path, &from));
    };
    let lines = Lines::new(&text);
    // Whether what follows runs only under some condition.
    let mut doubtful = false;
    for mut event in seen.events {
        match event.kind {
            Kind::Exit { returns: true, .. } => match event.place.end() {
                End::Sure => break,
                End::Possible => {
                    doubtful = true;
                    continue;
                }
                End::Never => continue,
            },
            Kind::Jump => doubtful = true,
            _ => {}
        }
        if matches!(event.kind, Kind::Jump | Kind::Load) {
            continue;
        }
        let outer = &from.event.place;
        event.place = Place {
            unless: [&outer.unless[..], &event.place.unless].concat(),
            if_file: outer.if_file.clone().or(event.place.if_file),
            branch: outer.branch || event.place.branch || doubtful,
            environment: false,
            function: outer.function || event.place.function,
        };
        if let Kind::Folder { folder, .. } = &mut event.kind {
            *folder = folder.take().map(|folder| folder.in_file(&path));
        }
        let line = lines.at(event.at);
        event.top = from.event.top;
        let inner = From {
            event,
            line,
            file: Some(path.clone()),
        };
        splice(inner, include, files, out);
    }
}

/// The folder of a file, with a slash at the end.
pub fn folder(file: &str) -> &str {
    file.rfind('/').map_or("", |end| &file[..=end])
}
