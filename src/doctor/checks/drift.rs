//! Whether setup would change anything, because a user or an update did.

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding, or_ok};
use crate::plan::SiteKey;
use crate::plan::journal::Scope;
use crate::resource::{State, Verb};

pub const CHECK: Check = Check {
    name: "drift",
    describes: "whether setup would change anything",
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
        // A step that only waits changes nothing.
        if matches!(&step.state, State::After(..)) && change.verb == Verb::Wait {
            continue;
        }
        let mut message = format!("setup would {} {id}", change.verb);
        if let Some(detail) = change.details.first() {
            message.push_str(&format!(" ({detail})"));
        }
        let help = "review it with 'wp-gears plan', apply it with 'wp-gears doctor --fix'";
        problems.push(of(&step.item.scope, Finding::warning(message, help)).fixed_by(id));
    }
    for refused in &plan.refused {
        // The check 'sites' reports sites that cannot be read.
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
        Scope::Host | Scope::Owner(_) => finding,
        Scope::Site(name) => finding.of_site(name),
    }
}
