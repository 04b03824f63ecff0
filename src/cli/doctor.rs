//! `wp-gears doctor`: checks the host and fixes what setup can fix.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::base::paths::BASE;
use crate::base::problem::Problem;
use crate::cli::common::{DONE, FAILED, begin, confirm, host_of};
use crate::cli::options::Common;
use crate::doctor::checks::ALL;
use crate::doctor::context::Context;
use crate::doctor::{self, Check, Finding, Reported, Status};
use crate::host::Host;
use crate::intent::file::{self, FileOptions};
use crate::intent::load::{Given, combine};
use crate::intent::options::{HostOptions, SiteOptions, Spec};
use crate::intent::resolve::{Resolved, SiteResolved};
use crate::intent::usage::nearest;
use crate::plan::Run;
use crate::plan::apply::{Work, apply};
use crate::plan::history;
use crate::plan::prepare::{folders, prepare};
use crate::report::Ui;
use crate::report::progress::Progress;
use crate::site::plugins;
use crate::supervisor::programs;
use crate::worker::Paths;
use crate::worker::heartbeat::{self, Activity};

#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Exit codes: 0 no check failed; 1 a check failed; 2 bad usage

Examples:
  wp-gears doctor
  wp-gears doctor queue job --site /var/www/site
  wp-gears doctor --fix
  wp-gears doctor --json | jq '.checks[] | select(.status == \"failed\")'")]
pub struct DoctorArgs {
    /// Run only these checks [default: all]
    #[arg(value_name = "CHECK")]
    pub checks: Vec<String>,
    /// Config file [default: /etc/wp-gears.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// WordPress folder; repeat for several sites [default: all sites with workers here]
    #[arg(long = "site", value_name = "DIR")]
    pub sites: Vec<PathBuf>,
    /// Fix what setup can fix, then check again
    #[arg(long)]
    pub fix: bool,
    /// Apply changes without asking
    #[arg(short, long)]
    pub yes: bool,
    /// List the checks and what each one verifies
    #[arg(long, conflicts_with = "fix")]
    pub list: bool,
    /// Print one JSON document to standard output
    #[arg(long)]
    pub json: bool,
    /// Print only problems
    #[arg(short, long)]
    pub quiet: bool,
    /// Print every command that runs, and all causes of an error
    #[arg(short, long)]
    pub verbose: bool,
}

pub fn run(args: &DoctorArgs) -> Result<u8> {
    let ui = Ui::new(args.json, args.quiet, args.verbose);
    let wanted = choose(&args.checks)?;
    if args.list {
        ui.checks(&wanted);
        return Ok(DONE);
    }
    let common = Common {
        config: args.config.clone(),
        sites: args.sites.clone(),
        root: None,
        json: args.json,
        quiet: args.quiet,
        verbose: args.verbose,
    };
    let host = host_of(&common, ui)?;
    let mut reports = examine(&host, &asked(&host, &common)?, &wanted, ui);
    let mut fixed = Vec::new();
    if args.fix {
        if reports.iter().any(|report| report.fixable) {
            // Passed checks are listed only once, at the end.
            ui.problems(&reports);
            fixed = fix(&host, &common, args.yes, ui)?;
            reports = examine(&host, &asked(&host, &common)?, &wanted, ui);
        } else if reports.iter().any(|report| report.finding.is_problem()) {
            ui.line("None of these can be fixed automatically; follow the help above each.");
        }
    }
    ui.findings(&reports);
    let ok = !reports.iter().any(|it| it.finding.status == Status::Failed);
    if args.json {
        let checks: Vec<_> = reports.iter().map(Reported::document).collect();
        ui.document(&serde_json::json!({ "ok": ok, "checks": checks, "fixed": fixed }));
    }
    Ok(if ok { DONE } else { FAILED })
}

/// What fails of all checks, the test job included.
pub(super) fn failures(host: &Host, ui: Ui) -> Result<Vec<Reported>> {
    let all = choose(&[])?;
    let common = Common {
        config: None,
        sites: Vec::new(),
        root: None,
        json: false,
        quiet: true,
        verbose: false,
    };
    let mut reports = examine(host, &asked(host, &common)?, &all, ui);
    reports.retain(|report| report.finding.status == Status::Failed);
    Ok(reports)
}

fn choose(names: &[String]) -> Result<Vec<&'static Check>> {
    for name in names {
        if ALL.iter().any(|check| check.name == name) {
            continue;
        }
        let problem = Problem::usage(format!("run the check '{name}'"), "there is no such check");
        return Err(match nearest(name, ALL.iter().map(|check| check.name)) {
            Some(near) => problem.help(format!("did you mean '{near}'?")),
            None => problem.help("run 'wp-gears doctor --list' to list the checks"),
        }
        .into());
    }
    let chosen = |check: &&&Check| names.is_empty() || names.iter().any(|name| name == check.name);
    Ok(ALL.iter().filter(chosen).copied().collect())
}

