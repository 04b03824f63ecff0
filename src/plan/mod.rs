//! The plan: what differs, and making it so, each act written down first.

pub mod apply;
pub mod make;
pub mod preflight;
pub mod prepare;
pub mod proof;
pub mod recipe;
pub mod recovery;
pub mod remove;
pub mod waiting;

use crate::resource::journal::Scope;
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
