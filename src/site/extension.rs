//! PHP's gearman extension as published on pecl: the archive of a release, the
//! PHP versions that it supports, and what a PHP reports about itself.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use regex::Regex;

use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::commands::{Command, explain};
use crate::host::users::User;

/// The latest PHP that each release supports, according to its package.xml.
const RELEASES: [(&str, (u32, u32)); 3] = [("2.1.0", (8, 1)), ("2.1.4", (8, 4)), ("2.2.1", (8, 6))];

/// What a PHP reports about itself.
pub struct PhpInfo {
    /// "8.2.29".
    pub version: String,
    pub extension_dir: PathBuf,
    /// It lacks json, the format of jobs.
    pub lacks_json: bool,
    /// It lacks pcntl, so it cannot fork.
    pub lacks_pcntl: bool,
    /// The version of the gearman extension's library; `None` without the extension.
    pub libgearman: Option<String>,
}

impl PhpInfo {
    /// Whether it is too old for the runner, which needs PHP 7.1.
    pub fn is_too_old(&self) -> bool {
        numbers(&self.version) < vec![7, 1]
    }
}

/// Starts PHP as this user, with its ini files, to query it. The program works in any
/// PHP, even if that is old or lacks extensions.
pub fn ask(host: &Host, php: &Path, user: &User) -> Result<PhpInfo> {
    const PROGRAM: &str = r#"
        echo "\n", PHP_VERSION, "\n", ini_get('extension_dir'), "\n";
        echo extension_loaded('json') ? 'json' : 'none', "\n";
        echo function_exists('pcntl_fork') ? 'pcntl' : 'none', "\n";
        echo extension_loaded('gearman') ? gearman_version() : 'none', "\n";"#;
    let command = quiet(php).args(["-r", PROGRAM]).user(user);
    let text = host.check(&command)?.text();
    let lines: Vec<&str> = text.trim().lines().collect();
    let [version, extension_dir, json, pcntl, gearman] = lines[..] else {
        let what = format!("query {}", php.display());
        return Err(Problem::new(what, format!("it printed {text:?}")).into());
    };
    Ok(PhpInfo {
        version: version.to_owned(),
        extension_dir: extension_dir.into(),
        lacks_json: json == "none",
        lacks_pcntl: pcntl == "none",
        libgearman: (gearman != "none").then(|| gearman.to_owned()),
    })
}

/// A command that runs PHP without the files that its ini files prepend and
/// append to every program.
pub fn quiet(php: &Path) -> Command {
    const SETTINGS: [&str; 4] = [
        "auto_prepend_file=",
        "auto_append_file=",
        "display_errors=stderr",
        "display_startup_errors=0",
    ];
    Command::new(php)
        .args(SETTINGS.iter().flat_map(|setting| ["-d", setting]))
        .limit(Duration::from_secs(60))
}

/// A release, described by the package.xml in its archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    pub version: String,
    min: Option<String>,
    max: Option<String>,
}

impl Release {
    /// Reads the release from its archive.
    pub fn of(host: &Host, archive: &Path) -> Result<Release> {
        let what = || format!("build PHP's gearman extension from {}", archive.display());
        let help = "use the archive that pecl downloads, such as gearman-2.1.4.tgz";
        if !host.exists(archive) {
            return Err(Problem::new(what(), "there is no such file")
                .help(help)
                .into());
        }
        let command = Command::new("tar")
            .args(["--extract", "--gzip", "--to-stdout", "--file"])
            .args([archive])
            .args(["package.xml"]);
        let output = host.run(&command)?;
        if !output.success() {
            let why = format!(
                "it is not a gzipped tar archive with a package.xml: {}",
                explain(&output)
            );
            return Err(Problem::new(what(), why).help(help).into());
        }
        Release::parse(&output.text())
            .with_context(what)?
            .ok_or_else(|| {
                let why = "it contains another package than pecl's gearman";
                Problem::new(what(), why).help(help).into()
            })
    }

