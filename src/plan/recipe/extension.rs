//! PHP's gearman extension in the recipe: it comes from a package, or is built if
//! no package has it for that PHP. Then the web's PHP is reloaded.

use std::time::Duration;

use anyhow::Result;

use crate::base::problem::{Problem, SiteResult};
use crate::host::Host;
use crate::host::platform::Family;
use crate::intent::resolve::{Resolved, SiteResolved};
use crate::plan::recipe::Recipe;
use crate::resource::check::{Check, Condition, When};
use crate::resource::enabled_extension::EnabledExtension;
use crate::resource::extension::Extension;
use crate::resource::package::Packages;
use crate::resource::reload_php::ReloadPhp;
use crate::resource::{Resource, ResourceId, State};
use crate::site::php::{self, Php};

/// The packages of the extension for PHPs that lack it.
pub fn packages(host: &Host, resolved: &Resolved) -> Result<Vec<Vec<String>>> {
    let mut packages = Vec::new();
    for extension in all(host, resolved)? {
        let lacks = !php::without_extension(host, &extension.php)?.is_empty();
        let by_package = extension.archive.is_none() && !extension.packages.is_empty();
        if lacks && by_package && !packages.contains(&extension.packages) {
            packages.push(extension.packages);
        }
    }
    Ok(packages)
}

/// The build of the extension and the packages for it. They do nothing if no build
/// is needed.
pub fn build(host: &Host, items: &mut Recipe, resolved: &Resolved) -> Result<()> {
    for extension in all(host, resolved)? {
        let required = extension.builds_with.iter();
        items.host(Packages {
            required: required.map(|name| vec![name.clone()]).collect(),
            builds: Some(extension.clone()),
            allow_upgrades: resolved.host.allow_upgrades,
            ..Packages::default()
        });
        items.host(extension.clone());
        items.host(EnabledExtension { extension });
    }
    Ok(())
}

/// Reloads the web's PHP where it has not loaded the extension by then: a
/// package may restart php-fpm, but no web server with PHP in it.
pub fn reload_php(host: &Host, resolved: &Resolved) -> Result<Option<ReloadPhp>> {
    let all = all(host, resolved)?;
    let Some(first) = all.first() else {
        return Ok(None);
    };
    let after = brought_by(host, first)?;
    let phps: Vec<Php> = all.into_iter().map(|it| it.php).collect();
    Ok(Some(ReloadPhp { phps, after }))
}

/// The resource that gives PHP the extension, if it lacks it.
fn brought_by(host: &Host, extension: &Extension) -> Result<ResourceId> {
    let enabled = EnabledExtension {
        extension: extension.clone(),
    };
    Ok(match enabled.inspect(host)? {
        State::Same => ResourceId::Packages,
        _ => enabled.id(),
    })
}

/// The extension for each PHP.
fn all(host: &Host, resolved: &Resolved) -> Result<Vec<Extension>> {
    let mut all: Vec<Extension> = Vec::new();
    for site in &resolved.sites {
        if all.iter().any(|other| other.php == site.php) {
            continue;
        }
        let archive = resolved.host.extension_archive.clone();
        all.push(Extension {
            php: site.php.clone(),
            user: site.user.clone(),
            packages: site.php.packages_for_it(host)?,
            builds_with: site.php.build_packages(host, archive.is_none())?,
            archive,
        });
    }
    Ok(all)
}

pub fn check(
    host: &Host,
    family: &'static Family,
    resolved: &Resolved,
    site: &SiteResolved,
) -> SiteResult<Check> {
    let php = site.php.clone();
    let label = php.label();
    let all = all(host, resolved)?;
    let own = all.iter().find(|it| it.php == php);
    let after = own.map(|it| brought_by(host, it)).transpose()?;
    Ok(Check {
        condition: Condition::PhpHasExtension(label.clone()),
        after: after.unwrap_or(ResourceId::Packages),
        patience: Duration::ZERO,
        when: When::Always,
        probe: Box::new(move |host| {
            let missing = php::without_extension(host, &php)?;
            let Some(dir) = missing.first() else {
                return Ok(());
            };
            let what = format!("find the gearman extension in {label}");
            let why = format!("{} has no ini file for it", dir.display());
            let help = format!("{}, then run again", family.enable_extension(dir));
            Err(Problem::new(what, why).help(help).into())
        }),
    })
}