/// The options recorded for this host.
struct Asked {
    spec: Spec,
    /// Why the host's intent file could not be read.
    unreadable: Option<anyhow::Error>,
}

/// Reads the intent. If none is recorded, or the host's file cannot be read, all
/// sites with workers here are included.
fn asked(host: &Host, common: &Common) -> Result<Asked> {
    let given = Given {
        config: common.config.as_deref(),
        from: None,
        sites: &common.sites,
        host: &HostOptions::default(),
        site: &SiteOptions::default(),
    };
    let (file, unreadable) = match file::read(host, given.config) {
        Ok(file) => (file, None),
        Err(error) if given.config.is_none() => (FileOptions::default(), Some(error)),
        Err(error) => return Err(error),
    };
    let past = match unreadable {
        Some(_) => history::done(host)?,
        None => history::past(host)?,
    };
    let mut spec = combine(host, &file, &given, past)?;
    if !spec.past.recorded && spec.sites.is_empty() {
        let sites = sites_here(host);
        let given = Given {
            sites: &sites,
            ..given
        };
        spec = combine(host, &file, &given, spec.past)?;
    }
    Ok(Asked { spec, unreadable })
}

fn sites_here(host: &Host) -> Vec<PathBuf> {
    let programs = host
        .supervisor()
        .and_then(|supervisor| programs::all(host, supervisor))
        .unwrap_or_default();
    let mut sites: Vec<PathBuf> = programs
        .iter()
        .filter_map(|program| {
            program
                .site()
                .or_else(|| program.runner_site(&plugins::runners()))
        })
        .collect();
    sites.sort();
    sites.dedup();
    sites
}

/// Runs the chosen checks once.
fn examine(host: &Host, asked: &Asked, wanted: &[&'static Check], ui: Ui) -> Vec<Reported> {
    let progress = Progress::new(ui);
    progress.start("Checking this host");
    host.forget();
    let reports = match Context::new(host, asked.spec.clone(), asked.unreadable.as_ref()) {
        Ok(context) => doctor::run(&context, wanted),
        // Without a platform or with invalid options, no check can run.
        Err(error) => wanted
            .iter()
            .map(|check| Reported {
                check: check.name,
                finding: match check.name == wanted[0].name {
                    true => Finding::of_error(&error),
                    false => Finding::skipped("the host could not be inspected (see above)"),
                },
                fixable: false,
                took: Duration::ZERO,
            })
            .collect(),
    };
    progress.stop();
    reports
}

/// Waits for workers that failed and retry after a pause, so that the next
/// check does not find them in that pause.
fn wait_for_workers(resolved: &Resolved, ui: Ui) {
    const LONGEST: Duration = Duration::from_secs(35);
    let is_broken = |site: &SiteResolved| {
        let paths = Paths::new(Path::new(BASE), &site.name);
        let seen = heartbeat::read(&paths.run).unwrap_or_default();
        seen.iter()
            .any(|worker| worker.activity == Activity::Broken)
    };
    let start = Instant::now();
    let progress = Progress::new(ui);
    progress.start("Waiting for workers to retry");
    while start.elapsed() < LONGEST && resolved.sites.iter().any(is_broken) {
        std::thread::sleep(Duration::from_millis(200));
    }
    progress.stop();
}

/// Shows and applies the plan that setup would make.
fn fix(host: &Host, common: &Common, yes: bool, ui: Ui) -> Result<Vec<serde_json::Value>> {
    let _lock = begin(host, ui)?;
    // Another run may have changed the intent before this one took the lock.
    let spec = asked(host, common)?.spec;
    let prepared = prepare(host, &spec, Run::of_doctor())?;
    ui.plan(&prepared.plan);
    ui.notes(&prepared.resolved.notes);
    confirm(ui, yes, "fix this host", "wp-gears plan", true)?;
    let sites = folders(&prepared.resolved);
    let outcome = apply(
        host,
        &prepared.plan,
        Work::Setup(&sites),
        &Progress::new(ui),
    );
    ui.refused(&prepared.plan.refused);
    ui.refused(&outcome.failed);
    wait_for_workers(&prepared.resolved, ui);
    Ok(outcome
        .done
        .iter()
        .map(|done| serde_json::json!({ "resource": done.id.to_string(), "verb": done.verb }))
        .collect())
}
