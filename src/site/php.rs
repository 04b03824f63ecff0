//! The PHP that runs a site's jobs, and whether it has the extension: determined
//! without starting PHP where possible.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use regex::Regex;

use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::commands::Command;
use crate::host::platform::{Collection, Family};
use crate::host::users::User;
use crate::site::web::fpm::Pool;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Php {
    /// The path to run it by. /usr/bin/php stays valid when it is upgraded to another
    /// version.
    pub path: PathBuf,
    /// "8.2"; `None` if neither its name nor a package tells.
    pub version: Option<String>,
    /// "82" if it is installed in folders of its own, alongside the distribution's PHP.
    pub collection: Option<String>,
}

/// What a download needs: files, one of which has to exist, and their package.
const DOWNLOAD: [(&[&str], &str); 2] = [
    (&["/usr/bin/curl"], "curl"),
    (
        &[
            "/etc/ssl/certs/ca-certificates.crt",
            "/etc/pki/tls/certs/ca-bundle.crt",
        ],
        "ca-certificates",
    ),
];

impl Php {
    /// "PHP 8.2", or its path if the version is unknown.
    pub fn label(&self) -> String {
        match &self.version {
            Some(version) => format!("PHP {version}"),
            None => self.path.display().to_string(),
        }
    }

    /// Whether its path is one where packages install PHP.
    fn is_packaged(&self, host: &Host) -> bool {
        self.collection.is_some() || real(host, &self.path).starts_with("/usr/bin")
    }

    /// The packages needed to build the extension for it.
    pub fn build_packages(&self, host: &Host, from_network: bool) -> Result<Vec<String>> {
        let family = host.platform()?.family;
        let mut names = vec![
            family.gearman_headers.to_owned(),
            "gcc".into(),
            "make".into(),
        ];
        if self.is_packaged(host) {
            names.insert(
                0,
                match self.row(family) {
                    Some((row, number)) => row.headers.replace("{n}", number),
                    None => family
                        .php_headers
                        .replace("{v}", self.version.as_deref().unwrap_or_default()),
                },
            );
        }
        if from_network {
            let lacks =
                |(any, _): &&(&[&str], &str)| !any.iter().any(|path| host.exists(Path::new(path)));
            names.extend(
                DOWNLOAD
                    .iter()
                    .filter(lacks)
                    .map(|(_, name)| (*name).to_owned()),
            );
        }
        Ok(names)
    }

    /// The packages that install the extension for this particular PHP: those with
    /// its version in their name, and the generic one if it is the distribution's
    /// default PHP.
    pub fn packages_for_it(&self, host: &Host) -> Result<Vec<String>> {
        let family = host.platform()?.family;
        let own = real(host, Path::new("/usr/bin/php")) == real(host, &self.path);
        let names = self.extension_packages(family).into_iter();
        let version = self.version.as_deref().filter(|_| self.is_packaged(host));
        let fits = |name: &String| {
            own || self.collection.is_some()
                || version.is_some_and(|version| name.contains(version))
        };
        Ok(names.filter(fits).collect())
    }

    /// The packages that install the extension for it, in order of preference.
    pub fn extension_packages(&self, family: &Family) -> Vec<String> {
        if let Some((row, number)) = self.row(family) {
            return vec![row.extension.replace("{n}", number)];
        }
        let version = self.version.as_deref().unwrap_or_default();
        let names = family.extension.iter();
        names.map(|name| name.replace("{v}", version)).collect()
    }

    /// The folders of its ini files, one per SAPI; none of a PHP that others can change:
    /// what it says of itself leads root nowhere.
    pub fn ini_dirs(&self, host: &Host) -> Result<Vec<PathBuf>> {
        let family = host.platform()?.family;
        if host.live() && !self.is_packaged(host) {
            if !host.is_own_program(&self.path) {
                return Ok(Vec::new());
            }
            // Only PHP itself knows. With -n it reads no ini file.
            let mut scanned =
                Command::new(&self.path).args(["-n", "-r", "echo PHP_CONFIG_FILE_SCAN_DIR;"]);
            if host.everybody_may_run(&self.path) {
                scanned = scanned.user(&host.stranger()?);
            }
            let answer = host.check(&scanned)?.text();
            let dirs = answer.split(':').map(PathBuf::from);
            return Ok(dirs.filter(|dir| host.is_dir(dir)).take(1).collect());
        }
        let pattern = match self.row(family) {
            Some((row, number)) => row.php_ini.replace("{n}", number),
            None => {
                let version = self.version.as_deref().unwrap_or_default();
                family.php_ini.replace("{v}", version)
            }
        };
        Ok(match pattern.split_once("/*/") {
            None => vec![PathBuf::from(pattern)],
            Some((above, below)) => host
                .list(Path::new(above))?
                .into_iter()
                .map(|way| Path::new(above).join(way).join(below))
                .filter(|dir| host.is_dir(dir))
                .collect(),
        })
    }

