//! Reads included files, and puts their events in place of the `include`.

use crate::site::config::Include;
use crate::site::config::events::{Event, Kind, Opaque, Place};
use crate::site::config::{php, walk};

const MAX_INCLUDES: usize = 40;

/// An event and the file it comes from.
pub struct From {
    pub event: Event,
    pub line: usize,
    pub file: Option<String>,
}

/// Line numbers by offset, for many lookups in one file.
pub struct Lines(Vec<usize>);

impl Lines {
    pub fn new(source: &[u8]) -> Self {
        let ends = source.iter().enumerate().filter(|(i, byte)| {
            **byte == b'\n' || (**byte == b'\r' && source.get(i + 1) != Some(&b'\n'))
        });
        Lines(ends.map(|(i, _)| i).collect())
    }

    pub fn at(&self, offset: usize) -> usize {
        self.0.partition_point(|end| *end < offset) + 1
    }
}

/// Appends an event; for an `include`, the events of the included file instead.
pub fn splice(from: From, include: &Include<'_>, files: &mut Vec<String>, out: &mut Vec<From>) {
    let Kind::Include(path) = &from.event.kind else {
        return out.push(from);
    };
    let unread = |why: String, from: &From| From {
        event: Event {
            kind: Kind::Opaque(Opaque::UnreadableFile),
            ..from.event.clone()
        },
        line: from.line,
        file: Some(why),
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
        .then(|| include(path.as_bytes()))
        .flatten();
    let seen = text.as_ref().and_then(|text| {
        php::parse(text, |program, view, trivia, old| {
            walk::see(program, view, text, trivia, old)
        })
        .ok()
    });
    let (Some(text), Some(seen)) = (text, seen) else {
        return out.push(unread(path, &from));
    };
    let lines = Lines::new(&text);
    for mut event in seen.events {
        // A `return` only ends the included file.
        if matches!(event.kind, Kind::Exit { .. } | Kind::Jump | Kind::Load) {
            continue;
        }
        let outer = &from.event.place;
        event.place = Place {
            unless: [&outer.unless[..], &event.place.unless].concat(),
            if_file: outer.if_file.clone().or(event.place.if_file),
            branch: outer.branch || event.place.branch,
            function: outer.function || event.place.function,
        };
        match &mut event.kind {
            Kind::Include(Some(inner)) => *inner = beside(&path, inner),
            Kind::Folder { folder, .. } => {
                *folder = folder.take().map(|folder| folder.in_file(&path));
            }
            _ => {}
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

/// A path in an included file, relative to wp-config.php's folder.
fn beside(file: &str, inner: &str) -> String {
    match file.rfind('/') {
        Some(end) if !inner.starts_with('/') => format!("{}{inner}", &file[..=end]),
        _ => inner.to_owned(),
    }
}
