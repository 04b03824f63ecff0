//! The changes to make: values that differ are replaced in place, and missing
//! settings go into our block.

use crate::site::config::block::{self, Missing, ServerLines};
use crate::site::config::events::{Event, Kind};
use crate::site::config::facts::Facts;
use crate::site::config::includes::Fact;
use crate::site::config::layout::Part;
use crate::site::config::lines::line_of;
use crate::site::config::network::{self, Domain, Network};
use crate::site::config::place::{self, Spot, line_start};
use crate::site::config::refusal::Refusal;
use crate::site::config::value::{Element, Value, server_list};
use crate::site::config::{Desired, Want, Warning, is_on, is_text_false};
use crate::site::plugins::{SALT, Switch, SwitchValue};
use std::ops::Range;

/// A range of bytes and its replacement.
#[derive(Debug, Clone)]
pub struct Change {
    pub at: Range<usize>,
    pub new: Vec<u8>,
}

impl Change {
    fn new(at: Range<usize>, new: impl Into<Vec<u8>>) -> Self {
        Change {
            at,
            new: new.into(),
        }
    }

    pub fn apply(source: &[u8], mut changes: Vec<Change>) -> Vec<u8> {
        changes.sort_by_key(|change| change.at.start);
        let mut text = Vec::with_capacity(source.len() + 1024);
        let mut from = 0;
        for change in changes {
            text.extend_from_slice(&source[from..change.at.start.max(from)]);
            text.extend_from_slice(&change.new);
            from = change.at.end.max(from);
        }
        text.extend_from_slice(&source[from..]);
        text
    }
}

pub struct Plan<'p> {
    source: &'p [u8],
    facts: &'p Facts,
    foreign: &'p [Part],
    changes: Vec<Change>,
    missing: Missing,
    warnings: Vec<Warning>,
}

impl<'p> Plan<'p> {
    pub fn new(source: &'p [u8], facts: &'p Facts, foreign: &'p [Part]) -> Self {
        Plan {
            source,
            facts,
            foreign,
            changes: Vec::new(),
            missing: Missing {
                yields: facts.opaque.is_some(),
                collector: facts.collector.clone(),
                ..Missing::default()
            },
            warnings: Vec::new(),
        }
    }

    pub fn all(&mut self, desired: &Desired) -> Result<(), Refusal> {
        self.switch(desired.switch)?;
        self.servers(&desired.servers)?;
        self.salt(&desired.salt)?;
        self.host();
        Ok(())
    }

    pub fn changes_something(&self) -> bool {
        !self.changes.is_empty() || !self.missing.is_empty()
    }

    /// The lines that the file lacks, although it cannot be edited.
    pub fn lines(mut self, desired: &Desired) -> Vec<String> {
        // What is there but unclear must not be set a second time.
        let _ = self.switch(desired.switch);
        let _ = self.servers(&desired.servers);
        let _ = self.salt(&desired.salt);
        self.host();
        self.missing.lines()
    }

    fn switch(&mut self, switch: Switch) -> Result<(), Refusal> {
        let facts = self.facts;
        let Some(fact) = facts.switch(switch)? else {
            self.missing.switch = Some(switch);
            return Ok(());
        };
        if is_on(switch, &fact.value) {
            return Ok(());
        }
        if at_run_time(&fact.value) {
            return Err(computed(fact, switch.constant, &switch.php()));
        }
        if is_text_false(&fact.value) && switch.value == SwitchValue::True {
            self.warn(fact, "PHP treats a string as true, even 'false'");
        }
        self.replace(fact, switch.constant, &switch.php())
    }

