//! Writes resolved options as a config file or a command line.

use std::path::Path;

use clap::{Arg, ArgMatches, Args, FromArgMatches};
use serde::Serialize;
use toml::{Table, Value};

use crate::intent::options::{HostOptions, Site, SiteOptions, Spec};
use crate::intent::resolve::{Resolved, SiteResolved};
use crate::intent::usage;
use crate::intent::{alert, hooks};
use crate::site::plugins::PluginChoice;
use crate::worker::options::WorkerOptions;
use crate::worker::rules::HookRule;

/// A config file with every option and its help. Options that are not set and
/// have no fixed default are comments. A salt is not shown.
pub fn toml(spec: &Spec, resolved: &Resolved) -> String {
    let mut text = String::from(
        "# The options of 'wp-gears setup' in effect on this host, for /etc/wp-gears.toml.\n\
         # The environment and the command line override this file.\n",
    );
    section::<HostOptions>(&of_host(spec, resolved), &mut text);
    for site in &resolved.sites {
        text.push_str(&format!("\n[[site]]\ndir = {}\n", dir(&site.dir)));
        section::<SiteOptions>(&of_wish(spec, site), &mut text);
        text.push_str(&hooks::text(&site.hooks));
    }
    text.push_str(&spec.alert.as_ref().map(alert::text).unwrap_or_default());
    text
}

/// A config file to fill in, with every option as a comment.
pub fn sample() -> String {
    let mut text = String::from(
        "# /etc/wp-gears.toml: the options of 'wp-gears setup' on this host.\n\
         # The environment and the command line override this file.\n",
    );
    section::<HostOptions>(&HostOptions::default(), &mut text);
    text.push_str(
        "\n# A table for each site. Above all tables, its options apply to every site.\n# [[site]]\n# dir =\n",
    );
    section::<SiteOptions>(&SiteOptions::default(), &mut text);
    text.push_str("\n# A rule for the jobs of some hooks of the site above; repeat for others.\n# [[site.hook]]\n");
    for key in HookRule::KEYS {
        text.push_str(&format!(
            "# {}: {}\n# {} =\n",
            key.means, key.takes, key.name
        ));
    }
    text.push_str(
        "\n# Where hosts share this file: what differs on a host with one of these names, in\n\
         # which * stands for any text and ? for one character. [[host.site]] is for one site.\n\
         # [[host]]\n# match =\n",
    );
    text.push_str(&alert::sample());
    text
}

/// The options that were given, as command lines: one per site if sites have
/// options of their own. Each item is an option with its value.
pub fn command_lines(spec: &Spec) -> Vec<Vec<String>> {
    let named = |site: &Site| format!("--site {}", quoted(&site.dir.to_string_lossy()));
    let of_host = options(&spec.host);
    let own = spec
        .sites
        .iter()
        .any(|site| site.options != SiteOptions::default());
    let groups: Vec<&[Site]> = match own {
        true => spec.sites.chunks(1).collect(),
        false => vec![&spec.sites],
    };
    let line = |sites: &[Site]| {
        let mut line: Vec<String> = sites.iter().map(named).collect();
        line.extend(sites.iter().take(1).flat_map(|site| options(&site.options)));
        line.extend(of_host.clone());
        line
    };
    groups.into_iter().map(line).collect()
}

/// Each host option with its effective value as the command line takes it.
pub fn host_values(spec: &Spec, resolved: &Resolved) -> Vec<(Arg, Option<String>)> {
    values(&of_host(spec, resolved))
}

/// Each site option with its effective value as the command line takes it.
pub fn site_values(spec: &Spec, site: &SiteResolved) -> Vec<(Arg, Option<String>)> {
    values(&of_wish(spec, site))
}

fn values<T: Args + Serialize>(options: &T) -> Vec<(Arg, Option<String>)> {
    let set = set_options(options).into_iter();
    let set: Vec<(Arg, Value)> = set.collect();
    let all = T::augment_args(clap::Command::new("file"));
    let value = |arg: &Arg| {
        let (_, value) = set
            .iter()
            .find(|(known, _)| known.get_id() == arg.get_id())?;
        Some(words(value))
    };
    all.get_arguments()
        .map(|arg| (arg.clone(), value(arg)))
        .collect()
}

/// The name of each option that is set, with its value as the command line takes it.
pub fn set_words<T: Args + Serialize>(options: &T) -> Vec<(String, String)> {
    let word = |(arg, value): (Arg, Value)| {
        let name = arg.get_long().unwrap_or_default().to_owned();
        (name, words(&value))
    };
    set_options(options).into_iter().map(word).collect()
}

/// The name of each option that is set, with its value as the file takes it.
pub fn set_values<T: Args + Serialize>(options: &T) -> Vec<(String, Value)> {
    let named = |(arg, value): (Arg, Value)| (arg.get_long().unwrap_or_default().to_owned(), value);
    set_options(options).into_iter().map(named).collect()
}

/// The names of the options that are set.
pub fn names<T: Args + Serialize>(options: &T) -> Vec<String> {
    let name = |(arg, _): (Arg, Value)| arg.get_long().unwrap_or_default().to_owned();
    set_options(options).into_iter().map(name).collect()
}

