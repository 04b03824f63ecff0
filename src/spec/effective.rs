//! What was decided, written as the file that would give the same.

use clap::Args;
use serde::Serialize;
use toml::{Table, Value};

use super::resolve::{Decided, SiteDecided};
use super::{HostOptions, Plugin as Wish, SiteOptions, Spec};
use crate::wordpress::site::Plugin;

/// Every option with what it is for; those that nobody set and that have no
/// fixed value are comments. A salt is not shown.
pub fn toml(spec: &Spec, decided: &Decided) -> String {
    let host = &decided.host;
    let options = HostOptions {
        role: Some(host.roles.clone()),
        queue: Some(host.queue),
        listen: Some(host.listen.clone()),
        port: Some(host.port),
        allow_upgrades: Some(host.allow_upgrades),
        ..spec.host.clone()
    };
    let mut text = String::from(
        "# What 'wp-gears setup' does here, as /etc/wp-gears.toml would say it.\n\
         # The command line and the environment go over this file.\n",
    );
    section::<HostOptions>(&options, &mut text);
    for site in &decided.sites {
        let wish = spec.sites.iter().find(|wish| wish.dir == site.dir);
        let options = of_site(
            site,
            wish.map(|wish| wish.options.clone()).unwrap_or_default(),
        );
        let dir = Value::String(site.dir.to_string_lossy().into_owned());
        text.push_str(&format!("\n[[site]]\ndir = {dir}\n"));
        section::<SiteOptions>(&options, &mut text);
    }
    text
}

fn of_site(site: &SiteDecided, wish: SiteOptions) -> SiteOptions {
    SiteOptions {
        plugin: Some(match site.plugin {
            Plugin::Bundled => Wish::Bundled,
            Plugin::WpGears => Wish::WpGears,
            Plugin::WpMinions => Wish::WpMinions,
        }),
        workers: Some(site.workers),
        worker_mode: Some(site.mode),
        worker_user: Some(site.user.clone()),
        worker_dir: Some(site.worker_dir.clone()),
        program: Some(site.program.clone()),
        php: Some(site.php.path.clone()),
        job_timeout: site.job_timeout,
        job_retries: Some(site.job_retries),
        stop_timeout: Some(site.stop_timeout),
        ..wish
    }
}

fn section<T: Args + Serialize>(options: &T, text: &mut String) {
    // Options are plain values: they have a form in TOML.
    let values = Table::try_from(options).unwrap_or_default();
    let command = T::augment_args(clap::Command::new("file"));
    for arg in command.get_arguments() {
        let Some(name) = arg.get_long() else {
            continue;
        };
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        text.push_str(&format!("\n# {help}\n"));
        text.push_str(&match values.get(name) {
            Some(_) if name == "salt" => {
                "# salt = \"…\"  # as it was given; a salt is not shown\n".to_owned()
            }
            Some(value) => format!("{name} = {value}\n"),
            None => format!("# {name} =\n"),
        });
    }
}
