//! Where our block goes: at top level, before the statement that loads WordPress
//! and what belongs to it, and outside the parts that other tools manage.

use crate::site::config::facts::Facts;
use crate::site::config::layout;
use crate::site::config::php::line_of;
use crate::site::config::refusal::Refusal;
use std::ops::Range;

/// A position for the block.
pub struct Spot {
    pub at: usize,
    /// Whether it is in the middle of a line, which has to be split.
    pub split: bool,
    pub indent: String,
    pub end_of_line: &'static str,
}

pub fn spot(source: &[u8], facts: &Facts) -> Result<Spot, Refusal> {
    let foreign = layout::foreign(&facts.seen, source);
    let tops = &facts.seen.tops;
    let mut top = facts.load;
    // The statement that defines ABSPATH belongs to the load.
    if top > 0 && tops[top - 1].abspath && tops[top - 1].list == tops[top].list {
        top -= 1;
    }
    let mut at = lead(source, facts, top);
    while let Some(part) = foreign.iter().find(|part| part.start < at && at < part.end) {
        // The first statement that does not end before the other tool's part.
        top = tops.partition_point(|it| it.at.end <= part.start);
        if tops.get(top).is_none_or(|it| it.at.start < part.start) {
            return Err(Refusal::new(
                Some(line_of(source, part.start)),
                "WordPress is loaded in a part of the file that another tool manages, and that part begins inside a statement",
            ));
        }
        at = part.start;
    }
    // In `<?= … ?>`, the statement begins with the tag.
    let tag = facts
        .seen
        .trivia
        .tags
        .iter()
        .rfind(|(tag, _)| tag.start <= at);
    if let Some((tag, true)) = tag {
        return Err(Refusal::new(
            Some(line_of(source, tag.start)),
            "WordPress is loaded inside a <?= tag, so no lines can be added before it",
        ));
    }
    let line = line_start(source, at);
    let before = &source[line..at];
    let split = !before.iter().all(|b| matches!(b, b' ' | b'\t'));
    Ok(Spot {
        at: if split { at } else { line },
        split,
        indent: match split {
            true => String::new(),
            false => String::from_utf8_lossy(before).into_owned(),
        },
        end_of_line: end_of_line(source, at),
    })
}

/// Where a statement begins, including its comments: those directly above it, and
/// everything from WordPress's "stop editing" comment on.
fn lead(source: &[u8], facts: &Facts, top: usize) -> usize {
    let tops = &facts.seen.tops;
    let this = &tops[top];
    let floor = match top.checked_sub(1).map(|i| &tops[i]) {
        Some(previous) if previous.list == this.list => previous.at.end,
        _ => this.list,
    };
    // Code begins after the last tag between them.
    let tags = facts.seen.trivia.tags.iter().map(|(tag, _)| tag.end);
    let floor = tags
        .filter(|end| *end <= this.at.start)
        .fold(floor, usize::max);
    let comments: Vec<&Range<usize>> = facts
        .seen
        .trivia
        .comments
        .iter()
        .filter(|it| it.start >= floor && it.end <= this.at.start)
        .filter(|it| own_line(source, it.start))
        .collect();
    let mut at = this.at.start;
    for comment in comments.iter().rev() {
        if blank_line_between(&source[comment.end..at]) || is_boundary(&source[(*comment).clone()])
        {
            break;
        }
        at = comment.start;
    }
    let stop = comments.iter().rev().find(|it| {
        let text = String::from_utf8_lossy(&source[(**it).clone()]).to_ascii_lowercase();
        text.contains("all, stop editing")
    });
    match stop {
        Some(stop) => at.min(stop.start),
        None => at,
    }
}

fn own_line(source: &[u8], at: usize) -> bool {
    let line = line_start(source, at);
    source[line..at].iter().all(|b| matches!(b, b' ' | b'\t'))
}

/// The end of a managed part, ours or another tool's, which stays above the block.
fn is_boundary(comment: &[u8]) -> bool {
    comment.starts_with(b"/**#@")
        || crate::site::config::block::is_marker(comment)
        || layout::marker(comment, 0..comment.len()).is_some()
}

fn blank_line_between(gap: &[u8]) -> bool {
    let mut ends = 0;
    for (i, byte) in gap.iter().enumerate() {
        match byte {
            b'\n' => ends += 1,
            b'\r' if gap.get(i + 1) != Some(&b'\n') => ends += 1,
            b' ' | b'\t' | b'\r' => {}
            _ => ends = 0,
        }
        if ends > 1 {
            return true;
        }
    }
    false
}

pub fn line_start(source: &[u8], at: usize) -> usize {
    source[..at]
        .iter()
        .rposition(|b| matches!(b, b'\n' | b'\r'))
        .map_or(0, |end| end + 1)
}

/// The line ending of the line before, otherwise of the line after.
fn end_of_line(source: &[u8], at: usize) -> &'static str {
    let line = line_start(source, at);
    let kind = |end: usize| match (source[end], source.get(end + 1)) {
        (b'\r', Some(b'\n')) => "\r\n",
        (b'\r', _) => "\r",
        _ if end > 0 && source[end - 1] == b'\r' => "\r\n",
        _ => "\n",
    };
    if line > 0 {
        return kind(line - 1);
    }
    source[at..]
        .iter()
        .position(|b| matches!(b, b'\n' | b'\r'))
        .map_or("\n", |after| kind(at + after))
}
