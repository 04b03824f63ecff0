//! Settings of the workers' PHP with which jobs cannot run.

use anyhow::Result;

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding, or_ok};
use crate::intent::resolve::SiteResolved;
use crate::site::extension;
use crate::site::php_settings::{self, IniSettings, Unfit};

pub const CHECK: Check = Check {
    name: "php-settings",
    describes: "settings of the workers' PHP that disable what jobs need",
    vital: false,
    run,
};

fn run(context: &Context) -> Vec<Finding> {
    if let Some(skipped) = context.needs_root() {
        return vec![skipped];
    }
    context.each_site(|site| {
        let unfit = match unfit(context, site) {
            Ok(unfit) => unfit,
            Err(error) => return vec![Finding::of_error(&error)],
        };
        let failed = |it: Unfit| Finding::failed(it.why, it.help);
        or_ok(unfit.into_iter().map(failed).collect(), || {
            format!("{} has all that jobs need", site.php.path.display())
        })
    })
}

fn unfit(context: &Context, site: &SiteResolved) -> Result<Vec<Unfit>> {
    let (host, php) = (context.host, &site.php);
    let user = host.need_user(&site.user)?;
    let facts = extension::ask(host, php, &user)?;
    let settings = IniSettings::read(host, &facts.ini_files)?;
    php_settings::unfit(host, &php.path, &user, &settings, &site.places())
}
