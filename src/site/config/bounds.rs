//! How large and how deep a file may be. Its site's user writes it, and reading it must
//! exhaust neither memory nor the stack nor the patience of whoever reads it.

use crate::site::config::lines::{find_all, line_of};
use crate::site::config::refusal::Refusal;
use php_lexer::{Lexer, LexerError, Token, TokenKind};

const MAX_BYTES: usize = 8 << 20;
/// The tree takes about 200 bytes for each token.
const MAX_TOKENS: usize = 400_000;
/// Each error of the lexer is a text of its own.
const MAX_ERRORS: usize = 1_000;
/// The lexer takes quadratic time for unclosed heredocs.
const MAX_HEREDOC_WORK: usize = 50_000_000;
/// No path is longer, and variables keep copies.
pub const MAX_PATH: usize = 4096;
/// Walking a tree takes a piece of the stack for each level.
const MAX_DEPTH: usize = 20_000;

pub fn size(source: &[u8]) -> Result<(), Refusal> {
    if source.len() <= MAX_BYTES {
        return Ok(());
    }
    Err(split(None, "the file is larger than 8 MB"))
}

pub fn heredocs(source: &[u8]) -> Result<(), Refusal> {
    let mut count = 0;
    for at in find_all(source, b"<<<") {
        count += 1;
        let label = source[at + 3..]
            .iter()
            .skip_while(|b| matches!(b, b' ' | b'\t' | b'\'' | b'"'))
            .take_while(|b| b.is_ascii_alphanumeric() || **b == b'_' || !b.is_ascii());
        // In the ASCII view, another label could look like the end of this one.
        if label.clone().any(|b| !b.is_ascii()) {
            return Err(Refusal::new(
                Some(line_of(source, at)),
                "the label of a heredoc has non-ASCII characters",
            )
            .by_hand("give it a label of the letters A to Z, and run setup again"));
        }
    }
    if count * source.len() > MAX_HEREDOC_WORK {
        return Err(
            Refusal::new(None, "the file has too many heredocs for its size")
                .by_hand("move them into a file that it includes, and run setup again"),
        );
    }
    Ok(())
}

/// The tokens of a file, up to its end, and what the lexer did not understand.
pub fn lex(view: &str) -> Result<(Vec<Token>, Vec<LexerError>), Refusal> {
    let mut lexer = Lexer::new(view);
    let mut tokens = Vec::new();
    // Variables in strings, which are not tokens.
    let mut inner = 0;
    loop {
        let token = lexer.next_token();
        tokens.push(token);
        if has_code(token.kind) {
            inner += text_of(&token, view).iter().filter(|b| **b == b'$').count();
        }
        if token.kind == TokenKind::Eof {
            return Ok((tokens, lexer.into_errors()));
        }
        let line = || Some(line_of(view.as_bytes(), token.span.start as usize));
        if tokens.len() + inner > MAX_TOKENS {
            return Err(split(line(), "the file has too much code before this line"));
        }
        if lexer.errors().len() > MAX_ERRORS {
            let first = lexer.errors().first();
            let at = first.map_or(0, |error| error.span.start as usize);
            let line = Some(line_of(view.as_bytes(), at));
            let reason = "the file is not PHP from this line on";
            return Err(
                Refusal::new(line, reason).by_hand("restore it from a backup, and run setup again")
            );
        }
    }
}

/// What is too large can be divided.
pub fn split(line: Option<usize>, reason: &str) -> Refusal {
    Refusal::new(line, reason)
        .by_hand("move what makes it large into a file that it includes, and run setup again")
}

