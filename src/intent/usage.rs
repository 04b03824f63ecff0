//! Usage errors in one line: the option, the value and what is allowed.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// clap's error without the usage and with its lists on the same line; `None` if
/// it is not an error but requested help.
pub fn line(error: &clap::Error) -> Option<String> {
    if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return None;
    }
    let text = error.render().to_string();
    let mut line = String::new();
    let parts = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
        .filter(|line| !line.is_empty() && !line.starts_with("tip:"));
    for part in parts {
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
    Some(match suggested(error) {
        Some(near) => format!("{line}; did you mean '{near}'?"),
        None => line,
    })
}

fn suggested(error: &clap::Error) -> Option<&str> {
    [
        ContextKind::SuggestedSubcommand,
        ContextKind::SuggestedValue,
        ContextKind::SuggestedArg,
    ]
    .iter()
    .find_map(|kind| match error.get(*kind)? {
        ContextValue::String(word) => Some(word.as_str()),
        // In ascending order of similarity.
        ContextValue::Strings(words) => words.last().map(String::as_str),
        _ => None,
    })
}

/// The word that was probably meant, by clap's own measure, for words that clap
/// does not check.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|word| (strsim::jaro(wrong, word), word))
        .filter(|(similarity, _)| *similarity > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}
