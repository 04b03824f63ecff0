//! Identifies the WordPress in a folder from its files, without running it.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::base::problem::Problem;
use crate::host::Host;
use crate::site::content::Content;
use crate::site::plugins::{PLUGINS, Plugin, Version};

/// WordPress looks for a plugin's header in the first 8 KB of its main file.
const HEAD: usize = 8 << 10;
/// No site has so many plugins.
const MAX_PLUGINS: usize = 2000;

/// A WordPress installation, according to its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WordPress {
    pub version: String,
}

/// A plugin that is installed in a site, active or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstalledPlugin {
    pub plugin: &'static Plugin,
    main: PathBuf,
}

impl InstalledPlugin {
    /// Its version, if its main file states it.
    pub fn version(&self, host: &Host) -> Option<Version> {
        let head = host.read_head(&self.main, HEAD).ok()??.bytes;
        version(&String::from_utf8_lossy(&head))
    }
}

/// Identifies the WordPress in a folder. Fails if there is none.
pub fn find(host: &Host, dir: &Path) -> Result<WordPress> {
    let what = format!("use {} as a site", dir.display());
    if !dir.is_absolute() {
        return Err(Problem::usage(what, "it is not an absolute path").into());
    }
    if !host.is_dir(dir) {
        return Err(Problem::new(what, "there is no such folder")
            .help("name the WordPress folder, which contains wp-load.php, with --site")
            .into());
    }
    let version_file = host.read(&dir.join("wp-includes/version.php"))?;
    let (Some(file), true) = (version_file, host.exists(&dir.join("wp-load.php"))) else {
        return Err(Problem::new(
            what,
            "it contains no WordPress (no wp-load.php with wp-includes/version.php)",
        )
        .help("name the WordPress folder, which contains wp-load.php, with --site")
        .into());
    };
    let text = String::from_utf8_lossy(&file.bytes).into_owned();
    let version = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("$wp_version"))
        .and_then(|rest| rest.split(['\'', '"']).nth(1))
        .unwrap_or("unknown")
        .to_owned();
    Ok(WordPress { version })
}

/// The plugin in a site, identified by its main file. The bundled one counts
/// only if the site has no other.
pub fn plugin_in(host: &Host, content: &Content) -> Result<Option<InstalledPlugin>> {
    Ok(plugins_in(host, content)?.into_iter().next())
}

/// All plugins in a site, the bundled one last.
pub fn plugins_in(host: &Host, content: &Content) -> Result<Vec<InstalledPlugin>> {
    let (bundled, own): (Vec<&Plugin>, Vec<&Plugin>) =
        PLUGINS.iter().partition(|plugin| plugin.bundled);
    let mut found = Vec::new();
    for folder in [&content.plugins, &content.must_use] {
        let names = host.list(folder)?;
        if names.len() > MAX_PLUGINS {
            let why = format!("it has more than {MAX_PLUGINS} entries");
            let what = format!("look for plugins in {}", folder.display());
            let help = "remove what is not a plugin, then run again";
            return Err(Problem::new(what, why).help(help).into());
        }
        for name in names {
            for plugin in &own {
                let main = match name == plugin.main_file {
                    true => folder.join(&name),
                    false => folder.join(&name).join(plugin.main_file),
                };
                if host.exists(&main) {
                    found.push(InstalledPlugin { plugin, main });
                }
            }
        }
    }
    for plugin in bundled {
        let main = content.must_use.join(plugin.main_file);
        if host.exists(&main) {
            found.push(InstalledPlugin { plugin, main });
        }
    }
    Ok(found)
}

/// The version in a plugin's header, which is a comment with "Version: 4.1.0".
fn version(header: &str) -> Option<Version> {
    let mut lines = header.lines();
    let text = lines.find_map(|line| {
        line.trim_start_matches([' ', '\t', '*', '/', '#', '@'])
            .strip_prefix("Version:")
    })?;
    let mut numbers = text.trim().split(['.', '-', ' ']);
    let major = numbers.next()?.parse().ok()?;
    let mut next = || numbers.next().and_then(|it| it.parse().ok()).unwrap_or(0);
    Some([major, next(), next()])
}

/// A short name for the site, derived from its folder.
pub fn name(dir: &Path) -> String {
    // Generic names of web roots: the folder above has a better name.
    const GENERIC: [&str; 13] = [
        "html",
        "htdocs",
        "httpdocs",
        "public",
        "public_html",
        "web",
        "www",
        "wordpress",
        "share",
        "wp",
        "current",
        "app",
        "docroot",
    ];
    let parts: Vec<String> = dir
        .components()
        .filter_map(|part| match part {
            std::path::Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
            _ => None,
        })
        .collect();
    let specific = parts
        .iter()
        .rev()
        .find(|name| !GENERIC.contains(&name.as_str()))
        .filter(|name| !["var", "srv", "home", "usr", "opt"].contains(&name.as_str()))
        .or(parts.last());
    let name: String = specific
        .map(String::as_str)
        .unwrap_or("site")
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "._-".contains(c) {
                c
            } else {
                '-'
            }
        })
        .take(48)
        .collect();
    name.trim_matches(['.', '-']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_the_header() {
        let header = "<?php\n/**\n * Plugin Name: WP Minions\n * Version: 4.1.0\n */";
        assert_eq!(version(header), Some([4, 1, 0]));
        assert_eq!(version("# Version: 2.0-beta"), Some([2, 0, 0]));
        assert_eq!(version("<?php\n// Version: x"), None);
    }

    #[test]
    fn a_name_comes_from_the_most_specific_folder() {
        for (dir, expected) in [
            ("/var/www/site", "site"),
            ("/var/www/example.com/htdocs", "example.com"),
            ("/srv/shop/current/web", "shop"),
            ("/var/www/html", "html"),
            ("/srv/my site", "my-site"),
            ("/usr/share/wordpress", "wordpress"),
            ("/srv/www/shop/current/web/wp", "shop"),
        ] {
            assert_eq!(name(Path::new(dir)), expected);
        }
    }
}
