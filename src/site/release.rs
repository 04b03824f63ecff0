//! Releases of PHP's gearman extension on pecl.php.net, for hosts that have no
//! package of it.

use std::path::Path;

use anyhow::{Context, Result};
use regex::Regex;

use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::commands::{Command, explain};
use crate::host::users::User;

/// A release that setup downloads by itself. Everything is from its package.xml,
/// except the checksum, which several distributors of it agree on.
pub struct Known {
    pub version: &'static str,
    /// The earliest and the latest PHP that it supports.
    first: (u32, u32),
    last: (u32, u32),
    /// The SHA-256 checksum of the archive, in hexadecimal.
    pub sha256: &'static str,
}

/// From the oldest to the newest.
const KNOWN: [Known; 3] = [
    Known {
        version: "2.1.0",
        first: (7, 0),
        last: (8, 1),
        sha256: "77075fc250fac2d3878deb255d44efc3ad76cf7b2c7f1af420cb17839a03c0bc",
    },
    Known {
        version: "2.1.4",
        first: (7, 1),
        last: (8, 4),
        sha256: "1b16ae5e17736e2ce892fd96145fa8b9e1724106458535d0c7e3d4093a9091a9",
    },
    Known {
        version: "2.2.1",
        first: (7, 2),
        last: (8, 6),
        sha256: "b9f826c90c87e6abd74cc3a73132c025c03e4bd2ae4360c4edc822ff651d694d",
    },
];

impl Known {
    /// The newest that supports this PHP.
    pub fn for_php(php: &str) -> Option<&'static Known> {
        let minor = minor(php);
        let supports = |known: &&Known| (known.first..=known.last).contains(&minor);
        KNOWN.iter().rev().find(supports)
    }

    pub fn file(&self) -> String {
        format!("gearman-{}.tgz", self.version)
    }

    pub fn url(&self) -> String {
        format!("https://pecl.php.net/get/{}", self.file())
    }
}

/// A release, described by the package.xml in its archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    pub version: String,
    min: Option<String>,
    max: Option<String>,
}

impl Release {
    /// Reads the release from an archive's bytes. `reader` runs tar, and has no
    /// rights.
    pub fn of(host: &Host, archive: &Path, bytes: Vec<u8>, reader: &User) -> Result<Release> {
        let what = || format!("build PHP's gearman extension from {}", archive.display());
        let help = "use an archive from pecl.php.net, such as gearman-2.1.4.tgz";
        let command = Command::new("tar")
            .args(["--extract", "--gzip", "--to-stdout", "--file", "-"])
            .args(["package.xml"])
            .stdin(bytes)
            .user(reader);
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
    match Known::for_php(php) {
        Some(known) => format!(
            "gearman {} supports this PHP: download {} and pass it with --extension-archive, or omit that option",
            known.version,
            known.url()
        ),
        None => "see https://pecl.php.net/package/gearman for another release, or use another PHP with --php".into(),
    }
}

/// The first two numbers of a version.
fn minor(version: &str) -> (u32, u32) {
    let number = numbers(version);
    let at = |index: usize| number.get(index).copied().unwrap_or_default();
    (at(0), at(1))
}

/// Splits "8.4.99" into numbers, for comparison.
pub fn numbers(version: &str) -> Vec<u32> {
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
        assert!(
            refusal("8.10.1").contains("another release"),
            "{}",
            refusal("8.10.1")
        );
        assert!(refusal("7.0.33").contains("2.1.0"), "{}", refusal("7.0.33"));
    }

    #[test]
    fn another_package_is_not_the_extension() {
        let other = XML.replace("<name>gearman</name>", "<name>redis</name>");
        assert_eq!(Release::parse(&other).unwrap(), None);
        assert_eq!(Release::parse("no xml").unwrap(), None);
    }

    #[test]
    fn each_php_gets_the_newest_release_that_supports_it() {
        let version = |php: &str| Known::for_php(php).map(|known| known.version);
        assert_eq!(version("7.0.33"), Some("2.1.0"));
        assert_eq!(version("7.1.3"), Some("2.1.4"));
        assert_eq!(version("8.2.29"), Some("2.2.1"));
        assert_eq!(version("8.7.0"), None);
        assert_eq!(version("5.6.40"), None);
    }
}
