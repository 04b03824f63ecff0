//! `wp-gears setup`: applies the plan and verifies it with a test job.

use anyhow::Result;

use crate::cli::common::{DONE, FAILED, begin, host_of, spec_of};
use crate::cli::options::SetupArgs;
use crate::cli::talk::Talk;
use crate::host::Host;
use crate::intent::options::Role;
use crate::intent::{effective, file, resolve};
use crate::plan::Refused;
use crate::plan::apply::{Outcome, apply};
use crate::plan::journal::Scope;
use crate::plan::prepare::{Prepared, folders, prepare};
use crate::plan::proof;
use crate::report::Ui;
use crate::report::interrupt::INTERRUPTED;
use crate::report::json::Report;
use crate::report::progress::Progress;

pub fn run(args: &SetupArgs) -> Result<u8> {
    let ui = Ui::new(args.common.json, args.common.quiet, args.common.verbose).plainly(args.plain);
    let host = host_of(&args.common, ui)?;
    match args.print_config {
        true => print_config(&host, args, ui),
        false => run_on(&host, args, ui),
    }
}

/// Prints the effective options as a config file, or a sample with all options
/// if there is no site. Changes nothing.
fn print_config(host: &Host, args: &SetupArgs, ui: Ui) -> Result<u8> {
    if args.common.sites.is_empty()
        && file::read(host, args.common.config.as_deref())?
            .sites
            .is_empty()
    {
        ui.line(effective::sample().trim_end());
        return Ok(DONE);
    }
    let spec = spec_of(host, &args.common, &args.host, &args.site)?;
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
    let Prepared { resolved, plan } = prepare(host, &spec, !args.no_start, args.waiting)?;
    let mut outcome = Outcome::default();
    if plan.changes() {
        talk.agree(&plan, &resolved.notes)?;
        let sites = folders(&resolved);
        let progress = Progress::new(ui).until(talk.interrupts());
        outcome = apply(host, &plan, &sites, &progress)?;
    } else {
        ui.notes(&resolved.notes);
        if plan.refused.is_empty() {
            ui.line("Nothing to change.");
        }
    }
    let applies = proof::applies(&resolved.host.roles);
    if args.prove && !applies {
        let why = "--prove has no effect: this host does not both submit jobs and run them";
        ui.notes(&[why.to_owned()]);
    }
    let run_test_job = host.live()
        && !args.no_start
        && !args.no_prove
        && applies
        && !outcome.stopped
        && (args.prove || !outcome.done.is_empty());
    let mut proofs = Vec::new();
    if run_test_job
        && !outcome
            .failed
            .iter()
            .any(|failed| failed.is_of(&Scope::Host))
    {
        for site in &resolved.sites {
            let scope = Scope::Site(site.name.clone());
            let out = plan.refused.iter().chain(&outcome.failed);
            if talk.interrupted() || out.into_iter().any(|refused| refused.is_of(&scope)) {
                continue;
            }
            let progress = Progress::new(ui);
            progress.start(&format!("Running a test job [{}]", site.name));
            // Pages first: they are what the site's visitors use.
            let serves = resolved.host.roles.contains(&Role::Web);
            let web = serves.then(|| proof::through_the_web(host, site));
            let proved = match web.transpose() {
                Ok(web) => proof::run(host, site).map(|proof| (proof, web)),
                Err(error) => Err(error),
            };
            progress.stop();
            match proved {
                Ok((proof, web)) => {
                    if let Some(web) = &web {
                        ui.hanging(&proof::web_sentence(site, web));
                    }
                    ui.hanging(&proof::sentence(site, &proof));
                    proofs.push(proof::document(&site.name, &proof, web.as_ref()));
                }
                Err(error) => outcome.failed.push(Refused::new(&scope, error)),
            }
        }
    }
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
