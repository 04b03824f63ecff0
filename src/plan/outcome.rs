//! What becomes of the steps of a plan. Those of different sites are applied at the same
//! time; what is reported comes in the order of the plan.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::plan::journal::Scope;
use crate::plan::{Refused, Step};
use crate::resource::{ResourceId, Verb};

/// Whether to begin no further step. Any thread may ask.
pub type Stops = dyn Fn() -> bool + Send + Sync;

/// Follows the progress of a run.
pub trait Reporter {
    fn begin(&self, id: &ResourceId, verb: Verb);
    fn progress(&self, line: &str);
    fn end(&self, done: &Done);
    fn failed(&self, id: &ResourceId);
    fn stops(&self) -> Box<Stops> {
        Box::new(|| false)
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

impl Outcome {
    pub fn has_failed(&self, scope: &Scope) -> bool {
        self.failed.iter().any(|failed| failed.is_of(scope))
    }
}

/// What is heard of a step. Its end comes last, and of each step.
pub enum News {
    Begins(Verb),
    Progress(String),
    Ends(End),
}

pub enum End {
    /// There was nothing to do.
    Same,
    Done(Verb, Duration),
    Failed(anyhow::Error),
    /// It was not begun, because an earlier one of its site failed.
    Left,
    /// It was not begun, because the user stopped the run.
    Stopped,
}

/// Takes in what is heard of the steps, in any order, and reports it step by step.
pub struct Told<'a> {
    steps: &'a [Step],
    watch: &'a dyn Reporter,
    outcome: &'a mut Outcome,
    /// The step that is reported.
    now: usize,
    /// Of later ones.
    begun: BTreeMap<usize, Verb>,
    ended: BTreeMap<usize, End>,
}

impl<'a> Told<'a> {
    pub fn new(steps: &'a [Step], watch: &'a dyn Reporter, outcome: &'a mut Outcome) -> Self {
        Told {
            steps,
            watch,
            outcome,
            now: 0,
            begun: BTreeMap::new(),
            ended: BTreeMap::new(),
        }
    }

    pub fn hear(&mut self, at: usize, news: News) {
        match news {
            News::Begins(verb) if at == self.now => self.begin(verb),
            News::Begins(verb) => drop(self.begun.insert(at, verb)),
            News::Progress(line) if at == self.now => self.watch.progress(&line),
            News::Progress(_) => {}
            News::Ends(end) => drop(self.ended.insert(at, end)),
        }
        while let Some(end) = self.ended.remove(&self.now) {
            self.end(end);
            self.now += 1;
            if let Some(verb) = self.begun.remove(&self.now) {
                self.begin(verb);
            }
        }
    }

    fn begin(&self, verb: Verb) {
        let step = &self.steps[self.now];
        self.watch.begin(&step.item.resource.id(), verb);
    }

    fn end(&mut self, end: End) {
        let item = &self.steps[self.now].item;
        let id = item.resource.id();
        match end {
            End::Same | End::Left => {}
            End::Stopped => self.outcome.stopped = true,
            End::Done(verb, took) => {
                let done = Done {
                    scope: item.scope.clone(),
                    id,
                    verb,
                    took,
                };
                self.watch.end(&done);
                self.outcome.done.push(done);
            }
            End::Failed(error) => {
                self.watch.failed(&id);
                self.outcome.failed.push(Refused::new(&item.scope, error));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::plan::Item;
    use crate::resource::State;
    use crate::resource::file::File;

    #[derive(Default)]
    struct Lines(RefCell<Vec<String>>);

    impl Lines {
        fn add(&self, line: String) {
            self.0.borrow_mut().push(line);
        }
    }

    impl Reporter for Lines {
        fn begin(&self, id: &ResourceId, verb: Verb) {
            self.add(format!("{verb} {id} …"));
        }

        fn progress(&self, line: &str) {
            self.add(line.to_owned());
        }

        fn end(&self, done: &Done) {
            self.add(format!("{} {}", done.verb, done.id));
        }

        fn failed(&self, id: &ResourceId) {
            self.add(format!("{id} failed"));
        }
    }

    #[test]
    fn steps_are_reported_in_the_order_of_the_plan() {
        let step = |name: &str| Step {
            item: Item {
                scope: Scope::Site(name.into()),
                resource: Box::new(File::whole(format!("/{name}"), Vec::new(), 0o644)),
            },
            state: State::Same,
        };
        let steps = ["a", "b", "c", "d"].map(step);
        let (lines, mut outcome) = (Lines::default(), Outcome::default());
        let mut told = Told::new(&steps, &lines, &mut outcome);
        let done = || News::Ends(End::Done(Verb::Create, Duration::ZERO));
        for (at, news) in [
            (2, News::Begins(Verb::Create)),
            (1, News::Begins(Verb::Edit)),
            (1, News::Progress("of b".into())),
            (2, done()),
            (0, News::Begins(Verb::Create)),
            (0, News::Progress("of a".into())),
            (3, News::Ends(End::Same)),
            (0, done()),
            (1, News::Progress("of b, in its turn".into())),
            (1, News::Ends(End::Failed(anyhow::anyhow!("it is gone")))),
        ] {
            told.hear(at, news);
        }
        assert_eq!(
            lines.0.into_inner(),
            [
                "create file /a …",
                "of a",
                "create file /a",
                "edit file /b …",
                "of b, in its turn",
                "file /b failed",
                "create file /c …",
                "create file /c",
            ]
        );
        assert_eq!((outcome.done.len(), outcome.failed.len()), (2, 1));
        assert!(outcome.has_failed(&Scope::Site("b".into())) && !outcome.stopped);
    }
}
