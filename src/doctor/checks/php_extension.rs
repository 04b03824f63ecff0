//! PHP's extension, in the very PHP of the workers and of the web server.

use std::path::Path;

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding, or_ok};
use crate::host::commands::Command;
use crate::host::process::Process;
use crate::intent::resolve::SiteResolved;
use crate::resource::ResourceId;
use crate::site::{find, php};

pub const CHECK: Check = Check {
    name: "php-extension",
    describes: "the gearman extension in the workers' PHP and in the processes that serve pages",
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

/// Asks the workers' PHP itself: the version of its library.
fn command_line(context: &Context, site: &SiteResolved) -> Result<Option<String>, Box<Finding>> {
    const PROGRAM: &str = "echo extension_loaded( 'gearman' ) ? 'yes ' . gearman_version() : 'no';";
    let php = site.php.path.display();
    let failed = |seen: String, todo: &str| {
        Err(Box::new(
            Finding::failed(seen, todo).fixed_by(ResourceId::Packages),
        ))
    };
    let user = match context.host.need_user(&site.user) {
        Ok(user) => user,
        Err(error) => return Err(Box::new(Finding::of_error(&error))),
    };
    match context.host.check(
        &Command::new(&site.php.path)
            .args(["-r", PROGRAM])
            .user(&user),
    ) {
        Ok(output) => match output.text().trim().rsplit_once("yes ") {
            Some((_, version)) => Ok(Some(version.to_owned())),
            None => failed(
                format!("{php} has no gearman extension: workers can run no job"),
                "install it for that PHP, or 'phpenmod gearman'",
            ),
        },
        Err(error) => failed(
            format!("{php} does not run: {error:#}"),
            "see that it starts: php -v",
        ),
    }
}

/// The processes that serve pages have it only if it was there when they started.
fn web(context: &Context, site: &SiteResolved, problems: &mut Vec<Finding>) -> String {
    const MASTER: &str = "php-fpm: master process (";
    let pool = context.pool(site);
    // /etc/php/8.2/fpm/pool.d/x.conf is a pool of the master with /etc/php/8.2/fpm/php-fpm.conf.
    let above = pool.as_ref().and_then(|pool| pool.file.parent()?.parent());
    let is_master = |process: &&Process| {
        let config = process
            .args
            .first()
            .and_then(|title| title.strip_prefix(MASTER));
        config.is_some_and(|config| above.is_none_or(|above| Path::new(config).starts_with(above)))
    };
    let is_apache = |process: &&Process| {
        let name = process.exe.as_deref().and_then(Path::file_name);
        name.is_some_and(|name| name == "apache2" || name == "httpd")
    };
    if !context.root {
        return "the web's PHP is seen by root alone".into();
    }
    let processes = context.processes();
    let Some(server) = processes.iter().find(is_master).or_else(|| {
        processes
            .iter()
            .find(|process| is_apache(process) && context.host.has_loaded(process.pid, "libphp"))
    }) else {
        return "no php-fpm or Apache with PHP runs".into();
    };
    let name = match is_master(&server) {
        true => "php-fpm",
        false => "Apache",
    };
    if !context.host.has_loaded(server.pid, "gearman.so") {
        problems.push(Finding::failed(
            format!(
                "{name} (process {}) runs without the gearman extension: {}",
                server.pid,
                without_extension(context, site)
            ),
            format!("restart {name}; if that is not enough, 'phpenmod gearman' first"),
        ));
    }
    format!("{name} has it")
}

/// What happens to the jobs of its pages.
fn without_extension(context: &Context, site: &SiteResolved) -> &'static str {
    let installed = find::plugin_in(context.host, &site.dir).ok().flatten();
    let major = installed
        .filter(|it| it.plugin == site.plugin)
        .and_then(|it| it.major(context.host));
    site.plugin.without_extension(major)
}

/// What a restart of the web server would meet.
fn ini_files(context: &Context, site: &SiteResolved) -> Option<Finding> {
    let missing = php::without_extension(context.host, &site.php).ok()?;
    let dir = missing.first()?;
    let seen = format!(
        "{} has no ini file for the gearman extension",
        dir.display()
    );
    Some(
        Finding::failed(seen, "phpenmod gearman, then restart the web server's PHP")
            .fixed_by(ResourceId::Packages),
    )
}
