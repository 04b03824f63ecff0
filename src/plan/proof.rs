//! The test job: submitted through WordPress itself, as the worker user.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::base::paths::{BASE, LOGS};
use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::files::Node;
use crate::intent::options::{Role, WorkerMode};
use crate::intent::resolve::SiteResolved;
use crate::site::ask::Proof;
use crate::site::config::Want;
use crate::site::page::{PROOF_PLUGIN, PageProof};
use crate::site::web::listeners::{self, WebListener};
use crate::site::{plugins, queue};
use crate::worker::Paths;

/// How long a job may wait for a worker that has just started.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether this host both submits jobs and runs them.
pub fn applies(roles: &[Role]) -> bool {
    roles.contains(&Role::Worker) && roles.contains(&Role::Web)
}

/// Whether the site's workers are paused, so that no job runs.
pub fn is_paused(host: &Host, site: &SiteResolved) -> bool {
    let marker = Paths::new(Path::new(BASE), &site.name).paused;
    matches!(host.look(&marker), Ok(Node::File(_)))
}

/// Submits one job and waits until a worker has run it.
pub fn run(host: &Host, site: &SiteResolved) -> Result<Proof> {
    let run = Path::new(BASE).join("run").join(&site.name);
    let control = host.supervisor()?.control;
    let help = |problem: Problem| {
        problem.help(format!(
            "see {LOGS}/{}.log and '{control} status {}:*'",
            site.name, site.program
        ))
    };
    let asked = site.target().prove(host, &run, PATIENCE);
    let proof = asked.map_err(|error| match error.downcast::<Problem>() {
        Ok(problem) if problem.help.is_empty() => help(problem).into(),
        Ok(problem) => problem.into(),
        Err(error) => error,
    })?;
    match &proof.error {
        None => Ok(proof),
        Some(why) => {
            withdraw(site, &proof.handle);
            let what = format!("run a test job in WordPress in {}", site.dir.display());
            Err(help(Problem::new(what, why)).into())
        }
    }
}

/// Takes a test job that no worker ran out of its queue: nobody needs it any more, and
/// remove would refuse because of it. It stays where other jobs wait as well.
fn withdraw(site: &SiteResolved, handle: &str) {
    let salt = match &site.salt {
        Want::Exactly(salt) => salt.as_str(),
        Want::Default(new) => site.effective_salt().unwrap_or(new),
    };
    // Servers may have given the same handle to different jobs.
    if let [server] = site.effective_servers().as_slice() {
        queue::withdraw(&plugins::functions(Some(salt)), server, handle);
    }
}

/// How the job of a page fared.
#[derive(Debug, Clone)]
pub enum Web {
    /// A page submitted it to Gearman, and a worker ran it.
    Proved(Box<PageProof>),
    /// No page could be asked: nothing is known of the web's side.
    NotVerified(String),
}

/// What a page of the site says of its PHP.
#[derive(Debug, Clone)]
pub enum Page {
    Answers(Box<PageProof>),
    /// No page could be asked, and why.
    Silent(String),
}

/// Asks a page of the site which PHP it runs in, through the web server that
/// serves it. No job is submitted.
pub fn describe(host: &Host, site: &SiteResolved, listeners: &[WebListener]) -> Page {
    if let Some(why) = why_silent(host, site, listeners) {
        return Page::Silent(why.into());
    }
    match site.target().describe_page(host, listeners) {
        Ok(PageProof {
            unreachable: Some(why),
            ..
        }) => Page::Silent(why),
        Ok(page) => Page::Answers(Box::new(page)),
        Err(error) => Page::Silent(format!("{error:#}")),
    }
}

/// Why no page can be asked, as far as that is known without asking.
fn why_silent(host: &Host, site: &SiteResolved, listeners: &[WebListener]) -> Option<&'static str> {
    if !host.exists(&site.content.must_use.join(PROOF_PLUGIN)) {
        return Some("its must-use plugin is not where this site reads such plugins");
    }
    listeners
        .is_empty()
        .then_some("no web server runs on this host")
}

