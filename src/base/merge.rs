//! Takes an edit back out of a text that was edited again since: a three-way merge
//! of pieces (lines, words, tokens). What stands between the pieces is merged too,
//! so that a text whose line endings or indentation changed keeps the new ones.

use std::collections::BTreeMap;
use std::ops::Range;

use similar::{Algorithm, DiffOp, capture_diff_slices};

/// A piece of a text, with what stands between it and the one before.
#[derive(Debug, Clone)]
pub struct Piece<'t> {
    pub gap: &'t [u8],
    pub text: &'t [u8],
    /// Pieces with the same key are the same.
    pub key: Vec<u8>,
    /// What it sets, such as an option: the piece with the same slot replaces it.
    pub slot: Vec<u8>,
}

/// The slot of a piece that says nothing about its neighbours.
pub const COMMENT: &[u8] = b"#";

/// The end of a text, with what follows the last piece.
pub fn end(gap: &[u8]) -> Piece<'_> {
    Piece {
        gap,
        text: b"",
        key: vec![0],
        slot: vec![0],
    }
}

/// How an edit is reverted where the text was edited at the same place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Each piece for itself, as with lines and options.
    Piece,
    /// All adjacent pieces or none, as with the tokens of code.
    Run,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reverted {
    pub text: Vec<u8>,
    /// Edits that were not reverted, as somebody has changed the same place since.
    pub kept: Vec<Kept>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What the edit had replaced.
    pub old: Vec<u8>,
    /// What it had replaced it with.
    pub new: Vec<u8>,
}

/// Non-blank lines.
pub fn lines<'t>(text: &'t [u8], slot: impl Fn(&[u8]) -> Vec<u8>) -> Vec<Piece<'t>> {
    let mut pieces = Vec::new();
    let (mut from, mut at) = (0, 0);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let bare = line.trim_ascii();
        if !bare.is_empty() {
            let start = at + line.len() - line.trim_ascii_start().len();
            pieces.push(Piece {
                gap: &text[from..start],
                text: bare,
                key: bare.to_vec(),
                slot: slot(bare),
            });
            from = start + bare.len();
        }
        at += line.len();
    }
    pieces.push(end(&text[from..]));
    pieces
}

/// Reverts in `now` the edit that turned `old` into `new`.
pub fn revert(old: &[Piece], new: &[Piece], now: &[Piece], unit: Unit) -> Reverted {
    let merge = Merge {
        old,
        new,
        now,
        unit,
        present: matches(new, now),
        style: is_dos(new) != is_dos(now),
        dos: is_dos(now),
    };
    merge.run()
}

struct Merge<'m, 't> {
    old: &'m [Piece<'t>],
    new: &'m [Piece<'t>],
    now: &'m [Piece<'t>],
    unit: Unit,
    /// The present place of each piece of `new`.
    present: Vec<Option<usize>>,
    /// Whether the line endings changed since, and to which.
    style: bool,
    dos: bool,
}

/// An edit: these pieces of `new` took the place of these of `old`.
struct Hunk {
    new: Range<usize>,
    old: Range<usize>,
}

