//! The plan: what differs from the intent, and how it is applied and reverted.

pub mod apply;
pub mod fit;
pub mod history;
pub mod journal;
mod lanes;
pub mod leave;
pub mod make;
pub mod marked;
pub mod outcome;
pub mod preflight;
pub mod prepare;
pub mod proof;
pub mod recipe;
pub mod recovery;
pub mod remove;
pub mod trial;
pub mod waiting;

use std::fmt;
use std::path::PathBuf;

use crate::base::problem::Problem;
use crate::intent::queue::WaitingJobs;
use crate::plan::journal::Scope;
use crate::resource::{Change, Resource, ResourceId, State};

/// What setup is asked to do besides its changes.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// Start services and workers.
    pub start: bool,
    /// Prove that jobs run, with a switch that no run has proved yet too.
    pub prove: bool,
    pub waiting: WaitingJobs,
}

impl Run {
    /// What doctor compares a host with, and makes of it with --fix. It has a check of
    /// its own for the proof.
    pub fn of_doctor() -> Run {
        Run {
            start: true,
            prove: false,
            waiting: WaitingJobs::default(),
        }
    }
}

/// A resource in its wanted state, and what it belongs to.
pub struct Item {
    pub scope: Scope,
    pub resource: Box<dyn Resource>,
}

pub struct Step {
    pub item: Item,
    pub state: State,
}

/// A site as the user knows it. It has a name once it is resolved; until then
/// only its folder is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SiteKey {
    Named(String),
    Unnamed(PathBuf),
    /// What all sites of an owner share.
    Owner(String),
}

impl fmt::Display for SiteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SiteKey::Named(name) => f.write_str(name),
            SiteKey::Unnamed(dir) => write!(f, "{}", dir.display()),
            SiteKey::Owner(owner) => write!(f, "job server of {owner}"),
        }
    }
}

/// Why a site, or what sites share (`None`), is left out of a plan.
pub struct Refused {
    pub site: Option<SiteKey>,
    pub error: anyhow::Error,
}

impl Refused {
    pub fn new(scope: &Scope, error: anyhow::Error) -> Self {
        let site = match scope {
            Scope::Host => None,
            Scope::Owner(name) => Some(SiteKey::Owner(name.clone())),
            Scope::Site(name) => Some(SiteKey::Named(name.clone())),
        };
        Refused { site, error }
    }

    /// A site that could not be resolved.
    pub fn unnamed(dir: PathBuf, error: anyhow::Error) -> Self {
        let site = Some(SiteKey::Unnamed(dir));
        Refused { site, error }
    }

    /// Adds to what the user is told to do.
    pub fn add_help(&mut self, text: &str) {
        let error = std::mem::replace(&mut self.error, anyhow::Error::msg(""));
        self.error = match error.downcast::<Problem>() {
            Ok(problem) => {
                let before = match problem.help.is_empty() {
                    true => String::new(),
                    false => format!("{}; ", problem.help),
                };
                problem.help(before + text).into()
            }
            Err(error) => anyhow::Error::msg(format!("{error:#}\n  help: {text}")),
        };
    }

    pub fn is_of(&self, scope: &Scope) -> bool {
        match (scope, &self.site) {
            (Scope::Host, None) => true,
            (Scope::Site(name), Some(SiteKey::Named(refused)))
            | (Scope::Owner(name), Some(SiteKey::Owner(refused))) => name == refused,
            _ => false,
        }
    }
}

#[derive(Default)]
pub struct Plan {
    /// Everything that was inspected, in the order of the recipe.
    pub steps: Vec<Step>,
    /// Sites that are left out, with the reason.
    pub refused: Vec<Refused>,
}

impl Plan {
    pub fn differing(&self) -> impl Iterator<Item = (&Step, &Change, Option<&ResourceId>)> {
        self.steps.iter().filter_map(|step| match &step.state {
            State::Same => None,
            State::Differs(change) => Some((step, change, None)),
            State::After(what, change) => Some((step, change, Some(what))),
        })
    }

    pub fn changes(&self) -> bool {
        self.differing().next().is_some()
    }

    /// Splits off what sites share.
    pub fn split_off_host(&mut self) -> Plan {
        let steps = std::mem::take(&mut self.steps);
        let is_host = |step: &Step| !matches!(step.item.scope, Scope::Site(_));
        let (of_host, of_sites) = steps.into_iter().partition(is_host);
        self.steps = of_sites;
        Plan {
            steps: of_host,
            ..Plan::default()
        }
    }

    /// Leaves out a site that cannot be set up.
    pub fn refuse(&mut self, scope: Scope, error: anyhow::Error) {
        self.steps.retain(|step| step.item.scope != scope);
        if self.refused.iter().any(|refused| refused.is_of(&scope)) {
            return;
        }
        self.refused.push(Refused::new(&scope, error));
    }
}
