//! The question about the queue, and those about its store.

use anyhow::Result;

use crate::cli::wizard::Wizard;
use crate::gearman::password::Password;
use crate::intent::effective;
use crate::intent::options::{HostOptions, Queue};
use crate::intent::resolve::Resolved;
use crate::queue::{StoreOptions, queues};

impl Wizard<'_> {
    pub fn ask_queue(&mut self) -> Result<()> {
        let queues = queues();
        let items: Vec<String> = queues
            .iter()
            .map(|queue| format!("{:<6}  {}", queue.name(), queue.summary()))
            .collect();
        let now = self.answers.host.queue.unwrap_or_default();
        let now = queues.iter().position(|queue| *queue == now);
        let question = "Where should queued jobs be stored?";
        let queue = queues[self.ui.one(question, &items, now.unwrap_or(0))?];
        self.ui.answered(question, queue.name());
        if self.answers.host.queue != Some(queue) {
            self.answers.host.queue = Some(queue);
            self.answers.host.store = StoreOptions::default();
            self.answers.password = None;
        }
        self.ask_store(queue)
    }

    /// Asks what was not given about the store.
    fn ask_store(&mut self, queue: Queue) -> Result<()> {
        let given = (self.layers)(&self.answers.sites)?.host;
        let given = effective::names(&given);
        let is_given = |option: &str| given.iter().any(|name| name == option);
        for question in queue.questions() {
            let option = question.option;
            if is_given(option) {
                continue;
            }
            let check = |text: &str| effective::parsed::<HostOptions>(option, text).map(drop);
            let text = self
                .ui
                .text(question.text, Some(question.default), &check)?;
            let answer = effective::parsed::<HostOptions>(option, &text);
            let answer = answer.map_err(anyhow::Error::msg)?;
            self.answers.host = answer.over(self.answers.host.clone());
        }
        let Some(source) = queue.password() else {
            return Ok(());
        };
        if !is_given(source.file_option) && std::env::var_os(source.variable).is_none() {
            self.ui.wrapped(
                "The password is not echoed. Press Enter to keep the current one or generate one.",
            );
            let check = |text: &str| match text {
                "" => Ok(()),
                text => Password::new(text).map(drop).map_err(|problem| problem.why),
            };
            let text = self.ui.secret("Password", &check)?;
            self.answers.password = match text.as_str() {
                "" => None,
                text => Some(Password::new(text)?),
            };
        }
        self.ui.line("");
        Ok(())
    }
}

pub fn row(resolved: &Resolved) -> String {
    let queue = resolved.host.queue;
    let label = resolved.host.store.as_ref().and_then(|it| it.label());
    let about = label.unwrap_or_else(|| queue.summary().into());
    format!("Queue     {}: {about}", queue.name())
}