    /// Advice on how to make it load the extension.
    pub fn enable_extension(&self, host: &Host) -> Result<String> {
        let dirs = self.ini_dirs(host)?;
        let lacking = dirs.iter().find(|dir| !has_ini(host, dir, "gearman.ini"));
        Ok(match lacking.or(dirs.first()) {
            Some(dir) => host.platform()?.family.enable_extension(dir),
            None => "add 'extension=gearman.so' to its php.ini".into(),
        })
    }

    /// The package that it needs in order to fork, if it is missing.
    pub fn missing_process_package(&self, host: &Host) -> Result<Option<String>> {
        let family = host.platform()?.family;
        let Some(package) = family.php_process.filter(|_| self.is_packaged(host)) else {
            return Ok(None);
        };
        let package = match self.row(family) {
            Some((row, number)) => row.process.replace("{n}", number),
            None => package.replace("{v}", self.version.as_deref().unwrap_or_default()),
        };
        let has = self
            .ini_dirs(host)?
            .iter()
            .any(|dir| has_ini(host, dir, "posix.ini"));
        Ok((!has).then_some(package))
    }

    fn row(&self, family: &Family) -> Option<(&'static Collection, &str)> {
        Some((family.collections.first()?, self.collection.as_deref()?))
    }
}

/// Resolves links, such as from /usr/bin/php to /usr/bin/php8.2.
fn real(host: &Host, path: &Path) -> PathBuf {
    match host.look_through(path) {
        Ok(crate::host::files::Node::File(meta)) => meta.path,
        _ => path.to_owned(),
    }
}

/// The number of the software collection that a file belongs to.
fn collection_of(family: &Family, real: &Path) -> Option<String> {
    let real = real.to_string_lossy();
    family.collections.iter().find_map(|row| {
        let (before, after) = row.home.split_once("{n}")?;
        let (number, _) = real.strip_prefix(before)?.split_once(after)?;
        let is_number = number.len() >= 2 && number.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| number.to_owned())
    })
}

/// The requested PHP, otherwise the one in the PATH.
pub fn find(host: &Host, wanted: Option<&Path>) -> Result<Php> {
    let path = match wanted {
        Some(path) if host.exists(path) => path.to_owned(),
        Some(path) => {
            let what = format!("use {} as PHP", path.display());
            return Err(Problem::new(what, "there is no such file")
                .help("name PHP's command-line program, such as /usr/bin/php8.2, with --php")
                .into());
        }
        None => in_path(host).ok_or_else(|| {
            Problem::new("find PHP", "there is no 'php' in the PATH")
                .help("install PHP's command-line program (php-cli), or name one with --php")
        })?,
    };
    // /usr/bin/php links to /usr/bin/php8.2 through /etc/alternatives.
    let real = match host.look_through(&path)? {
        crate::host::files::Node::File(meta) => meta.path,
        _ => path.clone(),
    };
    let pattern = Regex::new(r"php-?([0-9]+)\.?([0-9]+)$").context("a constant pattern")?;
    let version = pattern
        .captures(&real.to_string_lossy())
        .map(|found| format!("{}.{}", &found[1], &found[2]));
    let collection = collection_of(host.platform()?.family, &real);
    let version = match &collection {
        Some(number) => Some(format!("{}.{}", &number[..1], &number[1..])),
        None if version.is_none() => packaged_version(host)?,
        None => version,
    };
    Ok(Php {
        path,
        version,
        collection,
    })
}

/// The PHP of the pool that serves a site, which may differ from the one in the
/// PATH.
pub fn of_pool(host: &Host, pool: Option<&Pool>) -> Result<Php> {
    let in_path = find(host, None);
    let Some(own) = pool.map(|pool| &pool.php).filter(|php| host.exists(php)) else {
        return in_path;
    };
    match in_path {
        // Prefer the path that survives an upgrade to another version.
        Ok(php) if real(host, &php.path) == real(host, own) => Ok(php),
        _ => find(host, Some(own)),
    }
}

/// The version in the name of the installed package of PHP's command-line program.
fn packaged_version(host: &Host) -> Result<Option<String>> {
    let row = host.platform()?.family.php_cli;
    let Some((before, after)) = row.and_then(|name| name.split_once("{v}")) else {
        return Ok(None);
    };
    let version = |name: &String| {
        let version = name.strip_prefix(before)?.strip_suffix(after)?;
        Some(version.to_owned())
    };
    Ok(host.installed()?.keys().find_map(version))
}

