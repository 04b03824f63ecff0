//! Reverts our edits in any later version of the file: our statements go, and the
//! values that setup changed become what they were.

use std::ops::Range;

use crate::base::merge::{self, Piece, Unit};
use crate::site::config::block;
use crate::site::config::ours::{Code, Ours};
use crate::site::config::php;
use crate::site::config::place::line_start;

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
    let mut ours = Ours::default();
    ours.add(original, left);
    undo_ours(current, original, left, &ours)
}

/// Like `undo`, with what several edits wrote.
pub fn undo_ours(current: &[u8], original: &[u8], left: &[u8], ours: &Ours) -> Undone {
    if current == left {
        return Undone {
            text: original.to_vec(),
            left_alone: Vec::new(),
        };
    }
    let [new, now] = [left, current].map(|text| without_blocks(text, ours));
    let loose = without_loose(current, &now.text, original, ours);
    let codes = [original, &new.text, &loose].map(Code::new);
    let [old, new, later] = codes.each_ref().map(pieces);
    let merged = merge::revert(&old, &new, &later, Unit::Run);
    let mut left_alone = now.left_alone;
    left_alone.extend(merged.kept.iter().map(|kept| {
        format!(
            "changed since setup, so kept; setup had replaced {:?} with {:?}",
            shown(&kept.old),
            shown(&kept.new),
        )
    }));
    checked(current, merged.text, left_alone)
}

/// Removes the marked blocks, if no journal has the original file.
pub fn remove(current: &[u8]) -> Undone {
    let undone = without_blocks(current, &Ours::default());
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

/// The tokens of a file. Comments and the like are the same if only their white
/// space differs.
fn pieces<'t>(code: &Code<'t>) -> Vec<Piece<'t>> {
    let mut pieces = Vec::with_capacity(code.tokens.len() + 1);
    let mut from = 0;
    for token in 0..code.tokens.len() {
        let at = code.tokens[token].at.clone();
        let text = code.bytes(token);
        let lines = text.split(|byte| matches!(byte, b'\n' | b'\r'));
        let key: Vec<&[u8]> = lines.map(<[u8]>::trim_ascii).collect();
        let key = match text.contains(&b'\n') || text.contains(&b'\r') {
            true => key
                .into_iter()
                .filter(|line| !line.is_empty())
                .collect::<Vec<_>>()
                .join(&b'\n'),
            false => text.to_vec(),
        };
        pieces.push(Piece {
            gap: &code.text[from..at.start],
            text,
            key,
            slot: match code.tokens[token].comment {
                true => merge::COMMENT.to_vec(),
                false => Vec::new(),
            },
        });
        from = at.end;
    }
    pieces.push(merge::end(&code.text[from..]));
    pieces
}

/// Removes our statements where no marker is left.
fn without_loose(current: &[u8], text: &[u8], old: &[u8], ours: &Ours) -> Vec<u8> {
    let before = Code::new(current);
    let is_marker = |token: usize| before.is_begin(token) || before.is_end(token);
    if (0..before.tokens.len()).any(is_marker) {
        return text.to_vec();
    }
    let old = Code::new(old);
    let old = old.statement(0..old.tokens.len());
    let code = Code::new(text);
    let words = code.normal(0..code.tokens.len());
    let mut cuts: Vec<Range<usize>> = Vec::new();
    for statement in ours.known() {
        if old.windows(statement.len()).any(|it| it == statement) {
            continue;
        }
        let mut found = words.windows(statement.len()).filter(|window| {
            let same = window.iter().map(|(word, _)| word).eq(statement);
            same && window
                .first()
                .is_some_and(|(_, token)| starts(&code, *token))
        });
        if let (Some(window), None) = (found.next(), found.next())
            && let (Some((_, first)), Some((_, last))) = (window.first(), window.last())
        {
            cuts.push(with_line(
                text,
                code.tokens[*first].at.start..code.tokens[*last].at.end,
            ));
        }
    }
    without(text, cuts)
}

/// Whether a statement can begin at a token.
fn starts(code: &Code, token: usize) -> bool {
    let before = (0..token).rev().find(|it| !code.tokens[*it].comment);
    before.is_none_or(|it| {
        let text = code.bytes(it);
        [b";".as_slice(), b"{", b"}"].contains(&text) || text.starts_with(b"<?")
    })
}

fn without(text: &[u8], mut cuts: Vec<Range<usize>>) -> Vec<u8> {
    cuts.sort_by_key(|cut| cut.start);
    let mut rest = Vec::with_capacity(text.len());
    let mut from = 0;
    for cut in cuts {
        rest.extend_from_slice(&text[from..cut.start.max(from)]);
        from = cut.end.max(from);
    }
    rest.extend_from_slice(&text[from..]);
    rest
}

