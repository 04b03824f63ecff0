//! Whether the PHP of each site can run its jobs and parses its new wp-config.php. What
//! a site's PHP, files and user bring about concerns that site.

use std::path::Path;

use anyhow::Result;

use crate::base::problem::{Problem, SiteError, SiteResult};
use crate::host::Host;
use crate::intent::resolve::{Resolved, SiteResolved};
use crate::plan::Plan;
use crate::plan::journal::Scope;
use crate::resource::State;
use crate::resource::file::{Edit, File};
use crate::site::extension::{self, PhpInfo};
use crate::site::php::{self, Php};
use crate::site::php_settings::{self, IniSettings};
use crate::site::php_user;

pub type Unfit = Vec<(Scope, SiteError)>;

fn scope_of(site: &SiteResolved) -> Scope {
    Scope::Site(site.name.clone())
}

/// Refuses sites whose PHP does not say where its settings are: the rest of the recipe
/// asks all PHPs.
pub fn leave_out_silent_phps(host: &Host, resolved: &mut Resolved) {
    let mut answering: Vec<Php> = Vec::new();
    let (refused, sites) = (&mut resolved.refused, &mut resolved.sites);
    sites.retain(|site| {
        if answering.contains(&site.php) {
            return true;
        }
        match site.php.ini_dirs(host) {
            Ok(_) => answering.push(site.php.clone()),
            Err(error) => {
                refused.push((site.dir.clone(), error));
                return false;
            }
        }
        true
    });
}

/// PHPs that cannot run jobs; checked only if something changes.
pub fn unfit_phps(host: &Host, resolved: &Resolved, plan: &Plan) -> Unfit {
    if !plan.changes() {
        return Vec::new();
    }
    let mut known: Vec<(&Path, PhpInfo)> = Vec::new();
    let unfit = resolved.sites.iter().filter_map(|site| {
        let error = unfit_php(host, site, &mut known).err()?;
        Some((scope_of(site), error))
    });
    unfit.collect()
}

fn unfit_php<'s>(
    host: &Host,
    site: &'s SiteResolved,
    known: &mut Vec<(&'s Path, PhpInfo)>,
) -> SiteResult<()> {
    let php = site.php.path.as_path();
    let at = match known.iter().position(|(path, _)| *path == php) {
        Some(at) => at,
        None => {
            let user = host.need_user(&site.user)?;
            known.push((php, extension::ask(host, &site.php, &user)?));
            known.len() - 1
        }
    };
    let facts = &known[at].1;
    let (what, why, help) = if facts.is_too_old() {
        let why = format!("is PHP {}, but workers need 7.1 or newer", facts.version);
        ("run jobs", why, "pass a newer PHP with --php")
    } else if facts.lacks_json {
        let help = "install and enable PHP's json extension, then run again";
        (
            "run jobs",
            "has no json extension, which jobs are encoded with".into(),
            help,
        )
    } else if facts.libgearman.is_none() && !host.is_own_program(php) {
        let why = "has no gearman extension, and setup gives it only to a PHP that is root's";
        let help = "install the extension in it; or give the program and the folders that it is in to root";
        ("run jobs", why.into(), help)
    } else if facts.lacks_pcntl && site.must_fork {
        let help = "enable PHP's pcntl extension, or omit --worker-mode to start a PHP process for each job (spawn)";
        (
            "fork for jobs (--worker-mode fork)",
            "has no pcntl extension".into(),
            help,
        )
    } else {
        let settings = IniSettings::read(host, &facts.ini_files)?;
        let user = host.need_user(&site.user)?;
        let unfit = php_settings::unfit(host, php, &user, &settings, &site.places())?;
        if !unfit.is_empty() {
            return Err(php_settings::refusal(&site.dir, php, &unfit).into());
        }
        return Ok(());
    };
    let what = format!("{what} of {}", site.dir.display());
    let problem = Problem::new(what, format!("{} {why}", php.display()));
    Err(problem.help(help).into())
}

/// A wp-config.php that the plan changes.
struct Edited<'r> {
    site: &'r SiteResolved,
    file: &'r File,
    before: Vec<u8>,
    after: Vec<u8>,
}

