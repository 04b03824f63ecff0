//! Prompts for options that would otherwise get a default: sites, number of
//! workers, queue, and on request all others. The answers fill in options that
//! were not given; the rest of setup is the same as without the wizard.

mod more;
mod queue;
mod sites;
mod workers;

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::gearman::password::Password;
use crate::host::Host;
use crate::intent::options::{HostOptions, Role, SiteOptions, Spec};
use crate::intent::resolve::{self, Resolved};
use crate::report::Ui;
use sites::Found;

/// Returns the given options for these sites; if empty, for the named ones.
pub type Layers<'a> = dyn Fn(&[PathBuf]) -> Result<Spec> + Sync + 'a;

/// The result of the wizard.
pub struct Asked {
    pub spec: Spec,
    /// Sites that were found but not chosen.
    pub others: Vec<PathBuf>,
    /// Whether anything was asked.
    pub any: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    Sites,
    Workers,
    Queue,
}

/// The user's answers.
#[derive(Debug, Clone, Default)]
struct Answers {
    sites: Vec<PathBuf>,
    host: HostOptions,
    site: SiteOptions,
    password: Option<Password>,
}

struct Wizard<'a> {
    host: &'a Host,
    ui: Ui,
    layers: &'a Layers<'a>,
    /// Options for a single site were given, so only one can be chosen.
    one_site: bool,
    found: Vec<Found>,
    questions: Vec<Question>,
    answers: Answers,
}

/// Asks all open questions.
pub fn ask(host: &Host, ui: Ui, layers: &Layers, one_site: bool) -> Result<Asked> {
    let given = layers(&[])?;
    // Reject options that are invalid for any site before the first question.
    let without_sites = Spec {
        sites: Vec::new(),
        ..given.clone()
    };
    resolve::resolve(host, &without_sites)?;
    let mut wizard = Wizard {
        host,
        ui,
        layers,
        one_site,
        found: Vec::new(),
        questions: Vec::new(),
        answers: Answers::default(),
    };
    let named: Vec<PathBuf> = given.sites.into_iter().map(|site| site.dir).collect();
    let platform = host.platform()?.name.clone();
    if named.is_empty() {
        wizard.questions.push(Question::Sites);
        wizard.welcome(&platform);
        wizard.find_sites()?;
        wizard.ask_sites()?;
    }
    let resolved = wizard.resolved()?;
    if resolved.sites.is_empty() {
        return wizard.result(); // Setup reports the reason.
    }
    let open = wizard.open(&resolved)?;
    wizard.questions.extend(&open);
    if wizard.questions.is_empty() {
        return wizard.result();
    }
    if !named.is_empty() {
        wizard.welcome(&platform);
        wizard.found = wizard.inspect(named)?;
        wizard.show_named();
    }
    for question in open {
        wizard.ask(question)?;
    }
    wizard.review()?;
    wizard.result()
}

impl Wizard<'_> {
    fn welcome(&self, platform: &str) {
        let text = format!("Background jobs for WordPress on {platform}.");
        self.ui.wrapped(&text);
        self.ui
            .wrapped("Press Enter to accept a suggestion, Ctrl-C to quit without changes.");
        self.ui.line("");
    }

    /// The given options combined with the answers so far.
    fn spec(&self) -> Result<Spec> {
        let mut spec = (self.layers)(&self.answers.sites)?;
        spec.host = spec.host.over(self.answers.host.clone());
        spec.password = self.answers.password.clone();
        let several = spec.sites.len() > 1;
        for site in &mut spec.sites {
            let mut answers = self.answers.site.clone();
            // One number for several sites applies to those without workers.
            if several && self.has_workers(&site.dir) {
                answers.workers = None;
            }
            site.options = std::mem::take(&mut site.options).over(answers);
        }
        Ok(spec)
    }

    fn resolved(&self) -> Result<Resolved> {
        resolve::resolve(self.host, &self.spec()?)
    }

    fn has_workers(&self, dir: &Path) -> bool {
        let mut found = self.found.iter();
        found.any(|site| site.dir == dir && site.has_workers)
    }

    fn result(self) -> Result<Asked> {
        let spec = self.spec()?;
        let chosen = |dir: &PathBuf| spec.sites.iter().any(|site| site.dir == *dir);
        let found = self.found.into_iter().map(|site| site.dir);
        Ok(Asked {
            others: found.filter(|dir| !chosen(dir)).collect(),
            spec,
            any: !self.questions.is_empty(),
        })
    }

    /// The questions that neither the options nor the host answer.
    fn open(&self, resolved: &Resolved) -> Result<Vec<Question>> {
        let spec = self.spec()?;
        let is_open = |dir: &Path| {
            let site = spec.sites.iter().find(|site| site.dir == dir);
            site.is_some_and(|site| site.options.workers.is_none())
        };
        let roles = &resolved.host.roles;
        let mut open = Vec::new();
        let mut sites = resolved.sites.iter();
        if roles.contains(&Role::Worker)
            && sites.any(|site| site.existing.is_none() && is_open(&site.dir))
        {
            open.push(Question::Workers);
        }
        let queue = spec.host.queue.or(resolved.host.adopted.queue);
        if roles.contains(&Role::Server) && queue.is_none() {
            open.push(Question::Queue);
        }
        Ok(open)
    }

    fn ask(&mut self, question: Question) -> Result<()> {
        match question {
            Question::Sites => self.ask_sites(),
            Question::Workers => self.ask_workers(),
            Question::Queue => self.ask_queue(),
        }
    }

    /// Shows the answers and lets the user change them.
    fn review(&mut self) -> Result<()> {
        let questions = self.questions.clone();
        loop {
            let resolved = self.resolved()?;
            self.ui.notes(&resolved.notes);
            self.ui.notes(&self.notes(&resolved));
            let mut items = vec!["Continue  review the changes".to_owned()];
            items.extend(questions.iter().map(|it| self.row(*it, &resolved)));
            items.push(format!("More      {}", self.more_row()));
            items.push("Quit      change nothing".into());
            let at = self.ui.one("Is this right?", &items, 0)?;
            match at {
                0 => return Ok(()),
                _ if at <= questions.len() => self.ask(questions[at - 1])?,
                _ if at == questions.len() + 1 => self.ask_more()?,
                _ => return Err(crate::report::interrupt::Cancelled::Declined.into()),
            }
        }
    }

    /// The notes on chosen sites that still apply.
    fn notes(&self, resolved: &Resolved) -> Vec<String> {
        let applies = |site: &&Found| {
            let chosen = resolved.sites.iter().find(|it| it.dir == site.dir);
            chosen.is_some_and(|it| !it.plugin.bundled)
        };
        let found = self.found.iter().filter(applies);
        found.filter_map(|site| site.note.clone()).collect()
    }

    fn row(&self, question: Question, resolved: &Resolved) -> String {
        match question {
            Question::Sites => {
                let dirs: Vec<String> = resolved
                    .sites
                    .iter()
                    .map(|site| site.dir.display().to_string())
                    .collect();
                match dirs.len() {
                    1 => format!("Site      {}", dirs.concat()),
                    count => format!("Sites     {count}: {}", dirs.join(" ")),
                }
            }
            Question::Workers => workers::row(resolved),
            Question::Queue => queue::row(resolved),
        }
    }
}
