//! The file with the settings of a site whose wp-config.php only includes it: which file
//! Debian's package takes for which host, and which environment is Bedrock's.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::base::problem::Problem;
use crate::host::Host;
use crate::site::config;

const FOLDER: &str = "/etc/wordpress";
const DEFAULT: &str = "default";

/// The file in Debian's folder that is the site's. `host` is a host name or a URL.
pub fn of_host(host: &Host, dir: &Path, wanted: Option<&str>) -> Result<PathBuf> {
    let names = names(host)?;
    let path = |name: &str| Path::new(FOLDER).join(format!("config-{name}.php"));
    let what = || format!("find the settings of {} in {FOLDER}", dir.display());
    let ours: Vec<&String> = names
        .iter()
        .filter(|name| has_our_lines(host, &path(name)))
        .collect();
    let name = match (wanted, names.as_slice(), ours.as_slice()) {
        (_, [], _) => {
            let why = "there is no config-HOST.php, and no config-default.php";
            return Err(Problem::new(what(), why)
                .help("see /usr/share/doc/wordpress/README.Debian, or name the site's wp-config.php with --wp-config")
                .into());
        }
        (Some(wanted), _, _) => match chosen(wanted, &names) {
            Some(name) => name,
            None => {
                let why = format!("there is none for {wanted}, and no config-default.php");
                let help = format!("pass --host with one of: {}", shown(&names));
                return Err(Problem::new(what(), why).help(help).into());
            }
        },
        (None, [only], _) => only,
        (None, _, [ours]) => ours,
        _ => {
            let why = format!("the request's host name decides between {}", shown(&names));
            let help = "pass the site's host with --host; each host whose jobs run here needs a folder of its own with a link to this one";
            return Err(Problem::new(what(), why).help(help).into());
        }
    };
    // One site, one file: the other host's pages would submit jobs that nobody runs.
    if let Some(other) = ours.iter().find(|other| **other != name) {
        let what = format!("use {} for {}", path(name).display(), dir.display());
        let why = format!("{} has the lines from setup already", path(other).display());
        let help = format!(
            "run 'wp-gears remove --site {}' first, or pass --host {other}",
            dir.display()
        );
        return Err(Problem::new(what, why).help(help).into());
    }
    Ok(path(name))
}

/// The host name with which the stub of Debian's package takes this file, unless it does
/// so for any.
pub fn host_of(config: &Path) -> Option<&str> {
    if config.parent() != Some(Path::new(FOLDER)) {
        return None;
    }
    let name = config.file_name()?.to_str()?;
    let name = name.strip_prefix("config-")?.strip_suffix(".php")?;
    (name != DEFAULT).then_some(name)
}

fn names(host: &Host) -> Result<Vec<String>> {
    let files = host.list(Path::new(FOLDER))?;
    let name = |file: &std::ffi::OsString| {
        let name = file.to_str()?.strip_prefix("config-")?;
        Some(name.strip_suffix(".php")?.to_owned())
    };
    let mut names: Vec<String> = files.iter().filter_map(name).collect();
    names.sort();
    Ok(names)
}

fn has_our_lines(host: &Host, path: &Path) -> bool {
    let file = host.read(path).ok().flatten();
    file.is_some_and(|file| config::remove(&file.bytes).text != file.bytes)
}

/// The file for a host, that for the domain above it, or the one for all others.
fn chosen<'n>(wanted: &str, names: &'n [String]) -> Option<&'n String> {
    let rest = wanted.split_once("://").map_or(wanted, |(_, rest)| rest);
    let host = rest.split(['/', ':']).next().unwrap_or(rest);
    let host: String = host
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || ".-".contains(*c))
        .collect();
    let host = host.to_ascii_lowercase();
    let above = host.split_once('.').map_or(&*host, |(_, above)| above);
    let mut each = [&*host, above, DEFAULT].into_iter();
    each.find_map(|wanted| names.iter().find(|name| *name == wanted))
}

fn shown(names: &[String]) -> String {
    names.join(", ")
}

/// What Bedrock's `.env` files say of a variable. `settings` is its application.php.
pub fn in_environment(
    variable: &str,
    settings: &Path,
    read: &dyn Fn(&Path) -> Option<Vec<u8>>,
) -> Option<String> {
    let root = settings.parent()?.parent()?;
    // The later file takes precedence.
    let mut files = [".env.local", ".env"].into_iter();
    files.find_map(|name| value_in(variable, &String::from_utf8_lossy(&read(&root.join(name))?)))
}

/// The value in the text of a `.env` file, if it is a plain word.
fn value_in(variable: &str, text: &str) -> Option<String> {
    let value = text.lines().rev().find_map(|line| {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        let (name, value) = line.split_once('=')?;
        (name.trim() == variable).then(|| value.trim())
    })?;
    let quoted = |quote: char| {
        let (inside, _) = value.strip_prefix(quote)?.split_once(quote)?;
        Some(inside)
    };
    let bare = || value.split([' ', '\t', '#']).next().unwrap_or(value);
    let word = quoted('\'').or_else(|| quoted('"')).unwrap_or_else(bare);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    (!word.is_empty() && word.chars().all(is_plain)).then(|| word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_gets_its_own_file_or_that_of_its_domain() {
        let names = ["default", "example.com", "blog.example.com"].map(str::to_owned);
        for (host, expected) in [
            ("blog.example.com", "blog.example.com"),
            ("https://Blog.Example.COM:8443/x", "blog.example.com"),
            ("www.example.com", "example.com"),
            ("a.www.example.com", "default"),
            ("other.org:80", "default"),
        ] {
            assert_eq!(chosen(host, &names).unwrap(), expected, "{host}");
        }
        assert_eq!(chosen("other.org", &names[1..]), None);
    }

    #[test]
    fn a_file_names_its_host() {
        for (file, host) in [
            (
                "/etc/wordpress/config-blog.example.com.php",
                Some("blog.example.com"),
            ),
            ("/etc/wordpress/config-default.php", None),
            ("/srv/a/config-b.php", None),
        ] {
            assert_eq!(host_of(Path::new(file)), host);
        }
    }

    #[test]
    fn an_environment_is_a_plain_word() {
        for (text, value) in [
            ("WP_ENV='production'\n", Some("production")),
            ("A=1\nexport WP_ENV = \"staging\" # x\nB=2", Some("staging")),
            ("WP_ENV=development # here\n", Some("development")),
            ("#WP_ENV=production\n", None),
            ("WP_ENV=${MODE}\n", None),
            ("WP_ENV=../../x\n", None),
        ] {
            assert_eq!(value_in("WP_ENV", text).as_deref(), value, "{text}");
        }
    }
}