    fn salt(&mut self, want: &Want<String>) -> Result<(), Refusal> {
        let name = SALT;
        let Some(fact) = self.facts.salt.clone()? else {
            // An included file may define the salt that it has in its data.
            let salt = match (want, &self.facts.salt_in_data) {
                (Want::Default(_), Some(salt)) => salt,
                (Want::Exactly(salt), Some(other))
                    if salt != other && self.facts.opaque.is_some() =>
                {
                    let reason = format!("an included file may set {name} to another value");
                    return Err(Refusal::new(None, reason)
                        .by_hand("change it there, or omit --salt, and run setup again"));
                }
                _ => want.value(),
            };
            self.missing.salt = Some(salt.clone());
            return Ok(());
        };
        let has = fact.value.text();
        if at_run_time(&fact.value) {
            return match want {
                Want::Default(_) => Ok(()),
                Want::Exactly(salt) => Err(computed(&fact, name, &block::quoted(salt))),
            };
        }
        let empty = fact.value.truthy() == Some(false) && has.as_deref() != Some("0");
        if empty {
            self.warn(
                &fact,
                "the salt is empty, and sites without a salt run each other's jobs",
            );
        } else if has.is_none() && fact.value != Value::Odd {
            self.warn(&fact, "the salt is not a string");
            return self.replace(&fact, name, &block::quoted(want.value()));
        }
        match want {
            Want::Exactly(want) if has.as_ref() == Some(want) => Ok(()),
            Want::Default(_) if !empty => {
                self.check_salt(&fact);
                Ok(())
            }
            _ => self.replace(&fact, name, &block::quoted(want.value())),
        }
    }