/// The options that are set, in the order of the command line.
fn set_options<T: Args + Serialize>(options: &T) -> Vec<(Arg, Value)> {
    let mut values = Table::try_from(options).unwrap_or_default();
    let command = T::augment_args(clap::Command::new("file"));
    let mut set = Vec::new();
    for arg in command.get_arguments() {
        let value = arg.get_long().and_then(|name| values.remove(name));
        set.extend(value.map(|value| (arg.clone(), value)));
    }
    set
}

/// Each option that is set, as on the command line.
pub fn options<T: Args + Serialize>(options: &T) -> Vec<String> {
    let option = |(arg, value): (Arg, Value)| {
        let name = arg.get_long().unwrap_or_default();
        let gap = if arg.is_require_equals_set() {
            '='
        } else {
            ' '
        };
        match name {
            "salt" => "--salt …".to_owned(),
            _ => format!("--{name}{gap}{}", quoted(&words(&value))),
        }
    };
    set_options(options).into_iter().map(option).collect()
}

/// The value as the command line takes it.
fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(words).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// The word, quoted for a shell where needed.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,@%+=".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

fn dir(dir: &Path) -> Value {
    Value::String(dir.to_string_lossy().into_owned())
}

fn of_host(spec: &Spec, resolved: &Resolved) -> HostOptions {
    let host = &resolved.host;
    let store = host.store.as_ref().map(|store| store.options());
    HostOptions {
        role: Some(host.roles.clone()),
        queue: Some(host.queue),
        listen: Some(host.listen.clone()),
        port: Some(host.port),
        allow_upgrades: Some(host.allow_upgrades),
        expose: Some(host.expose),
        dashboard: Some(spec.host.dashboard.unwrap_or_default()),
        isolation: Some(host.isolation),
        owner_ports: Some(host.owner_ports.clone()).filter(|it| !it.is_empty()),
        store: store.unwrap_or_default().over(spec.host.store.clone()),
        ..spec.host.clone()
    }
}

fn of_wish(spec: &Spec, site: &SiteResolved) -> SiteOptions {
    let wish = spec.sites.iter().find(|wish| wish.dir == site.dir);
    of_site(
        site,
        wish.map(|wish| wish.options.clone()).unwrap_or_default(),
    )
}

fn of_site(site: &SiteResolved, wish: SiteOptions) -> SiteOptions {
    SiteOptions {
        plugin: Some(PluginChoice::This(site.plugin)),
        workers: Some(site.workers),
        worker_user: Some(site.user.clone()),
        worker_dir: Some(site.worker_dir.clone()),
        program: Some(site.program.clone()),
        worker: WorkerOptions {
            php: Some(site.php.path.clone()),
            ..wish.worker.clone().over(WorkerOptions::defaults())
        },
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
            Some(_) if name == "salt" => "# salt = \"…\"  # set, but not shown\n".to_owned(),
            Some(value) => format!("{name} = {value}\n"),
            None => format!("# {name} =\n"),
        });
    }
}

/// Parses an option like the command line does.
pub fn parsed<T: Args + FromArgMatches>(name: &str, text: &str) -> Result<T, String> {
    let command = T::augment_args(clap::Command::new("answer").no_binary_name(true));
    let command = command.mut_args(|arg| arg.env(None::<&str>));
    let read = |matches: ArgMatches| T::from_arg_matches(&matches);
    let words = [format!("--{name}={text}")];
    command
        .try_get_matches_from(words)
        .and_then(read)
        .map_err(|error| {
            let line = usage::line(&error).unwrap_or_else(|| error.to_string());
            // The question already shows the option and the value.
            let why = line
                .rsplit_once("': ")
                .map_or(line.as_str(), |(_, why)| why);
            why.to_owned()
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::options::Queue;
    use crate::worker::workers::Workers;

    fn spec() -> Spec {
        let site = |dir: &str, workers: Option<u32>| Site {
            dir: dir.into(),
            options: SiteOptions {
                workers: workers.map(Workers::fixed),
                ..SiteOptions::default()
            },
            recorded: false,
            hooks: Vec::new(),
        };
        Spec {
            host: HostOptions {
                queue: Queue::of_type("builtin"),
                servers: Some(vec!["a:1".into(), "b:2".into()]),
                allow_upgrades: Some(true),
                ..HostOptions::default()
            },
            sites: vec![site("/srv/a", Some(3)), site("/srv/it's b", None)],
            ..Spec::default()
        }
    }

    #[test]
    fn a_command_line_names_one_site_where_sites_have_options_of_their_own() {
        let lines: Vec<String> = command_lines(&spec())
            .iter()
            .map(|it| it.join(" "))
            .collect();
        let host = "--servers a:1,b:2 --queue memory --allow-upgrades=true";
        assert_eq!(
            lines,
            [
                format!("--site /srv/a --workers 3 {host}"),
                format!("--site '/srv/it'\\''s b' {host}"),
            ]
        );
        let mut alike = spec();
        alike.sites[0].options.workers = None;
        assert_eq!(command_lines(&alike).len(), 1);
    }

    #[test]
    fn a_salt_is_not_shown() {
        let mut spec = spec();
        spec.sites[0].options.salt = Some("geheim".into());
        let shown = format!("{:?}", command_lines(&spec));
        assert!(!shown.contains("geheim"), "{shown}");
    }
}
