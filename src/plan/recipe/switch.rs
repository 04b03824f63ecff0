//! The switch of a site: the settings in wp-config.php with which pages submit jobs,
//! and what has to work before that.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::base::paths::{BASE, binary};
use crate::base::problem::Problem;
use crate::base::secrets::Secrets;
use crate::host::Host;
use crate::host::commands::Command;
use crate::intent::resolve::SiteResolved;
use crate::plan::recipe::program::worker_command;
use crate::resource::check::{Check, Condition, Needed, When};
use crate::resource::file::{Edit, File, Next, Owner, Then};
use crate::resource::reread::{Reread, To};
use crate::resource::{Resource, ResourceId, State};
use crate::site::config::{self, Desired, Want};
use crate::site::plugins::{self, SALT};
use crate::site::settings;
use crate::worker::check::{LIMIT, Verdict};
use crate::worker::message::Predefined;
use crate::worker::rest::unswitched;
use crate::worker::{Paths, heartbeat};

/// wp-config.php, with the settings that switch background jobs on.
pub fn wp_config(site: &SiteResolved) -> File {
    let desired = Desired {
        switch: site.plugin.switch,
        servers: site.servers.clone(),
        salt: site.salt.clone(),
    };
    let (path, dir) = (site.config.clone(), site.dir.clone());
    let has_host = site.worker_options.host.is_some();
    File {
        path: path.clone(),
        edit: Edit::WpConfig,
        make: Box::new(move |host, now| {
            let include = settings::includes(host, &dir, &path);
            let edited = config::edit(now.unwrap_or_default(), &desired, &include)
                .map_err(|refusal| settings::explain(&path, refusal))?;
            let without_host = edited.without_host.iter().filter(|_| !has_host);
            let warnings = edited.warnings.iter().chain(without_host);
            Ok(Next {
                bytes: Some(edited.text),
                notes: warnings.map(settings::note).collect(),
            })
        }),
        owner: Owner::Root,
        mode: 0o640,
        package: None,
        secrets: Secrets::Php(plugins::shown_words()),
        source: None,
        then: Some(wake(site)),
    }
}

/// Processes with opcode caches of their own would run the old file for a while, or for
/// ever.
pub fn reread(host: &Host, site: &SiteResolved) -> Reread {
    let switch = wp_config(site);
    Reread {
        config: site.config.clone(),
        php: Some(site.php.clone()),
        changes: switch.inspect(host).is_ok_and(|state| state != State::Same),
        to: To::Begin,
    }
}

/// Makes the site's workers look at wp-config.php now, not within a minute.
pub fn wake(site: &SiteResolved) -> Box<Then> {
    let run = Paths::new(Path::new(BASE), &site.name).run;
    Box::new(move |host| {
        // Without workers there is no folder.
        let workers = host.live().then(|| heartbeat::read(&run).ok()).flatten();
        workers.iter().flatten().for_each(heartbeat::wake);
    })
}

/// The marker by which the workers of a site that is not switched on wait for that.
pub fn held(site: &SiteResolved) -> File {
    let (dir, config) = (site.dir.clone(), site.config.clone());
    let path = Paths::new(Path::new(BASE), &site.name).unswitched;
    File {
        make: Box::new(move |_, _| Ok(Some(unswitched(&dir, &config)?).into())),
        ..File::whole(path, Vec::new(), 0o644).secrets(Secrets::Hidden)
    }
}

/// Before the switch: a worker can load the site, with the settings that it will have
/// then. WordPress is not loaded where nothing is going to be switched, unless the switch
/// is `on_trial`.
pub fn can_load(site: &SiteResolved, on_trial: Box<Needed>) -> Check {
    let switch = wp_config(site);
    Check {
        condition: Condition::WordPressLoads(site.dir.clone(), site.user.clone()),
        after: ResourceId::File(binary()),
        patience: Duration::ZERO,
        when: When::Only(Box::new(move |host| {
            Ok(switch.inspect(host)? != State::Same || on_trial(host)?)
        })),
        probe: probe(site),
    }
}

fn probe(site: &SiteResolved) -> Box<crate::resource::check::Probe> {
    let predefine = missing(site);
    let words = worker_command(site);
    let (dir, user) = (site.dir.clone(), site.user.clone());
    let worker_dir = site.worker_dir.clone();
    Box::new(move |host| {
        let account = host.need_user(&user)?;
        let command = Command::as_written(&words)
            .args(["--check"])
            // Not an argument: it has the salt.
            .stdin(serde_json::to_vec(&predefine)?)
            .env("USER", &user)
            .dir(&worker_dir)
            .user(&account)
            .of_site(&dir)
            .limit(LIMIT);
        let why = match verdict(host, &command) {
            Ok(Verdict::Ready { .. }) => return Ok(()),
            Ok(Verdict::Broken(why)) => why,
            // The error names the command; its reason is enough.
            Err(error) => match error.downcast::<Problem>() {
                Ok(problem) => problem.why,
                Err(error) => format!("{error:#}"),
            },
        };
        let what = format!(
            "load WordPress in {} as {user}, as a worker does",
            dir.display()
        );
        Err(Problem::new(what, shown(&why))
            .help("fix that, then run setup again; wp-config.php was not changed, so pages submit no jobs to Gearman yet. A site that is only slow may take longer if you set it up alone, with --site")
            .into())
    })
}

/// What the site says of its failure, without the end of a stack trace.
fn shown(why: &str) -> String {
    let lines: Vec<&str> = why.lines().take(4).collect();
    lines.join("\n")
}

fn verdict(host: &Host, command: &Command) -> Result<Verdict> {
    let output = host.check(command)?;
    let line = output.stdout.strip_suffix(b"\n").unwrap_or_default();
    serde_json::from_slice(line).context("read the worker's answer")
}

/// The settings that wp-config.php does not have yet.
fn missing(site: &SiteResolved) -> Predefined {
    let (found, switch) = (&site.found, site.plugin.switch);
    let mut constants = BTreeMap::new();
    if !found.on.contains(&switch) {
        constants.insert(switch.constant.to_owned(), switch.json());
    }
    let salt = match &site.salt {
        Want::Exactly(salt) => Some(salt).filter(|salt| found.salt.as_ref() != Some(salt)),
        Want::Default(salt) => Some(salt)
            .filter(|_| !found.salt_computed && found.salt.as_deref().is_none_or(str::is_empty)),
    };
    if let Some(salt) = salt {
        constants.insert(SALT.to_owned(), salt.as_str().into());
    }
    let servers = match &site.servers {
        Want::Exactly(servers) => Some(servers),
        Want::Default(servers) => Some(servers).filter(|_| found.servers.is_none()),
    };
    Predefined {
        constants,
        servers: servers.cloned(),
    }
}
