//! Parses PHP source to a tree. Only this module knows the parser crate and its
//! weaknesses.

use crate::site::config::bounds;
use crate::site::config::lines::{find_all, line_of};
use crate::site::config::refusal::Refusal;
use crate::site::config::strange;
use php_ast::Program;
use php_lexer::{LexerError, LexerErrorKind, Token, TokenKind};
use php_rs_parser::{ParseOptions, PhpVersion, bumpalo::Bump, parse_arena_with};
use std::ops::Range;

/// Deeper trees are parsed in a thread of their own, which costs more than parsing
/// a small file.
const MAX_DEPTH_HERE: usize = 120;
const STACK_PER_LEVEL: usize = if cfg!(debug_assertions) { 8192 } else { 1024 };

/// What the lexer found that is not in the tree.
#[derive(Debug, Default)]
pub struct Trivia {
    /// Comments, including docblocks, in order.
    pub comments: Vec<Range<usize>>,
    /// `<?php` and `<?=` tags, and whether it is the latter.
    pub tags: Vec<(Range<usize>, bool)>,
    /// Where closing tags begin.
    pub closes: Vec<usize>,
    /// Where `__halt_compiler` ends the code.
    pub halt: Option<usize>,
    /// Commas in code, needed to edit lists.
    pub commas: Vec<usize>,
}

/// Parses `source` and passes the tree to `read`, with a flag that tells whether
/// only PHP 7.4's grammar accepts the file.
pub fn parse<R: Send>(
    source: &[u8],
    read: impl FnOnce(&Program<'_, '_>, &str, Trivia, bool) -> R + Send,
) -> Result<R, Refusal> {
    bounds::size(source)?;
    strange::encoding(source)?;
    bounds::heredocs(source)?;
    let view = ascii_view(source);
    let (tokens, errors) = bounds::lex(&view)?;
    let trivia = trivia(&tokens, source)?;
    strange::no_code(source, !trivia.tags.is_empty())?;
    let unterminated = |error: &&LexerError| error.kind == LexerErrorKind::UnterminatedComment;
    if let Some(error) = errors.iter().find(unterminated) {
        let line = line_of(source, error.span.start as usize);
        return Err(
            Refusal::new(Some(line), "a comment begins here and never ends")
                .by_hand("end it with */, and run setup again"),
        );
    }
    strange::letters(source, &tokens)?;
    let depth = bounds::depth(&tokens, &view)?;
    drop(tokens);
    // The parser looks back over all comments at each statement, so they are
    // blanked out. Errors of the lexer are left for the parser to report.
    let view = match errors.is_empty() {
        true => without_comments(view, &trivia.comments),
        false => view,
    };
    let run = || parse_here(source, &view, trivia, read);
    if depth <= MAX_DEPTH_HERE {
        return run();
    }
    // The tree can be as deep as a chain of operators is long, and a stack
    // overflow kills the process, so the thread's stack fits the tree.
    std::thread::scope(|scope| {
        let worker = std::thread::Builder::new()
            .stack_size((32 << 20) + depth * STACK_PER_LEVEL)
            .spawn_scoped(scope, run);
        match worker.map(|handle| handle.join()) {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Refusal::new(None, "the PHP parser failed on this file")),
            Err(error) => Err(Refusal::new(
                None,
                format!("cannot start a thread to parse this file: {error}"),
            )),
        }
    })
}

/// A token, with its place in the source. What is between two is white space.
pub struct Part {
    pub at: Range<usize>,
    pub comment: bool,
}

/// All tokens, also of a file that does not parse. None for one that takes too
/// long to read.
pub fn tokens(source: &[u8]) -> Vec<Part> {
    if bounds::size(source).is_err() || bounds::heredocs(source).is_err() {
        return Vec::new();
    }
    let Ok((tokens, _)) = bounds::lex(&ascii_view(source)) else {
        return Vec::new();
    };
    // What follows the compiler's halt is data.
    let code = |token: &Token| !matches!(token.kind, TokenKind::Eof | TokenKind::HaltCompiler);
    tokens
        .into_iter()
        .take_while(code)
        .map(|token| Part {
            at: token.span.start as usize..token.span.end as usize,
            comment: token.kind.is_comment(),
        })
        .collect()
}

/// Whether our parser accepts `source` as PHP.
pub fn parses(source: &[u8]) -> bool {
    parse(source, |_, _, _, _| ()).is_ok()
}

fn parse_here<R>(
    source: &[u8],
    view: &str,
    trivia: Trivia,
    read: impl FnOnce(&Program<'_, '_>, &str, Trivia, bool) -> R,
) -> Result<R, Refusal> {
    let arena = Bump::new();
    let mut options = ParseOptions::default();
    options.source_map = false;
    let parsed = parse_arena_with(&arena, view, &options);
    let Some(error) = parsed.errors.first() else {
        return Ok(read(&parsed.program, view, trivia, false));
    };
    let old = Bump::new();
    let reparsed = parse_arena_with(&old, view, &options.version(PhpVersion::Php74));
    if reparsed.errors.is_empty() {
        return Ok(read(&reparsed.program, view, trivia, true));
    }
    let at = error.span().start as usize;
    Err(Refusal::new(
        Some(line_of(source, at)),
        format!("the PHP does not parse: {error}"),
    )
    .by_hand("correct it ('php -l' says what PHP makes of it), and run setup again"))
}

/// The parser accepts only UTF-8. PHP allows any byte from 0x80 in names, so
/// replacing them with a letter preserves all positions.
fn ascii_view(source: &[u8]) -> String {
    let bytes = source.iter().map(|b| if b.is_ascii() { *b } else { b'Z' });
    // All bytes are ASCII, so the conversion cannot fail.
    String::from_utf8(bytes.collect()).unwrap_or_default()
}

fn without_comments(view: String, comments: &[Range<usize>]) -> String {
    let mut bytes = view.into_bytes();
    for comment in comments {
        bytes[comment.clone()].fill(b' ');
    }
    // All bytes are still ASCII, so the conversion cannot fail.
    String::from_utf8(bytes).unwrap_or_default()
}

fn trivia(tokens: &[Token], source: &[u8]) -> Result<Trivia, Refusal> {
    let mut trivia = Trivia::default();
    for token in tokens {
        let span = token.span.start as usize..token.span.end as usize;
        match token.kind {
            kind if kind.is_comment() => trivia.comments.push(span),
            TokenKind::Comma => trivia.commas.push(span.start),
            TokenKind::OpenTag => {
                let echo = source[span.clone()].starts_with(b"<?=");
                trivia.tags.push((span, echo));
            }
            TokenKind::CloseTag => trivia.closes.push(span.start),
            TokenKind::InlineHtml => {
                if let Some(at) = short_tag(&source[span.clone()]) {
                    return Err(Refusal::new(
                        Some(line_of(source, span.start + at)),
                        "a short open tag (<?): it depends on php.ini whether PHP runs it as code",
                    )
                    .by_hand("write <?php in place of <? in this line, and run setup again"));
                }
            }
            // The lexer goes on, but the rest is data.
            TokenKind::HaltCompiler => {
                trivia.halt = Some(span.start);
                break;
            }
            _ => {}
        }
    }
    Ok(trivia)
}

fn short_tag(html: &[u8]) -> Option<usize> {
    find_all(html, b"<?").find(|at| {
        let rest = &html[at + 2..];
        !rest
            .get(..3)
            .is_some_and(|word| word.eq_ignore_ascii_case(b"xml"))
    })
}
