//! Reverts our options in a file that was edited since, whatever form people have
//! given them.

use crate::base::merge::{self, Piece, Reverted, Unit};
use crate::gearman::option_names::{FLAGS, long_name};
use crate::gearman::options::{Assignment, Word, all_words, find, words};

/// Reverts the edit that turned `original` into `left`, in the options file that is
/// now `current`. Returns the names of options that were kept as well, as somebody
/// has changed them since.
pub fn undo(
    current: &[u8],
    original: &[u8],
    left: &[u8],
    variable: &str,
) -> (Vec<u8>, Vec<String>) {
    if current == left {
        return (original.to_vec(), Vec::new());
    }
    let ours = all_words(left, variable);
    let theirs = all_words(current, variable);
    // What people have added needs the variable, and quotes.
    let original = match theirs.iter().all(|word| ours.contains(word)) {
        true => original.to_vec(),
        false => quoted(original, variable),
    };
    let pieces = |text| of_file(text, variable);
    named(merge::revert(
        &of_file(&original, variable),
        &pieces(left),
        &pieces(current),
        Unit::Piece,
    ))
}

/// Like `undo`, in a file that holds nothing but options.
pub fn undo_plain(current: &[u8], original: &[u8], left: &[u8]) -> (Vec<u8>, Vec<String>) {
    if current == left {
        return (original.to_vec(), Vec::new());
    }
    let [old, new, now] = [original, left, current].map(|text| {
        let mut pieces = of_words(text, &Assignment::all(text), 0);
        let end = pieces.last().map_or(0, |last| last.end);
        let mut pieces: Vec<Piece> = pieces.drain(..).map(|it| it.piece).collect();
        pieces.push(merge::end(&text[end..]));
        pieces
    });
    named(merge::revert(&old, &new, &now, Unit::Piece))
}

/// Values may be secret, so only names are told.
fn named(reverted: Reverted) -> (Vec<u8>, Vec<String>) {
    let name = |text: &[u8]| {
        let text = String::from_utf8_lossy(text).into_owned();
        let end = text.find(|c: char| c == '=' || c.is_whitespace());
        text[..end.unwrap_or(text.len())].to_owned()
    };
    let kept = reverted.kept.iter().map(|kept| name(&kept.new));
    (
        reverted.text,
        kept.filter(|it| it.starts_with('-')).collect(),
    )
}

/// With a variable whose value is in quotes.
fn quoted(text: &[u8], variable: &str) -> Vec<u8> {
    let mut new = text.to_vec();
    match find(text, variable) {
        None => {
            if !new.is_empty() && !new.ends_with(b"\n") {
                new.push(b'\n');
            }
            new.extend(format!("{variable}=\"\"\n").bytes());
        }
        Some(Assignment {
            start,
            end,
            quote: None,
        }) => {
            new.insert(end, b'"');
            new.insert(start, b'"');
        }
        Some(_) => {}
    }
    new
}

fn of_file<'t>(text: &'t [u8], variable: &str) -> Vec<Piece<'t>> {
    let no_slot = |_: &[u8]| Vec::new();
    let Some(assignment) = find(text, variable) else {
        return merge::lines(text, no_slot);
    };
    let quote = usize::from(assignment.quote.is_some());
    let head = &text[..assignment.start - quote];
    let mut pieces = merge::lines(head, no_slot);
    // The end of this part is not the end of the file.
    let mut from = head.len() - pieces.pop().map_or(0, |end| end.gap.len());
    if quote > 0 {
        pieces.push(mark(&text[from..assignment.start], b"opening"));
        from = assignment.start;
    }
    for part in of_words(text, &assignment, from) {
        pieces.push(part.piece);
        from = part.end;
    }
    if quote > 0 && assignment.end < text.len() {
        pieces.push(mark(&text[from..=assignment.end], b"closing"));
        from = assignment.end + 1;
    }
    let mut tail = merge::lines(&text[from..], no_slot).into_iter();
    pieces.extend(tail.by_ref());
    pieces
}

/// A quote, with what stands before it.
fn mark<'t>(text: &'t [u8], slot: &[u8]) -> Piece<'t> {
    let (gap, quote) = text.split_at(text.len() - 1);
    Piece {
        gap,
        text: quote,
        key: [slot, quote].concat(),
        slot: slot.to_vec(),
    }
}

struct Part<'t> {
    piece: Piece<'t>,
    end: usize,
}

