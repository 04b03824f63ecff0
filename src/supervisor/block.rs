//! Writes our program into a file that is not ours: as a marked block at its
//! end, or in place of an existing section. Bytes that are not UTF-8 are
//! replaced.

use std::path::Path;

use crate::supervisor::programs::{self, ProgramSection};

fn marks(program: &str) -> (String, String) {
    (
        format!("; BEGIN wp-gears {program}\n"),
        format!("; END wp-gears {program}\n"),
    )
}

/// Adds the program's block to the file, or replaces the one that is there.
pub fn set(text: &str, program: &str, body: &str) -> String {
    let (begin, end) = marks(program);
    let block = format!("{begin}{}\n{end}", body.trim_end());
    match place(text, program) {
        Some((from, to)) => format!("{}{block}{}", &text[..from], &text[to..]),
        None => {
            let blank = if text.is_empty() || text.ends_with("\n\n") {
                ""
            } else if text.ends_with('\n') {
                "\n"
            } else {
                "\n\n"
            };
            format!("{text}{blank}{block}")
        }
    }
}

/// Removes the program's block from the file; `None` if it has none.
pub fn remove(text: &str, program: &str) -> Option<String> {
    let (from, to) = place(text, program)?;
    let before = &text[..from];
    // The blank line before the block was added with it.
    let before = before.strip_suffix("\n\n").map_or(before, |kept| {
        // The first line break belongs to the line before.
        &before[..kept.len() + 1]
    });
    Some(format!("{before}{}", &text[to..]))
}

/// Replaces the program's section and keeps its line ending; `None` if it has
/// none.
pub fn replace_section(text: &str, program: &str, new: &str) -> Option<String> {
    let (from, to) = section_place(text, program)?;
    let end = line_end(&text[..to]);
    let new = &new[..new.len() - line_end(new).len()];
    Some(format!("{}{new}{end}{}", &text[..from], &text[to..]))
}

fn line_end(text: &str) -> &'static str {
    ["\r\n", "\n"]
        .into_iter()
        .find(|end| text.ends_with(end))
        .unwrap_or_default()
}

/// The program's section, from its header to its last line.
pub fn section<'t>(text: &'t str, program: &str) -> Option<&'t str> {
    section_place(text, program).map(|(from, to)| &text[from..to])
}

fn section_place(text: &str, program: &str) -> Option<(usize, usize)> {
    let header = format!("[program:{program}]");
    let mut from = None;
    let mut to = 0;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let next = at + line.len();
        if from.is_some() && line.starts_with('[') {
            break;
        }
        if from.is_none() && line.trim_end().starts_with(&header) {
            from = Some(at);
        }
        // Trailing blank lines and comments belong to the next section.
        let bare = line.trim();
        if from.is_some() && !bare.is_empty() && !bare.starts_with([';', '#']) {
            to = next;
        }
        at = next;
    }
    from.map(|from| (from, to))
}

fn parse(text: &[u8]) -> Vec<ProgramSection> {
    programs::parse(&String::from_utf8_lossy(text), Path::new(""))
}

/// Removes from the current file the blocks that are in `ours` but not in
/// `original`.
pub fn without_new(current: &[u8], original: &[u8], ours: &[u8]) -> Vec<u8> {
    let before = parse(original);
    let mut text = String::from_utf8_lossy(current).into_owned();
    for program in parse(ours) {
        if !before.iter().any(|old| old.name == program.name)
            && let Some(without) = remove(&text, &program.name)
        {
            text = without;
        }
    }
    text.into_bytes()
}

/// Restores in the current file the sections of `original` that `ours` replaced.
pub fn with_old_sections(current: &[u8], original: &[u8], ours: &[u8]) -> Vec<u8> {
    let [current, original, ours] =
        [current, original, ours].map(|text| String::from_utf8_lossy(text).into_owned());
    let mut text = current;
    for program in programs::parse(&ours, Path::new("")) {
        let old = section(&original, &program.name);
        if let Some(old) = old.filter(|old| section(&ours, &program.name) != Some(*old))
            && let Some(restored) = replace_section(&text, &program.name, old)
        {
            text = restored;
        }
    }
    text.into_bytes()
}

fn place(text: &str, program: &str) -> Option<(usize, usize)> {
    let (begin, end) = marks(program);
    let from = text.find(&begin)?;
    let to = from + text[from..].find(&end)? + end.len();
    Some((from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_added_and_removed() {
        let text = "[supervisord]\nlogfile=/x\n";
        let with = set(text, "a", "[program:a]\ncommand=/bin/a\n");
        assert_eq!(set(&with, "a", "[program:a]\ncommand=/bin/a\n"), with);
        let both = set(&with, "b", "[program:b]\ncommand=/bin/b\n");
        assert_eq!(remove(&both, "b").as_deref(), Some(with.as_str()));
        assert_eq!(remove(&with, "a").as_deref(), Some(text));
        assert_eq!(remove(text, "a"), None);
    }

    #[test]
    fn a_section_is_replaced_in_place() {
        let text = "[program:a]\ncommand=/a\n\n; of b\n[program:b]\ncommand=/b\nuser=x";
        let with = replace_section(text, "a", "[program:a]\ncommand=/new\n").unwrap();
        assert_eq!(with, text.replace("/a", "/new"));
        assert_eq!(section(text, "b"), Some("[program:b]\ncommand=/b\nuser=x"));
        assert_eq!(
            replace_section(&with, "a", section(text, "a").unwrap()).as_deref(),
            Some(text)
        );
        assert_eq!(replace_section(text, "c", ""), None);
    }

    /// A file before setup, after it, and after later edits by others.
    #[test]
    fn later_edits_of_others_survive_a_revert() {
        let original = "[program:b]\ncommand=/b\n";
        let ours = set(original, "a", "[program:a]\ncommand=/a\n");
        let current = format!("{ours}\n[program:c]\ncommand=/c\n");
        let reverted = without_new(current.as_bytes(), original.as_bytes(), ours.as_bytes());
        assert_eq!(
            String::from_utf8(reverted).unwrap(),
            format!("{original}\n[program:c]\ncommand=/c\n")
        );

        let ours = replace_section(original, "b", "[program:b]\ncommand=/new\n").unwrap();
        let current = format!("; theirs\n{ours}");
        let reverted = with_old_sections(current.as_bytes(), original.as_bytes(), ours.as_bytes());
        assert_eq!(
            String::from_utf8(reverted).unwrap(),
            format!("; theirs\n{original}")
        );
    }
}
