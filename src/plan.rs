//! The plan: what differs, and making it so, each act written down first.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::host::Host;
use crate::journal::{Journal, Scope};
use crate::preflight;
use crate::resource::{Change, Resource, State};

/// One thing that shall be so, and to whom it belongs.
pub struct Item {
    pub scope: Scope,
    pub resource: Box<dyn Resource>,
}

pub struct Step {
    pub item: Item,
    pub state: State,
}

/// Why a site (or the host's part) cannot be done.
pub struct Refused {
    pub scope: Scope,
    pub error: anyhow::Error,
}

#[derive(Default)]
pub struct Plan {
    /// All that was looked at, in the order of the recipe.
    pub steps: Vec<Step>,
    /// Sites that are left out, with the reason.
    pub refused: Vec<Refused>,
}

impl Plan {
    pub fn differing(&self) -> impl Iterator<Item = (&Step, &Change, Option<&str>)> {
        self.steps.iter().filter_map(|step| match &step.state {
            State::Same => None,
            State::Differs(change) => Some((step, change, None)),
            State::After(what, change) => Some((step, change, Some(what.as_str()))),
        })
    }

    pub fn changes(&self) -> bool {
        self.differing().next().is_some()
    }

    /// Takes the host's part out of it.
    pub fn split_off_host(&mut self) -> Plan {
        let steps = std::mem::take(&mut self.steps);
        let is_host = |step: &Step| step.item.scope == Scope::Host;
        let (of_host, of_sites) = steps.into_iter().partition(is_host);
        self.steps = of_sites;
        Plan {
            steps: of_host,
            ..Plan::default()
        }
    }

    /// Leaves out a site whose part cannot be done.
    pub fn refuse(&mut self, scope: Scope, error: anyhow::Error) {
        self.steps.retain(|step| step.item.scope != scope);
        self.refused.push(Refused { scope, error });
    }
}

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

/// Is told how the acts go.
pub trait Watch {
    fn begin(&self, scope: &Scope, name: &str, verb: &str);
    fn progress(&self, line: &str);
    fn end(
        &self,
        scope: &Scope,
        name: &str,
        verb: &str,
        took: Duration,
        error: Option<&anyhow::Error>,
    );
    /// Whether the person wants an end after the step at hand.
    fn stops(&self) -> bool {
        false
    }
}

/// One act that was done.
#[derive(Debug, Clone)]
pub struct Done {
    pub scope: Scope,
    pub name: String,
    pub verb: String,
    pub took: Duration,
}

#[derive(Default)]
pub struct Outcome {
    pub done: Vec<Done>,
    pub failed: Vec<Refused>,
    /// The person wanted an end before the last step.
    pub stopped: bool,
}

/// Makes it so, in order. Where the host's part fails everything stops; where
/// a site's part fails the other sites go on. `sites` names each site's folder.
pub fn apply(
    host: &Host,
    plan: &Plan,
    sites: &BTreeMap<String, PathBuf>,
    watch: &dyn Watch,
) -> Result<Outcome> {
    let mut journals: BTreeMap<Scope, Journal> = BTreeMap::new();
    let mut outcome = Outcome::default();
    for step in &plan.steps {
        let scope = &step.item.scope;
        if watch.stops() {
            outcome.stopped = true;
            break;
        }
        if outcome.failed.iter().any(|failed| failed.scope == *scope) {
            continue;
        }
        let resource = step.item.resource.as_ref();
        let begun = Instant::now();
        let journal = match journals.entry(scope.clone()) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let dir = match scope {
                    Scope::Site(name) => sites.get(name).cloned(),
                    Scope::Host => None,
                };
                entry.insert(Journal::open(host, scope.clone(), dir)?)
            }
        };
        match one(host, resource, journal, watch, scope) {
            Ok(None) => {}
            Ok(Some(verb)) => {
                let name = resource.name();
                watch.end(scope, &name, &verb, begun.elapsed(), None);
                outcome.done.push(Done {
                    scope: scope.clone(),
                    name,
                    verb,
                    took: begun.elapsed(),
                });
            }
            Err(error) => {
                watch.end(scope, &resource.name(), "", begun.elapsed(), Some(&error));
                let of_host = *scope == Scope::Host;
                outcome.failed.push(Refused {
                    scope: scope.clone(),
                    error,
                });
                if of_host {
                    break;
                }
            }
        }
    }
    Ok(outcome)
}

fn one(
    host: &Host,
    resource: &dyn Resource,
    journal: &mut Journal,
    watch: &dyn Watch,
    scope: &Scope,
) -> Result<Option<String>> {
    // What came before may have changed what was seen when the plan was made.
    let change = match resource.inspect(host)? {
        State::Same => return Ok(None),
        State::Differs(change) | State::After(_, change) => change,
    };
    watch.begin(scope, &resource.name(), &change.verb);
    let progress = |line: &str| watch.progress(line);
    resource.prepare(host, &progress)?;
    let undo = resource.undo(host)?;
    let number = undo.map(|undo| journal.begin(&undo)).transpose()?;
    resource.apply(host, &progress)?;
    if let Some(number) = number {
        journal.done(number)?;
    }
    Ok(Some(change.verb))
}
