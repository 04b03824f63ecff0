//! The interactive side of setup: the wizard, consent to the plan, and at the
//! end the command line that would have done the same.

use std::time::Instant;

use anyhow::Result;

use crate::cli::common::{confirm, need_root, spec_of};
use crate::cli::options::SetupArgs;
use crate::cli::wizard::{self, Asked};
use crate::host::Host;
use crate::intent::effective;
use crate::intent::exported;
use crate::intent::load::layers;
use crate::intent::options::{SiteOptions, Spec};
use crate::plan::Plan;
use crate::plan::history;
use crate::plan::outcome::Outcome;
use crate::report::Ui;
use crate::report::ask::Answer;
use crate::report::interrupt::{Cancelled, Interrupts};
use crate::report::progress::seconds;

pub struct Talk<'a> {
    args: &'a SetupArgs,
    ui: Ui,
    /// `None` if the run is not interactive.
    interrupts: Option<Interrupts>,
    asked: Option<Asked>,
    start: Instant,
}

impl<'a> Talk<'a> {
    /// Runs the wizard if the run is interactive.
    pub fn begin(host: &Host, args: &'a SetupArgs, ui: Ui) -> Result<Self> {
        let mut talk = Talk {
            args,
            ui,
            interrupts: None,
            asked: None,
            start: Instant::now(),
        };
        // If the password comes from standard input, answers cannot.
        let piped = args.host.store.reads_stdin();
        if ui.asks && !args.yes && !ui.quiet && !piped {
            need_root(host)?;
            talk.interrupts = Some(Interrupts::take(ui)?);
            let config = args.common.config.as_deref();
            let file = exported::read_over(host, config, args.from.as_deref())?;
            let past = history::past(host)?;
            let one_site = args.site != SiteOptions::default();
            let given = |sites: &[_]| {
                let sites = [&args.common.sites, sites].concat();
                let mut spec = layers(&file, &sites, &args.host, &args.site, past.clone())?;
                spec.config = args.common.config.clone();
                Ok(spec)
            };
            if !given(&[])?.sites.is_empty() {
                // Reject invalid options before the first question.
                spec_of(host, args)?;
            }
            talk.asked = Some(wizard::ask(host, ui, &given, one_site)?);
        }
        Ok(talk)
    }

    pub fn interrupts(&self) -> Option<Interrupts> {
        self.interrupts.clone()
    }

    pub fn ui(&self) -> Ui {
        self.ui
    }

    /// Whether Ctrl-C was pressed.
    pub fn interrupted(&self) -> bool {
        self.interrupts
            .as_ref()
            .is_some_and(Interrupts::interrupted)
    }

    pub fn spec(&self, host: &Host) -> Result<Spec> {
        match self.asked.as_ref().filter(|asked| asked.any) {
            Some(asked) => Ok(asked.spec.clone()),
            None => {
                let args = self.args;
                spec_of(host, args)
            }
        }
    }

    /// Shows the plan and asks for consent.
    pub fn agree(&mut self, plan: &Plan, notes: &[String]) -> Result<()> {
        let ui = self.ui;
        let (Some(interrupts), Some(asked)) = (&self.interrupts, &self.asked) else {
            ui.plan(plan);
            ui.notes(notes);
            return confirm(ui, self.args.yes, "set up this host", "wp-gears plan", true);
        };
        let mut folded = ui.folded_plan(plan);
        loop {
            ui.notes(notes);
            ui.summary(plan, &untouched(asked));
            match ui.consents(folded, true)? {
                Answer::Yes => break,
                Answer::No => return Err(Cancelled::Declined.into()),
                Answer::Details => {
                    ui.plan(plan);
                    folded = false;
                }
            }
        }
        interrupts.begin_changes();
        self.start = Instant::now();
        Ok(())
    }

    /// Prints the outcome of an interactive run.
    pub fn end(&self, outcome: &Outcome, plan: &Plan, verified: usize) {
        let (ui, Some(asked)) = (self.ui, &self.asked) else {
            return;
        };
        if outcome.stopped {
            ui.wrapped(&format!(
                "Stopped after {} of {} steps. Run the same command again to continue, or 'wp-gears remove' to undo.",
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
            ui.wrapped("Setup did not complete; see the errors above. Run it again to continue.");
            return;
        }
        let proof = match (verified, asked.spec.sites.len()) {
            (0, _) => "without a test job".to_owned(),
            (1, 1) => "verified with a test job".to_owned(),
            (some, all) => format!("verified with a test job on {some} of {all} sites"),
        };
        ui.line("");
        ui.wrapped(&format!(
            "Done in {}, {proof}.",
            seconds(self.start.elapsed())
        ));
        if asked.any {
            self.equivalent(asked);
        }
    }

    /// Prints the command line that does the same without questions.
    fn equivalent(&self, asked: &Asked) {
        let ui = self.ui;
        ui.line("");
        ui.line("To do the same without prompts:");
        ui.line("");
        for mut words in effective::command_lines(&asked.spec) {
            words.extend(self.run_options());
            ui.command("wp-gears setup", &words);
        }
        ui.line("");
        ui.wrapped(match asked.spec.config {
            None => "These options are saved in /etc/wp-gears.toml. To repeat this on another host, copy that file and run 'wp-gears setup --yes'.",
            Some(_) => "The options were not saved, because --config names another file.",
        });
        if asked.spec.password.is_some() {
            ui.line("");
            let queue = asked.spec.host.queue.unwrap_or_default();
            let option = queue.password().map_or("", |it| it.file_option);
            ui.wrapped(&format!(
                "The password is not saved; pass it with --{option} FILE."
            ));
        }
    }

    /// Options that control this run and are not saved.
    fn run_options(&self) -> Vec<String> {
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

/// What setup does not touch, to reassure the user.
fn untouched(asked: &Asked) -> Vec<String> {
    let mut untouched = vec!["all other WordPress files and the database".to_owned()];
    match &asked.others[..] {
        [] => {}
        [one] => untouched.push(one.display().to_string()),
        many => untouched.push(format!("{} other sites", many.len())),
    }
    untouched
}
