//! Our program in a file that is not ours: a marked block at its end.

fn marks(program: &str) -> (String, String) {
    (
        format!("; BEGIN wp-gears {program}\n"),
        format!("; END wp-gears {program}\n"),
    )
}

/// The file with the program's block in it, in place of an earlier one.
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

/// The file without the program's block; `None` where it has none.
pub fn take_out(text: &str, program: &str) -> Option<String> {
    let (from, to) = place(text, program)?;
    let before = &text[..from];
    // The blank line before it came with it.
    let before = before.strip_suffix("\n\n").map_or(before, |kept| {
        // One line end belongs to the line before.
        &before[..kept.len() + 1]
    });
    Some(format!("{before}{}", &text[to..]))
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
    fn a_block_comes_and_goes() {
        let text = "[supervisord]\nlogfile=/x\n";
        let with = set(text, "a", "[program:a]\ncommand=/bin/a\n");
        assert_eq!(set(&with, "a", "[program:a]\ncommand=/bin/a\n"), with);
        let both = set(&with, "b", "[program:b]\ncommand=/bin/b\n");
        assert_eq!(take_out(&both, "b").as_deref(), Some(with.as_str()));
        assert_eq!(take_out(&with, "a").as_deref(), Some(text));
        assert_eq!(take_out(text, "a"), None);
    }
}