impl Merge<'_, '_> {
    fn run(&self) -> Reverted {
        let (hunks, same) = self.edits();
        let mut dropped = vec![false; self.now.len()];
        let mut added: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
        let mut kept = Vec::new();
        for hunk in hunks {
            let Some(places) = self.places(&hunk) else {
                if !self.is_settled(&hunk) {
                    kept.push(Kept {
                        old: joined(&self.old[hunk.old]),
                        new: joined(&self.new[hunk.new]),
                    });
                }
                continue;
            };
            let at = places.at;
            for place in places.pieces {
                dropped[place] = true;
            }
            if hunk.old.is_empty() {
                continue;
            }
            let text = added.entry(at).or_default();
            for (i, piece) in self.old[hunk.old.clone()].iter().enumerate() {
                let own = hunk.new.clone().next().filter(|_| i == 0);
                let gap = match own {
                    Some(new) if same_gap(self.new[new].gap, piece.gap) => {
                        self.now[at].gap.to_vec()
                    }
                    _ => self.styled(piece.gap),
                };
                text.extend(gap);
                text.extend(self.styled(piece.text));
            }
        }
        let mut gaps: Vec<Option<Vec<u8>>> = vec![None; self.now.len()];
        let placed = same.iter();
        let placed = placed.filter_map(|(new, old)| Some((self.present[*new]?, *old)));
        let placed: BTreeMap<usize, usize> = placed.collect();
        for (new, old) in same {
            let Some(now) = self.present[new] else {
                continue;
            };
            let before = (0..now).rev().find(|at| !dropped[*at]);
            let follows = match before {
                Some(before) if added.range(before + 1..=now).next().is_none() => {
                    old > 0 && placed.get(&before) == Some(&(old - 1))
                }
                _ => true,
            };
            let (gap_new, gap_old) = (self.new[new].gap, self.old[old].gap);
            let gap = self.now[now].gap;
            if gap_new == gap_old || breaks(gap_new) != breaks(gap) {
                continue;
            }
            // Somebody's line before it must not become one with it.
            if !follows && breaks(gap_old) == 0 && breaks(gap) > 0 {
                continue;
            }
            let mut back = self.styled(gap_old);
            if gap_new.trim_ascii() == gap.trim_ascii() && breaks(gap_old) > 0 {
                // The indentation may have been changed since.
                back.truncate(back.len() - indent(gap_old).len());
                back.extend(match indent(gap_new) == indent(gap) {
                    true => indent(gap_old),
                    false => indent(gap),
                });
            }
            gaps[now] = Some(back);
        }
        let mut text = Vec::new();
        for (i, piece) in self.now.iter().enumerate() {
            text.extend(added.remove(&i).unwrap_or_default());
            if !dropped[i] {
                match gaps[i].take() {
                    Some(gap) => text.extend(gap),
                    None => text.extend(piece.gap),
                }
                text.extend(piece.text);
            }
        }
        Reverted { text, kept }
    }

    /// What was edited, and which pieces were not.
    fn edits(&self) -> (Vec<Hunk>, Vec<(usize, usize)>) {
        let (mut hunks, mut same): (Vec<Hunk>, _) = (Vec::new(), Vec::new());
        for op in diff(&keys(self.new), &keys(self.old)) {
            let (new, old) = (op.old_range(), op.new_range());
            match op {
                DiffOp::Equal { .. } => same.extend(new.zip(old)),
                _ => match hunks.last_mut() {
                    Some(last) if last.new.end == new.start && last.old.end == old.start => {
                        last.new.end = new.end;
                        last.old.end = old.end;
                    }
                    _ => hunks.push(Hunk { new, old }),
                },
            }
        }
        if self.unit == Unit::Piece {
            hunks = hunks.iter().flat_map(|hunk| self.split(hunk)).collect();
        }
        (hunks, same)
    }

    /// Pairs the pieces of an edit that set the same.
    fn split(&self, hunk: &Hunk) -> Vec<Hunk> {
        let slots = |pieces: &[Piece]| -> Vec<Vec<u8>> {
            let of = |piece: &Piece| match piece.slot.is_empty() {
                true => piece.key.clone(),
                false => piece.slot.clone(),
            };
            pieces.iter().map(of).collect()
        };
        let (new, old) = (
            slots(&self.new[hunk.new.clone()]),
            slots(&self.old[hunk.old.clone()]),
        );
        let mut parts = Vec::new();
        for op in capture_diff_slices(Algorithm::Myers, &new, &old) {
            let moved = |range: Range<usize>, by: usize| range.start + by..range.end + by;
            let new = moved(op.old_range(), hunk.new.start);
            let old = moved(op.new_range(), hunk.old.start);
            match op {
                DiffOp::Equal { .. } => parts.extend(new.zip(old).map(|(new, old)| Hunk {
                    new: new..new + 1,
                    old: old..old + 1,
                })),
                _ => {
                    let here = old.start..old.start;
                    parts.extend(new.clone().map(|at| Hunk {
                        new: at..at + 1,
                        old: here.clone(),
                    }));
                    if !old.is_empty() {
                        let new = new.end..new.end;
                        parts.push(Hunk { new, old });
                    }
                }
            }
        }
        parts
    }

