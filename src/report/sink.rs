//! Where text leaves for the terminal. Much of it comes from files and programs of
//! sites, so nothing passes that could drive a terminal, except our own colors.

use std::borrow::Cow;
use std::io::{self, Write};

use crate::base::text::is_harmless;

/// The styles that we use, as `console` writes them: reset, bold, dim and colors.
/// Others could hide text.
const OURS: [&str; 7] = ["0", "1", "2", "31", "32", "33", "36"];

/// Writes a line to standard output. A closed pipe (`| head`) is for the caller.
pub fn out(text: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{}", safe(text))
}

/// Writes a line to standard error, whatever becomes of it.
pub fn err(text: &str) {
    let _ = writeln!(io::stderr(), "{}", safe(text));
}

/// The text with everything replaced that is neither harmless nor ours.
pub fn safe(text: &str) -> Cow<'_, str> {
    let passes = |c: char| is_harmless(c) || c == '\n' || c == '\t';
    if text.chars().all(passes) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let style = if c == '\x1b' { our_style(rest) } else { None };
        let length = style.unwrap_or(c.len_utf8());
        if style.is_some() || passes(c) {
            shown.push_str(&rest[..length]);
        } else {
            shown.push('\u{fffd}');
        }
        rest = &rest[length..];
    }
    Cow::Owned(shown)
}

/// The length of the style that the text begins with, if it is one of ours.
fn our_style(text: &str) -> Option<usize> {
    let (code, _) = text.strip_prefix("\x1b[")?.split_once('m')?;
    OURS.contains(&code).then(|| "\x1b[m".len() + code.len())
}

/// A JSON text that is as safe to show: what is not harmless is escaped.
pub fn json(value: &impl serde::Serialize) -> String {
    escape(&serde_json::to_string_pretty(value).unwrap_or_default())
}

/// Writes the same to standard output, piece by piece.
pub fn stream_json(value: &impl serde::Serialize) -> io::Result<()> {
    let mut out = Escaping(io::BufWriter::new(io::stdout().lock()));
    serde_json::to_writer_pretty(&mut out, value)?;
    out.write_all(b"\n")?;
    out.flush()
}

/// serde_json writes whole characters.
struct Escaping<W: Write>(W);

impl<W: Write> Write for Escaping<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = std::str::from_utf8(bytes).map_err(io::Error::other)?;
        self.0.write_all(escape(text).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn escape(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            // All of them have four digits at most.
            c if !is_harmless(c) && c != '\n' => {
                shown.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_styles_reach_the_terminal() {
        let styled = console::Style::new().force_styling(true).red().bold();
        let ours = styled.apply_to("a\tb\nc").to_string();
        assert_eq!(safe(&ours), ours);
        for hostile in [
            "\x1b]0;title\x07",
            "\x1b[8mhidden",
            "\x1b[2J",
            "\x1b[31;8m",
            "\x1b[",
            "\x1bc",
            "\r",
            "\u{9b}31m",
            "\u{202e}txt.exe",
            "\u{2066}",
            "\u{7f}",
        ] {
            let shown = safe(hostile);
            assert!(shown.starts_with('\u{fffd}'), "{shown:?}");
            assert!(!shown.contains('\x1b'), "{shown:?}");
        }
    }

    #[test]
    fn json_keeps_its_value() {
        let value = serde_json::json!({ "a\u{202e}": "\x1b[31m\u{9b}é\n\u{7f}" });
        let text = json(&value);
        assert!(
            text.chars().all(|c| is_harmless(c) || c == '\n'),
            "{text:?}"
        );
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read, value);
        let mut streamed = Vec::new();
        serde_json::to_writer_pretty(&mut Escaping(&mut streamed), &value).unwrap();
        assert_eq!(String::from_utf8(streamed).unwrap(), text);
    }
}
