//! gearmand's options in the variable (PARAMS, OPTIONS) of its package's
//! defaults file: merged option by option, with the rest of the file preserved
//! byte for byte.

use crate::base::problem::Problem;
use crate::gearman::option_names::{FLAGS, SHORT, short};

/// An option that gearmand needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub name: &'static str,
    /// Its short form, as in `-q`.
    pub short: Option<char>,
    /// `None` for a flag such as `--daemon`.
    pub value: Option<String>,
}

impl Wanted {
    pub fn new(name: &'static str, short: Option<char>, value: &str) -> Self {
        Wanted {
            name,
            short,
            value: Some(value.to_owned()),
        }
    }
}

/// The options of a command line, by their long names, with their values.
pub fn given(line: &str) -> Vec<(String, Option<String>)> {
    let words = words(line.as_bytes(), &Assignment::all(line.as_bytes()));
    let mut names: Vec<String> = Vec::new();
    for word in &words {
        let name = match word.text.strip_prefix("--") {
            Some(long) => long.split('=').next().map(str::to_owned),
            None => word.text.strip_prefix('-').and_then(|rest| {
                let of = |(_, short): &&(&str, char)| rest.starts_with(*short);
                SHORT.iter().find(of).map(|(long, _)| (*long).to_owned())
            }),
        };
        names.extend(name.filter(|name| !name.is_empty()));
    }
    let value = |name: &String| places(&words, name, short(name)).pop()?.value;
    names
        .iter()
        .map(|name| (name.clone(), value(name)))
        .collect()
}

