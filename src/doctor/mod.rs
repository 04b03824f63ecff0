//! `wp-gears doctor`: checks what runs, not only files, and says what to do.
//!
//! To add a check, write `checks/NAME.rs` with a `pub const CHECK: Check` and add
//! it to the list in `checks/mod.rs`. Its function gets the `Context`, which
//! inspects once what several checks need. The function changes nothing and returns
//! at least one `Finding`: `ok` with what was found, `skipped` with the reason, or
//! `warning` or `failed` with what to do. If setup would fix it, `fixed_by` names
//! the resource in the plan, and the plan decides whether `--fix` can. Scripts use
//! the name of a check, so it never changes. Plant a fault that makes the check
//! fail in `tests/host/doctor/faults.rs`.

pub mod cause;
pub mod checks;
pub mod context;
mod service;

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::base::problem::Problem;
use crate::plan::SiteKey;
use crate::resource::ResourceId;
use context::Context;

/// A check of doctor.
pub struct Check {
    /// In lowercase letters and dashes.
    pub name: &'static str,
    pub describes: &'static str,
    /// If it fails, no job can run, so the test job is skipped.
    pub vital: bool,
    pub run: fn(&Context) -> Vec<Finding>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Ok,
    Skipped,
    Warning,
    Failed,
}

/// What a check found, on the host or for one site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub site: Option<SiteKey>,
    pub status: Status,
    pub message: String,
    pub help: String,
    /// Resources in the plan, any of which would fix it.
    pub fixed_by: Vec<ResourceId>,
}

impl Finding {
    fn new(status: Status, message: impl Into<String>, help: impl Into<String>) -> Self {
        Finding {
            site: None,
            status,
            message: message.into(),
            help: help.into(),
            fixed_by: Vec::new(),
        }
    }

    pub fn ok(message: impl Into<String>) -> Self {
        Finding::new(Status::Ok, message, "")
    }

    pub fn skipped(why: impl Into<String>) -> Self {
        Finding::new(Status::Skipped, why, "")
    }

    pub fn warning(message: impl Into<String>, help: impl Into<String>) -> Self {
        Finding::new(Status::Warning, message, help)
    }

    pub fn failed(message: impl Into<String>, help: impl Into<String>) -> Self {
        Finding::new(Status::Failed, message, help)
    }

    /// A failure with the text of the innermost problem.
    pub fn of_error(error: &anyhow::Error) -> Self {
        let problem = error
            .chain()
            .filter_map(|cause| cause.downcast_ref::<Problem>())
            .last();
        match problem {
            Some(problem) => {
                let message = format!("{}: {}", problem.what, problem.why.trim_end());
                Finding::failed(message, problem.help.clone())
            }
            None => Finding::failed(format!("{error:#}"), ""),
        }
    }

    pub fn of_site(mut self, name: &str) -> Self {
        self.site = Some(SiteKey::Named(name.to_owned()));
        self
    }

    pub fn fixed_by(mut self, resource: ResourceId) -> Self {
        self.fixed_by.push(resource);
        self
    }

    pub fn is_problem(&self) -> bool {
        self.status >= Status::Warning
    }
}

/// The problems, or a finding that the check passed if there are none.
pub fn or_ok(problems: Vec<Finding>, message: impl FnOnce() -> String) -> Vec<Finding> {
    if problems.is_empty() {
        return vec![Finding::ok(message())];
    }
    problems
}

/// A finding with the name and duration of its check.
#[derive(Debug, Clone)]
pub struct Reported {
    pub check: &'static str,
    pub finding: Finding,
    pub fixable: bool,
    pub took: Duration,
}

impl Reported {
    pub fn document(&self) -> serde_json::Value {
        serde_json::json!({
            "name": self.check,
            "site": self.finding.site.as_ref().map(ToString::to_string),
            "status": self.finding.status,
            "seen": self.finding.message,
            "do": self.finding.help,
            "fixable": self.fixable,
            "ms": self.took.as_millis() as u64,
        })
    }
}

/// Runs the checks in parallel and then the test job. The findings come in the order
/// of the list.
pub fn run(context: &Context, wanted: &[&'static Check]) -> Vec<Reported> {
    let (last, first): (Vec<&Check>, Vec<&Check>) = wanted
        .iter()
        .copied()
        .partition(|check| check.name == checks::job::CHECK.name);
    let mut reports: Vec<Reported> = std::thread::scope(|scope| {
        let running: Vec<_> = first
            .into_iter()
            .map(|check| (check, scope.spawn(|| one(context, check))))
            .collect();
        running
            .into_iter()
            .flat_map(|(check, thread)| thread.join().unwrap_or_else(|_| broken(check)))
            .collect()
    });
    for report in &mut reports {
        let finding = &report.finding;
        report.fixable = finding.is_problem()
            && finding
                .fixed_by
                .iter()
                .any(|resource| context.differs(resource));
    }
    for check in last {
        let blocked_by = |site: &str| {
            let site = SiteKey::Named(site.to_owned());
            reports
                .iter()
                .find(|report| {
                    report.finding.status == Status::Failed
                        && report.finding.site.as_ref().is_none_or(|of| *of == site)
                        && wanted.iter().any(|c| c.name == report.check && c.vital)
                })
                .map(|report| report.check)
        };
        let start = Instant::now();
        let explained = |site: &str, error| cause::explained(context, site, error);
        let findings = checks::job::run(context, &blocked_by, &explained);
        reports.extend(reported(check, findings, start));
    }
    reports
}

fn one(context: &Context, check: &Check) -> Vec<Reported> {
    let start = Instant::now();
    reported(check, (check.run)(context), start)
}

fn reported(check: &Check, findings: Vec<Finding>, start: Instant) -> Vec<Reported> {
    let took = start.elapsed();
    findings
        .into_iter()
        .map(|finding| Reported {
            check: check.name,
            finding,
            fixable: false,
            took,
        })
        .collect()
}

/// Reports a check that panicked.
fn broken(check: &Check) -> Vec<Reported> {
    let why = "the check itself crashed";
    let finding = Finding::failed(why, "please report this");
    reported(check, vec![finding], Instant::now())
}