/// The options in a value, each with the word that is its value.
fn of_words<'t>(text: &'t [u8], assignment: &Assignment, mut from: usize) -> Vec<Part<'t>> {
    let all = words(text, assignment);
    let mut parts = Vec::new();
    let mut rest = all.as_slice();
    while let [word, after @ ..] = rest {
        rest = after;
        let mut end = word.end;
        let (name, mut value) = split(word);
        let takes_one = name.as_deref().is_some_and(|name| !FLAGS.contains(&name));
        if takes_one
            && value.is_none()
            && let [next, after @ ..] = rest
            && !next.text.starts_with('-')
        {
            value = Some(next.text.clone());
            end = next.end;
            rest = after;
        }
        let name = name.unwrap_or_else(|| word.text.clone());
        let key = match value {
            Some(value) => format!("{name}={value}"),
            None => name.clone(),
        };
        parts.push(Part {
            piece: Piece {
                gap: &text[from..word.start],
                text: &text[word.start..end],
                key: key.into_bytes(),
                slot: name.into_bytes(),
            },
            end,
        });
        from = end;
    }
    parts
}

/// The long name of an option, and its value if that is in the same word.
fn split(word: &Word) -> (Option<String>, Option<String>) {
    if let Some(long) = word.text.strip_prefix("--") {
        return match long.split_once('=') {
            Some((name, value)) => (Some(name.to_owned()), Some(value.to_owned())),
            None => (Some(long.to_owned()), None),
        };
    }
    let mut letters = word.text.strip_prefix('-').unwrap_or_default().chars();
    match letters.next().and_then(long_name) {
        Some(name) => {
            let value = Some(letters.as_str()).filter(|value| !value.is_empty());
            (Some(name.to_owned()), value.map(str::to_owned))
        }
        None => (None, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gearman::options::{Wanted, merge};

    fn left(original: &str) -> String {
        let wanted = [
            Wanted::new("listen", Some('L'), "127.0.0.1"),
            Wanted::new("queue-type", Some('q'), "libsqlite3"),
        ];
        let text = merge(original.as_bytes(), "PARAMS", &wanted, &[]).unwrap();
        String::from_utf8(text).unwrap()
    }

    fn undone(original: &str, change: impl Fn(&str) -> String) -> (String, Vec<String>) {
        let left = left(original);
        let now = change(&left);
        let (text, kept) = undo(
            now.as_bytes(),
            original.as_bytes(),
            left.as_bytes(),
            "PARAMS",
        );
        (String::from_utf8(text).unwrap(), kept)
    }

    const FILES: [&str; 6] = [
        "# PARAMS=\"-q x\"\nPARAMS=\"--listen=localhost \\\n --daemon \\\n --log-file=/g.log\"\nX=1\n",
        "PARAMS='-d -q builtin --listen ::1 -qMySQL'\n",
        "PARAMS=-d\n",
        "PARAMS=\"\"\n",
        "",
        "X=1",
    ];

    #[test]
    fn edits_around_ours_stay() {
        for file in FILES {
            let before = |text: &str| format!("# mine\n{text}");
            assert_eq!(undone(file, before), (before(file), Vec::new()), "{file}");
            let dos = |text: &str| text.replace('\n', "\r\n");
            assert_eq!(undone(file, dos).0, dos(file), "{file}");
        }
    }

    #[test]
    fn options_of_others_stay_and_ours_go() {
        let add = |text: &str| text.replace("--queue-type=", "--verbose=INFO --queue-type=");
        for (file, result) in FILES.iter().zip([
            "# PARAMS=\"-q x\"\nPARAMS=\"--listen=localhost \\\n --daemon \\\n --log-file=/g.log \\\n --verbose=INFO\"\nX=1\n",
            "PARAMS='-d --verbose=INFO -q builtin --listen ::1 -qMySQL'\n",
            "PARAMS=\"-d --verbose=INFO\"\n",
            "PARAMS=\" --verbose=INFO\"\n",
            "PARAMS=\" --verbose=INFO\"\n",
            "X=1\nPARAMS=\" --verbose=INFO\"\n",
        ]) {
            assert_eq!(undone(file, add), (result.into(), Vec::new()));
        }
    }

    #[test]
    fn an_option_that_was_changed_is_kept_and_named_and_another_form_is_not_a_change() {
        let changed = |text: &str| text.replace("--listen=127.0.0.1", "--listen=0.0.0.0");
        let (text, kept) = undone(FILES[0], changed);
        assert_eq!(text, FILES[0].replace("localhost", "0.0.0.0"));
        assert_eq!(kept, ["--listen"]);
        let short = |text: &str| text.replace("--listen=127.0.0.1", "-L 127.0.0.1");
        assert_eq!(undone(FILES[0], short), (FILES[0].into(), Vec::new()));
    }

    #[test]
    fn a_file_of_options_alone() {
        let (text, kept) = undo_plain(
            b"--verbose=INFO\n--mysql-password=x\n--threads=2\n",
            b"--verbose=INFO\n",
            b"--verbose=INFO\n--mysql-password=x\n",
        );
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "--verbose=INFO\n--threads=2\n"
        );
        assert!(kept.is_empty());
    }
}
