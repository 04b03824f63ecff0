//! The supported plugins, which submit a site's jobs to Gearman, one row each.
//! `templates/plugin.php` is the corresponding table in PHP: how to call them.

use std::sync::LazyLock;

use clap::ValueEnum;
use clap::builder::PossibleValue;
use serde::{Deserialize, Serialize};

use crate::base::secrets::MASK;
use crate::base::text::printable;

/// The constant that separates the jobs of different sites.
pub const SALT: &str = "WP_ASYNC_TASK_SALT";

/// A plugin that submits jobs.
#[derive(Debug)]
pub struct Plugin {
    /// Its name on the command line and in the config file.
    pub name: &'static str,
    /// The help for that name.
    help: &'static str,
    /// Its name in messages.
    pub label: &'static str,
    /// Its main file, which identifies it among a site's plugins.
    pub main_file: &'static str,
    /// Setup installs it among the must-use plugins. The site must already have any
    /// other.
    pub bundled: bool,
    /// The name of its runner in the WordPress folder.
    pub runner: &'static str,
    /// The constant that enables it.
    pub switch: Switch,
    /// The Gearman function of its jobs, without the salt in front.
    function: &'static str,
    /// The functions of its jobs on a site without a salt, in all its versions.
    unsalted: &'static [&'static str],
    /// What it does in a PHP without the gearman extension, from each version on.
    without_extension: &'static [(Version, WithoutExtension)],
}

/// "2.0.1" as numbers.
pub type Version = [u32; 3];

/// What a plugin does in a PHP without the gearman extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WithoutExtension {
    /// PHP ends with a fatal error while the plugin loads.
    Fatal,
    /// The jobs go nowhere.
    Loses,
    /// WP-Cron runs the jobs.
    Cron,
}

impl WithoutExtension {
    fn text(self) -> &'static str {
        match self {
            WithoutExtension::Fatal => "every page ends with a fatal error",
            WithoutExtension::Loses => "pages lose their jobs",
            WithoutExtension::Cron => "pages pass their jobs to WP-Cron",
        }
    }
}

/// A constant in wp-config.php that makes a plugin use Gearman.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switch {
    pub constant: &'static str,
    pub value: SwitchValue,
}

/// The value that turns a switch on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SwitchValue {
    True,
    Text(&'static str),
}

pub static WP_GEARS: Plugin = Plugin {
    name: "wp-gears",
    help: "The WP Gears plugin",
    label: "WP Gears",
    main_file: "wp-gears.php",
    bundled: false,
    runner: "wp-gears-runner.php",
    switch: Switch {
        constant: "WP_GEARS",
        value: SwitchValue::True,
    },
    function: ":WP_Async_Task",
    // 1.0, then 2.0 and later.
    unsalted: &["WP_Async_Task", ":WP_Async_Task"],
    without_extension: &[
        ([0, 0, 0], WithoutExtension::Fatal),
        ([2, 0, 1], WithoutExtension::Cron),
    ],
};

pub static WP_MINIONS: Plugin = Plugin {
    name: "wp-minions",
    help: "The WP Minions plugin",
    label: "WP Minions",
    main_file: "wp-minions.php",
    bundled: false,
    runner: "wp-minions-runner.php",
    switch: Switch {
        constant: "WP_MINIONS_BACKEND",
        value: SwitchValue::Text("gearman"),
    },
    function: ":WP_Async_Task",
    unsalted: &[":WP_Async_Task"],
    without_extension: &[
        ([0, 0, 0], WithoutExtension::Cron),
        ([4, 0, 0], WithoutExtension::Loses),
    ],
};

pub static BUNDLED: Plugin = Plugin {
    name: "bundled",
    help: "A small must-use plugin included in wp-gears",
    label: "the bundled plugin",
    main_file: "wp-gears-bundled.php",
    bundled: true,
    runner: "wp-gears-runner.php",
    switch: Switch {
        constant: "WP_GEARS",
        value: SwitchValue::True,
    },
    function: ":WP_Async_Task",
    unsalted: &[":WP_Async_Task"],
    without_extension: &[([0, 0, 0], WithoutExtension::Cron)],
};

/// All plugins, in the order in which the help lists them.
pub static PLUGINS: [&Plugin; 3] = [&WP_GEARS, &WP_MINIONS, &BUNDLED];

impl PartialEq for Plugin {
    fn eq(&self, other: &Plugin) -> bool {
        self.name == other.name
    }
}

impl Eq for Plugin {}

impl Plugin {
    /// What happens if the PHP of the pages lacks the gearman extension.
    pub fn without_extension(&self, version: Option<Version>) -> String {
        let rows = self.without_extension;
        if let Some(version) = version {
            let row = rows.iter().rfind(|(since, _)| *since <= version);
            return row.map_or_else(String::new, |(_, what)| what.text().into());
        }
        let all: Vec<&str> = rows.iter().map(|(_, what)| what.text()).collect();
        all.join(", or ")
    }
}

impl Switch {
    /// Its value as PHP code.
    pub fn php(self) -> String {
        match self.value {
            SwitchValue::True => "true".into(),
            SwitchValue::Text(text) => format!("'{text}'"),
        }
    }

    /// Its value in JSON, for PHP to define it.
    pub fn json(self) -> serde_json::Value {
        match self.value {
            SwitchValue::True => true.into(),
            SwitchValue::Text(text) => text.into(),
        }
    }
}

/// Removes duplicates: several plugins may share a name.
fn distinct(names: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
    let mut distinct = Vec::new();
    for name in names {
        if !distinct.contains(&name) {
            distinct.push(name);
        }
    }
    distinct
}