/// A command line with all occurrences of an option removed.
pub fn without(line: &str, name: &str) -> String {
    let all = Assignment::all(line.as_bytes());
    let mut text = line.to_owned();
    for place in places(&words(line.as_bytes(), &all), name, short(name))
        .into_iter()
        .rev()
    {
        text.replace_range(place.start..place.end, "");
    }
    text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// The position of the variable's value in the file.
pub(super) struct Assignment {
    /// The first byte after `=` and the opening quote.
    pub start: usize,
    /// One past the last byte before the closing quote.
    pub end: usize,
    pub quote: Option<u8>,
}

impl Assignment {
    /// A text that is nothing but options.
    pub fn all(text: &[u8]) -> Assignment {
        Assignment {
            start: 0,
            end: text.len(),
            quote: None,
        }
    }
}

/// A word of the value and its position in the file.
pub(super) struct Word {
    pub start: usize,
    pub end: usize,
    pub text: String,
}

/// Sets the options in the file. An option with another value is changed in
/// place, a missing one is appended, duplicates are removed, and so are the
/// options named in `unwanted`.
pub fn merge(
    source: &[u8],
    variable: &str,
    wanted: &[Wanted],
    unwanted: &[String],
) -> Result<Vec<u8>, Problem> {
    let what = || format!("edit {variable}");
    let Some(assignment) = find(source, variable) else {
        let mut text = source.to_vec();
        if !text.is_empty() && !text.ends_with(b"\n") {
            text.push(b'\n');
        }
        let words: Vec<String> = wanted.iter().map(spell).collect();
        check(&words, what)?;
        text.extend(format!("{variable}=\"{}\"\n", words.join(" ")).bytes());
        return Ok(text);
    };
    is_plain(source, &assignment, what)?;
    let words = words(source, &assignment);
    check(
        &words.iter().map(|w| w.text.clone()).collect::<Vec<_>>(),
        what,
    )?;
    let mut edits: Vec<(usize, usize, String)> = Vec::new();
    let mut missing = Vec::new();
    for option in wanted {
        let places = places(&words, option.name, option.short);
        match places.first() {
            None => missing.push(spell(option)),
            Some(first) => {
                if first.value != option.value {
                    edits.push((first.start, first.end, spell(option)));
                }
            }
        }
        for duplicate in places.iter().skip(1) {
            edits.push((
                before_blank(source, &assignment, duplicate.start),
                duplicate.end,
                String::new(),
            ));
        }
    }
    let is_wanted = |name: &&String| wanted.iter().any(|option| option.name == **name);
    for name in unwanted.iter().filter(|name| !is_wanted(name)) {
        for place in places(&words, name, short(name)) {
            edits.push((
                before_blank(source, &assignment, place.start),
                place.end,
                String::new(),
            ));
        }
    }
    if !missing.is_empty() {
        check(&missing, what)?;
        let at = words.last().map_or(assignment.start, |word| word.end);
        let between = separator(source, &words);
        let text: String = missing
            .iter()
            .enumerate()
            .map(|(i, word)| {
                if words.is_empty() && i == 0 {
                    word.clone()
                } else {
                    format!("{between}{word}")
                }
            })
            .collect();
        edits.push((at, at, text));
    }
    edits.sort();
    let mut text = source.to_vec();
    for (start, end, new) in edits.into_iter().rev() {
        text.splice(start..end, new.into_bytes());
    }
    // An unquoted value that now contains blanks needs quotes.
    if assignment.quote.is_none()
        && let Some(now) = find(&text, variable)
        && text[now.start..now.end].contains(&b' ')
    {
        text.insert(now.end, b'"');
        text.insert(now.start, b'"');
    }
    Ok(text)
}

/// The value of an option in the file, if it is set there.
pub fn value(source: &[u8], variable: &str, name: &str, short: Option<char>) -> Option<String> {
    let assignment = find(source, variable)?;
    let words = words(source, &assignment);
    let place = places(&words, name, short).into_iter().next()?;
    Some(place.value.unwrap_or_default())
}

/// All words in the variable's value.
pub fn all_words(source: &[u8], variable: &str) -> Vec<String> {
    find(source, variable)
        .map(|assignment| words(source, &assignment))
        .unwrap_or_default()
        .into_iter()
        .map(|word| word.text)
        .collect()
}

/// `--name=value`.
pub fn spell(option: &Wanted) -> String {
    match &option.value {
        Some(value) => format!("--{}={value}", option.name),
        None => format!("--{}", option.name),
    }
}

/// Refuses words that a shell and systemd read differently.
fn check(words: &[String], what: impl Fn() -> String) -> Result<(), Problem> {
    let read_differently = ['"', '\'', '`', '$', '\\'];
    let word = words.iter().find(|word| word.contains(read_differently));
    // Only the name is shown: the value may be a password.
    match word.and_then(|word| word.split('=').next()) {
        None => Ok(()),
        Some(name) => Err(Problem::new(
            what(),
            format!("'{name}' contains a quote, a backslash or a variable, which systemd and init scripts read differently"),
        )
        .help("rewrite that option without them, then run again")),
    }
}

/// Refuses an unclosed quote and text after the closing quote, which a shell
/// and systemd read differently.
fn is_plain(
    source: &[u8],
    assignment: &Assignment,
    what: impl Fn() -> String,
) -> Result<(), Problem> {
    if assignment.quote.is_none() {
        return Ok(());
    }
    let rest = source.get(assignment.end + 1..);
    let line = rest.and_then(|rest| rest.split(|b| *b == b'\n').next());
    let why = match (source.get(assignment.end), line) {
        (None, _) => "its quote is never closed",
        (_, Some(line)) if !line.trim_ascii().is_empty() => {
            "there is text after its closing quote, which systemd and init scripts read differently"
        }
        _ => return Ok(()),
    };
    Err(Problem::new(what(), why).help("correct that line, then run again"))
}

/// The last assignment to the variable that is not commented out.
pub(super) fn find(source: &[u8], variable: &str) -> Option<Assignment> {
    let mut at = 0;
    let mut found = None;
    while at < source.len() {
        let line_end = end_of_line(source, at);
        let line = &source[at..line_end];
        let indent = line
            .iter()
            .take_while(|b| matches!(b, b' ' | b'\t'))
            .count();
        // `export NAME=` works only in a shell: systemd ignores the line.
        let head = &line[indent..];
        let rest = head
            .strip_prefix(variable.as_bytes())
            .and_then(|rest| rest.strip_prefix(b"="));
        if rest.is_none() {
            at = line_end + 1;
            continue;
        }
        let mut start = at + indent + variable.len() + 1;
        let quote = source
            .get(start)
            .copied()
            .filter(|b| matches!(b, b'"' | b'\''));
        let mut end = start;
        if let Some(quote) = quote {
            start += 1;
            end = start;
            while end < source.len() && source[end] != quote {
                end += if source[end] == b'\\' && quote == b'"' {
                    2
                } else {
                    1
                };
            }
        } else {
            while end < source.len() && source[end] != b'\n' {
                end += if source[end] == b'\\' { 2 } else { 1 };
            }
        }
        let end = end.min(source.len());
        found = Some(Assignment { start, end, quote });
        at = end_of_line(source, end) + 1;
    }
    found
}

fn end_of_line(source: &[u8], from: usize) -> usize {
    source[from.min(source.len())..]
        .iter()
        .position(|b| *b == b'\n')
        .map_or(source.len(), |n| from + n)
}

/// Splits the value at white space; a backslash at the end of a line joins lines.
pub(super) fn words(source: &[u8], assignment: &Assignment) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let mut open = false;
    let mut at = assignment.start;
    while at < assignment.end {
        let byte = source[at];
        let joins = byte == b'\\' && matches!(source.get(at + 1), Some(b'\n' | b'\r'));
        if joins || byte.is_ascii_whitespace() {
            open = false;
        } else {
            if !open {
                words.push(Word {
                    start: at,
                    end: at,
                    text: String::new(),
                });
                open = true;
            }
            if let Some(word) = words.last_mut() {
                word.end = at + 1;
            }
        }
        at += 1;
    }
    for word in &mut words {
        word.text = String::from_utf8_lossy(&source[word.start..word.end]).into_owned();
    }
    words
}

