//! The test job: submitted through WordPress itself, as the worker user, or by a page.
//! What it proves depends on the host's roles: see [`Part`].

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::base::paths::{BASE, LOGS};
use crate::base::problem::Problem;
use crate::gearman::roundtrip;
use crate::host::Host;
use crate::host::files::Node;
use crate::intent::options::{Role, WorkerMode};
use crate::intent::resolved::{HostResolved, SiteResolved};
use crate::site::answers::Proof;
use crate::site::ask::Probe;
use crate::site::page::{PROOF_PLUGIN, PageProof};
use crate::site::queue;
use crate::site::web::listeners::{self, WebListener};
use crate::worker::Paths;

/// How long a job may wait for a worker that has just started.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many test jobs a host with workers submits until its own ones have run one:
/// those of other hosts take some of them.
const TRIES: u32 = 20;

/// What this host has to prove of a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Its pages submit jobs, and its workers run jobs.
    All,
    /// Its pages submit jobs, and workers on other hosts run them.
    Pages,
    /// Its workers run jobs that came through the job server.
    Workers,
}

impl Part {
    /// `None` on a host that is only a job server.
    pub fn of(roles: &[Role]) -> Option<Part> {
        match (roles.contains(&Role::Web), roles.contains(&Role::Worker)) {
            (true, true) => Some(Part::All),
            (true, false) => Some(Part::Pages),
            (false, true) => Some(Part::Workers),
            (false, false) => None,
        }
    }

    pub fn has_pages(self) -> bool {
        self != Part::Workers
    }

    pub fn has_workers(self) -> bool {
        self != Part::Pages
    }
}

/// A job that went through a job server, without any site.
pub struct ServerProof {
    pub server: String,
    pub done_ms: u64,
}

impl ServerProof {
    pub fn sentence(&self) -> String {
        format!("a job went through {} in {} ms", self.server, self.done_ms)
    }
}

/// Sends a job through this host's job server, on the address that others use.
///
/// # Errors
/// A server that does not accept a job, or does not hand it out again.
pub fn through_the_server(resolved: &HostResolved) -> Result<ServerProof> {
    let address = resolved.own_server();
    let what = || format!("send a job through the job server {address}");
    let server = address
        .parse()
        .map_err(|why: String| Problem::new(what(), why))?;
    let took = roundtrip::run(&server, PATIENCE / 6).map_err(|error| {
        Problem::new(what(), error)
            .help("see the log of gearmand, and 'wp-gears doctor job-server'")
    })?;
    Ok(ServerProof {
        server: address,
        done_ms: took.as_millis() as u64,
    })
}

/// Whether the site's workers are paused, so that no job runs.
pub fn is_paused(host: &Host, site: &SiteResolved) -> bool {
    let marker = Paths::new(Path::new(BASE), &site.name).paused;
    matches!(host.look(&marker), Ok(Node::File(_)))
}

/// Whether workers of another host may run the site's jobs.
fn elsewhere(resolved: &HostResolved, site: &SiteResolved) -> bool {
    site.is_shared || !resolved.roles.contains(&Role::Server)
}

/// Submits jobs until a worker of this host has run one.
///
/// # Errors
/// No worker runs one, or only those of other hosts do.
pub fn run(host: &Host, resolved: &HostResolved, site: &SiteResolved) -> Result<Proof> {
    let mut other = None;
    for _ in 0..TRIES {
        let proof = run_once(host, resolved, site)?;
        if proof.host.is_none() {
            return Ok(proof);
        }
        other = proof.host;
    }
    let what = format!("run a test job of {} on this host", site.dir.display());
    let why = format!(
        "{} took the last of {TRIES}, and other hosts took the rest",
        other.unwrap_or_default()
    );
    Err(Problem::new(what, why)
        .help(format!(
            "see {LOGS}/{}.log: the workers of this host take no jobs",
            site.name
        ))
        .into())
}

fn run_once(host: &Host, resolved: &HostResolved, site: &SiteResolved) -> Result<Proof> {
    let run = Path::new(BASE).join("run").join(&site.name);
    let control = host.supervisor()?.control;
    let help = |problem: Problem| {
        problem.help(format!(
            "see {LOGS}/{}.log and '{control} status {}:*'",
            site.name, site.program
        ))
    };
    let asked = site.target().prove(
        host,
        &Probe {
            run: &run,
            elsewhere: elsewhere(resolved, site),
            patience: PATIENCE,
        },
    );
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
    // Servers may have given the same handle to different jobs.
    if let [server] = site.effective_servers().as_slice() {
        queue::withdraw(&site.functions(), server, handle);
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
pub fn through_the_web(host: &Host, resolved: &HostResolved, site: &SiteResolved) -> Result<Web> {
    let listeners = listeners::all(host);
    if let Some(why) = why_silent(host, site, &listeners) {
        return Ok(Web::NotVerified(why.into()));
    }
    let has_workers = resolved.roles.contains(&Role::Worker);
    if !has_workers && queue::workers(&site.functions(), &site.effective_servers()) == 0 {
        let why = "no other host has workers for this site yet: set one up with '--role worker'";
        return Ok(Web::NotVerified(why.into()));
    }
    let run = Path::new(BASE).join("run").join(&site.name);
    let forget = [site.config.clone()];
    let probe = Probe {
        run: &run,
        elsewhere: elsewhere(resolved, site),
        patience: PATIENCE / 2,
    };
    let asked = site
        .target()
        .prove_by_a_page(host, &probe, &listeners, &forget);
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

/// "started after 5 ms, done after 9 ms", or on which other host it ran.
pub fn ran(page: &PageProof) -> String {
    match &page.host {
        Some(host) => format!("done on {host} after {} ms", page.done_ms),
        None => format!(
            "started after {} ms, done after {} ms",
            page.started_ms, page.done_ms
        ),
    }
}

/// What setup prints of it.
pub fn web_sentence(site: &SiteResolved, web: &Web) -> String {
    match web {
        Web::Proved(page) => format!(
            "✓ a page submitted a job [{}]: {} ({}); submitted after {} ms, {}",
            site.name,
            page.url,
            php_of(page),
            page.add_ms,
            ran(page)
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

pub fn document(site: &str, proof: Option<&Proof>, web: Option<&Web>) -> Value {
    let web = match web {
        Some(Web::Proved(page)) => json!({
            "server": page.server,
            "sapi": page.sapi,
            "php": page.php,
            "started_ms": page.started_ms,
            "done_ms": page.done_ms,
            "host": page.host,
        }),
        Some(Web::NotVerified(_)) | None => Value::Null,
    };
    let mut document = json!({ "site": site, "web": web });
    if let Some(proof) = proof {
        document["function"] = json!(proof.function.split_once(':').map_or("", |(_, name)| name));
        document["added_ms"] = json!(proof.add_ms);
        document["started_ms"] = json!(proof.started_ms);
        document["done_ms"] = json!(proof.done_ms);
        document["forked"] = json!(proof.forked);
    }
    document
}
