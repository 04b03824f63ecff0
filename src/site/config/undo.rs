//! Reverts an edit: removes our lines and restores changed values.

use crate::site::config::block;
use crate::site::config::php;
use crate::site::config::place::line_start;
use similar::{Algorithm, DiffOp, capture_diff_slices};
use std::ops::Range;

/// A reverted edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undone {
    pub text: Vec<u8>,
    /// What was kept although setup added it, as messages for the user.
    pub left_alone: Vec<String>,
}

/// Reverts the edit that turned `original` into `left`, in the file that is now
/// `current`, after edits by others.
pub fn undo(current: &[u8], original: &[u8], left: &[u8]) -> Undone {
    if current == left {
        return Undone {
            text: original.to_vec(),
            left_alone: Vec::new(),
        };
    }
    let (old, ours, now) = (lines(original), lines(left), lines(current));
    let since = capture_diff_slices(Algorithm::Myers, &ours, &now);
    let mut text = Vec::new();
    let mut left_alone = Vec::new();
    let (mut from, mut edited_block) = (0, false);
    for op in capture_diff_slices(Algorithm::Myers, &old, &ours) {
        if let DiffOp::Equal { .. } = op {
            continue;
        }
        let added = op.new_range();
        match same_place(&since, &added) {
            Some(at) if at.start >= from => {
                text.extend(now[from..at.start].concat());
                text.extend(old[op.old_range()].concat());
                from = at.end;
            }
            _ if ours[added.clone()].iter().any(|it| has_marker(it)) => edited_block = true,
            _ => left_alone.push(format!(
                "changed since setup, so kept; setup had replaced {:?} with {:?}",
                shown(&old[op.old_range()].concat()),
                shown(&ours[added].concat()),
            )),
        }
    }
    text.extend(now[from..].concat());
    if edited_block {
        // Remove the lines of the block that are still ours.
        let rest = remove_blocks(&text, &|line| ours.iter().any(|it| it.trim_ascii() == line));
        left_alone.extend(rest.left_alone);
        text = rest.text;
    }
    checked(current, text, left_alone)
}

/// Removes the marked blocks, if no journal has the original file.
pub fn remove(current: &[u8]) -> Undone {
    let undone = remove_blocks(current, &block::is_ours);
    checked(current, undone.text, undone.left_alone)
}

/// Keeps the current text if it parses but the new one does not.
fn checked(current: &[u8], text: Vec<u8>, mut left_alone: Vec<String>) -> Undone {
    if text != current && php::parses(current) && !php::parses(&text) {
        left_alone.push("all of it: without these lines, the file would no longer parse".into());
        let text = current.to_vec();
        return Undone { text, left_alone };
    }
    Undone { text, left_alone }
}

/// The present position of our lines, if they were not touched.
fn same_place(since: &[DiffOp], lines: &Range<usize>) -> Option<Range<usize>> {
    since.iter().find_map(|op| match op {
        DiffOp::Equal {
            old_index,
            new_index,
            len,
        } if *old_index <= lines.start && lines.end <= old_index + len => {
            let start = new_index + (lines.start - old_index);
            Some(start..start + lines.len())
        }
        _ => None,
    })
}

fn remove_blocks(text: &[u8], is_ours: &dyn Fn(&[u8]) -> bool) -> Undone {
    let mut undone = Undone {
        text: Vec::new(),
        left_alone: Vec::new(),
    };
    let mut from = 0;
    let (pairs, unpaired) = blocks(text);
    if unpaired {
        let lost = "a BEGIN wp-gears comment without its END: remove its lines by hand";
        undone.left_alone.push(lost.into());
    }
    for (begin, end) in pairs {
        let split = block::was_split(&text[begin.clone()]);
        let mut start = line_start(text, begin.start);
        if split {
            start -= ending(&text[..start]);
        }
        let mut stop = end.end + line_end(&text[end.end..]);
        if !split {
            // The blank line that was added with the block.
            stop += line_end(&text[stop..]);
        }
        undone.text.extend_from_slice(&text[from..start.max(from)]);
        let inside = begin.end + line_end(&text[begin.end..])..line_start(text, end.start);
        let (kept, messages) = not_ours(&text[inside.start..inside.end.max(inside.start)], is_ours);
        if !kept.is_empty() && split {
            undone
                .text
                .extend_from_slice(&text[start..line_start(text, begin.start)]);
        }
        undone.text.extend(kept);
        undone.left_alone.extend(messages);
        from = stop;
    }
    undone.text.extend_from_slice(&text[from..]);
    undone
}

/// A BEGIN and its END.
type Pair = (Range<usize>, Range<usize>);

/// Our markers in code, each BEGIN with its END, and whether any is unpaired.
fn blocks(text: &[u8]) -> (Vec<Pair>, bool) {
    let comments = php::parse(text, |_, _, trivia, _| trivia.comments).unwrap_or_default();
    let mut pairs = Vec::new();
    let mut unpaired = false;
    let mut open: Option<Range<usize>> = None;
    for comment in comments {
        let words = &text[comment.clone()];
        if block::is_begin(words) {
            unpaired |= open.replace(comment).is_some();
        } else if block::is_end(words)
            && let Some(begin) = open.take()
        {
            pairs.push((begin, comment));
        }
    }
    unpaired |= open.is_some();
    (pairs, unpaired)
}

/// The statements in a block that someone added or changed, which are kept.
fn not_ours(inside: &[u8], is_ours: &dyn Fn(&[u8]) -> bool) -> (Vec<u8>, Vec<String>) {
    let (mut kept, mut messages) = (Vec::new(), Vec::new());
    let mut unit: Vec<&[u8]> = Vec::new();
    let all = lines(inside);
    for (i, line) in all.iter().enumerate() {
        unit.push(line);
        let words = line.trim_ascii();
        let opens = unit
            .first()
            .is_some_and(|it| it.trim_ascii().ends_with(b"{"));
        let whole = match opens {
            true => words == b"}",
            false => words.is_empty() || words.ends_with(b";") || words.ends_with(b"*/"),
        };
        if !whole && i + 1 < all.len() {
            continue;
        }
        let ours = unit
            .iter()
            .all(|it| it.trim_ascii().is_empty() || is_ours(it.trim_ascii()));
        if !ours {
            let text = unit.concat();
            messages.push(format!(
                "not from setup, or changed since: {}",
                shown(&text)
            ));
            kept.extend(text);
        }
        unit.clear();
    }
    (kept, messages)
}

fn has_marker(line: &[u8]) -> bool {
    block::is_marker(line.trim_ascii())
}

fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(text.trim_ascii()).into_owned()
}

/// Lines, including their endings: LF, CRLF or CR.
fn lines(text: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.iter().position(|b| matches!(b, b'\n' | b'\r'));
        let len = end.map_or(rest.len(), |end| end + line_end(&rest[end..]));
        let (line, more) = rest.split_at(len);
        lines.push(line);
        rest = more;
    }
    lines
}

/// The length of a line ending at the start of `text`.
fn line_end(text: &[u8]) -> usize {
    match text {
        [b'\r', b'\n', ..] => 2,
        [b'\r' | b'\n', ..] => 1,
        _ => 0,
    }
}

/// The length of a line ending at the end of `text`.
fn ending(text: &[u8]) -> usize {
    match text {
        [.., b'\r', b'\n'] => 2,
        [.., b'\r' | b'\n'] => 1,
        _ => 0,
    }
}