/// A part of a block, and what of it stays.
struct Cut {
    at: Range<usize>,
    kept: Vec<u8>,
}

/// Removes our blocks, whole or what is left of them, except for what others have
/// added to them.
fn without_blocks(text: &[u8], ours: &Ours) -> Undone {
    let code = Code::new(text);
    let mut undone = Undone {
        text: Vec::new(),
        left_alone: Vec::new(),
    };
    let mut from = 0;
    let mut token = 0;
    while token < code.tokens.len() {
        let cut = if code.is_begin(token) {
            let end = (token + 1..code.tokens.len())
                .find(|at| code.is_begin(*at) || code.is_end(*at))
                .filter(|at| code.is_end(*at));
            let last = end.unwrap_or_else(|| last_of_ours(&code, token, ours));
            let cut = block_cut(&code, token..last + 1, ours, &mut undone.left_alone);
            token = last;
            Some(cut)
        } else if code.is_end(token) {
            let first = first_of_ours(&code, token, ours);
            Some(block_cut(
                &code,
                first..token + 1,
                ours,
                &mut undone.left_alone,
            ))
        } else {
            None
        };
        if let Some(cut) = cut {
            undone
                .text
                .extend_from_slice(&text[from..cut.at.start.max(from)]);
            undone.text.extend(cut.kept);
            from = cut.at.end.max(from);
        }
        token += 1;
    }
    undone.text.extend_from_slice(&text[from..]);
    undone
}

/// The last token of a block without its END.
fn last_of_ours(code: &Code, begin: usize, ours: &Ours) -> usize {
    let units = code.units(begin + 1..code.tokens.len());
    let is_ours = |unit: &Range<usize>| ours.has(&code.statement(unit.clone()));
    let last = units.into_iter().take_while(is_ours).last();
    last.map_or(begin, |unit| unit.end - 1)
}

/// The first token of a block without its BEGIN.
fn first_of_ours(code: &Code, end: usize, ours: &Ours) -> usize {
    let mut first = end;
    loop {
        let unit = code.unit_before(first);
        if unit.is_empty() || !ours.has(&code.statement(unit.clone())) {
            return first;
        }
        first = unit.start;
    }
}

/// The tokens of a block, with or without its markers.
fn block_cut(code: &Code, block: Range<usize>, ours: &Ours, messages: &mut Vec<String>) -> Cut {
    let text = code.text;
    let (first, last) = (block.start, block.end - 1);
    let split = code.is_begin(first) && block::was_split(code.bytes(first));
    let mut at = with_line(text, code.tokens[first].at.start..code.tokens[last].at.end);
    let lines = at.start;
    if split {
        at.start -= ending(&text[..at.start]);
    } else if at.end > code.tokens[last].at.end {
        // The blank line that was added with the block.
        at.end += line_end(&text[at.end..]);
    }
    let inside =
        block.start + usize::from(code.is_begin(first))..block.end - usize::from(code.is_end(last));
    let mut kept = Vec::new();
    for unit in code.units(inside) {
        let statement = code.statement(unit.clone());
        let mut comments: Vec<Range<usize>> = Vec::new();
        if statement.is_empty() || !ours.has(&statement) {
            comments.push(code.tokens[unit.start].at.start..code.tokens[unit.end - 1].at.end);
        } else {
            // Comments that somebody added to our statement.
            let all = code.tokens[unit].iter().filter(|token| token.comment);
            comments.extend(all.map(|token| token.at.clone()));
        }
        for part in comments {
            messages.push(format!(
                "not from setup, or changed since: {}",
                shown(&text[part.clone()])
            ));
            let line = line_start(text, part.start);
            let indented = text[line..part.start].trim_ascii().is_empty();
            kept.extend(&text[if indented { line } else { part.start }..part.end]);
            let end = blanks(&text[part.end..]);
            let end = part.end + end + line_end(&text[part.end + end..]);
            match text[part.end..end].is_empty() {
                true => kept.push(b'\n'),
                false => kept.extend(&text[part.end..end]),
            }
        }
    }
    if !kept.is_empty() && split {
        kept.splice(0..0, text[at.start..lines].iter().copied());
    }
    Cut { at, kept }
}

/// The whole lines, if there is nothing else on them.
fn with_line(text: &[u8], at: Range<usize>) -> Range<usize> {
    let start = line_start(text, at.start);
    let end = at.end + blanks(&text[at.end..]);
    let alone = text[start..at.start].trim_ascii().is_empty();
    let next = end + line_end(&text[end..]);
    match alone && (next > end || end == text.len()) {
        true => start..next,
        false => at,
    }
}

fn blanks(text: &[u8]) -> usize {
    text.iter()
        .take_while(|byte| matches!(byte, b' ' | b'\t'))
        .count()
}

fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(text.trim_ascii()).into_owned()
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
