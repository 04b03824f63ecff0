//! Why a test job was not run, as far as another check knows.

use crate::base::problem::Problem;
use crate::doctor::checks::CAUSES;
use crate::doctor::context::Context;
use crate::doctor::{Finding, Status};
use crate::plan::SiteKey;

/// The first failure that keeps jobs of the site from running, with its check.
fn of(context: &Context, site: &str) -> Option<(&'static str, Finding)> {
    let site = SiteKey::Named(site.to_owned());
    let concerns = |finding: &Finding| {
        finding.status == Status::Failed && finding.site.as_ref().is_none_or(|of| *of == site)
    };
    CAUSES.iter().find_map(|check| {
        let found = (check.run)(context).into_iter().find(concerns)?;
        Some((check.name, found))
    })
}

/// Adds the cause to the error of a test job. Without a known one, the error is
/// returned as it is.
pub fn explained(context: &Context, site: &str, error: anyhow::Error) -> anyhow::Error {
    let problem = match error.downcast::<Problem>() {
        Ok(problem) => problem,
        Err(error) => return error,
    };
    let Some((check, finding)) = of(context, site) else {
        return problem.into();
    };
    let why = format!(
        "{}\ncause ('wp-gears doctor {check}'): {}",
        problem.why.trim_end(),
        finding.message
    );
    Problem {
        why,
        help: match finding.help.is_empty() {
            true => problem.help,
            false => finding.help,
        },
        ..problem
    }
    .into()
}