    /// Where the pieces of an edit are now; `None` if they were changed, or are
    /// back to what they were.
    fn places(&self, hunk: &Hunk) -> Option<Places> {
        if self.is_back(hunk) {
            return None;
        }
        let pieces: Option<Vec<usize>> = self.present[hunk.new.clone()].iter().copied().collect();
        let context = (0..hunk.new.start).rev();
        let mut context = context.filter(|at| self.new[*at].slot != COMMENT);
        let (first, second) = (context.next(), context.next());
        let is_there = |at: Option<usize>| at.is_none_or(|at| self.present[at].is_some());
        let is_sure = match self.unit {
            Unit::Piece => true,
            // What stands before says what a value belongs to.
            Unit::Run if hunk.new.is_empty() => {
                is_there(first) && self.present.get(hunk.new.end).is_none_or(Option::is_some)
            }
            Unit::Run => is_there(first) && is_there(second),
        };
        match pieces {
            Some(pieces) if is_sure => {
                let at = pieces.first().copied();
                let at = at.unwrap_or_else(|| self.room(hunk).start);
                Some(Places { at, pieces })
            }
            _ if self.unit == Unit::Run => self.moved(hunk),
            _ => None,
        }
    }

    /// The present place of an edit whose surroundings were moved, if there is
    /// exactly one.
    fn moved(&self, hunk: &Hunk) -> Option<Places> {
        let from = hunk.new.start.saturating_sub(4);
        let to = (hunk.new.end + 1).min(self.new.len());
        let pattern = keys(&self.new[from..to]);
        let now = keys(self.now);
        let mut found = now
            .windows(pattern.len())
            .enumerate()
            .filter(|(_, window)| *window == pattern);
        let (start, _) = found.next()?;
        if found.next().is_some() {
            return None;
        }
        let at = start + hunk.new.start - from;
        Some(Places {
            at,
            pieces: (at..at + hunk.new.len()).collect(),
        })
    }

    /// The present pieces between the nearest neighbours of an edit.
    fn room(&self, hunk: &Hunk) -> Range<usize> {
        let before = self.present[..hunk.new.start].iter().rev().flatten().next();
        let after = self.present[hunk.new.end..].iter().flatten().next();
        let start = before.map_or(0, |at| at + 1);
        start..after.copied().unwrap_or(self.now.len() - 1).max(start)
    }

    /// Whether what was there before the edit is there again.
    fn is_back(&self, hunk: &Hunk) -> bool {
        !hunk.old.is_empty()
            && keys(&self.now[self.room(hunk)]) == keys(&self.old[hunk.old.clone()])
    }

    /// Whether nothing is left of an edit.
    fn is_settled(&self, hunk: &Hunk) -> bool {
        let lost = self.present[hunk.new.clone()].iter().all(Option::is_none);
        let room = &self.now[self.room(hunk)];
        let is_changed = |piece: &Piece| match self.unit {
            Unit::Piece => !piece.slot.is_empty() && room.iter().any(|now| now.slot == piece.slot),
            Unit::Run => !room.is_empty(),
        };
        self.is_back(hunk) || lost && !self.new[hunk.new.clone()].iter().any(is_changed)
    }

    /// With the present line endings.
    fn styled(&self, text: &[u8]) -> Vec<u8> {
        if !self.style {
            return text.to_vec();
        }
        let mut new = Vec::with_capacity(text.len());
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let bare = line
                .strip_suffix(b"\n")
                .map(|it| it.strip_suffix(b"\r").unwrap_or(it));
            new.extend(bare.unwrap_or(line));
            if bare.is_some() {
                new.extend(if self.dos { b"\r\n".as_slice() } else { b"\n" });
            }
        }
        new
    }
}

struct Places {
    /// Where the old pieces go.
    at: usize,
    pieces: Vec<usize>,
}

