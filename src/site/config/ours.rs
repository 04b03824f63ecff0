//! Which statements are ours, however somebody has formatted them since.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::site::config::block;
use crate::site::config::php::{self, Part};
use crate::site::plugins::{constants, switches};

/// A statement without what formatters change: white space, comments, the kind of
/// quotes and of arrays, trailing commas.
pub type Statement = Vec<String>;

/// The statements that setup wrote into its blocks. Without a journal, they are
/// recognized by their shape.
#[derive(Debug, Clone, Default)]
pub struct Ours {
    written: Option<BTreeSet<Statement>>,
}

impl Ours {
    /// Adds what an edit wrote: what is in the blocks of `after` and was not in
    /// those of `before`, where people may have added their own.
    pub fn add(&mut self, before: &[u8], after: &[u8]) {
        let shaped = Ours::default();
        let first = self.written.is_none();
        let old = in_blocks(before);
        let written = self.written.get_or_insert_default();
        let new = in_blocks(after);
        let old_open = in_open_block(before);
        let new_open = in_open_block(after).into_iter();
        written.extend(new_open.filter(|it| !old_open.contains(it)));
        written.extend(new.into_iter().filter(|it| !old.contains(it)));
        if first {
            // A block whose journal is gone.
            written.extend(old.into_iter().filter(|it| shaped.has(it)));
        }
    }

    /// Whether a statement in a block is ours.
    pub fn has(&self, statement: &Statement) -> bool {
        match &self.written {
            Some(written) => written.contains(statement) || turns_on(statement),
            None => is_shaped(statement),
        }
    }

    /// The statements that are known to be ours.
    pub fn known(&self) -> impl Iterator<Item = &Statement> {
        self.written.iter().flatten()
    }
}

fn in_blocks(text: &[u8]) -> BTreeSet<Statement> {
    let code = Code::new(text);
    let mut statements = BTreeSet::new();
    for (begin, end) in code.blocks() {
        let inside = begin + 1..end;
        let units = code.units(inside).into_iter();
        statements.extend(units.map(|unit| code.statement(unit)));
    }
    statements.remove(&Statement::new());
    statements
}

/// What follows a BEGIN whose END somebody has deleted.
fn in_open_block(text: &[u8]) -> BTreeSet<Statement> {
    let code = Code::new(text);
    let begins = (0..code.tokens.len()).rev();
    let begin = begins
        .into_iter()
        .find(|it| code.is_begin(*it) || code.is_end(*it));
    let Some(begin) = begin.filter(|it| code.is_begin(*it)) else {
        return BTreeSet::new();
    };
    let units = code.units(begin + 1..code.tokens.len()).into_iter();
    units.map(|unit| code.statement(unit)).collect()
}

/// Whether it turns jobs on, whatever somebody has changed about it.
fn turns_on(statement: &Statement) -> bool {
    let names = switches().iter().map(|switch| switch.constant);
    names.into_iter().any(|name| {
        let name = format!("'{name}'");
        let at = statement.iter().rposition(|it| *it == name);
        let value = at.and_then(|at| statement.get(at + 2));
        value.is_some_and(|value| !["false", "0", "''", "null"].contains(&value.as_str()))
            && statement.iter().any(|it| it == "define")
    })
}

/// Whether it has the shape of one of the statements in `block::Missing::lines`.
fn is_shaped(statement: &Statement) -> bool {
    let mut words: Vec<&str> = statement.iter().map(String::as_str).collect();
    // `Config::define`, by whatever name of the class, is like `define`.
    if let Some(at) = words.iter().position(|word| *word == "::") {
        let class = words[..at].iter().rev().take_while(|word| is_class(word));
        let from = at - class.count();
        words.drain(from..=at);
    }
    let is_name = |word: &str| {
        let name = word.trim_matches('\'');
        word.len() == name.len() + 2 && constants().contains(&name)
    };
    match words.as_slice() {
        ["define", "(", name, ..] => is_name(name),
        ["defined", "(", name, ")", "||", "define", ..] => is_name(name),
        ["global", "$gearman_servers", ";"] => true,
        ["$gearman_servers", "=", "[", ..] => true,
        ["$GLOBALS", "[", "'gearman_servers'", "]", "=", ..] => true,
        ["if", "(", .., "=", "DOMAIN_CURRENT_SITE", ";", "}"] => {
            words.contains(&"PHP_SAPI") && words.contains(&"'HTTP_HOST'")
        }
        [
            "if",
            "(",
            ..,
            "get",
            "(",
            "'DOMAIN_CURRENT_SITE'",
            ")",
            ";",
            "}",
        ] => words.contains(&"PHP_SAPI") && words.contains(&"'HTTP_HOST'"),
        _ => false,
    }
}

