//! PHP's gearman extension, in the PHP of the workers and of the web server.

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding, or_ok};
use crate::intent::resolve::SiteResolved;
use crate::resource::ResourceId;
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
        let served = web(context, site, &mut problems);
        problems.extend(ini_files(context, site));
        or_ok(problems, || {
            let library =
                library.map_or(String::new(), |version| format!(", libgearman {version}"));
            format!("{}{library}; {served}", site.php.path.display())
        })
    })
}

/// Asks the workers' PHP itself for the version of its library.
fn command_line(context: &Context, site: &SiteResolved) -> Result<Option<String>, Box<Finding>> {
    let php = site.php.path.display();
    let failed = |message: String, help: String| {
        Err(Box::new(
            Finding::failed(message, help).fixed_by(ResourceId::Packages),
        ))
    };
    let user = match context.host.need_user(&site.user) {
        Ok(user) => user,
        Err(error) => return Err(Box::new(Finding::of_error(&error))),
    };
    match extension::ask(context.host, &site.php.path, &user) {
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

/// The processes that serve pages load the extension only when they start.
fn web(context: &Context, site: &SiteResolved, problems: &mut Vec<Finding>) -> String {
    if !context.root {
        return "the web server's PHP can be checked only by root".into();
    }
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
        Err(error) => {
            problems.push(Finding::of_error(&error));
            return String::new();
        }
    };
    let Some(web) = serving.first() else {
        problems.extend(another_php(context));
        return "no php-fpm or Apache runs this PHP".into();
    };
    if !web.has_extension(host) {
        problems.push(Finding::failed(
            format!(
                "{web} runs without the gearman extension: {}",
                without_extension(context, site)
            ),
            format!(
                "{}; if that does not help, {} first",
                web.restart_hint(context.platform),
                enable(context, site)
            ),
        ));
    }
    format!("{web} has the extension")
}

/// What happens to jobs that are submitted without the extension.
fn without_extension(context: &Context, site: &SiteResolved) -> &'static str {
    let installed = find::plugin_in(context.host, &site.content).ok().flatten();
    let major = installed
        .filter(|it| it.plugin == site.plugin)
        .and_then(|it| it.major(context.host));
    site.plugin.without_extension(major)
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
        .fixed_by(ResourceId::Packages),
    )
}
