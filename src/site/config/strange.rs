//! Recognizes files that are no PHP, or not the PHP that they seem to be, to say so in
//! plain words.

use crate::site::config::lines::line_of;
use crate::site::config::refusal::Refusal;
use php_lexer::{Token, TokenKind};

/// Refuses an empty file, and one that is not in an encoding that PHP reads.
pub fn encoding(source: &[u8]) -> Result<(), Refusal> {
    if source.trim_ascii().is_empty() {
        return Err(Refusal::new(None, "the file is empty")
            .by_hand("restore it from a backup, or install WordPress again"));
    }
    let wide = |at: usize| source.iter().take(64).skip(at).step_by(2).all(|b| *b == 0);
    let utf16 = source.starts_with(b"\xff\xfe")
        || source.starts_with(b"\xfe\xff")
        || (source.len() >= 8 && (wide(0) || wide(1)));
    if utf16 {
        return Err(Refusal::new(
            None,
            "the file is in UTF-16, which PHP does not read as code",
        )
        .by_hand("save it in UTF-8 without a byte order mark, and run setup again"));
    }
    Ok(())
}

/// Refuses a file without an opening tag, which PHP would show to visitors.
pub fn no_code(source: &[u8], has_tag: bool) -> Result<(), Refusal> {
    let contains = |word: &[u8]| source.windows(word.len()).any(|it| it == word);
    if has_tag {
        return Ok(());
    }
    if contains(b"&lt;?") {
        return Err(Refusal::new(
            Some(1),
            "the file is escaped as HTML (&lt; for <), so PHP does not run it but shows it to visitors",
        )
        .by_hand("restore it from a backup, or replace &lt; &gt; &quot; &#039; and &amp; with what they stand for, and run setup again"));
    }
    Err(Refusal::new(
        Some(1),
        "the file has no opening tag (<?php), so PHP does not run it but shows it to visitors",
    )
    .by_hand("make <?php its first line, and run setup again"))
}

/// Refuses what our parser accepts in code and PHP does not: control characters, and
/// quotes of a word processor, which PHP takes for letters of a name.
pub fn letters(source: &[u8], tokens: &[Token]) -> Result<(), Refusal> {
    let mut end = 0;
    for token in tokens {
        let span = token.span.start as usize..token.span.end as usize;
        let gap = source.get(end..span.start).unwrap_or_default();
        if let Some(at) = gap
            .iter()
            .position(|b| !matches!(b, b' ' | b'\t' | b'\n' | b'\r'))
            && gap[at] < 0x20
        {
            return Err(Refusal::new(
                Some(line_of(source, end + at)),
                format!(
                    "there is a control character (0x{:02x}) in the code, which PHP rejects",
                    gap[at]
                ),
            )
            .by_hand("remove it, and run setup again"));
        }
        end = end.max(span.end);
        match token.kind {
            TokenKind::HaltCompiler => break,
            TokenKind::Identifier if has_curly_quote(&source[span.clone()]) => {
                return Err(Refusal::new(
                    Some(line_of(source, span.start)),
                    "there are curly quotes in the code, which PHP takes for a part of the name",
                )
                .by_hand("write ' in place of each of them, and run setup again"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// One of U+2018 to U+201F, in UTF-8, or of their counterparts in Windows-1252.
fn has_curly_quote(name: &[u8]) -> bool {
    let utf8 = name
        .windows(3)
        .any(|it| it[..2] == [0xe2, 0x80] && (0x98..=0x9f).contains(&it[2]));
    let windows = |b: &u8| (0x91..=0x94).contains(b);
    utf8 || (std::str::from_utf8(name).is_err()
        && (name.first().is_some_and(windows) || name.last().is_some_and(windows)))
}