/// Whether it is a part of a class's name.
fn is_class(word: &str) -> bool {
    let is_letter = |c: char| c.is_alphanumeric() || c == '_' || c == '\\';
    word.chars().all(is_letter)
}

/// A file as tokens.
pub struct Code<'t> {
    pub text: &'t [u8],
    pub tokens: Vec<Part>,
}

impl<'t> Code<'t> {
    pub fn new(text: &'t [u8]) -> Self {
        Code {
            text,
            tokens: php::tokens(text),
        }
    }

    pub fn bytes(&self, token: usize) -> &'t [u8] {
        &self.text[self.tokens[token].at.clone()]
    }

    pub fn is_begin(&self, token: usize) -> bool {
        self.tokens[token].comment && block::is_begin(self.bytes(token))
    }

    pub fn is_end(&self, token: usize) -> bool {
        self.tokens[token].comment && block::is_end(self.bytes(token))
    }

    /// Each BEGIN with its END, by their tokens.
    fn blocks(&self) -> Vec<(usize, usize)> {
        let mut blocks = Vec::new();
        let mut open = None;
        for token in 0..self.tokens.len() {
            if self.is_begin(token) {
                open = Some(token);
            } else if self.is_end(token)
                && let Some(begin) = open.take()
            {
                blocks.push((begin, token));
            }
        }
        blocks
    }

    /// Splits tokens into statements, and comments between them.
    pub fn units(&self, tokens: Range<usize>) -> Vec<Range<usize>> {
        let (mut units, mut depth) = (Vec::new(), 0usize);
        let mut from = tokens.start;
        for token in tokens.clone() {
            let is_alone = token == from && self.tokens[token].comment;
            let mut ends = is_alone;
            match self.bytes(token) {
                b"(" | b"[" | b"{" => depth += 1,
                b")" | b"]" => depth = depth.saturating_sub(1),
                b"}" => {
                    depth = depth.saturating_sub(1);
                    ends = depth == 0;
                }
                b";" => ends = depth == 0,
                _ => {}
            }
            if ends {
                units.push(from..token + 1);
                from = token + 1;
            }
        }
        if from < tokens.end {
            units.push(from..tokens.end);
        }
        units
    }

    /// The statement that ends right before a token.
    pub fn unit_before(&self, token: usize) -> Range<usize> {
        let (mut at, mut depth) = (token, 0usize);
        while let Some(before) = at.checked_sub(1) {
            let is_last = at == token;
            let ends = match self.bytes(before) {
                b"}" if depth == 0 && !is_last => true,
                b")" | b"]" | b"}" => {
                    depth += 1;
                    false
                }
                b"{" if depth == 0 => true,
                b"(" | b"[" | b"{" => {
                    depth = depth.saturating_sub(1);
                    false
                }
                b";" => depth == 0 && !is_last,
                text => depth == 0 && (self.tokens[before].comment || text.starts_with(b"<?")),
            };
            if ends {
                break;
            }
            at = before;
        }
        at..token
    }

    pub fn statement(&self, unit: Range<usize>) -> Statement {
        self.normal(unit)
            .into_iter()
            .map(|(word, _)| word)
            .collect()
    }

    /// Words that formatters do not change, each with its token.
    pub fn normal(&self, tokens: Range<usize>) -> Vec<(String, usize)> {
        let mut words: Vec<(String, usize)> = Vec::new();
        let mut open: Vec<bool> = Vec::new();
        for token in tokens.filter(|token| !self.tokens[*token].comment) {
            let mut word = plain(self.bytes(token));
            if word.is_empty() {
                continue;
            }
            match word.as_str() {
                "(" if words.last().is_some_and(|(last, _)| last == "array") => {
                    words.pop();
                    word = "[".into();
                    open.push(true);
                }
                "(" | "[" => open.push(false),
                ")" | "]" => {
                    if words.last().is_some_and(|(last, _)| last == ",") {
                        words.pop();
                    }
                    if open.pop() == Some(true) {
                        word = "]".into();
                    }
                }
                _ => {}
            }
            words.push((word, token));
        }
        for i in 1..words.len().saturating_sub(1) {
            if words[i].0 == "===" && words[i - 1].0 > words[i + 1].0 {
                words.swap(i - 1, i + 1);
            }
        }
        words
    }
}

fn plain(token: &[u8]) -> String {
    let text = String::from_utf8_lossy(token);
    let text = text.strip_prefix('\\').unwrap_or(&text);
    if let Some(inside) = text.strip_prefix('"').and_then(|it| it.strip_suffix('"'))
        && !inside.contains(['\\', '$', '\''])
    {
        return format!("'{inside}'");
    }
    let lower = text.to_ascii_lowercase();
    match lower.as_str() {
        "true" | "false" | "null" | "define" | "defined" | "array" | "if" | "global" => lower,
        _ => text.to_owned(),
    }
}
