//! Applies a plan. Each change is written to the journal first.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::host::Host;
use crate::plan::journal::{Journal, Scope};
use crate::plan::{Plan, Refused};
use crate::resource::{Resource, ResourceId, State, Verb};

/// Follows the progress of a run.
pub trait Reporter {
    fn begin(&self, id: &ResourceId, verb: Verb);
    fn progress(&self, line: &str);
    fn end(&self, done: &Done);
    fn failed(&self, id: &ResourceId);
    /// Whether to stop after the current step.
    fn interrupted(&self) -> bool {
        false
    }
}

/// A step that succeeded.
#[derive(Debug, Clone)]
pub struct Done {
    pub scope: Scope,
    pub id: ResourceId,
    pub verb: Verb,
    pub took: Duration,
}

#[derive(Default)]
pub struct Outcome {
    pub done: Vec<Done>,
    pub failed: Vec<Refused>,
    /// The user stopped the run before its last step.
    pub stopped: bool,
}

/// What a plan is for.
#[derive(Clone, Copy)]
pub enum Work<'a> {
    /// Setting up these sites, given by their names and folders.
    Setup(&'a BTreeMap<String, PathBuf>),
    Removal,
}

impl Work<'_> {
    fn journal<'h>(self, host: &'h Host, scope: &Scope) -> Result<Journal<'h>> {
        match (self, scope) {
            (Work::Setup(sites), Scope::Site(name)) => {
                let dir = sites.get(name).cloned();
                Ok(Journal::open(host, scope.clone(), dir)?.on_trial())
            }
            _ => Journal::open(host, scope.clone(), None),
        }
    }
}

/// Applies the steps in order. A failure in what sites share ends the run; a
/// failure in a site ends the work on that site only.
pub fn apply(host: &Host, plan: &Plan, work: Work, watch: &dyn Reporter) -> Result<Outcome> {
    let mut journals: BTreeMap<Scope, Journal> = BTreeMap::new();
    let mut outcome = Outcome::default();
    for step in &plan.steps {
        let scope = &step.item.scope;
        if watch.interrupted() {
            outcome.stopped = true;
            break;
        }
        if outcome.failed.iter().any(|failed| failed.is_of(scope)) {
            continue;
        }
        let resource = step.item.resource.as_ref();
        let start = Instant::now();
        let journal = match journals.entry(scope.clone()) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(work.journal(host, scope)?)
            }
        };
        match one(host, resource, journal, watch) {
            Ok(None) => {}
            Ok(Some(verb)) => {
                let done = Done {
                    scope: scope.clone(),
                    id: resource.id(),
                    verb,
                    took: start.elapsed(),
                };
                watch.end(&done);
                outcome.done.push(done);
            }
            Err(error) => {
                watch.failed(&resource.id());
                // What removal leaves of an owner's needs what the host has.
                let ends = match scope {
                    Scope::Host => true,
                    Scope::Owner(_) => matches!(work, Work::Removal),
                    Scope::Site(_) => false,
                };
                outcome.failed.push(Refused::new(scope, error));
                if ends {
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
    watch: &dyn Reporter,
) -> Result<Option<Verb>> {
    // Earlier steps may have changed what the plan saw.
    let change = match resource.inspect(host)? {
        State::Same => return Ok(None),
        State::Differs(change) | State::After(_, change) => change,
    };
    watch.begin(&resource.id(), change.verb);
    let progress = |line: &str| watch.progress(line);
    resource.prepare(host, &progress)?;
    let inverses = resource.inverses(host)?;
    let number = match inverses.is_empty() {
        true => None,
        false => Some(journal.begin(inverses)?),
    };
    resource.apply(host, &progress)?;
    if let Some(number) = number {
        journal.done(number)?;
    }
    Ok(Some(change.verb))
}