/// The switches of all plugins, without duplicates.
pub fn switches() -> &'static [Switch] {
    static SWITCHES: LazyLock<Vec<Switch>> = LazyLock::new(|| {
        let mut switches: Vec<Switch> = Vec::new();
        for plugin in PLUGINS {
            if !switches.contains(&plugin.switch) {
                switches.push(plugin.switch);
            }
        }
        switches
    });
    &SWITCHES
}

/// The constants that setup writes: all switches, and the salt.
pub fn constants() -> &'static [&'static str] {
    static CONSTANTS: LazyLock<Vec<&str>> = LazyLock::new(|| {
        let switches = PLUGINS.iter().map(|plugin| plugin.switch.constant);
        distinct(switches.chain([SALT]))
    });
    &CONSTANTS
}

/// The names of all runners.
pub fn runners() -> Vec<&'static str> {
    distinct(PLUGINS.iter().map(|plugin| plugin.runner))
}

/// The functions under which a site with this salt may submit its jobs.
pub fn functions(salt: Option<&str>) -> Vec<String> {
    let mut functions: Vec<String> = Vec::new();
    for plugin in PLUGINS {
        let names = match salt {
            Some(salt) => vec![format!("{salt}{}", plugin.function)],
            None => plugin.unsalted.iter().map(|name| (*name).into()).collect(),
        };
        for name in names {
            if !functions.contains(&name) {
                functions.push(name);
            }
        }
    }
    functions
}

/// A function's name with its salt masked. The functions of plugins are
/// recognized by their endings; those of other programs are shown in full,
/// unless they belong to a site.
pub fn shown_function(name: &str, of_a_site: bool) -> String {
    let salt = PLUGINS
        .iter()
        .find_map(|plugin| name.strip_suffix(plugin.function));
    let at = match salt {
        Some(salt) => Some(salt.len()),
        None if of_a_site => name.rfind(':'),
        None => None,
    };
    match at {
        Some(at) if at > 0 => format!("{MASK}{}", printable(&name[at..])),
        _ => printable(name),
    }
}

/// The PHP strings that a diff of wp-config.php may show.
pub fn shown_words() -> &'static [&'static str] {
    static WORDS: LazyLock<Vec<&str>> = LazyLock::new(|| {
        let values = switches().iter().filter_map(|switch| match switch.value {
            SwitchValue::Text(text) => Some(text),
            SwitchValue::True => None,
        });
        distinct(constants().iter().copied().chain(values))
    });
    &WORDS
}

/// The values of `--plugin`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum PluginChoice {
    /// The installed one, or the bundled one if there is none.
    Auto,
    This(&'static Plugin),
}

impl PluginChoice {
    /// The plugin to use on a site with this one installed.
    pub fn or_installed(self, installed: Option<&'static Plugin>) -> &'static Plugin {
        match self {
            PluginChoice::Auto => installed.unwrap_or(&BUNDLED),
            PluginChoice::This(plugin) => plugin,
        }
    }

    fn name(self) -> &'static str {
        match self {
            PluginChoice::Auto => "auto",
            PluginChoice::This(plugin) => plugin.name,
        }
    }
}

impl ValueEnum for PluginChoice {
    fn value_variants<'a>() -> &'a [Self] {
        static CHOICES: LazyLock<Vec<PluginChoice>> = LazyLock::new(|| {
            let plugins = PLUGINS.into_iter().map(PluginChoice::This);
            [PluginChoice::Auto].into_iter().chain(plugins).collect()
        });
        &CHOICES
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let help = match self {
            PluginChoice::Auto => "The plugin installed on the site, or the bundled one",
            PluginChoice::This(plugin) => plugin.help,
        };
        Some(PossibleValue::new(self.name()).help(help))
    }
}

impl From<PluginChoice> for String {
    fn from(choice: PluginChoice) -> String {
        choice.name().into()
    }
}

impl TryFrom<String> for PluginChoice {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        <Self as ValueEnum>::from_str(&name, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_shown_without_their_salt() {
        for (name, of_a_site, shown) in [
            ("s:WP_Async_Task", false, "••••:WP_Async_Task"),
            ("a:b:WP_Async_Task", true, "••••:WP_Async_Task"),
            (":WP_Async_Task", false, ":WP_Async_Task"),
            ("WP_Async_Task", true, "WP_Async_Task"),
            ("s:own", true, "••••:own"),
            ("ns:resize", false, "ns:resize"),
            ("bell\x07", false, "bell\u{fffd}"),
        ] {
            assert_eq!(shown_function(name, of_a_site), shown);
        }
    }

    #[test]
    fn what_happens_without_the_extension_depends_on_the_version() {
        let (fatal, lost, cron) = (
            "every page ends with a fatal error",
            "pages lose their jobs",
            "pages pass their jobs to WP-Cron",
        );
        for (plugin, version, what) in [
            (&WP_GEARS, [1, 0, 0], fatal),
            (&WP_GEARS, [2, 0, 0], fatal),
            (&WP_GEARS, [2, 0, 1], cron),
            (&WP_GEARS, [2, 1, 0], cron),
            (&WP_MINIONS, [3, 0, 0], cron),
            (&WP_MINIONS, [4, 1, 0], lost),
            (&BUNDLED, [1, 0, 0], cron),
        ] {
            assert_eq!(plugin.without_extension(Some(version)), what, "{version:?}");
        }
        let unknown = WP_MINIONS.without_extension(None);
        assert_eq!(unknown, format!("{cron}, or {lost}"));
    }

    #[test]
    fn a_choice_has_one_name_on_the_command_line_and_in_the_file() {
        for choice in PluginChoice::value_variants() {
            let name = String::from(*choice);
            assert_eq!(PluginChoice::try_from(name).as_ref(), Ok(choice));
        }
        assert!(PluginChoice::try_from("none".to_owned()).is_err());
    }
}
