//! PHP's gearman extension, in the PHP of the workers and of the web server.

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding, or_ok};
use crate::intent::options::Role;
use crate::intent::resolve::SiteResolved;
use crate::plan::proof::{Page, php_of};
use crate::resource::ResourceId;
use crate::site::page::PageProof;
use crate::site::{extension, find, php, web_php};

pub const CHECK: Check = Check {
    name: "php-extension",
    describes: "the gearman extension in the PHP of the workers and of the web server",
    vital: false,
    run,
};

fn run(context: &Context) -> Vec<Finding> {
    context.each_site(|site| {
        let mut problems = Vec::new();
        let library = match command_line(context, site) {
            Ok(library) => library,
            Err(finding) => {
                problems.push(*finding);
                None
            }
        };
        problems.extend(ini_files(context, site));
        let library = library.map_or(String::new(), |version| format!(", libgearman {version}"));
        let workers = format!("{}{library}", site.php.path.display());
        if !context.has_role(Role::Web) {
            return or_ok(problems, || format!("{workers}; pages are on other hosts"));
        }
        if !context.root {
            let pages = "the web server's PHP can be checked only by root";
            return or_ok(problems, || format!("{workers}; {pages}"));
        }
        match context.page(site) {
            Page::Answers(page) => {
                problems.extend(of_page(context, site, page));
                or_ok(problems, || format!("{workers}; pages: {}", php_of(page)))
            }
            Page::Silent(why) => {
                let running = by_processes(context, site);
                let known = running.iter().any(Finding::is_problem);
                problems.extend(running);
                let mut findings = or_ok(problems, || workers);
                if !known {
                    let what = format!("the PHP of pages is not verified: {why}");
                    findings.push(Finding::skipped(what));
                }
                findings
            }
        }
    })
}

/// Asks the workers' PHP itself for the version of its library.
fn command_line(context: &Context, site: &SiteResolved) -> Result<Option<String>, Box<Finding>> {
    let php = site.php.path.display();
    let failed = |message: String, help: String| {
        Err(Box::new(
            Finding::failed(message, help)
                .fixed_by(ResourceId::Packages)
                .fixed_by(enabled(site)),
        ))
    };
    let user = match context.host.need_user(&site.user) {
        Ok(user) => user,
        Err(error) => return Err(Box::new(Finding::of_error(&error))),
    };
    match extension::ask(context.host, &site.php, &user) {
        Ok(facts) => match facts.libgearman {
            Some(version) => Ok(Some(version)),
            None => failed(
                format!("{php} has no gearman extension: workers cannot run jobs"),
                format!("install it for this PHP, or {}", enable(context, site)),
            ),
        },
        Err(error) => failed(
            format!("{php} fails: {error:#}"),
            format!("make sure that '{php} -v' works"),
        ),
    }
}

fn enable(context: &Context, site: &SiteResolved) -> String {
    let hint = site.php.enable_extension(context.host);
    hint.unwrap_or_else(|_| "enable it".into())
}

/// What the page that answered says.
fn of_page(context: &Context, site: &SiteResolved, page: &PageProof) -> Option<Finding> {
    if page.extension {
        return None;
    }
    let by = page.pid.and_then(|pid| {
        web_php::answering(context.host, context.processes(), pid).unwrap_or_default()
    });
    let restart = match &by {
        Some(web) => web.restart_hint(context.platform),
        None => format!("restart the PHP of {}", page.server),
    };
    let message = format!("pages run in {}", php_of(page));
    Some(lacking(context, site, &message, &restart))
}

/// A PHP of pages that lacks it. PHP reads its ini files only when it starts.
fn lacking(context: &Context, site: &SiteResolved, message: &str, restart: &str) -> Finding {
    let message = format!("{message}: {}", without_extension(context, site));
    let help = format!(
        "{restart}; if that does not help, {} first",
        enable(context, site)
    );
    Finding::failed(message, help)
        .fixed_by(ResourceId::WebPhp)
        .fixed_by(enabled(site))
}

/// The processes that seem to serve the site, as no page could be asked.
fn by_processes(context: &Context, site: &SiteResolved) -> Vec<Finding> {
    let host = context.host;
    let serving = || {
        let php = match context.served(site).pool() {
            Some(pool) => php::of_pool(host, Some(pool))?,
            None => site.php.clone(),
        };
        web_php::serving(host, context.processes(), &php)
    };
    let serving = match serving() {
        Ok(serving) => serving,
        Err(error) => return vec![Finding::of_error(&error)],
    };
    match serving.first() {
        Some(web) if web.has_extension(host) => Vec::new(),
        Some(web) => {
            let restart = web.restart_hint(context.platform);
            let message = format!("{web} runs without the gearman extension");
            vec![lacking(context, site, &message, &restart)]
        }
        None => another_php(context).into_iter().collect(),
    }
}

/// What happens to jobs that are submitted without the extension.
fn without_extension(context: &Context, site: &SiteResolved) -> String {
    let installed = find::plugin_in(context.host, &site.content).ok().flatten();
    let version = installed
        .filter(|it| it.plugin == site.plugin)
        .and_then(|it| it.version(context.host));
    site.plugin.without_extension(version)
}

/// A web server process with another PHP than the one that should serve the site.
fn another_php(context: &Context) -> Option<Finding> {
    let mut others = web_php::all(context.host, context.processes()).ok()?;
    others.retain(|web| !web.has_extension(context.host));
    let web = others.first()?;
    Some(Finding::warning(
        format!("{web} runs another PHP, without the gearman extension"),
        "if it serves this site, run 'wp-gears setup --php PATH' with that PHP's command-line program",
    ))
}

/// Missing ini files, which would matter after a restart of the web server's PHP.
fn ini_files(context: &Context, site: &SiteResolved) -> Option<Finding> {
    let missing = php::without_extension(context.host, &site.php).ok()?;
    let dir = missing.first()?;
    let message = format!(
        "{} has no ini file for the gearman extension",
        dir.display()
    );
    let enable = context.platform.family.enable_extension(dir);
    Some(
        Finding::failed(
            message,
            format!("{enable}, then restart the web server's PHP"),
        )
        .fixed_by(ResourceId::Packages)
        .fixed_by(enabled(site)),
    )
}

fn enabled(site: &SiteResolved) -> ResourceId {
    ResourceId::EnabledExtension(site.php.label())
}
