//! Applies a plan: what sites share in order, and each site's steps in their order,
//! while those of other sites are applied. Each change is written to the journal first.

use std::cell::RefCell;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use anyhow::Result;

use crate::base::parallel::{self, Gate};
use crate::host::Host;
use crate::plan::journal::{Journal, Scope};
use crate::plan::outcome::{End, News, Outcome, Reporter, Stops, Told};
use crate::plan::{Item, Plan, Step, lanes};
use crate::resource::{Company, Resource, State};

/// How many lanes are worked on at the same time. Most of their time they wait for the
/// disk, which flushes many files in the time of one.
pub const LANES: usize = 16;

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

/// Applies the steps. A failure in what sites share ends the run; a failure in a site
/// ends the work on that site only.
pub fn apply(host: &Host, plan: &Plan, work: Work, watch: &dyn Reporter) -> Outcome {
    let run = Run {
        host,
        work,
        stops: watch.stops(),
        alone: Gate::new(1),
        few: Gate::new(parallel::cores() + 2),
    };
    let mut outcome = Outcome::default();
    let mut rest = &plan.steps[..];
    while let Some(first) = rest.first() {
        let is_like = |step: &&Step| is_shared(step) == is_shared(first);
        let (part, later) = rest.split_at(rest.iter().take_while(is_like).count());
        run.part(part, watch, &mut outcome);
        let has_failed = |step: &Step| outcome.has_failed(&step.item.scope);
        let mut ending = part.iter().filter(|step| run.ends_with(&step.item.scope));
        if outcome.stopped || ending.any(has_failed) {
            break;
        }
        rest = later;
    }
    outcome
}

struct Run<'a> {
    host: &'a Host,
    work: Work<'a>,
    stops: Box<Stops>,
    /// For what changes more than files.
    alone: Gate,
    /// For what loads a site, which takes memory. A site that does not load keeps others
    /// from it only if there are several.
    few: Gate,
}

/// Whether it belongs to several sites.
fn is_shared(step: &Step) -> bool {
    !matches!(step.item.scope, Scope::Site(_))
}

impl Run<'_> {
    /// Whether a failure in this ends the run.
    fn ends_with(&self, scope: &Scope) -> bool {
        match scope {
            Scope::Host => true,
            // What removal leaves of an owner's needs what the host has.
            Scope::Owner(_) => matches!(self.work, Work::Removal),
            Scope::Site(_) => false,
        }
    }

    /// Applies steps of what sites share, or of sites.
    fn part(&self, steps: &[Step], watch: &dyn Reporter, outcome: &mut Outcome) {
        let failed: BTreeSet<Scope> = {
            let scopes = steps.iter().map(|step| &step.item.scope);
            let has_failed = scopes.filter(|scope| outcome.has_failed(scope));
            has_failed.cloned().collect()
        };
        let lanes = match steps.iter().any(is_shared) {
            true => vec![(0..steps.len()).collect()],
            false => lanes::of(self.host, steps),
        };
        let mut told = Told::new(steps, watch, outcome);
        if let [lane] = &lanes[..] {
            let told = RefCell::new(told);
            let tell = |at, news| told.borrow_mut().hear(at, news);
            return self.lane(steps, lane, &failed, &tell);
        }
        thread::scope(|scope| {
            let (sender, receiver) = mpsc::channel();
            scope.spawn(move || {
                parallel::map(&lanes, LANES, |lane| {
                    // They are heard until the last has ended.
                    let tell = |at, news| drop(sender.send((at, news)));
                    self.lane(steps, lane, &failed, &tell);
                });
            });
            for (at, news) in receiver {
                told.hear(at, news);
            }
        });
    }

    /// Applies these steps one after the other, except those of sites that failed.
    fn lane(
        &self,
        steps: &[Step],
        lane: &[usize],
        failed: &BTreeSet<Scope>,
        tell: &dyn Fn(usize, News),
    ) {
        let mut failed = failed.clone();
        let mut is_over = false;
        let mut journals: BTreeMap<Scope, Journal> = BTreeMap::new();
        for (index, &at) in lane.iter().enumerate() {
            let Item { scope, resource } = &steps[at].item;
            if is_over || failed.contains(scope) {
                tell(at, News::Ends(End::Left));
                continue;
            }
            let stops = (self.stops)();
            let end = match stops {
                true => Ok(End::Stopped),
                false => self.step(scope, resource.as_ref(), &mut journals, &|news| {
                    tell(at, news);
                }),
            };
            let mut later = lane[index + 1..].iter();
            let goes_on = end.is_ok() && !stops && later.any(|at| steps[*at].item.scope == *scope);
            let settled = match journals.get_mut(scope) {
                Some(journal) if !goes_on => journal.settle(),
                _ => Ok(()),
            };
            let end = end.and_then(|end| settled.map(|()| end));
            let end = end.unwrap_or_else(|error| {
                is_over = self.ends_with(scope);
                failed.insert(scope.clone());
                End::Failed(error)
            });
            tell(at, News::Ends(end));
        }
    }

    fn step<'h>(
        &'h self,
        scope: &Scope,
        resource: &dyn Resource,
        journals: &mut BTreeMap<Scope, Journal<'h>>,
        tell: &dyn Fn(News),
    ) -> Result<End> {
        let gate = match resource.company() {
            Company::Alone => Some(&self.alone),
            Company::Few => Some(&self.few),
            Company::Any => None,
        };
        let _pass = gate.map(Gate::pass);
        let start = Instant::now();
        // Earlier steps may have changed what the plan saw.
        let change = match resource.inspect(self.host)? {
            State::Same => return Ok(End::Same),
            State::Differs(change) | State::After(_, change) => change,
        };
        tell(News::Begins(change.verb));
        let progress = |line: &str| tell(News::Progress(line.to_owned()));
        resource.prepare(self.host, &progress)?;
        let inverses = resource.inverses(self.host)?;
        if inverses.is_empty() {
            resource.apply(self.host, &progress)?;
        } else {
            let journal = match journals.entry(scope.clone()) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => entry.insert(self.work.journal(self.host, scope)?),
            };
            let number = journal.begin(inverses)?;
            resource.apply(self.host, &progress)?;
            journal.done(number)?;
        }
        Ok(End::Done(change.verb, start.elapsed()))
    }
}
