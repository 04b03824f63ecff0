//! Inspects every resource of a recipe and lists those that differ.

use std::collections::BTreeSet;

use anyhow::Result;

use crate::base::parallel;
use crate::host::Host;
use crate::plan::journal::Scope;
use crate::plan::{Item, Plan, Refused, Step, preflight};
use crate::resource::{Change, ResourceId, State, Verb};

/// Inspects everything. A site that cannot be set up is left out; if what sites
/// share cannot be set up, the whole plan fails.
pub fn make(host: &Host, items: Vec<Item>) -> Result<Plan> {
    let threads = parallel::cores().min(8);
    let states = parallel::map(&items, threads, |item| item.resource.inspect(host));
    let mut plan = Plan::default();
    let mut bad: BTreeSet<Scope> = BTreeSet::new();
    let mut steps = Vec::new();
    for (item, state) in items.into_iter().zip(states) {
        match state {
            Ok(state) => steps.push(Step { item, state }),
            Err(error) if item.scope == Scope::Host => return Err(error),
            Err(error) => {
                if bad.insert(item.scope.clone()) {
                    plan.refused.push(Refused::new(&item.scope, error));
                }
            }
        }
    }
    steps.retain(|step| !bad.contains(&step.item.scope));
    mark_followers(&mut steps);
    plan.steps = steps;
    for (scope, error) in preflight::check(host, &plan)? {
        match scope {
            Scope::Host => return Err(error),
            scope => plan.refuse(scope, error),
        }
    }
    Ok(plan)
}

/// Marks what has to restart once another resource has changed.
fn mark_followers(steps: &mut [Step]) {
    let differs = |step: &&Step| step.state != State::Same;
    let changing = steps.iter().filter(differs);
    let changing: BTreeSet<ResourceId> = changing.map(|step| step.item.resource.id()).collect();
    for step in steps.iter_mut().filter(|step| step.state == State::Same) {
        let follows = step.item.resource.follows();
        if let Some(id) = follows.filter(|id| changing.contains(*id)) {
            step.state = State::After(id.clone(), Change::new(Verb::Restart));
        }
    }
}
