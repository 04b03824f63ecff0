//! Failed jobs that are stored.

use crate::base::text::printable;
use crate::doctor::context::Context;
use crate::doctor::{Check, Finding};
use crate::worker::store::{MAX_KEPT, count, refused, what_is_kept, why_not_shared};

pub const CHECK: Check = Check {
    name: "failed-jobs",
    describes: "failed jobs that are stored, or were dropped to save space",
    vital: false,
    run,
};

fn run(context: &Context) -> Vec<Finding> {
    if let Some(skipped) = context.needs_root() {
        return vec![skipped];
    }
    context.each_site(|site| {
        let failed = context.paths(site).failed;
        let counts = match count(&failed) {
            Ok(counts) => counts,
            Err(error) => {
                let message = format!("cannot read {}: {error}", failed.display());
                return vec![Finding::failed(message, "")];
            }
        };
        let (kept, dropped) = (counts.failed, counts.dropped);
        let again = counts.retries;
        let mut message = format!("{kept} stored, {again} waiting for a retry, {dropped} dropped");
        let refused = refused(&failed);
        if refused > 0 {
            message += &format!(", {refused} refused as not the site's own");
        }
        if let Some(why) = why_not_shared(&failed) {
            return vec![Finding::warning(
                format!(
                    "{message}; they are on this host alone, as its workers said: {}",
                    printable(why.trim())
                ),
                "give the site's database user the right to create tables, or keep this host's disk",
            )];
        }
        if kept >= MAX_KEPT || dropped > 0 {
            message += &format!("; {}", what_is_kept());
        }
        vec![match kept > 0 || dropped > 0 {
            true => Finding::warning(
                message,
                format!(
                    "list them with 'wp-gears failed --site {}'",
                    site.dir.display()
                ),
            ),
            false => Finding::ok(message),
        }]
    })
}
