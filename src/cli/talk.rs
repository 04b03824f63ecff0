//! Setup with a person at the terminal: the questions, the plan, and at the
//! end what would have given the same without them.

use std::time::Instant;

use anyhow::Result;

use crate::cli::common::{confirm, need_root, spec_of};
use crate::cli::options::SetupArgs;
use crate::cli::wizard::{self, Asked};
use crate::host::Host;
use crate::intent::effective;
use crate::intent::file;
use crate::intent::load::layers;
use crate::intent::options::{SiteOptions, Spec};
use crate::plan::Plan;
use crate::plan::apply::Outcome;
use crate::plan::history;
use crate::report::Ui;
use crate::report::ask::Answer;
use crate::report::interrupt::{Cancelled, Interrupts};
use crate::report::progress::seconds;

pub struct Talk<'a> {
    args: &'a SetupArgs,
    ui: Ui,
    /// Somebody is there.
    interrupts: Option<Interrupts>,
    asked: Option<Asked>,
    begun: Instant,
}

impl<'a> Talk<'a> {
    /// Asks what is to be asked; nothing where nobody answers.
    pub fn begin(host: &Host, args: &'a SetupArgs, ui: Ui) -> Result<Self> {
        let mut talk = Talk {
            args,
            ui,
            interrupts: None,
            asked: None,
            begun: Instant::now(),
        };
        // A password by standard input leaves nothing to answer by.
        let piped = args.host.store.reads_stdin();
        if ui.asks && !args.yes && !ui.quiet && !piped {
            need_root(host)?;
            talk.interrupts = Some(Interrupts::take(ui)?);
            let file = file::read(host, args.common.config.as_deref())?;
            let past = history::past(host)?;
            let one_site = args.site != SiteOptions::default();
            let said = |sites: &[_]| {
                let sites = [&args.common.sites, sites].concat();
                let mut spec = layers(&file, &sites, &args.host, &args.site, past.clone())?;
                spec.config = args.common.config.clone();
                Ok(spec)
            };
            if !said(&[])?.sites.is_empty() {
                // What is wrong with what was given is said before any question.
                spec_of(host, &args.common, &args.host, &args.site)?;
            }
            talk.asked = Some(wizard::ask(host, ui, &said, one_site)?);
        }
        Ok(talk)
    }

    pub fn interrupts(&self) -> Option<Interrupts> {
        self.interrupts.clone()
    }

    /// Whether the person wants an end.
    pub fn stops(&self) -> bool {
        self.interrupts.as_ref().is_some_and(Interrupts::stops)
    }

    pub fn spec(&self, host: &Host) -> Result<Spec> {
        match self.asked.as_ref().filter(|asked| asked.any) {
            Some(asked) => Ok(asked.spec.clone()),
            None => {
                let args = self.args;
                spec_of(host, &args.common, &args.host, &args.site)
            }
        }
    }

    /// Shows the plan; goes on only where that is wanted.
    pub fn agree(&mut self, plan: &Plan, notes: &[String]) -> Result<()> {
        let ui = self.ui;
        let (Some(interrupts), Some(asked)) = (&self.interrupts, &self.asked) else {
            ui.plan(plan);
            ui.notes(notes);
            return confirm(ui, self.args.yes, "set up this host", "Make it so?", true);
        };
        let mut folded = ui.folded_plan(plan);
        loop {
            ui.notes(notes);
            ui.in_short(plan, &stays(asked));
            match ui.agrees("Do it?", folded, true)? {
                Answer::Yes => break,
                Answer::No => return Err(Cancelled::Answered.into()),
                Answer::All => {
                    ui.plan(plan);
                    folded = false;
                }
            }
        }
        interrupts.works();
        self.begun = Instant::now();
        Ok(())
    }

    /// What a person wants to know at the end.
    pub fn end(&self, outcome: &Outcome, plan: &Plan, proved: usize) {
        let (ui, Some(asked)) = (self.ui, &self.asked) else {
            return;
        };
        if outcome.stopped {
            ui.wrapped(&format!(
                "Stopped: {} of {} steps are done. The same again goes on there; 'wp-gears remove' takes them back.",
                outcome.done.len(),
                plan.differing().count()
            ));
            return;
        }
        if outcome.done.is_empty() {
            return;
        }
        if !outcome.failed.is_empty() || !plan.refused.is_empty() {
            ui.line("");
            ui.wrapped("Not all is well: see above. The same again goes on where it ended.");
            return;
        }
        let proof = match (proved, asked.spec.sites.len()) {
            (0, _) => "no job was sent to prove it".to_owned(),
            (1, 1) => "proved by a job through WordPress".to_owned(),
            (some, all) => format!("proved by a job through WordPress of {some} of {all} sites"),
        };
        ui.line("");
        ui.wrapped(&format!(
            "Done in {}, {proof}.",
            seconds(self.begun.elapsed())
        ));
        if asked.any {
            self.same_again(asked);
        }
    }

    fn same_again(&self, asked: &Asked) {
        let ui = self.ui;
        ui.line("");
        ui.line("To do the same without questions:");
        ui.line("");
        for mut words in effective::command_lines(&asked.spec) {
            words.extend(self.how_to_act());
            ui.command("wp-gears setup", &words);
        }
        ui.line("");
        ui.wrapped(match asked.spec.config {
            None => "It is recorded in /etc/wp-gears.toml: on another host with that file, 'wp-gears setup --yes' does the same.",
            Some(_) => "Nothing was recorded, as --config names another file.",
        });
        if asked.spec.password.is_some() {
            ui.line("");
            let queue = asked.spec.host.queue.unwrap_or_default();
            let option = queue.password().map_or("", |it| it.file_option);
            ui.wrapped(&format!(
                "The password is not recorded; pass it with --{option} FILE."
            ));
        }
    }

    /// The options that are no part of what is wanted.
    fn how_to_act(&self) -> Vec<String> {
        let args = self.args;
        let root = args.common.root.as_ref();
        let mut words: Vec<String> = root
            .map(|root| format!("--root {}", effective::quoted(&root.to_string_lossy())))
            .into_iter()
            .collect();
        words.extend(
            args.waiting
                .drain
                .map(|seconds| format!("--drain {seconds}")),
        );
        let flags = [
            (args.no_start, "--no-start"),
            (args.prove, "--prove"),
            (args.no_prove, "--no-prove"),
            (args.waiting.lose_queued_jobs, "--lose-queued-jobs"),
            (true, "--yes"),
        ];
        words.extend(
            flags
                .iter()
                .filter(|(set, _)| *set)
                .map(|(_, flag)| (*flag).into()),
        );
        words
    }
}

/// What a person may fear for, and nothing touches.
fn stays(asked: &Asked) -> Vec<String> {
    let mut stays = vec!["WordPress's other files and its database".to_owned()];
    match &asked.others[..] {
        [] => {}
        [one] => stays.push(one.display().to_string()),
        many => stays.push(format!("{} other sites", many.len())),
    }
    stays
}
