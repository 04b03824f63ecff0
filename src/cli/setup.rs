//! `wp-gears setup`: applies the plan and verifies it with a test job.

use anyhow::Result;
use serde_json::{Value, json};

use crate::cli::common::{DONE, FAILED, begin, host_of, spec_of};
use crate::cli::export;
use crate::cli::options::SetupArgs;
use crate::cli::talk::Talk;
use crate::doctor::cause;
use crate::doctor::context::Context;
use crate::host::Host;
use crate::intent::options::{Role, Spec};
use crate::intent::resolve::{Resolved, SiteResolved};
use crate::intent::resolved::HostResolved;
use crate::intent::{effective, exported, resolve};
use crate::plan::apply::{Work, apply};
use crate::plan::journal::Scope;
use crate::plan::outcome::Outcome;
use crate::plan::prepare::{Prepared, folders, prepare};
use crate::plan::proof::Part;
use crate::plan::{Plan, Refused, proof, trial};
use crate::report::Ui;
use crate::report::interrupt::INTERRUPTED;
use crate::report::json::Report;
use crate::report::progress::Progress;
use crate::site::maintenance;

pub fn run(args: &SetupArgs) -> Result<u8> {
    let ui = Ui::new(args.common.json, args.common.quiet, args.common.verbose).plainly(args.plain);
    let host = host_of(&args.common, ui)?;
    match &args.export {
        Some(folder) => export::run(&host, args, folder, ui),
        None if args.print_config => print_config(&host, args, ui),
        None => run_on(&host, args, ui),
    }
}

/// Prints the effective options as a config file, or a sample with all options
/// if there is no site. Changes nothing.
fn print_config(host: &Host, args: &SetupArgs, ui: Ui) -> Result<u8> {
    if args.common.sites.is_empty()
        && exported::read_over(host, args.common.config.as_deref(), args.from.as_deref())?
            .sites
            .is_empty()
    {
        ui.line(effective::sample().trim_end());
        return Ok(DONE);
    }
    let spec = spec_of(host, args)?;
    let mut resolved = resolve::resolve(host, &spec)?;
    let refused: Vec<Refused> = resolved
        .refused
        .drain(..)
        .map(|(dir, error)| Refused::unnamed(dir, error))
        .collect();
    ui.refused(&refused);
    ui.line(effective::toml(&spec, &resolved).trim_end());
    Ok(if refused.is_empty() { DONE } else { FAILED })
}

/// Like `run`, on the caller's host.
pub fn run_on(host: &Host, args: &SetupArgs, ui: Ui) -> Result<u8> {
    let mut talk = Talk::begin(host, args, ui)?;
    let _lock = begin(host, ui)?;
    let spec = talk.spec(host)?;
    let Prepared { resolved, plan } = prepare(host, &spec, args.run())?;
    let mut outcome = Outcome::default();
    if plan.changes() {
        talk.agree(&plan, &resolved.notes)?;
        let sites = folders(&resolved);
        let progress = Progress::new(ui).until(talk.interrupts());
        outcome = apply(host, &plan, Work::Setup(&sites), &progress);
    } else {
        ui.notes(&resolved.notes);
        if plan.refused.is_empty() {
            ui.line("Nothing to change.");
        }
    }
    let proofs = match host.live() && !args.no_start {
        true => verify(host, args, &talk, (&spec, &resolved), &plan, &mut outcome),
        false => Vec::new(),
    };
    let refused: Vec<&Refused> = plan.refused.iter().chain(&outcome.failed).collect();
    for one in &refused {
        ui.refused(std::slice::from_ref(*one));
    }
    talk.end(&outcome, &plan, proofs.len());
    if ui.json {
        ui.document(
            &Report {
                platform: host.platform().ok(),
                plan: Some(&plan),
                done: &outcome.done,
                refused: refused.clone(),
                proofs,
                ..Report::default()
            }
            .document(),
        );
    }
    Ok(match (outcome.stopped, refused.is_empty()) {
        (true, _) => INTERRUPTED,
        (false, true) => DONE,
        (false, false) => FAILED,
    })
}

