//! Whether every site with workers can be read.

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding};
use crate::intent::options::Role;
use crate::plan::SiteKey;

pub const CHECK: Check = Check {
    name: "sites",
    describes: "WordPress folders and wp-config.php files of the sites with workers here",
    vital: false,
    run,
};

fn run(context: &Context) -> Vec<Finding> {
    let resolved = &context.resolved;
    let mut findings: Vec<Finding> = resolved
        .sites
        .iter()
        .map(|site| {
            let message = format!("WordPress {} in {}", site.version, site.dir.display());
            Finding::ok(message).of_site(&site.name)
        })
        .collect();
    for (dir, error) in &resolved.refused {
        let mut finding = match context.root {
            true => Finding::of_error(error),
            false => Finding::skipped(format!("{error:#} (may require root)")),
        };
        finding.site = Some(SiteKey::Unnamed(dir.clone()));
        findings.push(finding);
    }
    if findings.is_empty() && context.resolved.host.roles == [Role::Server] {
        findings.push(Finding::skipped("this host has only the role 'server'"));
    }
    if findings.is_empty() {
        findings.push(Finding::warning(
            "no site has workers on this host",
            "set one up with 'wp-gears setup --site DIR'",
        ));
    }
    findings
}