    fn check_salt(&mut self, fact: &Fact) {
        let valid = |text: &String| {
            text.len() <= 200
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        if !fact.value.text().as_ref().is_some_and(valid) {
            self.warn(
                fact,
                "the salt is kept, although it has characters other than letters, digits, '.', '_' and '-', or more than 200",
            );
        }
    }

    fn servers(&mut self, want: &Want<Vec<String>>) -> Result<(), Refusal> {
        let name = "$gearman_servers";
        let Some(fact) = self.facts.servers.clone()? else {
            let list = want.value().clone();
            self.missing.servers = Some(match want {
                // A requested value overrides what unreadable code may set.
                Want::Default(_) if self.facts.opaque.is_some() => ServerLines::Unless(list),
                _ => ServerLines::Set(list),
            });
            return Ok(());
        };
        if !self.facts.global {
            self.missing.servers = Some(ServerLines::Lift);
        }
        let exactly = match want {
            Want::Exactly(list) => Some(list),
            Want::Default(_) => None,
        };
        let value = &fact.value;
        let by_environment = matches!(value, Value::Environment(_))
            || matches!(value, Value::List(list) if list.iter().any(|it| matches!(it.value, Value::Environment(_))));
        if by_environment
            && let Some(default) = server_list(value)
            && exactly.is_none_or(|want| *want == default)
        {
            self.warn(
                &fact,
                "the environment may name other job servers, for pages as for workers",
            );
            return Ok(());
        }
        match value {
            _ if by_environment => Err(computed(&fact, name, &block::array(want.value()))),
            Value::List(elements) => match server_list(value) {
                Some(has) if exactly.is_none_or(|want| *want == has) => {
                    if elements.iter().any(|it| it.key.is_some()) {
                        self.warn(
                            &fact,
                            "the list of servers has keys, which the plugin ignores",
                        );
                    }
                    Ok(())
                }
                Some(_) if self.facts.pushed => Err(self
                    .stuck(&fact, "the servers are added to the list one by one")
                    .by_hand_servers(
                        "write them as one plain list, in place of all lines that add one, and run setup again",
                    )),
                Some(_) => self.list(&fact, elements, want.value()),
                None if elements.iter().any(|it| is_computed(&it.value)) => {
                    Err(computed(&fact, name, &block::array(want.value())))
                }
                None => match exactly {
                    Some(list) => self.replace(&fact, name, &block::array(list)),
                    None => Err(self
                        .stuck(&fact, "the servers are not strings like 'HOST:PORT'")
                        .by_hand_servers(format!(
                            "write each of them so in {}, and run setup again",
                            fact.place()
                        ))),
                },
            },
            Value::Text(text) => {
                self.warn(
                    &fact,
                    "$gearman_servers is a string, which breaks the plugin: it becomes a list",
                );
                let own: Vec<String> = text
                    .split(',')
                    .map(|it| it.trim().to_owned())
                    .filter(|it| !it.is_empty())
                    .collect();
                let list = match exactly {
                    Some(list) => list,
                    None if own.is_empty() => want.value(),
                    None => &own,
                };
                self.replace(&fact, name, &block::array(list))
            }
            value if is_computed(value) => {
                Err(computed(&fact, name, &block::array(want.value())))
            }
            _ => {
                self.warn(&fact, "$gearman_servers is not a list");
                self.replace(&fact, name, &block::array(want.value()))
            }
        }
    }

    /// Changes a literal list element by element, to preserve everything between
    /// the elements, especially comments.
    fn list(&mut self, fact: &Fact, has: &[Element], want: &[String]) -> Result<(), Refusal> {
        self.editable(fact, "$gearman_servers", &block::array(want))?;
        let (Some(first), Some(last)) = (has.first(), has.last()) else {
            return self.replace(fact, "$gearman_servers", &block::array(want));
        };
        for (element, want) in has.iter().zip(want) {
            if element.value != Value::Text(want.clone()) {
                self.changes
                    .push(Change::new(element.at.clone(), block::quoted(want)));
            }
        }
        if want.len() > has.len() {
            let more: Vec<_> = want[has.len()..]
                .iter()
                .map(|it| format!(", {}", block::quoted(it)))
                .collect();
            self.changes
                .push(Change::new(last.at.end..last.at.end, more.concat()));
            return Ok(());
        }
        if want.is_empty() || has[want.len()..].iter().any(|it| it.key.is_some()) {
            let whole = first.at.start..last.at.end;
            if self
                .facts
                .seen
                .trivia
                .comments
                .iter()
                .any(|it| whole.contains(&it.start))
            {
                return Err(self
                    .stuck(fact, "comments in the list would be lost")
                    .by_hand(write(fact, "$gearman_servers", &block::array(want))));
            }
            return self.replace(fact, "$gearman_servers", &block::array(want));
        }
        for pair in has[want.len() - 1..].windows(2) {
            let between = pair[0].at.end..pair[1].at.start;
            let comma = self
                .facts
                .seen
                .trivia
                .commas
                .iter()
                .find(|at| between.contains(at));
            if let Some(comma) = comma {
                self.changes.push(Change::new(*comma..comma + 1, ""));
            }
            let removed = self.with_its_line(pair[1].at.clone());
            self.changes.push(Change::new(removed, ""));
        }
        Ok(())
    }

    /// The whole line, if it contains nothing but the element and a comma.
    fn with_its_line(&self, at: Range<usize>) -> Range<usize> {
        let blank = |b: &u8| matches!(b, b' ' | b'\t');
        let start = line_start(self.source, at.start);
        let rest = &self.source[at.end..];
        let end = rest.iter().position(|b| !blank(b)).unwrap_or(rest.len());
        if start == 0 || !self.source[start..at.start].iter().all(blank) {
            return at;
        }
        match rest.get(end) {
            // Removes the line's own line ending, and keeps the previous one.
            Some(b'\n') => start..at.end + end + 1,
            Some(b'\r') if rest.get(end + 1) == Some(&b'\n') => start..at.end + end + 2,
            Some(b'\r') => start..at.end + end + 1,
            _ => at,
        }
    }

    /// For PHP that is run by hand: workers know the host.
    fn host(&mut self) {
        if self.facts.network == Network::No || self.facts.host {
            return;
        }
        let warning = match &self.facts.domain {
            // Most likely not a network: nothing that can be read makes it one.
            Domain::Missing | Domain::FromHost(_) if self.facts.network == Network::Maybe => return,
            Domain::Missing => Some(network::without_domain()),
            Domain::FromHost(warning) => Some(warning.clone()),
            Domain::Maybe(warning) | Domain::Sure(warning) if self.facts.lacks_domain() => {
                warning.clone()
            }
            Domain::Maybe(warning) => {
                self.missing.host = Some(Network::Maybe);
                warning.clone()
            }
            Domain::Sure(warning) => {
                self.missing.host = Some(Network::Yes);
                warning.clone()
            }
        };
        self.warnings.extend(warning);
    }

    pub fn finish(mut self) -> Result<(Vec<Change>, Vec<Warning>), Refusal> {
        if self.missing.is_empty() {
            return Ok((self.changes, self.warnings));
        }
        if let Some((line, file, what)) = &self.facts.opaque {
            self.warnings.push(Warning::at(
                file.as_deref(),
                *line,
                format!("{what}: anything it defines takes precedence over the lines from setup"),
            ));
        }
        let spot = place::spot(self.source, self.facts, &self.missing)?;
        self.missing.namespaced = spot.namespaced;
        let change = match self.own_block(&spot) {
            Some(change) => change,
            None => {
                self.warnings.extend(spot.note.clone());
                self.new_block(&spot)
            }
        };
        self.changes.push(change);
        Ok((self.changes, self.warnings))
    }

    /// Adds missing lines at the end of our block, if the file has one that can be
    /// used.
    fn own_block(&self, spot: &Spot) -> Option<Change> {
        let load = *self.facts.load.as_ref().ok()?;
        let load = self.facts.seen.tops[load].at.start;
        let comments = &self.facts.seen.trivia.comments;
        let begin = comments
            .iter()
            .position(|it| block::is_begin(&self.source[it.clone()]))?;
        let end = comments[begin..]
            .iter()
            .find(|it| block::is_end(&self.source[(*it).clone()]))?;
        if end.end > load {
            return None;
        }
        // WordPress advises to add a network's constants right below our block.
        let defines = |kind: &Kind| match self.facts.collector {
            Some(_) => self.missing.reads(kind),
            None => kind.may_define("DOMAIN_CURRENT_SITE"),
        };
        let later = |event: &Event| event.at > end.start && event.at < load && defines(&event.kind);
        if self.missing.host.is_some() && self.facts.seen.events.iter().any(later) {
            return None;
        }
        let line = line_start(self.source, end.start);
        let indent = String::from_utf8_lossy(&self.source[line..end.start]).into_owned();
        if !indent.bytes().all(|b| matches!(b, b' ' | b'\t')) {
            return None;
        }
        let text: String = self
            .missing
            .lines()
            .iter()
            .map(|it| format!("{indent}{it}{}", spot.end_of_line))
            .collect();
        Some(Change::new(line..line, text))
    }

    fn new_block(&self, spot: &Spot) -> Change {
        let block = block::render(&self.missing, spot.split, &spot.indent, spot.end_of_line);
        let text = match spot.split {
            true => format!("{}{block}", spot.end_of_line),
            // Followed by a blank line, for readability.
            false => format!("{block}{}", spot.end_of_line),
        };
        Change::new(spot.at..spot.at, text)
    }

    fn warn(&mut self, fact: &Fact, text: &str) {
        self.warnings.push(Warning::new(Some(fact.line), text));
    }

    fn stuck(&self, fact: &Fact, why: &str) -> Refusal {
        Refusal::at(fact.file.as_deref(), fact.line, why)
    }

    /// The position of the value, if setup may change it to `php`.
    fn editable(&self, fact: &Fact, name: &str, php: &str) -> Result<Range<usize>, Refusal> {
        let Some(at) = &fact.value_at else {
            let reason =
                format!("{name} has another value here, and setup does not edit included files");
            return Err(self.stuck(fact, &reason).by_hand(write(fact, name, php)));
        };
        if let Some(part) = self
            .foreign
            .iter()
            .find(|part| part.at.contains(&at.start) && !part.is_template())
        {
            let reason = format!(
                "{name} is in a part of the file that another tool manages (from line {}) and may overwrite",
                line_of(self.source, part.at.start)
            );
            return Err(self.stuck(fact, &reason).by_hand(write(fact, name, php)));
        }
        Ok(at.clone())
    }

    fn replace(&mut self, fact: &Fact, name: &str, php: &str) -> Result<(), Refusal> {
        let at = self.editable(fact, name, php)?;
        self.changes.push(Change::new(at, php));
        Ok(())
    }
}

/// Whether the value is known only when PHP runs the file.
fn at_run_time(value: &Value) -> bool {
    matches!(
        value,
        Value::Computed { .. } | Value::Environment(_) | Value::Absent
    )
}

fn is_computed(value: &Value) -> bool {
    at_run_time(value) || matches!(value, Value::Bareword(_) | Value::Odd)
}

fn computed(fact: &Fact, name: &str, php: &str) -> Refusal {
    let reason = format!("{name} is computed at run time, so its value is unknown");
    Refusal::at(fact.file.as_deref(), fact.line, reason).by_hand(write(fact, name, php))
}

/// Advice to write a plain value.
fn write(fact: &Fact, name: &str, php: &str) -> String {
    let line = match name.starts_with('$') {
        true => format!("{name} = {php};"),
        false if fact.collected => format!("Config::define( '{name}', {php} );"),
        false => format!("define( '{name}', {php} );"),
    };
    format!(
        "write this in its place in {}, and run setup again:\n  {line}",
        fact.place()
    )
}