/// An upper bound for the depth of the tree: for each bracket that is open, the tokens
/// since its last separator, and `else if`, which nests without brackets.
pub fn depth(tokens: &[Token], view: &str) -> Result<usize, Refusal> {
    let mut levels: Vec<usize> = vec![0];
    // The sum of all levels.
    let (mut sum, mut elses, mut deepest) = (0usize, 0usize, 0usize);
    let mut previous = TokenKind::Eof;
    for token in tokens {
        let ends = match token.kind {
            TokenKind::Semicolon
            | TokenKind::Comma
            | TokenKind::CloseTag
            | TokenKind::InlineHtml => true,
            kind => previous == TokenKind::RightBrace && begins(kind),
        };
        if let Some(run) = levels.last_mut().filter(|_| ends) {
            sum -= std::mem::take(run);
        }
        let mut more = usize::from(!token.kind.is_comment());
        match token.kind {
            // `if ( … ):` nests without brackets.
            TokenKind::Colon if previous == TokenKind::RightParen => elses += 1,
            TokenKind::Else => elses += 1,
            kind if has_code(kind) => {
                let text = text_of(token, view);
                if text.windows(2).any(|it| it == b"{$" || it == b"${") {
                    more += text.iter().filter(|b| b"{[(.-$?".contains(b)).count();
                }
            }
            TokenKind::RightParen | TokenKind::RightBracket | TokenKind::RightBrace
                if levels.len() > 1 =>
            {
                sum -= levels.pop().unwrap_or_default();
            }
            _ => {}
        }
        if let Some(run) = levels.last_mut() {
            *run += more;
            sum += more;
        }
        if matches!(
            token.kind,
            TokenKind::LeftParen
                | TokenKind::LeftBracket
                | TokenKind::LeftBrace
                | TokenKind::HashBracket
        ) {
            levels.push(0);
        }
        deepest = deepest.max(sum + elses);
        if deepest > MAX_DEPTH {
            let line = line_of(view.as_bytes(), token.span.start as usize);
            let reason = "the code is nested too deep, or one of its expressions is too long";
            return Err(split(Some(line), reason));
        }
        if !token.kind.is_comment() {
            previous = token.kind;
        }
    }
    Ok(deepest)
}

/// Whether such a string may contain code, which has no tokens of its own.
fn has_code(kind: TokenKind) -> bool {
    matches!(
        kind,
        TokenKind::DoubleQuotedString | TokenKind::BacktickString | TokenKind::Heredoc
    )
}

fn text_of<'v>(token: &Token, view: &'v str) -> &'v [u8] {
    &view.as_bytes()[token.span.start as usize..token.span.end as usize]
}

/// Whether such a token after a block begins a statement of its own.
fn begins(kind: TokenKind) -> bool {
    matches!(
        kind,
        TokenKind::Variable
            | TokenKind::Identifier
            | TokenKind::If
            | TokenKind::For
            | TokenKind::Foreach
            | TokenKind::Function
            | TokenKind::Class
            | TokenKind::Try
            | TokenKind::Switch
            | TokenKind::Return
            | TokenKind::Echo
            | TokenKind::Require
            | TokenKind::RequireOnce
            | TokenKind::Include
            | TokenKind::IncludeOnce
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deep(code: &str) -> Result<usize, Refusal> {
        let view = format!("<?php\n{code}");
        let (tokens, _) = lex(&view)?;
        depth(&tokens, &view)
    }

    #[test]
    fn what_only_follows_another_does_not_make_a_tree_deep() {
        for code in [
            "define( 'A', 1 );\n",
            "if ( ! defined( 'A' ) ) {\n\tdefine( 'A', 1 );\n}\n",
            "?>text<?php\n",
            "$a['x'] = array( 1, 'two' ); # a comment\n",
        ] {
            let one = deep(&code.repeat(3)).unwrap();
            assert!(one < 30, "{one}: {code}");
            assert_eq!(deep(&code.repeat(10_000)).unwrap(), one, "{code}");
        }
        let list = format!("$a = [{}];", "'text' => [1, 2],".repeat(20_000));
        assert!(deep(&list).unwrap() < 20);
    }

    #[test]
    fn what_nests_is_refused_with_its_line() {
        for code in [
            "(", "[", "!", "- ", "1.", "1?", "$a=", "if(1)", "else ", "\"{$a[\"",
        ] {
            let refusal = deep(&format!("\n\n{}", code.repeat(30_000))).unwrap_err();
            assert_eq!(refusal.line, Some(4), "{code}");
        }
        assert!(deep(&"$a;".repeat(MAX_TOKENS)).is_err());
    }
}