/// Proves that jobs run, site by site, if anything changed. The switch of a site whose
/// run failed is taken back, unless it was proved before.
fn verify(
    host: &Host,
    args: &SetupArgs,
    talk: &Talk,
    (spec, resolved): (&Spec, &Resolved),
    plan: &Plan,
    outcome: &mut Outcome,
) -> Vec<Value> {
    let changed = args.prove || !outcome.done.is_empty();
    let mut proofs = Vec::new();
    let Some(part) = Part::of(&resolved.host.roles) else {
        let wanted = changed && outcome.failed.is_empty() && !args.no_prove;
        if wanted && !outcome.stopped {
            match prove_server(talk.ui(), &resolved.host) {
                Ok(proof) => proofs.push(proof),
                Err(error) => outcome.failed.push(Refused::new(&Scope::Host, error)),
            }
        }
        return proofs;
    };
    for site in &resolved.sites {
        let scope = Scope::Site(site.name.clone());
        if plan.refused.iter().any(|refused| refused.is_of(&scope)) {
            continue;
        }
        let failed = |outcome: &Outcome| {
            let of_it = |failed: &Refused| failed.is_of(&Scope::Host) || failed.is_of(&scope);
            outcome.failed.iter().any(of_it)
        };
        let goes_on = !outcome.stopped && !talk.interrupted() && changed;
        let wanted = goes_on && !failed(outcome) && !args.no_prove;
        if let Some(why) = wanted.then(|| why_jobs_wait(host, site)).flatten() {
            let text = format!("- jobs are not verified [{}]: {why}", site.name);
            talk.ui().hanging(&text);
        } else if wanted {
            let proved = prove(host, talk.ui(), (&resolved.host, part), site)
                .map(|proof| proofs.push(proof))
                .map_err(|error| explained(host, spec, &site.name, error))
                .and_then(|()| trial::passed(host, site));
            if let Err(error) = proved {
                outcome.failed.push(Refused::new(&scope, error));
            }
        }
        if failed(outcome) {
            take_back(host, resolved, site, outcome);
        }
    }
    proofs
}

/// Why no job of the site would run now, although all is well.
fn why_jobs_wait(host: &Host, site: &SiteResolved) -> Option<&'static str> {
    if proof::is_paused(host, site) {
        Some("its workers are paused; run 'wp-gears resume', then 'wp-gears setup'")
    } else {
        maintenance::is_on(host, &site.dir).then_some(maintenance::SENTENCE)
    }
}

/// Runs the test jobs of a site, and returns what they were for the JSON document.
fn prove(
    host: &Host,
    ui: Ui,
    (resolved, part): (&HostResolved, Part),
    site: &SiteResolved,
) -> Result<Value> {
    let progress = Progress::new(ui);
    progress.start(&format!("Running a test job [{}]", site.name));
    // Pages first: they are what the site's visitors use.
    let web = part
        .has_pages()
        .then(|| proof::through_the_web(host, resolved, site));
    let proved = web.transpose().and_then(|web| {
        let proof = part.has_workers().then(|| proof::run(host, resolved, site));
        Ok((proof.transpose()?, web))
    });
    progress.stop();
    let (proof, web) = proved?;
    if let Some(web) = &web {
        ui.hanging(&proof::web_sentence(site, web));
    }
    if let Some(proof) = &proof {
        ui.hanging(&proof::sentence(site, proof));
    }
    Ok(proof::document(&site.name, proof.as_ref(), web.as_ref()))
}

/// Sends a job through the job server of a host without sites.
fn prove_server(ui: Ui, resolved: &HostResolved) -> Result<Value> {
    let proof = proof::through_the_server(resolved)?;
    ui.hanging(&format!("✓ {}", proof.sentence()));
    Ok(json!({ "server": proof.server, "done_ms": proof.done_ms }))
}

/// Takes the site's switch back, and adds that to the error.
fn take_back(host: &Host, resolved: &Resolved, site: &SiteResolved, outcome: &mut Outcome) {
    let scope = Scope::Site(site.name.clone());
    let runs_workers = resolved.host.roles.contains(&Role::Worker);
    let text = match trial::take_back(host, site, resolved.host.supervisor, runs_workers) {
        Ok(None) => return,
        Ok(Some(taken)) => trial::sentence(&site.config, &taken),
        Err(error) => format!(
            "{} could not be restored ({error:#}); run setup again",
            site.config.display()
        ),
    };
    let failed = &mut outcome.failed;
    let at = failed.iter().position(|failed| failed.is_of(&scope));
    let at = at.or_else(|| failed.iter().position(|failed| failed.is_of(&Scope::Host)));
    if let Some(at) = at {
        failed[at].add_help(&text);
    }
}

/// The error of a test job, with the cause that doctor's checks know.
fn explained(host: &Host, spec: &Spec, site: &str, error: anyhow::Error) -> anyhow::Error {
    host.forget();
    match Context::new(host, spec.clone(), None) {
        Ok(context) => cause::explained(&context, site, error),
        Err(_) => error,
    }
}
