//! What a folder says about the WordPress in it, without running it.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::base::problem::Problem;
use crate::host::Host;

/// The plugin that hands in jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plugin {
    WpGears,
    WpMinions,
    Bundled,
}

impl Plugin {
    /// What the link in the WordPress root is called.
    pub fn runner(self) -> &'static str {
        match self {
            Plugin::WpMinions => "wp-minions-runner.php",
            Plugin::WpGears | Plugin::Bundled => "wp-gears-runner.php",
        }
    }
}

/// The bundled plugin's place below the WordPress root.
pub const BUNDLED: &str = "wp-content/mu-plugins/wp-gears-bundled.php";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// As given, absolute: a `current` link of a release deploy stays one.
    pub dir: PathBuf,
    pub version: String,
    /// The plugin whose files are there.
    pub plugin: Option<Plugin>,
}

/// Looks at a folder; an error if there is no WordPress in it.
pub fn find(host: &Host, dir: &Path) -> Result<Site> {
    let what = format!("use {} as a site", dir.display());
    if !dir.is_absolute() {
        return Err(Problem::usage(what, "it is not an absolute path").into());
    }
    if !host.is_dir(dir) {
        return Err(Problem::new(what, "there is no such folder")
            .help("--site names the WordPress folder, the one with wp-load.php")
            .into());
    }
    let version_file = host.read(&dir.join("wp-includes/version.php"))?;
    let (Some(file), true) = (version_file, host.exists(&dir.join("wp-load.php"))) else {
        return Err(Problem::new(
            what,
            "it holds no WordPress (no wp-load.php with wp-includes)",
        )
        .help("--site names the WordPress folder, the one with wp-load.php")
        .into());
    };
    let text = String::from_utf8_lossy(&file.bytes).into_owned();
    let version = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("$wp_version"))
        .and_then(|rest| rest.split(['\'', '"']).nth(1))
        .unwrap_or("unknown")
        .to_owned();
    Ok(Site {
        dir: dir.to_owned(),
        version,
        plugin: plugin_in(host, dir)?,
    })
}

/// WP Gears or WP Minions among the plugins, by their main files.
fn plugin_in(host: &Host, dir: &Path) -> Result<Option<Plugin>> {
    let mains = [
        ("wp-minions.php", Plugin::WpMinions),
        ("wp-gears.php", Plugin::WpGears),
    ];
    for folder in ["wp-content/plugins", "wp-content/mu-plugins"] {
        let folder = dir.join(folder);
        for name in host.list(&folder)? {
            for (main, plugin) in mains {
                if name == main || host.exists(&folder.join(&name).join(main)) {
                    return Ok(Some(plugin));
                }
            }
        }
    }
    Ok(host.exists(&dir.join(BUNDLED)).then_some(Plugin::Bundled))
}

/// A short name for the site, from its folder: what identifies it for people.
pub fn name(dir: &Path) -> String {
    // Names of web roots that say nothing; the folder above does.
    const PLAIN: [&str; 12] = [
        "html",
        "htdocs",
        "httpdocs",
        "public",
        "public_html",
        "web",
        "www",
        "wordpress",
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
    let telling = parts
        .iter()
        .rev()
        .find(|name| !PLAIN.contains(&name.as_str()))
        .filter(|name| !["var", "srv", "home", "usr", "opt"].contains(&name.as_str()))
        .or(parts.last());
    let name: String = telling
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
    fn a_name_is_taken_from_the_folder_that_tells_most() {
        for (dir, expected) in [
            ("/var/www/site", "site"),
            ("/var/www/example.com/htdocs", "example.com"),
            ("/srv/shop/current/web", "shop"),
            ("/var/www/html", "html"),
            ("/srv/my site", "my-site"),
        ] {
            assert_eq!(name(Path::new(dir)), expected);
        }
    }
}
