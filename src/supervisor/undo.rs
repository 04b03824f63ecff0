//! Takes our programs out of a file of supervisor's that was edited since.

use std::path::Path;

use crate::base::merge::{self, Piece, Unit};
use crate::supervisor::block;
use crate::supervisor::programs;

/// A reverted edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undone {
    /// `None` if nothing is left.
    pub text: Option<Vec<u8>>,
    /// Lines that were kept as somebody has changed them, and lines that people
    /// added to a program and that went with it, as messages for the user.
    pub notes: Vec<String>,
}

/// Reverts the edit that turned `original` into `left`, in the file that is now
/// `current`.
pub fn undo(current: &[u8], original: Option<&[u8]>, left: &[u8]) -> Undone {
    if current == left {
        return Undone {
            text: original.map(<[u8]>::to_vec),
            notes: Vec::new(),
        };
    }
    let old = original.unwrap_or_default();
    let (mut new, mut now) = (left.to_vec(), current.to_vec());
    let mut notes = Vec::new();
    for program in names(left) {
        if names(old).contains(&program) {
            continue;
        }
        let (rest, ours) = block::without_section(&new, &program);
        let (later, theirs) = block::without_section(&now, &program);
        let known = |line: &[u8]| of_lines(&ours).iter().any(|it| it.text == line);
        let theirs = of_lines(&theirs);
        let strange = theirs
            .iter()
            .filter(|it| !it.text.is_empty() && !known(it.text));
        notes.extend(strange.map(|it| {
            let line = String::from_utf8_lossy(it.text);
            format!("removed with the program {program}: {line}")
        }));
        (new, now) = (rest, later);
    }
    let [old, new, now] = [old, &new, &now].map(of_lines);
    let reverted = merge::revert(&old, &new, &now, Unit::Piece);
    notes.extend(reverted.kept.iter().map(|kept| {
        let line = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
        format!(
            "changed since setup, so kept; setup had replaced {:?} with {:?}",
            line(&kept.old),
            line(&kept.new)
        )
    }));
    let text = reverted.text;
    let is_empty = original.is_none() && text.trim_ascii().is_empty();
    Undone {
        text: (!is_empty).then_some(text),
        notes,
    }
}

/// Takes out a program without a journal: its block, or its section.
pub fn without(text: &[u8], program: &str) -> Vec<u8> {
    let whole = std::str::from_utf8(text).ok();
    match whole.and_then(|text| block::remove(text, program)) {
        Some(rest) => rest.into_bytes(),
        None => block::without_section(text, program).0,
    }
}

/// Whether the file defines anything.
pub fn has_sections(text: &[u8]) -> bool {
    let mut lines = text.split(|byte| *byte == b'\n');
    lines.any(|line| line.starts_with(b"["))
}

fn names(text: &[u8]) -> Vec<String> {
    let all = programs::parse(&String::from_utf8_lossy(text), Path::new(""));
    all.into_iter().map(|program| program.name).collect()
}

/// Lines that set the same key of the same section replace each other.
fn of_lines(text: &[u8]) -> Vec<Piece<'_>> {
    let mut pieces = merge::lines(text, |_| Vec::new());
    let mut section: &[u8] = b"";
    for piece in &mut pieces {
        let line = piece.text;
        match line {
            [b'[', ..] => section = line,
            [b';' | b'#', ..] | [] => {}
            _ => {
                let key = line.split(|byte| matches!(byte, b'=' | b':')).next();
                let key = key.unwrap_or_default().trim_ascii_end();
                piece.slot = [section, b"=", key].concat();
            }
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn undone(current: &str, original: Option<&str>, left: &str) -> (Option<String>, usize) {
        let undone = undo(
            current.as_bytes(),
            original.map(str::as_bytes),
            left.as_bytes(),
        );
        let text = undone.text.map(|text| String::from_utf8(text).unwrap());
        (text, undone.notes.len())
    }

    #[test]
    fn a_file_of_ours_goes_and_what_others_added_stays() {
        let left = "[program:a]\n; ours\ncommand=/a\nnumprocs=2\n";
        assert_eq!(undone(left, None, left), (None, 0));
        let now = left.replace("=2", "=8");
        assert_eq!(undone(&now, None, left), (None, 1));
        assert_eq!(undone(&left.replace('\n', "\r\n"), None, left), (None, 0));
        let theirs = "[program:mine]\ncommand=/mine\n";
        assert_eq!(
            undone(&format!("{left}\n{theirs}"), None, left)
                .0
                .unwrap()
                .trim(),
            theirs.trim()
        );
        assert!(!has_sections(&without(left.as_bytes(), "a")));
        let both = format!("{left}{theirs}");
        assert_eq!(without(both.as_bytes(), "a"), theirs.as_bytes());
    }

    #[test]
    fn later_edits_survive() {
        let original = "[program:b]\ncommand=/b\n";
        let left = block::set(original, "a", "[program:a]\ncommand=/a\n");
        let more = "\n[program:c]\ncommand=/c\n";
        let current = format!("{left}{more}");
        assert_eq!(
            undone(&current, Some(original), &left),
            (Some(format!("{original}{more}")), 0)
        );
        let no_end = current.replace("; END wp-gears a\n", "");
        assert_eq!(
            undone(&no_end, Some(original), &left),
            (Some(format!("{original}{more}")), 0)
        );

        let left = "[program:b]\ncommand=/new\numask=027\n";
        let current = format!("; theirs\n{left}priority=5\n");
        let result = format!("; theirs\n{original}priority=5\n");
        assert_eq!(undone(&current, Some(original), left), (Some(result), 0));
        let current = left.replace("/new", "/other");
        let result = original.replace("/b", "/other");
        assert_eq!(undone(&current, Some(original), left), (Some(result), 1));
    }
}
