//! Writes our program into a file that is not ours: as a marked block at its
//! end, or in place of an existing section. Bytes that are not UTF-8 are
//! replaced.

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

/// The file without the program's section, and that section, which is empty if
/// there is none.
pub fn without_section(text: &[u8], program: &str) -> (Vec<u8>, Vec<u8>) {
    let (from, to) = section_place(text, program).unwrap_or_default();
    let rest = [&text[..from], &text[to..]].concat();
    (rest, text[from..to].to_vec())
}

fn section_place(text: impl AsRef<[u8]>, program: &str) -> Option<(usize, usize)> {
    let header = format!("[program:{program}]");
    let mut from = None;
    let mut to = 0;
    let mut at = 0;
    for line in text.as_ref().split_inclusive(|byte| *byte == b'\n') {
        let next = at + line.len();
        if from.is_some() && line.starts_with(b"[") {
            break;
        }
        if from.is_none() && line.starts_with(header.as_bytes()) {
            from = Some(at);
        }
        // Trailing blank lines and comments belong to the next section.
        let bare = line.trim_ascii();
        if from.is_some() && !matches!(bare, [] | [b';' | b'#', ..]) {
            to = next;
        }
        at = next;
    }
    from.map(|from| (from, to))
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
}
