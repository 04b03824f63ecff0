//! The settings as WordPress sees them, compared with wp-config.php, and whether
//! they are set before plugins read them.

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding, or_ok};
use crate::intent::resolve::SiteResolved;
use crate::resource::ResourceId;
use crate::site::answers::SiteFacts;
use crate::site::ask::fingerprint;
use crate::site::plugins::SALT;

pub const CHECK: Check = Check {
    name: "settings",
    describes: "switch, job servers and salt as WordPress sees them, compared with wp-config.php",
    vital: false,
    run,
};

fn run(context: &Context) -> Vec<Finding> {
    context.each_site(|site| {
        let Ok(facts) = context.facts(site) else {
            return vec![Finding::skipped(
                "WordPress does not load (see 'wordpress')",
            )];
        };
        let mut problems = too_late(site, facts);
        if problems.is_empty() {
            problems.extend(switched_off(site, facts));
            problems.extend(other_servers(site, facts));
            problems.extend(no_salt(facts));
        }
        let config = ResourceId::File(site.config.clone());
        let mut problems: Vec<Finding> = problems
            .into_iter()
            .map(|it| it.fixed_by(config.clone()))
            .collect();
        problems.extend(other_salt(site, facts));
        or_ok(problems, || {
            let servers = list(&site.effective_servers());
            format!("{} is set, jobs go to {servers}, with a salt", switch(site))
        })
    })
}

/// Constants that are set only after plugins were loaded.
fn too_late(site: &SiteResolved, facts: &SiteFacts) -> Vec<Finding> {
    let (Some(early), now) = (&facts.early, &facts.settings) else {
        return Vec::new();
    };
    let constants = [
        (SALT, early.salt != now.salt),
        (site.plugin.switch.constant, early.on != now.on),
    ];
    let late = constants.into_iter().filter(|(_, late)| *late);
    late.map(|(name, _)| {
        Finding::failed(
            format!("{name} is set too late, after plugins were loaded"),
            format!(
                "move it before the line with wp-settings.php in {}",
                site.config.display()
            ),
        )
    })
    .collect()
}

fn switched_off(site: &SiteResolved, facts: &SiteFacts) -> Option<Finding> {
    let message = format!(
        "WordPress does not see {}, so jobs go to WP-Cron",
        switch(site)
    );
    let help = format!("set it in {}", site.config.display());
    (!facts.settings.on).then(|| Finding::failed(message, help))
}

fn other_servers(site: &SiteResolved, facts: &SiteFacts) -> Option<Finding> {
    let has = facts.servers.clone().unwrap_or_default();
    let wanted = site.effective_servers();
    if has == wanted || (has.is_empty() && wanted == [STOCK]) {
        return None;
    }
    Some(Finding::failed(
        format!(
            "WordPress sends jobs to {}, but its workers use {}",
            list(&has),
            list(&wanted)
        ),
        format!(
            "check $gearman_servers in {} and its includes",
            site.config.display()
        ),
    ))
}

fn no_salt(facts: &SiteFacts) -> Option<Finding> {
    let message =
        format!("WordPress has no {SALT}, so another site without one would run its jobs");
    let help = "create one with 'wp-gears doctor --fix'";
    facts
        .settings
        .salt
        .is_none()
        .then(|| Finding::failed(message, help))
}

/// A salt that is defined outside of wp-config.php, which setup cannot change.
fn other_salt(site: &SiteResolved, facts: &SiteFacts) -> Option<Finding> {
    let has = facts.settings.salt.as_ref()?;
    let in_file = site.found.salt.as_deref().map(fingerprint)?;
    let help = format!(
        "find where else {SALT} is defined: in an include, or in code that runs before {}",
        site.config.display()
    );
    let message = "WordPress uses a different salt than wp-config.php";
    (in_file != *has).then(|| Finding::failed(message, help))
}

/// The plugin's switch, turned on.
fn switch(site: &SiteResolved) -> String {
    let switch = site.plugin.switch;
    format!("{} {}", switch.constant, switch.php())
}

/// Where plugins send jobs if no server is configured.
const STOCK: &str = "127.0.0.1:4730";

fn list(servers: &[String]) -> String {
    match servers.is_empty() {
        true => STOCK.into(),
        false => servers.join(", "),
    }
}
