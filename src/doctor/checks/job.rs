//! The test job, which runs last: submitted by WordPress itself and timed.

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding};
use crate::plan::proof::{self, Part, Web};
use crate::site::maintenance;

pub const CHECK: Check = Check {
    name: "job",
    describes: "a test job: submitted by WordPress, taken by a worker, run to the end",
    vital: false,
    run: |context| run(context, &|_| None, &|_, error| error),
};

/// Adds to a site's error what other checks know of its cause.
type Explained<'e> = dyn Fn(&str, anyhow::Error) -> anyhow::Error + Sync + 'e;

/// `blocked_by` names a failed check that keeps the site's jobs from running.
pub fn run<'n>(
    context: &Context,
    blocked_by: &(dyn Fn(&str) -> Option<&'n str> + Sync),
    explained: &Explained,
) -> Vec<Finding> {
    if let Some(skipped) = context.needs_root() {
        return vec![skipped];
    }
    let resolved = &context.resolved.host;
    let Some(part) = Part::of(&resolved.roles) else {
        return vec![match proof::through_the_server(resolved) {
            Ok(proof) => Finding::ok(proof.sentence()),
            Err(error) => Finding::of_error(&error),
        }];
    };
    context.each_site(|site| {
        if let Some(check) = blocked_by(&site.name) {
            return vec![Finding::skipped(format!("the check '{check}' failed"))];
        }
        if proof::is_paused(context.host, site) {
            return vec![Finding::skipped("the workers are paused")];
        }
        if maintenance::is_on(context.host, &site.dir) {
            return vec![Finding::skipped(maintenance::SENTENCE)];
        }
        let web = || match proof::through_the_web(context.host, resolved, site) {
            Ok(Web::Proved(page)) => Finding::ok(format!(
                "a page's job ({}): {}",
                page.url,
                proof::ran(&page)
            )),
            Ok(Web::NotVerified(why)) => {
                Finding::skipped(format!("jobs of pages are not verified: {why}"))
            }
            Err(error) => Finding::of_error(&explained(&site.name, error)),
        };
        let command_line = || match proof::run(context.host, resolved, site) {
            Ok(proof) => Finding::ok(format!(
                "submitted after {} ms, started after {} ms, finished after {} ms",
                proof.add_ms, proof.started_ms, proof.done_ms
            )),
            Err(error) => Finding::of_error(&explained(&site.name, error)),
        };
        let web = part.has_pages().then(web);
        web.into_iter()
            .chain(part.has_workers().then(command_line))
            .collect()
    })
}
