//! `wp-gears remove`: undoes setup.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::base::parallel;
use crate::base::problem::Problem;
use crate::cli::common::{DONE, FAILED, begin, confirm, host_of};
use crate::cli::options::RemoveArgs;
use crate::host::Host;
use crate::intent::adopt::by_site;
use crate::intent::file;
use crate::intent::file::absolute;
use crate::intent::options::Role;
use crate::intent::record::Recorded;
use crate::plan::apply::{LANES, Work, apply};
use crate::plan::journal::{self, Scope};
use crate::plan::make::make;
use crate::plan::outcome::Outcome;
use crate::plan::remove::{self, Removal, Wish};
use crate::plan::{Item, Plan, Refused, marked};
use crate::report::Ui;
use crate::report::json::Report;
use crate::report::progress::Progress;
use crate::resource::Inverse;
use crate::resource::intent::IntentFile;
use crate::supervisor::programs;

pub fn run(args: &RemoveArgs) -> Result<u8> {
    let ui = Ui::new(args.common.json, args.common.quiet, args.common.verbose);
    run_on(&host_of(&args.common, ui)?, args, ui)
}

/// Like `run`, on the caller's host.
pub fn run_on(host: &Host, args: &RemoveArgs, ui: Ui) -> Result<u8> {
    // A dry run changes nothing, not even what an interrupted run left half written.
    let _lock = match args.dry_run {
        true => None,
        false => Some(begin(host, ui)?),
    };
    let mut dirs = Vec::new();
    for dir in &args.common.sites {
        dirs.push(absolute(dir)?);
    }
    if dirs.is_empty() && args.common.config.is_some() {
        for site in file::read(host, args.common.config.as_deref())?.sites {
            dirs.push(site.0);
        }
    }
    let mut chosen = choose(
        host,
        &dirs,
        Wish {
            purge: args.purge,
            waiting: args.waiting,
        },
    )?;
    let left = chosen.removal.left.clone();
    let mut plan = make(host, std::mem::take(&mut chosen.removal.items))?;
    if !plan.refused.is_empty() {
        chosen.keep_host(&mut plan);
    }
    ui.plan(&plan);
    let mut outcome = Outcome::default();
    if args.dry_run {
        if !plan.changes() {
            ui.line("Nothing would change.");
        }
        return Ok(report(host, ui, &plan, &outcome, left));
    }
    if plan.changes() || chosen.has_open_journals() {
        confirm(
            ui,
            args.yes,
            "remove wp-gears",
            "wp-gears remove --dry-run",
            false,
        )?;
        for folder in &chosen.removal.interrupted {
            host.tidy(folder)?;
        }
        // Sites come first: what they share is removed only after all succeeded.
        let progress = Progress::new(ui);
        let of_host = plan.split_off_host();
        outcome = apply(host, &plan, Work::Removal, &progress);
        let of_host = match outcome.failed.is_empty() {
            true => of_host,
            false => {
                chosen.keep_host(&mut plan);
                // Sites that succeeded are taken out of the intent file anyway.
                let done = chosen.intent(&outcome.failed);
                make(host, done.into_iter().collect())?
            }
        };
        let rest = apply(host, &of_host, Work::Removal, &progress);
        outcome.done.extend(rest.done);
        outcome.failed.extend(rest.failed);
        plan.steps.extend(of_host.steps);
    } else {
        ui.line("Nothing to remove.");
    }
    let refused: Vec<&Refused> = plan.refused.iter().chain(&outcome.failed).collect();
    // A journal is closed only when everything in it was undone, the host's last.
    chosen
        .scopes
        .retain(|scope| !refused.iter().any(|one| one.is_of(scope)));
    let is_host = |scope: &&Scope| **scope == Scope::Host;
    let (of_host, of_sites): (Vec<&Scope>, Vec<&Scope>) = chosen.scopes.iter().partition(is_host);
    let close = |scope: &&Scope| match chosen.removal.kept.get(*scope) {
        Some(kept) => journal::reduce(host, scope, kept),
        None => journal::close(host, scope),
    };
    for closed in parallel::map(&of_sites, LANES, close) {
        closed?;
    }
    of_host.iter().try_for_each(close)?;
    if refused.is_empty() && journal::scopes(host)?.is_empty() {
        remove::forget(host, args.purge)?;
    } else if refused.is_empty() {
        journal::prune_originals(host)?;
    }
    Ok(report(host, ui, &plan, &outcome, left))
}

/// Prints what stays and what failed, or the JSON document. Returns the exit code.
fn report(host: &Host, ui: Ui, plan: &Plan, outcome: &Outcome, mut left: Vec<String>) -> u8 {
    let refused: Vec<&Refused> = plan.refused.iter().chain(&outcome.failed).collect();
    left.sort();
    left.dedup();
    for line in &left {
        ui.line(&format!("note: {line}"));
    }
    for one in &refused {
        ui.refused(std::slice::from_ref(*one));
    }
    let code = if refused.is_empty() { DONE } else { FAILED };
    if ui.json {
        ui.document(
            &Report {
                platform: host.platform().ok(),
                plan: Some(plan),
                done: &outcome.done,
                refused,
                left: &left,
                ..Report::default()
            }
            .document(),
        );
    }
    code
}

struct Chosen {
    removal: Removal,
    /// The sites to remove, with their folders.
    sites: Vec<(Scope, PathBuf)>,
    /// The host options to restore in the intent file when no site remains.
    recorded: Option<Recorded>,
    /// Journals to close after this run.
    scopes: Vec<Scope>,
    /// The intent file cannot be edited, so it is kept.
    unreadable: bool,
}