fn keys<'p>(pieces: &'p [Piece]) -> Vec<&'p [u8]> {
    pieces.iter().map(|piece| piece.key.as_slice()).collect()
}

fn diff(from: &[&[u8]], to: &[&[u8]]) -> Vec<DiffOp> {
    capture_diff_slices(Algorithm::Myers, from, to)
}

fn matches(from: &[Piece], to: &[Piece]) -> Vec<Option<usize>> {
    let mut places = vec![None; from.len()];
    for op in diff(&keys(from), &keys(to)) {
        if let DiffOp::Equal { .. } = op {
            for (from, to) in op.old_range().zip(op.new_range()) {
                places[from] = Some(to);
            }
        }
    }
    places
}

fn joined(pieces: &[Piece]) -> Vec<u8> {
    let mut text = Vec::new();
    for (i, piece) in pieces.iter().enumerate() {
        text.extend(if i > 0 { piece.gap } else { b"" });
        text.extend(piece.text);
    }
    text
}

/// Whether two gaps differ at most in their line endings.
fn same_gap(a: &[u8], b: &[u8]) -> bool {
    let bare = |gap: &[u8]| -> Vec<u8> { gap.iter().copied().filter(|it| *it != b'\r').collect() };
    a == b || bare(a) == bare(b)
}

fn breaks(gap: &[u8]) -> usize {
    gap.iter().filter(|byte| **byte == b'\n').count()
}

/// What follows the last line break.
fn indent(gap: &[u8]) -> &[u8] {
    let last = gap.iter().rposition(|byte| *byte == b'\n');
    &gap[last.map_or(0, |at| at + 1)..]
}

/// Whether most lines end in CR LF.
fn is_dos(pieces: &[Piece]) -> bool {
    let (mut dos, mut all) = (0, 0);
    for text in pieces.iter().flat_map(|piece| [piece.gap, piece.text]) {
        all += text.iter().filter(|byte| **byte == b'\n').count();
        dos += text.windows(2).filter(|pair| *pair == b"\r\n").count();
    }
    dos * 2 > all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines that set what is before their "=".
    fn of(text: &str) -> Vec<Piece<'_>> {
        lines(text.as_bytes(), |line| {
            let name = line.split(|byte| *byte == b'=').next();
            name.unwrap_or_default().to_vec()
        })
    }

    fn reverted(old: &str, new: &str, now: &str) -> (String, usize) {
        let reverted = revert(&of(old), &of(new), &of(now), Unit::Piece);
        (
            String::from_utf8(reverted.text).unwrap(),
            reverted.kept.len(),
        )
    }

    #[test]
    fn an_edit_is_reverted_and_later_edits_stay() {
        let (old, new) = ("a=1\n\nb=1\nc=1\n", "a=1\nb=2\nd=4\n\nc=1\n");
        for (now, result, kept) in [
            (new, old, 0),
            ("x\na=1\nb=2\nd=4\n\nc=1\ny", "x\na=1\n\nb=1\nc=1\ny", 0),
            ("a=1\nb=2\nx\nd=4\n\nc=1\n", "a=1\n\nb=1\nx\nc=1\n", 0),
            ("a=1\nb=3\nd=4\n\nc=1\n", "a=1\nb=3\nc=1\n", 1),
            ("a=1\nb=2\nd=5\n\nc=1\n", "a=1\n\nb=1\nd=5\nc=1\n", 1),
            (old, old, 0),
            ("a=1\nc=1\n", "a=1\nc=1\n", 0),
            ("", "", 0),
        ] {
            assert_eq!(reverted(old, new, now), (result.into(), kept), "{now:?}");
        }
    }

    #[test]
    fn the_present_line_endings_and_indentation_are_kept() {
        let (old, new) = ("a=1\nb=1\nc=1\n", "a=1\nb=2\nd=4\nc=1\n");
        let dos = |text: &str| text.replace('\n', "\r\n");
        assert_eq!(reverted(old, new, &dos(new)), (dos(old), 0));
        let indented = |text: &str| text.replace('\n', "\n  ");
        assert_eq!(reverted(old, new, &indented(new)), (indented(old), 0));
    }
}
