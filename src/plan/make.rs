//! Looks at every resource of a recipe and says which differ.

use std::collections::BTreeSet;

use anyhow::Result;

use crate::host::Host;
use crate::plan::{Item, Plan, Refused, Step, preflight};
use crate::resource::journal::Scope;
use crate::resource::{Change, State};

/// Looks at everything. What a site refuses leaves that site out; what the
/// host's part refuses is an error of the whole.
pub fn make(host: &Host, items: Vec<Item>) -> Result<Plan> {
    let states = inspect_all(host, &items);
    let mut plan = Plan::default();
    let mut bad: BTreeSet<Scope> = BTreeSet::new();
    let mut steps = Vec::new();
    for (item, state) in items.into_iter().zip(states) {
        match state {
            Ok(state) => steps.push(Step { item, state }),
            Err(error) if item.scope == Scope::Host => return Err(error),
            Err(error) => {
                if bad.insert(item.scope.clone()) {
                    plan.refused.push(Refused {
                        scope: item.scope,
                        error,
                    });
                }
            }
        }
    }
    steps.retain(|step| !bad.contains(&step.item.scope));
    say_what_follows(&mut steps);
    plan.steps = steps;
    for (scope, error) in preflight::check(host, &plan)? {
        match scope {
            Scope::Host => return Err(error),
            scope => plan.refuse(scope, error),
        }
    }
    Ok(plan)
}

/// What is as it should be, and will not be once something else is changed.
fn say_what_follows(steps: &mut [Step]) {
    let differs = |step: &&Step| step.state != State::Same;
    let changing = steps.iter().filter(differs);
    let changing: BTreeSet<String> = changing.map(|step| step.item.resource.name()).collect();
    for step in steps.iter_mut().filter(|step| step.state == State::Same) {
        let follows = step.item.resource.follows();
        if let Some(name) = follows.filter(|name| changing.contains(*name)) {
            step.state = State::After(name.to_owned(), Change::new("restart"));
        }
    }
}

/// Side by side: a few threads take the next item each until none is left.
fn inspect_all(host: &Host, items: &[Item]) -> Vec<Result<State>> {
    let threads = std::thread::available_parallelism()
        .map_or(1, |n| n.get())
        .min(8);
    let next = std::sync::atomic::AtomicUsize::new(0);
    let mut found: Vec<(usize, Result<State>)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut mine = Vec::new();
                    loop {
                        let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        let Some(item) = items.get(at) else {
                            return mine;
                        };
                        mine.push((at, item.resource.inspect(host)));
                    }
                })
            })
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap_or_default())
            .collect()
    });
    found.sort_by_key(|(at, _)| *at);
    // A thread that panicked would leave a hole: say so rather than skip.
    if found.len() != items.len() {
        return items
            .iter()
            .map(|item| {
                Err(anyhow::anyhow!(
                    "could not look at {}",
                    item.resource.name()
                ))
            })
            .collect();
    }
    found.into_iter().map(|(_, state)| state).collect()
}