impl Chosen {
    /// Whether a journal says more than what is kept anyway.
    fn has_open_journals(&self) -> bool {
        let is_kept = |scope: &Scope| self.removal.kept.contains_key(scope);
        !self.scopes.iter().all(is_kept)
    }

    /// Keeps what the sites share, because one of them remains.
    fn keep_host(&mut self, plan: &mut Plan) {
        plan.split_off_host();
        self.scopes.retain(|scope| matches!(scope, Scope::Site(_)));
        self.recorded = None;
    }

    /// The intent file without the removed sites.
    fn intent(&self, failed: &[Refused]) -> Option<Item> {
        let removed = |scope: &Scope| !failed.iter().any(|one| one.is_of(scope));
        let sites = self.sites.iter().filter(|(scope, _)| removed(scope));
        let dirs: Vec<PathBuf> = sites.map(|(_, dir)| dir.clone()).collect();
        let changes = !dirs.is_empty() || self.recorded.is_some();
        (changes && !self.unreadable).then(|| Item {
            scope: Scope::Host,
            resource: Box::new(IntentFile::without(dirs, self.recorded.clone())),
        })
    }
}

/// The worker users of the sites that are not removed. Without any `dirs`, all are.
fn owners_of_others(host: &Host, dirs: &[PathBuf]) -> Result<BTreeSet<String>> {
    if dirs.is_empty() {
        return Ok(BTreeSet::new());
    }
    let programs = by_site(programs::all(host, host.supervisor()?)?);
    let others = programs.iter().filter(|(dir, _)| !dirs.contains(dir));
    let users = others.filter_map(|(_, program)| program.get("user"));
    Ok(users.map(str::to_owned).collect())
}

/// Selects the named sites (all if none is named), and with the last site also
/// what the sites share.
fn choose(host: &Host, dirs: &[PathBuf], wish: Wish) -> Result<Chosen> {
    let mut removal = Removal::default();
    let mut scopes = Vec::new();
    let mut sites = Vec::new();
    let mut recorded = None;
    let mut others = false;
    let mut open: Vec<&PathBuf> = dirs.iter().collect();
    let all = journal::scopes(host)?;
    for scope in all.iter().filter(|it| matches!(it, Scope::Site(_))) {
        let Some(history) = journal::read(host, scope)? else {
            continue;
        };
        let named = history.site.as_ref().is_some_and(|dir| dirs.contains(dir));
        open.retain(|dir| history.site.as_ref() != Some(*dir));
        if named || dirs.is_empty() {
            remove::of_history(host, scope, &history, wish, &mut removal)?;
            sites.extend(history.site.map(|dir| (scope.clone(), dir)));
            scopes.push(scope.clone());
        } else {
            others = true;
        }
    }
    let of_journals: Vec<&Path> = sites
        .iter()
        .map(|(_, dir): &(Scope, PathBuf)| dir.as_path())
        .collect();
    marked::switches(host, &of_journals, &mut removal)?;
    for dir in open {
        match marked::of_site(host, dir, wish, &mut removal)? {
            Some(scope) => {
                sites.push((scope.clone(), dir.clone()));
                scopes.push(scope);
            }
            // The file may still name a site that is gone or was never set up.
            None if file::read(host, None).is_ok_and(|file| file.has_site(dir)) => {
                sites.push((Scope::Host, dir.clone()));
            }
            // Removing twice is not an error: there is nothing left to do.
            None if host.is_dir(dir) => {
                let nothing = format!("{}: wp-gears is not set up here", dir.display());
                removal.left.push(nothing);
            }
            None => {
                let what = format!("remove wp-gears from {}", dir.display());
                return Err(Problem::new(
                    what,
                    "there is no such folder, and wp-gears knows no such site",
                )
                .help(
                    "pass the folder that was passed to setup, or omit --site to remove all sites",
                )
                .into());
            }
        }
    }
    let owners = owners_of_others(host, dirs)?;
    for scope in &all {
        if let Scope::Owner(owner) = scope
            && !owners.contains(owner)
            && let Some(history) = journal::read(host, scope)?
        {
            remove::of_history(host, scope, &history, wish, &mut removal)?;
            scopes.push(scope.clone());
        }
    }
    // A host that is only a job server is there for no site.
    let serves_others =
        file::read(host, None).is_ok_and(|file| file.host.role == Some(vec![Role::Server]));
    let is_last = !others && (dirs.is_empty() || !serves_others);
    if is_last && let Some(history) = journal::read(host, &Scope::Host)? {
        remove::of_history(host, &Scope::Host, &history, wish, &mut removal)?;
        scopes.push(Scope::Host);
        recorded = history
            .entries
            .iter()
            .find_map(|entry| match &entry.inverse {
                Inverse::Intent(recorded) => Some(recorded.clone()),
                _ => None,
            });
    }
    let mut chosen = Chosen {
        removal,
        sites,
        recorded,
        scopes,
        unreadable: false,
    };
    if let Some(item) = chosen.intent(&[]) {
        match item.resource.inspect(host) {
            Ok(_) => chosen.removal.items.push(item),
            // Keep it, but remove everything else.
            Err(error) => {
                chosen.unreadable = true;
                let why = match error.downcast_ref::<Problem>() {
                    Some(problem) => problem.why.clone(),
                    None => format!("{error:#}"),
                };
                let left = format!("kept {}, which cannot be edited ({why})", file::DEFAULT);
                chosen.removal.left.push(left);
            }
        }
    }
    Ok(chosen)
}