    /// `None` if it does not describe the gearman extension.
    fn parse(xml: &str) -> Result<Option<Release>> {
        let first = |pattern: &str| -> Result<Option<String>> {
            let found = Regex::new(pattern)?.captures(xml);
            Ok(found.map(|found| found[1].to_owned()))
        };
        // Only the first of each counts: the changelog at the end repeats the tags.
        let name = first(r"<name>\s*([^<\s]+)\s*</name>")?;
        let version = first(r"<version>\s*<release>\s*([0-9][0-9A-Za-z.]*)\s*</release>")?;
        let (Some("gearman"), Some(version)) = (name.as_deref(), version) else {
            return Ok(None);
        };
        let php = first(r"(?s)<php>(.*?)</php>")?.unwrap_or_default();
        let bound = |tag: &str| {
            let (_, rest) = php.split_once(&format!("<{tag}>"))?;
            Some(rest.split('<').next()?.trim().to_owned())
        };
        Ok(Some(Release {
            version,
            min: bound("min"),
            max: bound("max"),
        }))
    }

    /// Refuses a PHP that the release does not support, and suggests one that does.
    pub fn permit(&self, php: &str) -> Result<()> {
        let above = |max: &String| numbers(php) > numbers(max);
        let below = |min: &String| numbers(php) < numbers(min);
        if !self.max.as_ref().is_some_and(above) && !self.min.as_ref().is_some_and(below) {
            return Ok(());
        }
        let any = "any".to_owned();
        let why = format!(
            "release {} supports PHP {} to {}",
            self.version,
            self.min.as_ref().unwrap_or(&any),
            self.max.as_ref().unwrap_or(&any)
        );
        let what = format!("build the gearman extension for PHP {php}");
        Err(Problem::new(what, why).help(help(php)).into())
    }
}

fn help(php: &str) -> String {
    let number = numbers(php);
    let at = |index: usize| number.get(index).copied().unwrap_or_default();
    let minor = (at(0), at(1));
    match RELEASES.iter().find(|(_, last)| minor <= *last) {
        Some((release, _)) => format!(
            "gearman {release} supports this PHP: use --extension-archive gearman-{release}.tgz"
        ),
        None => "see https://pecl.php.net/package/gearman for a newer release, or use an older PHP with --php".into(),
    }
}

/// Splits "8.4.99" into numbers, for comparison.
fn numbers(version: &str) -> Vec<u32> {
    let digits = |part: &str| {
        let end = part
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(part.len());
        part[..end].parse().unwrap_or_default()
    };
    version.split('.').map(digits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const XML: &str = "<package><name>gearman</name><lead><name>A B</name></lead>
        <version>\n <release>2.1.4</release>\n <api>2.1.4</api></version>
        <dependencies><required><php>\n<min>7.1.0</min>\n<max>8.4.99</max></php></required></dependencies>
        <changelog><release><version><release>0.1</release></version></release></changelog></package>";

    #[test]
    fn a_release_supports_the_phps_that_its_package_names() {
        let release = Release::parse(XML).unwrap().unwrap();
        assert_eq!(release.version, "2.1.4");
        for php in ["7.1.0", "8.2.29", "8.4.20", "8.4.99"] {
            release.permit(php).unwrap();
        }
        let refusal = |php: &str| release.permit(php).unwrap_err().to_string();
        assert!(refusal("8.5.0").contains("2.2.1"), "{}", refusal("8.5.0"));
        assert!(refusal("8.10.1").contains("newer"), "{}", refusal("8.10.1"));
        assert!(refusal("7.0.33").contains("2.1.0"), "{}", refusal("7.0.33"));
    }

    #[test]
    fn another_package_is_not_the_extension() {
        let other = XML.replace("<name>gearman</name>", "<name>redis</name>");
        assert_eq!(Release::parse(&other).unwrap(), None);
        assert_eq!(Release::parse("no xml").unwrap(), None);
    }
}
