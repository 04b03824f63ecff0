//! Prints a plan: each change with its diff, and a summary.

use console::{Style, measure_text_width, truncate_str};

use crate::plan::journal::Scope;
use crate::plan::{Plan, Step};
use crate::report::Ui;
use crate::report::width::lines;
use crate::resource::{Change, ResourceId, State, Verb};

/// Diffs with more lines than this are folded.
const LONG: usize = 10;
/// How many lines of a folded diff are shown.
const SHOWN: usize = 6;
/// With more names than this, only their number is shown.
const NAMES: usize = 5;

impl Ui {
    /// Prints every change with its diff.
    pub fn plan(&self, plan: &Plan) {
        for (step, change, after) in plan.differing() {
            self.step(step, change, after);
            for detail in &change.details {
                self.line(&format!("    {}", lines(detail, 4, self.columns())));
            }
            for line in change.diff.iter().flat_map(|diff| diff.lines()) {
                self.line(&format!("    {}", self.coloured(line)));
            }
        }
    }

    /// Like `plan`, with long parts folded. Returns whether anything was folded.
    pub fn folded_plan(&self, plan: &Plan) -> bool {
        let mut folds = false;
        let columns = self.columns().unwrap_or(usize::MAX);
        let steps: Vec<_> = plan.differing().collect();
        // Of consecutive folders, logs and links, only the first is shown.
        let is_small = |change: &Change| change.verb == Verb::Create && change.diff.is_none();
        let rows = steps.chunk_by(|(_, one, _), (_, next, _)| is_small(one) && is_small(next));
        for row in rows {
            let [(step, change, after), more @ ..] = row else {
                continue;
            };
            self.step(step, change, *after);
            if !more.is_empty() {
                folds = true;
                self.faint(&format!("… and {} more to create", more.len()));
                continue;
            }
            for detail in &change.details {
                let text = lines(detail, 4, self.columns());
                let rows: Vec<&str> = text.lines().collect();
                folds |= rows.len() > 2;
                let more = if rows.len() > 2 { " …" } else { "" };
                let shown = rows[..rows.len().min(2)].join("\n");
                self.line(&format!("    {shown}{more}"));
            }
            let diff: Vec<&str> = change.diff.iter().flat_map(|diff| diff.lines()).collect();
            let shown = if diff.len() > LONG { SHOWN } else { diff.len() };
            for line in &diff[..shown] {
                let cut = truncate_str(line, columns.saturating_sub(5), "…");
                folds |= cut.as_ref() != *line;
                self.line(&format!("    {}", self.coloured(&cut)));
            }
            if shown < diff.len() {
                folds = true;
                self.faint(&format!("… {} more lines", diff.len() - shown));
            }
        }
        folds
    }

    fn faint(&self, text: &str) {
        self.line(&format!("    {}", self.style().dim().apply_to(text)));
    }

    fn step(&self, step: &Step, change: &Change, after: Option<&ResourceId>) {
        let sign = match change.verb {
            Verb::Create | Verb::Install | Verb::Start | Verb::Enable => {
                self.style().green().apply_to("+")
            }
            Verb::Remove | Verb::Stop | Verb::Purge | Verb::Disable => {
                self.style().red().apply_to("-")
            }
            Verb::Wait => self.style().apply_to(" "),
            Verb::Build
            | Verb::Change
            | Verb::Drain
            | Verb::Adopt
            | Verb::Edit
            | Verb::Reload
            | Verb::Restart => self.style().yellow().apply_to("~"),
        };
        let site = match &step.item.scope {
            Scope::Host | Scope::Owner(_) => String::new(),
            Scope::Site(site) => format!(" [{site}]"),
        };
        let after = after.map_or(String::new(), |id| format!(" (after {id})"));
        let text = format!("{} {}{site}{after}", change.verb, step.item.resource.id());
        let text = lines(&text, 2, self.columns());
        self.line(&format!("{sign} {}", self.style().bold().apply_to(text)));
    }

    fn coloured(&self, line: &str) -> String {
        let style = match line.as_bytes().first() {
            Some(b'+') => self.style().green(),
            Some(b'-') => self.style().red(),
            Some(b'@') => self.style().cyan(),
            _ => self.style(),
        };
        style.apply_to(line).to_string()
    }

    /// Prints what changes, by verb, and what is kept. Shown before the question.
    pub fn summary(&self, plan: &Plan, untouched: &[String]) {
        let mut rows: Vec<Row> = Vec::new();
        for (step, change, _) in plan.differing() {
            if change.verb == Verb::Wait {
                continue;
            }
            let verb = change.verb.to_string();
            let at = match rows.iter().position(|row| row.verb == verb) {
                Some(at) => at,
                None => {
                    rows.push(Row::of(verb));
                    rows.len() - 1
                }
            };
            rows[at].add(&step.item.resource.id(), change);
        }
        let same = plan.steps.iter().filter(|step| step.state == State::Same);
        let mut kept = untouched.to_vec();
        let same = same.count();
        match same {
            0 => {}
            1 => kept.push("1 resource that is up to date".into()),
            _ => kept.push(format!("{same} resources that are up to date")),
        }
        rows.push(Row {
            names: kept,
            ..Row::of("keep".into())
        });
        self.line("");
        self.line(&Style::new().bold().apply_to("Summary").to_string());
        let width = rows.iter().map(|row| row.verb.len()).max().unwrap_or(0);
        let columns = self.columns();
        let room = columns.map_or(usize::MAX, |columns| columns - width - 4);
        for row in rows {
            let text = lines(&row.text(room), width + 4, columns);
            self.line(&format!("  {:<width$}  {text}", row.verb));
        }
        self.line("");
    }
}

/// The objects of one verb.
struct Row {
    verb: String,
    names: Vec<String>,
    /// Files, folders, links and logs, of which there may be many, and their kinds.
    small: Vec<String>,
    kinds: Vec<&'static str>,
}

impl Row {
    fn of(verb: String) -> Row {
        Row {
            verb,
            names: Vec::new(),
            small: Vec::new(),
            kinds: Vec::new(),
        }
    }

    fn add(&mut self, id: &ResourceId, change: &Change) {
        if !change.names.is_empty() {
            return self.names.extend(change.names.iter().cloned());
        }
        let (kind, path) = match id {
            ResourceId::File(path) => ("files", path),
            ResourceId::Directory(path) => ("folders", path),
            ResourceId::Link(path) => ("links", path),
            ResourceId::Log(path) => ("logs", path),
            // The verb makes the kind obvious.
            ResourceId::Service(name) | ResourceId::Program(name) => {
                return self.names.push(name.clone());
            }
            other => return self.names.push(other.to_string()),
        };
        self.small.push(path.display().to_string());
        if !self.kinds.contains(&kind) {
            self.kinds.push(kind);
        }
    }

    /// On one line if it fits. Many small objects are counted by kind.
    fn text(&self, room: usize) -> String {
        let mut names = self.names.clone();
        match self.kinds.split_last() {
            Some((last, more)) if self.small.len() > NAMES => {
                let and = if more.is_empty() { "" } else { " and " };
                let kinds = more.join(", ");
                names.push(format!("{} {kinds}{and}{last}", self.small.len()));
            }
            _ => names.extend(self.small.clone()),
        }
        let line = names.join(", ");
        match measure_text_width(&line) <= room {
            true => line,
            false => names.join("\n"),
        }
    }
}
