//! `wp-gears plan`: shows what setup would change.

use anyhow::Result;

use crate::cli::common::{CHANGES, DONE, FAILED, host_of, spec_of};
use crate::cli::options::PlanArgs;
use crate::plan::prepare::prepare;
use crate::report::Ui;
use crate::report::json::Report;

pub fn run(args: &PlanArgs) -> Result<u8> {
    let wanted = &args.setup;
    let ui = Ui::new(
        wanted.common.json,
        wanted.common.quiet,
        wanted.common.verbose,
    );
    let host = host_of(&wanted.common, ui)?;
    let spec = spec_of(&host, wanted)?;
    let prepared = prepare(&host, &spec, wanted.run())?;
    let plan = &prepared.plan;
    ui.plan(plan);
    ui.notes(&prepared.resolved.notes);
    if !plan.changes() {
        ui.line("Nothing would change.");
    }
    ui.refused(&plan.refused);
    if ui.json {
        ui.document(
            &Report {
                platform: host.platform().ok(),
                plan: Some(plan),
                refused: plan.refused.iter().collect(),
                ..Report::default()
            }
            .document(),
        );
    }
    Ok(
        match (plan.refused.is_empty(), args.check && plan.changes()) {
            (false, _) => FAILED,
            (true, true) => CHANGES,
            (true, false) => DONE,
        },
    )
}
