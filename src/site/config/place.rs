//! Where our block goes: at top level, before the statement that loads WordPress
//! and what belongs to it, and outside the parts that other tools manage.

use crate::site::config::Warning;
use crate::site::config::block::Missing;
use crate::site::config::events::{Event, Kind};
use crate::site::config::facts::Facts;
use crate::site::config::layout;
use crate::site::config::lines::line_of;
use crate::site::config::refusal::Refusal;
use std::ops::Range;

/// A position for the block.
pub struct Spot {
    pub at: usize,
    /// Whether it is in the middle of a line, which has to be split.
    pub split: bool,
    pub indent: String,
    pub end_of_line: &'static str,
    /// Whether names of constants are those of a namespace.
    pub namespaced: bool,
    pub note: Option<Warning>,
}

pub fn spot(source: &[u8], facts: &Facts, missing: &Missing) -> Result<Spot, Refusal> {
    let foreign = layout::foreign(&facts.seen, source);
    let tops = &facts.seen.tops;
    let load = facts.load.clone()?;
    let mut top = match facts.collector {
        Some(_) => before_environment(facts, load, missing),
        None => load,
    };
    readable_before(source, facts, top, missing)?;
    // The statement that defines ABSPATH belongs to the load.
    if top > 0 && tops[top - 1].abspath && tops[top - 1].list == tops[top].list {
        top -= 1;
    }
    let mut at = lead(source, facts, top);
    let mut note = None;
    while let Some(part) = foreign
        .iter()
        .find(|part| part.at.start < at && at < part.at.end)
    {
        match above(facts, &part.at, load, missing) {
            Some(first) => (top, at) = (first, part.at.start),
            None if part.is_tool() => {
                return Err(Refusal::new(
                    Some(line_of(source, part.at.start)),
                    "WordPress is loaded in a part of the file that another tool manages, and no lines can be added before it",
                )
                .by_hand_lines("add these lines to what that tool writes into the file, right before the line that loads WordPress"));
            }
            None => {
                note = Some(Warning::new(
                    Some(line_of(source, part.at.start)),
                    format!(
                        "the lines from setup are between the comments that begin and end {:?}: a program that writes that part would remove them",
                        part.name
                    ),
                ));
                break;
            }
        }
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
        )
        .by_hand("write <?php in place of <?= in this line, and run setup again"));
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
        namespaced: tops[top].namespaced,
        note,
    })
}

/// The statement before which lines are what the settings of an environment override:
/// the one that includes them, with the one that names their file.
fn before_environment(facts: &Facts, apply: usize, missing: &Missing) -> usize {
    let (tops, events) = (&facts.seen.tops, &facts.seen.events);
    let by_environment =
        |kind: &Kind| matches!(kind, Kind::Include(Some(path)) if path.contains('{'));
    let mut includes = events.iter().filter(|it| by_environment(&it.kind));
    let Some(mut top) = includes.next().map(|it| it.top).filter(|it| *it < apply) else {
        return apply;
    };
    if top > 0 && tops[top - 1].path && tops[top - 1].list == tops[top].list {
        top -= 1;
    }
    let reads = |it: &Event| (top..apply).contains(&it.top) && missing.reads(&it.kind);
    match tops[top].list == tops[apply].list && !events.iter().any(reads) {
        true => top,
        false => apply,
    }
}

/// The first statement of another tool's part, if our lines can be above it: nothing in
/// it, before the load, has to come first or sets what our lines read or guard against.
fn above(facts: &Facts, part: &Range<usize>, load: usize, missing: &Missing) -> Option<usize> {
    let tops = &facts.seen.tops;
    let top = tops.partition_point(|it| it.at.end <= part.start);
    let first = tops.get(top)?;
    let within = tops.get(top..=load)?;
    let free = first.at.start >= part.start
        && first.list == tops[load].list
        && !within.iter().any(|it| it.first)
        && !facts
            .seen
            .events
            .iter()
            .filter(|event| event.at >= part.start && event.top <= load)
            .any(|event| {
                matches!(event.kind, Kind::Include(_) | Kind::Opaque(_))
                    || missing.reads(&event.kind)
            });
    free.then_some(top)
}

/// Refuses if our lines read what only the statement that loads WordPress sets.
fn readable_before(
    source: &[u8],
    facts: &Facts,
    load: usize,
    missing: &Missing,
) -> Result<(), Refusal> {
    let within = |event: &&Event| {
        (event.top == load || facts.collector.is_some() && event.top > load)
            && missing.reads(&event.kind)
    };
    match facts.seen.events.iter().find(within) {
        None => Ok(()),
        Some(event) => {
            let what = match event.kind {
                Kind::Define { .. } => "DOMAIN_CURRENT_SITE",
                _ => "$gearman_servers",
            };
            Err(Refusal::new(
                Some(line_of(source, event.at)),
                match facts.collector {
                    None => format!("{what} is set in the statement that loads WordPress, so lines that need it cannot be added before"),
                    Some(_) => format!("{what} is set below the statement with Config::apply(), so lines that need it cannot be added before"),
                },
            )
            .by_hand("move it above that statement, and run setup again"))
        }
    }
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
    let mut before = source[..at].iter().rev();
    matches!(
        before.find(|b| !matches!(b, b' ' | b'\t')),
        None | Some(b'\n' | b'\r')
    )
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
