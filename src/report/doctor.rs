//! Prints the findings of doctor: a line for each check that passed, help for
//! each that did not, and problems last.

use console::{StyledObject, measure_text_width};

use crate::doctor::{Check, Reported, Status};
use crate::report::Ui;
use crate::report::width::lines;

const NARROW: usize = 60;

impl Ui {
    pub fn checks(&self, checks: &[&Check]) {
        if self.json {
            let list: Vec<_> = checks
                .iter()
                .map(
                    |check| serde_json::json!({ "name": check.name, "describes": check.describes }),
                )
                .collect();
            return self.document(&serde_json::json!({ "checks": list }));
        }
        let width = checks
            .iter()
            .map(|check| check.name.len())
            .max()
            .unwrap_or(0);
        for check in checks {
            self.line(&format!("{:<width$}  {}", check.name, check.describes));
        }
    }

    /// Prints only the problems, without a summary.
    pub fn problems(&self, reports: &[Reported]) {
        self.reports(reports, &[Status::Warning, Status::Failed]);
    }

    pub fn findings(&self, reports: &[Reported]) {
        let order = [Status::Ok, Status::Skipped, Status::Warning, Status::Failed];
        self.reports(reports, &order);
        self.line(&summary(reports));
    }

    fn reports(&self, reports: &[Reported], order: &[Status]) {
        let columns = self.columns();
        let names: Vec<String> = reports.iter().map(name).collect();
        let width = names
            .iter()
            .map(|name| measure_text_width(name))
            .max()
            .unwrap_or(0);
        // On a narrow screen, the text goes below the name.
        let indent = if columns.is_some_and(|columns| columns < NARROW) {
            4
        } else {
            width + 4
        };
        for wanted in order.iter().copied() {
            for (report, name) in reports.iter().zip(&names) {
                if report.finding.status != wanted {
                    continue;
                }
                let mut text = lines(&report.finding.message, indent, columns);
                if indent == 4 {
                    text = format!("{name}\n{:indent$}{text}", "");
                } else {
                    text = format!(
                        "{name}{:pad$}{text}",
                        "",
                        pad = indent - 2 - measure_text_width(name)
                    );
                }
                if !report.finding.help.is_empty() {
                    let mut help = report.finding.help.clone();
                    if report.fixable {
                        help.push_str("  [fixed by --fix]");
                    }
                    text.push_str(&format!(
                        "\n{:indent$}help: {}",
                        "",
                        lines(&help, indent + 6, columns)
                    ));
                }
                let shown = format!("{} {text}", self.sign(wanted));
                match wanted {
                    Status::Ok | Status::Skipped => self.line(&shown),
                    // With --quiet, problems are still printed.
                    _ => Ui {
                        quiet: false,
                        ..*self
                    }
                    .line(&shown),
                }
            }
        }
    }

    fn sign(&self, status: Status) -> StyledObject<&'static str> {
        match status {
            Status::Ok => self.style().green().apply_to("✓"),
            Status::Skipped => self.style().dim().apply_to("-"),
            Status::Warning => self.style().yellow().bold().apply_to("!"),
            Status::Failed => self.style().red().bold().apply_to("✗"),
        }
    }
}

fn name(report: &Reported) -> String {
    match &report.finding.site {
        Some(site) => format!("{} [{site}]", report.check),
        None => report.check.to_owned(),
    }
}

fn summary(reports: &[Reported]) -> String {
    let count = |status| {
        reports
            .iter()
            .filter(|it| it.finding.status == status)
            .count()
    };
    let warnings = match count(Status::Warning) {
        1 => "warning",
        _ => "warnings",
    };
    let mut parts = vec![format!("{} passed", count(Status::Ok))];
    for (status, word) in [
        (Status::Skipped, "skipped"),
        (Status::Warning, warnings),
        (Status::Failed, "failed"),
    ] {
        if count(status) > 0 {
            parts.push(format!("{} {word}", count(status)));
        }
    }
    format!("{}.", parts.join(", "))
}
