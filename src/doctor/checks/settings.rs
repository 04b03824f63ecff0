//! The constants as WordPress sees them, against the file and against the
//! moment at which plugins read them.

use sha2::{Digest, Sha256};

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding, or_ok};
use crate::intent::resolve::SiteResolved;
use crate::resource::ResourceId;
use crate::site::ask::{Facts, Settings};
use crate::site::plugins::{SALT, WP_MINIONS};

pub const CHECK: Check = Check {
    name: "settings",
    describes: "the switch, job servers and salt as WordPress has them, against wp-config.php; set too late",
    vital: false,
    run,
};

fn run(context: &Context) -> Vec<Finding> {
    context.each_site(|site| {
        let facts = match context.facts(site) {
            Ok(facts) => facts,
            Err(_) => return vec![Finding::skipped("WordPress does not load (see 'wordpress')")],
        };
        let config = site.config.display();
        let by = ResourceId::File(site.config.clone());
        let mut problems = Vec::new();
        for (name, early, now) in constants(site, facts) {
            if let Some(early) = early
                && early != now
            {
                let seen = format!("{name} is set too late: plugins have read it when it comes");
                let todo = format!("move it before the line with wp-settings.php in {config}");
                problems.push(Finding::failed(seen, todo).fixed_by(by.clone()));
            }
        }
        if !problems.is_empty() {
            return problems;
        }
        let on = match site.plugin.switch == WP_MINIONS.switch {
            true => facts.backend.as_deref() == Some("gearman"),
            false => facts.wp_gears,
        };
        if !on {
            let name = switch(site);
            let seen = format!("WordPress has no {name}: jobs go to WP-Cron");
            problems.push(Finding::failed(seen, format!("set it in {config}")).fixed_by(by.clone()));
        }
        let servers = facts.servers.clone().unwrap_or_default();
        let wanted = site.effective_servers();
        let stock = servers.is_empty() && wanted == ["127.0.0.1:4730"];
        if servers != wanted && !stock {
            problems.push(Finding::failed(
                format!("WordPress sends jobs to {}, its workers ask {}", list(&servers), list(&wanted)),
                format!("see $gearman_servers in {config} and what it includes"),
            ).fixed_by(by.clone()));
        }
        let in_file = site.found.salt.as_deref().map(fingerprint);
        if let Some(in_file) = in_file
            && facts.salt.as_deref() != Some(in_file.as_str())
        {
            problems.push(Finding::failed(
                "the salt that WordPress has is not the one in wp-config.php",
                format!("see what else defines WP_ASYNC_TASK_SALT: an include or a plugin before {config}"),
            ));
        }
        if facts.salt.is_none() {
            let seen = "WordPress has no WP_ASYNC_TASK_SALT: another site without one would run its jobs";
            problems.push(Finding::failed(seen, "wp-gears doctor --fix makes one").fixed_by(by.clone()));
        }
        or_ok(problems, || format!("{} is on, jobs go to {}, with a salt", switch(site), list(&wanted)))
    })
}

type Constant = (&'static str, Option<Option<String>>, Option<String>);

/// Each with its value when plugins were about to load, and when all was loaded.
fn constants(site: &SiteResolved, facts: &Facts) -> Vec<Constant> {
    let early = |pick: fn(&Settings) -> Option<String>| facts.early.as_ref().map(pick);
    let mut all = vec![(SALT, early(|it| it.salt.clone()), facts.salt.clone())];
    match site.plugin.switch == WP_MINIONS.switch {
        true => {
            all.push((
                "WP_MINIONS_BACKEND",
                early(|it| it.backend.clone()),
                facts.backend.clone(),
            ));
        }
        false => {
            let now = facts.wp_gears.then(|| "true".to_owned());
            all.push((
                "WP_GEARS",
                early(|it| it.wp_gears.then(|| "true".to_owned())),
                now,
            ));
        }
    }
    all
}

fn switch(site: &SiteResolved) -> &'static str {
    match site.plugin.switch == WP_MINIONS.switch {
        true => "WP_MINIONS_BACKEND 'gearman'",
        false => "WP_GEARS true",
    }
}

fn list(servers: &[String]) -> String {
    match servers.is_empty() {
        true => "127.0.0.1:4730".into(),
        false => servers.join(", "),
    }
}

/// As ask.php makes it.
fn fingerprint(salt: &str) -> String {
    let digest = Sha256::digest(salt.as_bytes());
    digest
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