fn edited<'r>(host: &Host, resolved: &'r Resolved, plan: &'r Plan) -> (Vec<Edited<'r>>, Unfit) {
    let (mut found, mut bad) = (Vec::new(), Vec::new());
    for step in &plan.steps {
        let (Some(file), State::Differs(_)) = (step.item.resource.as_file(), &step.state) else {
            continue;
        };
        let site = resolved
            .sites
            .iter()
            .find(|site| scope_of(site) == step.item.scope);
        let Some(site) = site.filter(|_| file.edit == Edit::WpConfig) else {
            continue;
        };
        match file.texts(host) {
            Ok((now, next)) => found.push(Edited {
                site,
                file,
                before: now.map(|file| file.bytes).unwrap_or_default(),
                after: next.bytes.unwrap_or_default(),
            }),
            Err(error) => bad.push((scope_of(site), error.into())),
        }
    }
    (found, bad)
}

fn spoilt(edited: &Edited, why: &str) -> SiteError {
    let what = format!("edit {}", edited.file.path.display());
    let why = format!("PHP cannot parse the edited file ({why})");
    let help = "nothing was written; please report this with an outline of the file";
    Problem::new(what, why).help(help).into()
}

/// Below `--root`, the PHP of this machine parses every new wp-config.php, if there is
/// one. That of the image may be of another version, so a file that this one rejects
/// before it is edited, too, is only worth a note.
pub fn unparsable_here(host: &Host, resolved: &mut Resolved, plan: &Plan) -> Result<Unfit> {
    let machine = Host::new(None)?;
    let php = Php {
        path: "php".into(),
        version: None,
        collection: None,
    };
    let (edited, mut bad) = edited(host, resolved, plan);
    if edited.is_empty() || !rustix::process::geteuid().is_root() {
        return Ok(bad);
    }
    let stranger = machine.stranger()?;
    let ask = |texts: &[&[u8]]| php::check(&machine, &php, &stranger, texts);
    let after: Vec<&[u8]> = edited.iter().map(|it| it.after.as_slice()).collect();
    let Ok(answers) = ask(&after) else {
        return Ok(bad); // there is no PHP that could tell
    };
    let mut notes = Vec::new();
    for (edited, why) in edited.iter().zip(answers) {
        let Some(why) = why else { continue };
        match ask(&[edited.before.as_slice()]).as_deref() {
            Ok([None]) => bad.push((scope_of(edited.site), spoilt(edited, &why))),
            Ok([Some(why)]) => notes.push(format!(
                "the PHP of this machine cannot parse {} ({why}): make sure that the PHP of the image can",
                edited.file.path.display()
            )),
            _ => {}
        }
    }
    resolved.notes.extend(notes);
    Ok(bad)
}

/// Every new wp-config.php has to parse with the site's own PHP.
pub fn unparsable(host: &Host, resolved: &Resolved, plan: &Plan) -> Unfit {
    let (mut left, mut bad) = edited(host, resolved, plan);
    // Sites that share a PHP and a user share a process.
    while let Some(first) = left.first() {
        let (php, user) = (&first.site.php, &first.site.user);
        let (mine, others): (Vec<_>, Vec<_>) = left
            .into_iter()
            .partition(|it| it.site.php == *php && it.site.user == *user);
        left = others;
        let texts: Vec<&[u8]> = mine.iter().map(|it| it.after.as_slice()).collect();
        let together = parse(host, php, user, &texts).ok();
        for (at, edited) in mine.iter().enumerate() {
            // If PHP fails on one of the files, each is parsed alone.
            let answer = match &together {
                Some(answers) => Ok(answers[at].clone()),
                None => parse(host, php, user, &[&edited.after]).map(|answers| answers[0].clone()),
            };
            let error: SiteError = match answer {
                Ok(None) => continue,
                Ok(Some(why)) => spoilt(edited, &why),
                Err(error) => error,
            };
            bad.push((scope_of(edited.site), error));
        }
    }
    bad
}

/// What PHP says of each text.
fn parse(host: &Host, php: &Php, user: &str, texts: &[&[u8]]) -> SiteResult<Vec<Option<String>>> {
    let user = host.need_user(user)?;
    let asker = php_user::asker(host, php, &user)?;
    Ok(php::check(host, php, &asker, texts)?)
}
