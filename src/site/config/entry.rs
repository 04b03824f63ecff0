//! A wp-config.php that has its settings in another file, which setup edits in its
//! place: Bedrock's `config/application.php`, and the file of a host in `/etc/wordpress`
//! that the stub of Debian's package chooses.

use crate::site::config::Include;
use crate::site::config::events::{End, Event, Kind, OF_BEDROCK, OF_DEBIAN, Place, Seen, Top};
use crate::site::config::includes::{At, From, folder, inline, splice};
use crate::site::config::lines::Lines;
use crate::site::config::php;
use crate::site::config::reader::Location;
use crate::site::config::refusal::Refusal;
use crate::site::config::walk;

/// Where a wp-config.php has its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stub {
    /// In this file, by an absolute path.
    File(String),
    /// In one that the request's host name chooses.
    ByHost,
}

/// The wp-config.php that includes the file with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its absolute path.
    pub name: String,
    pub text: Vec<u8>,
    pub stub: Stub,
}

/// Where the wp-config.php with this absolute path has its settings, if not in itself.
/// `root` is as in [`Include::root`].
pub fn stub(name: &str, text: &[u8], root: &str) -> Option<Stub> {
    let contains = |word: &str| text.windows(word.len()).any(|it| it == word.as_bytes());
    if ![OF_DEBIAN, "application.php"].into_iter().any(contains) {
        return None; // without parsing it
    }
    let seen = see(name, text, root).ok()?;
    seen.events.iter().find_map(|event| match &event.kind {
        Kind::Sign(sign) if sign == OF_DEBIAN => Some(Stub::ByHost),
        Kind::Include(Some(path)) if path.ends_with(OF_BEDROCK) && !event.place.function => {
            Some(Stub::File(path.clone()))
        }
        _ => None,
    })
}

fn see(name: &str, text: &[u8], root: &str) -> Result<Seen, Refusal> {
    php::parse(text, |program, view, trivia, old| {
        let own = folder(name);
        walk::see(program, view, text, trivia, old, Location { own, root })
    })
}

/// The events of the edited file within those of the wp-config.php that includes it,
/// before and after WordPress is loaded.
pub fn around(
    entry: &Entry,
    main: &Seen,
    source: &[u8],
    include: &dyn Include,
    files: &mut Vec<String>,
) -> Result<(Vec<From>, Vec<From>), Refusal> {
    let in_entry = |refusal: Refusal| {
        let line = refusal.line.unwrap_or(1);
        Refusal::at(Some(&entry.name), line, refusal.reason).by_hand(refusal.by_hand)
    };
    let seen = see(&entry.name, &entry.text, include.root()).map_err(in_entry)?;
    let load = seen
        .events
        .iter()
        .find(|it| it.kind == Kind::Load && !seen.tops[it.top].declares)
        .map(|it| it.top)
        .ok_or_else(|| {
            let reason = format!("nothing in {}, which includes this file, loads wp-settings.php", entry.name);
            Refusal::new(None, reason).by_hand(format!(
                "add this line at the end of {}, and run setup again:\n  require_once ABSPATH . 'wp-settings.php';",
                entry.name
            ))
        })?;
    // The statement that chooses the file: all of it stands for the one that is chosen.
    let choice = match entry.stub {
        Stub::ByHost => {
            let is_include = |kind: &Kind| matches!(kind, Kind::Include(_));
            let mut all = seen.events.iter();
            all.find(|it| is_include(&it.kind)).map(|it| it.top)
        }
        Stub::File(_) => None,
    };
    let lines = Lines::new(&entry.text);
    let (mut before, mut after) = (Vec::new(), Vec::new());
    let mut was_here = false;
    for event in &seen.events {
        let out = match event.top > load {
            true => &mut after,
            false => &mut before,
        };
        let (is_here, place) = match (&entry.stub, &event.kind) {
            (Stub::ByHost, _) => (choice == Some(event.top), &Place::default()),
            (Stub::File(path), Kind::Include(Some(it))) => (it == path, &event.place),
            (Stub::File(_), _) => (false, &event.place),
        };
        match &event.kind {
            _ if is_here && was_here => {}
            _ if is_here => {
                was_here = true;
                let at = At {
                    place,
                    top: None,
                    file: None,
                };
                inline(main, source, &at, include, files, out);
            }
            // Composer's: it makes classes known.
            Kind::Include(Some(path)) if path.ends_with("vendor/autoload.php") => {}
            _ => {
                let from = From {
                    line: lines.at(event.at),
                    event: event.clone(),
                    file: Some(entry.name.clone()),
                };
                splice(from, include, files, out);
            }
        }
    }
    Ok((before, after))
}

/// The statement before which lines can be added to a file that does not load WordPress
/// itself: the one that applies what was collected, or one that is made up for its end.
/// Whether it is the former.
pub fn last(seen: &mut Seen, source: &[u8]) -> (usize, bool) {
    let is_applied =
        |it: &&Event| it.kind == Kind::Apply && it.place.sure() && !seen.tops[it.top].declares;
    if let Some(apply) = seen.events.iter().rfind(is_applied) {
        return (apply.top, true);
    }
    let ends = |it: &&Event| matches!(it.kind, Kind::Exit { .. }) && it.place.end() == End::Sure;
    if let Some(end) = seen.events.iter().find(ends) {
        return (end.top, false);
    }
    let trivia = &seen.trivia;
    let close = trivia.closes.last().filter(|close| {
        let opens = |tag: &(std::ops::Range<usize>, bool)| tag.0.start > **close;
        !trivia.tags.iter().any(opens)
    });
    let ends = [close, trivia.halt.as_ref(), Some(&source.len())];
    let at = ends.into_iter().flatten().copied().min().unwrap_or(0);
    seen.tops.retain(|top| top.at.start < at);
    let last = seen.tops.last();
    let end = Top {
        at: at..at,
        abspath: false,
        declares: false,
        first: false,
        namespaced: last.is_some_and(|it| it.namespaced),
        list: last.map_or(0, |it| it.list),
        path: false,
    };
    seen.tops.push(end);
    (seen.tops.len() - 1, false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::config::php::parse;

    #[track_caller]
    fn rest(text: &str) -> String {
        let mut seen = see("/x.php", text.as_bytes(), "").unwrap();
        let (top, _) = last(&mut seen, text.as_bytes());
        assert!(parse(text.as_bytes(), |_, _, _, _| ()).is_ok());
        text[seen.tops[top].at.start..].to_owned()
    }

    #[test]
    fn the_end_of_a_file_is_before_what_is_no_code() {
        for (text, expected) in [
            ("<?php\ndefine( 'A', 1 );\n", ""),
            ("<?php\ndefine( 'A', 1 );", ""),
            ("<?php\ndefine( 'A', 1 );\n?>\n", "?>\n"),
            ("<?php\ndefine( 'A', 1 ) ?>\n\n", "?>\n\n"),
            ("<?php\n$a = '?>';\n", ""),
            ("<?php\n$a = 1;\nreturn;\n", "return;\n"),
            ("<?php\n$a = 1;\n// end\n", ""),
            ("<?php\n$a = 1; ?>\ntext\n", "?>\ntext\n"),
            (
                "<?php\n$a = 1;\n__halt_compiler(); data\n?>\n",
                "__halt_compiler(); data\n?>\n",
            ),
            ("<?php $a = 1; ?>\n<?php $b = 2; ?>\n", "?>\n"),
        ] {
            assert_eq!(rest(text), expected, "{text}");
        }
    }
}