/// The position and value of an option in any form: `--name=value`,
/// `--name value`, `-q value`, `-qvalue`, `--name`.
struct Place {
    start: usize,
    end: usize,
    value: Option<String>,
}

fn places(words: &[Word], name: &str, short: Option<char>) -> Vec<Place> {
    let long = format!("--{name}");
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(word) = words.get(at) {
        at += 1;
        let inline = word
            .text
            .strip_prefix(&long)
            .and_then(|rest| rest.strip_prefix('='));
        let short_form = short.and_then(|c| word.text.strip_prefix(&format!("-{c}")));
        let value = if let Some(value) = inline {
            Some(value.to_owned())
        } else if let Some(value) = short_form.filter(|v| !v.is_empty()) {
            Some(value.to_owned())
        } else if word.text == long || short_form.is_some() {
            let takes_one = !FLAGS.contains(&name);
            let is_value = |next: &&Word| takes_one && !next.text.starts_with('-');
            match words.get(at).filter(is_value) {
                Some(next) => {
                    at += 1;
                    Some(next.text.clone())
                }
                None => None,
            }
        } else {
            continue;
        };
        found.push(Place {
            start: word.start,
            end: words[at - 1].end,
            value,
        });
    }
    found
}

/// What separates words in this file: a space, or a joined line break.
fn separator(source: &[u8], words: &[Word]) -> String {
    match words {
        [.., a, b] => String::from_utf8_lossy(&source[a.end..b.start]).into_owned(),
        _ => " ".into(),
    }
}

fn before_blank(source: &[u8], assignment: &Assignment, mut at: usize) -> usize {
    while at > assignment.start && (source[at - 1].is_ascii_whitespace() || source[at - 1] == b'\\')
    {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    const STOCK: &[u8] = b"# PARAMS=\"-q x\"\nPARAMS=\"--listen=localhost \\\n --daemon \\\n --log-file=/var/log/g.log\"\n";

    fn wanted() -> Vec<Wanted> {
        let option = |name, short, value: Option<&str>| Wanted {
            name,
            short,
            value: value.map(str::to_owned),
        };
        vec![
            option("daemon", Some('d'), None),
            option("listen", Some('L'), Some("127.0.0.1")),
            option("queue-type", Some('q'), Some("libsqlite3")),
        ]
    }

    #[test]
    fn the_stock_file_keeps_its_shape() {
        let text = merge(STOCK, "PARAMS", &wanted(), &[]).unwrap();
        assert_eq!(
            String::from_utf8(text.clone()).unwrap(),
            "# PARAMS=\"-q x\"\nPARAMS=\"--listen=127.0.0.1 \\\n --daemon \\\n --log-file=/var/log/g.log \\\n --queue-type=libsqlite3\"\n"
        );
        assert_eq!(merge(&text, "PARAMS", &wanted(), &[]).unwrap(), text);
    }

    #[test]
    fn other_forms_duplicates_and_quotes() {
        for (source, result) in [
            (
                "PARAMS=\"\"\n",
                "PARAMS=\"--daemon --listen=127.0.0.1 --queue-type=libsqlite3\"\n",
            ),
            (
                "PARAMS=-d\n",
                "PARAMS=\"-d --listen=127.0.0.1 --queue-type=libsqlite3\"\n",
            ),
            (
                "PARAMS='-d -q builtin --listen ::1 -qMySQL --verbose=INFO'\n",
                "PARAMS='-d --queue-type=libsqlite3 --listen=127.0.0.1 --verbose=INFO'\n",
            ),
            (
                "",
                "PARAMS=\"--daemon --listen=127.0.0.1 --queue-type=libsqlite3\"\n",
            ),
        ] {
            let text = merge(source.as_bytes(), "PARAMS", &wanted(), &[]).unwrap();
            assert_eq!(String::from_utf8(text.clone()).unwrap(), result, "{source}");
            assert_eq!(
                merge(&text, "PARAMS", &wanted(), &[]).unwrap(),
                text,
                "{source}"
            );
        }
    }

    #[test]
    fn options_of_the_unit_are_removed_in_any_form() {
        let given = given("-d --log-file none --syslog -L::1 $OPTIONS");
        let names: Vec<&str> = given.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["daemon", "log-file", "syslog", "listen"]);
        assert_eq!(given[1].1.as_deref(), Some("none"));
        assert_eq!(given[3].1.as_deref(), Some("::1"));

        let unwanted: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let source = b"OPTIONS=\"-d -l /x --syslog --threads=2\"\n";
        let text = merge(source, "OPTIONS", &wanted()[2..], &unwanted).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "OPTIONS=\" --threads=2 --queue-type=libsqlite3\"\n"
        );
        assert_eq!(
            without("gearmand -d -L ::1 --port=1 $OPTIONS", "listen"),
            "gearmand -d --port=1 $OPTIONS"
        );
    }

    #[test]
    fn values_that_init_scripts_would_change_are_refused() {
        assert!(merge(b"PARAMS=\"-d $MORE\"\n", "PARAMS", &wanted(), &[]).is_err());
    }
}