/// Has a page of the site submit a job, through the web server that serves it.
///
/// # Errors
/// A page that answers, but whose job does not reach Gearman or is not run.
pub fn through_the_web(host: &Host, site: &SiteResolved) -> Result<Web> {
    let listeners = listeners::all(host);
    if let Some(why) = why_silent(host, site, &listeners) {
        return Ok(Web::NotVerified(why.into()));
    }
    let run = Path::new(BASE).join("run").join(&site.name);
    let forget = [site.config.clone()];
    let asked = site
        .target()
        .prove_by_a_page(host, &run, &listeners, &forget, PATIENCE / 2);
    let page = match asked {
        Ok(page) => page,
        Err(error) => return Ok(Web::NotVerified(format!("{error:#}"))),
    };
    if let Some(why) = page.unreachable {
        return Ok(Web::NotVerified(why));
    }
    let Some(why) = page.error.clone() else {
        return match served_otherwise(host, site, &page) {
            Some(problem) => Err(problem.into()),
            None => Ok(Web::Proved(Box::new(page))),
        };
    };
    if let Some(handle) = &page.handle {
        withdraw(site, handle);
    }
    let what = format!("run a job that a page of {} submits", site.dir.display());
    let why = format!("{why} ({})", php_of(&page));
    let help = match page.extension {
        true => format!("see {LOGS}/{}.log and 'wp-gears doctor'", site.name),
        false => {
            "run 'wp-gears doctor php-extension': it names the process that has to load it".into()
        }
    };
    Err(Problem::new(what, why).help(help).into())
}

/// The process that answered has another user or PHP than the workers, and nobody
/// asked for that: the files of the web server did not tell.
fn served_otherwise(host: &Host, site: &SiteResolved, page: &PageProof) -> Option<Problem> {
    let what = format!("run the jobs of {} as its pages run", site.dir.display());
    // Jobs never run as root, even if pages do.
    let pages = host.user_name(page.user.filter(|uid| *uid != 0)?);
    if pages != site.user && !site.asked.user {
        let why = format!(
            "{} serves them as {pages}, but the jobs run as {}",
            page.server, site.user
        );
        let dir = site.dir.display();
        return Some(Problem::new(what, why).help(format!(
            "run 'wp-gears setup --site {dir} --worker-user {pages}', or with --worker-user {} to keep that user",
            site.user
        )));
    }
    let minor = |version: &str| version.split('.').take(2).collect::<Vec<_>>().join(".");
    let of_jobs = site.php.version.as_deref()?;
    if minor(&page.php) != minor(of_jobs) && !site.asked.php {
        let why = format!(
            "{} serves them with PHP {}, but the jobs run with {}",
            page.server,
            page.php,
            site.php.path.display()
        );
        return Some(
            Problem::new(what, why).help(
                "pass the command-line program of the PHP that is to run the jobs with --php",
            ),
        );
    }
    None
}

/// "nginx, PHP 8.2.29 as fpm-fcgi".
pub fn php_of(page: &PageProof) -> String {
    let extension = match page.extension {
        true => "",
        false => " without the gearman extension",
    };
    format!(
        "{}, PHP {} as {}{extension}",
        page.server, page.php, page.sapi
    )
}

/// What setup prints of it.
pub fn web_sentence(site: &SiteResolved, web: &Web) -> String {
    match web {
        Web::Proved(page) => format!(
            "✓ a page submitted a job [{}]: {} ({}); submitted after {} ms, started after {} ms, done after {} ms",
            site.name,
            page.url,
            php_of(page),
            page.add_ms,
            page.started_ms,
            page.done_ms
        ),
        Web::NotVerified(why) => {
            format!("- jobs of pages are not verified [{}]: {why}", site.name)
        }
    }
}

pub fn sentence(site: &SiteResolved, proof: &Proof) -> String {
    let mut text = format!(
        "✓ ran a test job through WordPress [{}]: submitted after {} ms, started after {} ms, finished after {} ms",
        site.name, proof.add_ms, proof.started_ms, proof.done_ms
    );
    if site.worker.worker_mode == WorkerMode::Fork && !proof.forked {
        text.push_str(&format!(
            "\nEach job gets its own PHP process (spawn); {LOGS}/{}.log says why forking is not safe here.",
            site.name
        ));
    }
    text
}

pub fn document(site: &str, proof: &Proof, web: Option<&Web>) -> Value {
    let web = match web {
        Some(Web::Proved(page)) => json!({
            "server": page.server,
            "sapi": page.sapi,
            "php": page.php,
            "started_ms": page.started_ms,
            "done_ms": page.done_ms,
        }),
        Some(Web::NotVerified(_)) | None => Value::Null,
    };
    json!({
        "site": site,
        "function": proof.function.split_once(':').map_or("", |(_, name)| name),
        "added_ms": proof.add_ms,
        "started_ms": proof.started_ms,
        "done_ms": proof.done_ms,
        "forked": proof.forked,
        "web": web,
    })
}
