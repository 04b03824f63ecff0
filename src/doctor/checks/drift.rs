//! Whether setup would change anything: what a person or an update changed since.

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding, or_ok};
use crate::plan::SiteKey;
use crate::plan::journal::Scope;
use crate::resource::{State, Verb};

pub const CHECK: Check = Check {
    name: "drift",
    describes: "whether a setup run now would change anything",
    vital: false,
    run,
};

fn run(context: &Context) -> Vec<Finding> {
    if let Some(skipped) = context.needs_root() {
        return vec![skipped];
    }
    if context.unreadable.is_some() {
        return vec![Finding::skipped(
            "the intent file cannot be read (see 'intent')",
        )];
    }
    let prepared = match context.prepared() {
        Ok(prepared) => prepared,
        Err(error) => return vec![Finding::of_error(error)],
    };
    let plan = &prepared.plan;
    let mut problems = Vec::new();
    for (step, change, _) in plan.differing() {
        let id = step.item.resource.id();
        // What is only waited for is not changed.
        if matches!(&step.state, State::After(..)) && change.verb == Verb::Wait {
            continue;
        }
        let mut seen = format!("setup would {} {id}", change.verb);
        if let Some(detail) = change.details.first() {
            seen.push_str(&format!(" ({detail})"));
        }
        let todo = "wp-gears plan shows it, wp-gears doctor --fix does it";
        problems.push(of(&step.item.scope, Finding::warning(seen, todo)).fixed_by(id));
    }
    for refused in &plan.refused {
        // The check 'sites' reports those that cannot be read.
        if !matches!(refused.site, Some(SiteKey::Unnamed(_))) {
            let mut finding = Finding::of_error(&refused.error);
            finding.site = refused.site.clone();
            problems.push(finding);
        }
    }
    or_ok(problems, || "setup would change nothing".into())
}

fn of(scope: &Scope, finding: Finding) -> Finding {
    match scope {
        Scope::Host => finding,
        Scope::Site(name) => finding.of_site(name),
    }
}
