//! Where jobs wait: each queue with what it means, and of MySQL where it is.

use anyhow::Result;

use crate::cli::wizard::Wizard;
use crate::gearman::password::Password;
use crate::intent::effective;
use crate::intent::options::{HostOptions, Queue};
use crate::intent::queue::PASSWORD_VARIABLE;
use crate::intent::resolve::Resolved;
use crate::queue::mysql::PROMPTS;

/// Each with its name and what it means.
const QUEUES: [(Queue, &str, &str); 3] = [
    (Queue::Sqlite, "sqlite", "a file; survives restarts"),
    (Queue::Memory, "memory", "fastest; lost at a restart"),
    (Queue::Mysql, "mysql", "a table in a MySQL server"),
];

impl Wizard<'_> {
    pub fn ask_queue(&mut self) -> Result<()> {
        let items = QUEUES.map(|(_, name, means)| format!("{name:<6}  {means}"));
        let now = self.answers.host.queue.unwrap_or(Queue::Sqlite);
        let now = QUEUES.iter().position(|(queue, ..)| *queue == now);
        let question = "Where do jobs wait for a worker?";
        let at = self.ui.one(question, &items, now.unwrap_or(0))?;
        let (queue, name, _) = QUEUES[at];
        self.ui.answered(question, name);
        self.answers.host.queue = Some(queue);
        if queue == Queue::Mysql {
            return self.ask_mysql();
        }
        let mut host = std::mem::take(&mut self.answers.host);
        host.mysql_host = None;
        host.mysql_user = None;
        host.mysql_database = None;
        self.answers.host = host;
        self.answers.password = None;
        Ok(())
    }

    fn ask_mysql(&mut self) -> Result<()> {
        let given = (self.layers)(&self.answers.sites)?.host;
        let given = effective::names(&given);
        for (option, question, default) in PROMPTS {
            if given.iter().any(|name| name == option) {
                continue;
            }
            let check = |text: &str| effective::parsed::<HostOptions>(option, text).map(drop);
            let text = self.ui.text(question, Some(default), &check)?;
            let answer = effective::parsed::<HostOptions>(option, &text);
            let answer = answer.map_err(anyhow::Error::msg)?;
            self.answers.host = answer.over(self.answers.host.clone());
        }
        let is_given = given.iter().any(|name| name == "mysql-password-file")
            || std::env::var_os(PASSWORD_VARIABLE).is_some();
        if !is_given {
            self.ui
                .wrapped("Its password is not shown. Enter: the one there is, else a random one.");
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
    let chosen = QUEUES
        .iter()
        .find(|(queue, ..)| *queue == resolved.host.queue);
    let (name, means) = chosen.map_or(("", ""), |(_, name, means)| (*name, *means));
    match &resolved.host.mysql {
        Some(mysql) => format!("Queue    {name}: {} at {}", mysql.database, mysql.host),
        None => format!("Queue    {name}: {means}"),
    }
}