fn in_path(host: &Host) -> Option<PathBuf> {
    const FOLDERS: [&str; 3] = ["/usr/local/bin", "/usr/bin", "/bin"];
    if host.live() {
        let paths = std::env::join_paths(FOLDERS).ok()?;
        return which::which_in("php", Some(paths), "/").ok();
    }
    // Under --root, absolute links must be resolved below the root.
    FOLDERS
        .iter()
        .map(|folder| Path::new(folder).join("php"))
        .find(|path| host.exists(path))
}

/// The folders of ini files that lack the extension's file. If there are none,
/// both the command line and the web have the extension.
pub fn without_extension(host: &Host, php: &Php) -> Result<Vec<PathBuf>> {
    let mut dirs = php.ini_dirs(host)?;
    dirs.retain(|dir| !has_ini(host, dir, "gearman.ini"));
    Ok(dirs)
}

/// Whether the folder has a file of this name, ignoring the number in front that
/// sets its order.
pub fn has_ini(host: &Host, dir: &Path, name: &str) -> bool {
    let files = host.list(dir).unwrap_or_default();
    files.iter().any(|file| {
        file.to_string_lossy()
            .trim_start_matches(|c: char| c.is_ascii_digit() || c == '-')
            == name
    })
}

/// Parses each of the texts with PHP, and returns the error, if any. One process
/// parses all of them, and runs none of their code.
pub fn check(host: &Host, php: &Php, user: &User, texts: &[&[u8]]) -> Result<Vec<Option<String>>> {
    // Input: the lengths on the first line, then the texts without separators.
    const PROGRAM: &str = r#"
        foreach (explode(' ', trim(fgets(STDIN))) as $size) {
            $text = $size > 0 ? stream_get_contents(STDIN, (int) $size) : '';
            try { token_get_all($text, TOKEN_PARSE); echo "ok\n"; }
            catch (Throwable $e) { echo $e->getLine(), ': ', strtok($e->getMessage(), "\n"), "\n"; }
        }"#;
    let sizes: Vec<String> = texts.iter().map(|text| text.len().to_string()).collect();
    let mut input = format!("{}\n", sizes.join(" ")).into_bytes();
    for text in texts {
        input.extend_from_slice(text);
    }
    let output = host.check(
        &Command::new(&php.path)
            .args(["-n", "-d", "display_errors=0", "-d", "memory_limit=512M"])
            // In packages, the tokenizer is a module. A PHP that has it built in
            // only warns on standard error.
            .args(["-d", "extension=tokenizer"])
            .args(["-r", PROGRAM])
            .stdin(input)
            .user(user)
            .limit(Duration::from_secs(60)),
    )?;
    let text = output.text();
    let answers: Vec<&str> = text.lines().collect();
    anyhow::ensure!(
        answers.len() == texts.len(),
        "PHP did not report on every file: {}",
        output.tail(5)
    );
    Ok(answers
        .into_iter()
        .map(|line| (line != "ok").then(|| format!("line {line}")))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_comes_from_the_program_behind_the_links() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        for folder in [
            "etc/alternatives",
            "usr/bin",
            "etc/php/8.2/cli/conf.d",
            "etc/php/8.3/cli/conf.d",
            "etc/php/8.3/fpm/conf.d",
        ] {
            std::fs::create_dir_all(at(folder)).unwrap();
        }
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        for name in ["usr/bin/php8.2", "usr/bin/php8.3"] {
            std::fs::write(at(name), "").unwrap();
            std::fs::set_permissions(at(name), std::fs::Permissions::clone(&executable)).unwrap();
        }
        std::os::unix::fs::symlink("/usr/bin/php8.3", at("etc/alternatives/php")).unwrap();
        std::os::unix::fs::symlink("/etc/alternatives/php", at("usr/bin/php")).unwrap();
        std::fs::write(
            at("etc/os-release"),
            "ID=ubuntu\nID_LIKE=debian\nVERSION_ID=24.04\n",
        )
        .unwrap();
        let host = Host::new(Some(dir.path())).unwrap();
        assert_eq!(find(&host, None).unwrap().version.as_deref(), Some("8.3"));
        let asked = |path: Option<&str>| find(&host, path.map(Path::new)).unwrap().version;
        assert_eq!(asked(Some("/usr/bin/php")).as_deref(), Some("8.3"));
        assert_eq!(asked(Some("/usr/bin/php8.2")).as_deref(), Some("8.2"));
        assert!(find(&host, Some(Path::new("/usr/bin/php9"))).is_err());

        std::fs::write(at("etc/php/8.3/cli/conf.d/20-gearman.ini"), "").unwrap();
        let missing = without_extension(&host, &find(&host, None).unwrap()).unwrap();
        assert_eq!(missing, [Path::new("/etc/php/8.3/fpm/conf.d")]);
    }
}
