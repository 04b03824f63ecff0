//! Wrong words on the command line, in one line: which option, which value,
//! what is allowed.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// clap's error without its usage and with its lists in the same line; `None`
/// where it is no error but the help that was asked for.
pub fn line(error: &clap::Error) -> Option<String> {
    if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return None;
    }
    let text = error.render().to_string();
    let mut line = String::new();
    let said = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
        .filter(|line| !line.is_empty() && !line.starts_with("tip:"));
    for part in said {
        let part = part.strip_prefix("error: ").unwrap_or(part);
        match line.is_empty() {
            true => line.push_str(part),
            false if line.ends_with(':') => line.push_str(&format!(" {part}")),
            false => line.push_str(&format!("; {part}")),
        }
    }
    let line = line
        .replace("; [possible values: ", ": expected one of ")
        .replace("invalid digit found in string", "expected a whole number");
    let line = line.strip_suffix(" found").unwrap_or(&line);
    let line = line.strip_suffix(']').unwrap_or(line).to_owned();
    Some(match nearest(error) {
        Some(near) => format!("{line}; did you mean '{near}'?"),
        None => line,
    })
}

fn nearest(error: &clap::Error) -> Option<String> {
    let wrong = [
        ContextKind::InvalidSubcommand,
        ContextKind::InvalidValue,
        ContextKind::InvalidArg,
    ]
    .iter()
    .find_map(|kind| match error.get(*kind)? {
        ContextValue::String(word) => Some(word.clone()),
        _ => None,
    })?;
    let known = [
        ContextKind::SuggestedSubcommand,
        ContextKind::SuggestedValue,
        ContextKind::SuggestedArg,
    ]
    .iter()
    .find_map(|kind| match error.get(*kind)? {
        ContextValue::String(word) => Some(vec![word.clone()]),
        ContextValue::Strings(words) => Some(words.clone()),
        _ => None,
    })?;
    let words: Vec<&str> = known.iter().map(String::as_str).collect();
    let (_, near) = nearest_of(&wrong, &words)?;
    Some(near.to_owned())
}

/// The word that is most like it, with how much.
pub fn nearest_of<'a>(wrong: &str, known: &[&'a str]) -> Option<(f32, &'a str)> {
    known
        .iter()
        .map(|word| (similar::TextDiff::from_chars(wrong, *word).ratio(), *word))
        .max_by(|a, b| a.0.total_cmp(&b.0))
}
