//! PHP's gearman extension, built the way pecl builds it, for a PHP that no
//! package has it for. A user without rights downloads and compiles it; root only
//! installs the library.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::base::checksum::sha256;
use crate::base::paths::{BASE, STATE};
use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::commands::{Command, explain};
use crate::host::files::{Attributes, Node};
use crate::host::users::User;
use crate::resource::download::Download;
use crate::resource::file::{Edit, FileInverse};
use crate::resource::link::LinkInverse;
use crate::resource::originals::{self, Backup};
use crate::resource::{Change, Inverse, Resource, ResourceId, State, Verb};
use crate::site::extension::{PhpInfo, ask, quiet};
use crate::site::php::{Php, without_extension};
use crate::site::php_user::asker;
use crate::site::release::{Known, Release};

const LIMIT: Duration = Duration::from_secs(1200);
const LIBRARY: &str = "gearman.so";
/// In the format of Debian's phpenmod.
pub const INI: &[u8] = b"; PHP's gearman extension, built by wp-gears. 'wp-gears remove' removes it.\n; priority=20\nextension=gearman.so\n";

/// What makes PHP load it: files, and links to them.
#[derive(Default)]
pub struct Ini {
    pub files: Vec<PathBuf>,
    pub links: Vec<(PathBuf, PathBuf)>,
}

impl Ini {
    /// The ini file and the links to it, one for each SAPI that lacks it. Without
    /// Debian's folder of modules, each SAPI gets a file of its own.
    pub fn lacking(host: &Host, php: &Php) -> Result<Ini> {
        let lacking = without_extension(host, php)?;
        Ok(match modules(host, &lacking) {
            Some(modules) => {
                let ini = modules.join("gearman.ini");
                let link = |dir: PathBuf| (dir.join("20-gearman.ini"), ini.clone());
                let links = lacking.into_iter().map(link).collect();
                Ini {
                    files: vec![ini],
                    links,
                }
            }
            None => {
                let file = |dir: PathBuf| dir.join("40-gearman.ini");
                Ini {
                    files: lacking.into_iter().map(file).collect(),
                    links: Vec::new(),
                }
            }
        })
    }
}

/// The folder that the SAPIs share: what is above /etc/php/8.2/cli/conf.d.
fn modules(host: &Host, lacking: &[PathBuf]) -> Option<PathBuf> {
    let shared = lacking.first()?.ancestors().nth(2)?;
    Some(shared.join("mods-available")).filter(|modules| host.is_dir(modules))
}

#[derive(Clone)]
pub struct Extension {
    pub php: Php,
    /// The user that starts PHP: never root.
    pub user: String,
    /// The archive as pecl publishes it; `None` to download the release for this PHP.
    pub archive: Option<PathBuf>,
    /// The packages of it for this PHP, the most specific first.
    pub packages: Vec<String>,
    /// The packages that the build needs.
    pub builds_with: Vec<String>,
}

impl Extension {
    /// This PHP lacks it, and no package has it.
    pub fn is_called_for(&self, host: &Host) -> Result<bool> {
        let lacking = without_extension(host, &self.php)?;
        if lacking.is_empty() || self.archive.is_some() {
            return Ok(!lacking.is_empty());
        }
        let installed = host.installed()?;
        let Some((own, general)) = self.packages.split_first() else {
            return Ok(true);
        };
        if installed.contains_key(own) {
            return Ok(false); // it was switched off, if it is there
        }
        if general.iter().any(|name| installed.contains_key(name)) {
            let switched_off = |modules: PathBuf| host.exists(&modules.join("gearman.ini"));
            if modules(host, &lacking).is_some_and(switched_off) {
                return Ok(false);
            }
            // It may be for another PHP.
            let nowhere = lacking.len() == self.php.ini_dirs(host)?.len();
            return Ok(nowhere && host.candidates(std::slice::from_ref(own))?.is_empty());
        }
        host.is_withheld(&self.packages)
    }

    fn ask(&self, host: &Host) -> Result<PhpInfo> {
        ask(host, &self.php, &host.need_user(&self.user)?)
    }

    /// Where it is compiled, by a user without rights.
    fn folder(&self) -> PathBuf {
        Path::new(BASE).join("build")
    }

    /// The library that was built, until it is installed.
    fn kept(&self) -> PathBuf {
        Path::new(STATE).join(LIBRARY)
    }

    fn built(&self, host: &Host) -> Result<Vec<u8>> {
        let file = host.read(&self.kept())?;
        Ok(file.context("the extension was not built")?.bytes)
    }

    fn step(&self, host: &Host, command: Command, what: &str, watch: &dyn Fn(&str)) -> Result<()> {
        watch(what);
        let output = host.run_watched(&command.changes().limit(LIMIT), watch)?;
        if output.success() {
            return Ok(());
        }
        let what = format!("build {}: {what}", self.id());
        Err(Problem::new(what, explain(&output))
            .help("fix what it reports above, then run again; PHP was not changed")
            .into())
    }

    /// The release to download for this PHP.
    fn known(&self, php: &str) -> Result<&'static Known> {
        Known::for_php(php).ok_or_else(|| {
            let what = format!("build the gearman extension for PHP {php}");
            let why = "no release that wp-gears knows supports it";
            Problem::new(what, why)
                .help("see https://pecl.php.net/package/gearman for a release that does, and pass its archive with --extension-archive")
                .into()
        })
    }

    /// The path or name, and the bytes, of the given archive or of a release.
    fn fetch(
        &self,
        host: &Host,
        php: &str,
        spare: &User,
        watch: &dyn Fn(&str),
    ) -> Result<(PathBuf, Vec<u8>)> {
        if let Some(archive) = &self.archive {
            return Ok((archive.clone(), given(host, archive)?));
        }
        let known = self.known(php)?;
        let bytes = Download {
            url: &known.url(),
            sha256: known.sha256,
            what: "download the gearman extension",
            other_way: "download the archive elsewhere, verify it, and pass it with --extension-archive FILE",
        }
        .fetch(host, spare, watch)?;
        Ok((known.file().into(), bytes))
    }

    /// Builds it in the folder, and returns the path of the library.
    fn build(&self, host: &Host, spare: &User, watch: &dyn Fn(&str)) -> Result<PathBuf> {
        let facts = self.ask(host)?;
        let (archive, bytes) = self.fetch(host, &facts.version, spare, watch)?;
        let release = Release::of(host, &archive, bytes.clone(), spare)?;
        release.permit(&facts.version)?;
        let name = format!("gearman-{}", release.version);
        let folder = self.folder();
        let source = folder.join(&name);
        let unpack = Command::new("tar")
            .args(["--extract", "--gzip", "--no-same-owner", "--file", "-"])
            .operands([&name])
            .dir(&folder)
            .stdin(bytes);
        let step = |command: Command, what| self.step(host, command.user(spare), what, watch);
        step(unpack, "unpack")?;
        let config = self.tool(host, "php-config")?;
        let phpize = Command::new(self.tool(host, "phpize")?).dir(&source);
        step(phpize, "phpize")?;
        let configure = Command::new(source.join("configure"))
            .option("--with-php-config=", config)
            .dir(&source);
        step(configure, "configure")?;
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        let make = Command::new("make")
            .option("-j", cores.to_string())
            .dir(&source);
        step(make, "make")?;
        // Only PHP and the new library: no site's code, no ini files.
        let library = source.join("modules").join(LIBRARY);
        let try_out = Command::new(&self.php.path)
            .args(["-n"])
            .option("-dextension=", &library)
            .args(["-r", "new GearmanClient;"]);
        step(try_out, "load it into PHP")?;
        Ok(library)
    }

    /// A program of this PHP: phpize8.2, or phpize in the same folder.
    fn tool(&self, host: &Host, name: &str) -> Result<PathBuf> {
        let real = match host.look_through(&self.php.path)? {
            Node::File(meta) => meta.path,
            _ => self.php.path.clone(),
        };
        let beside = real.parent().unwrap_or(Path::new("/usr/bin"));
        let version = self.php.version.as_deref().unwrap_or_default();
        [format!("{name}{version}"), name.to_owned()]
            .iter()
            .map(|name| beside.join(name))
            .find(|path| host.exists(path))
            .ok_or_else(|| {
                let what = format!("build {}", self.id());
                let why = format!("there is no {name} in the folder of {}", real.display());
                Problem::new(what, why)
                    .help("install the development package of that PHP, then run again")
                    .into()
            })
    }
}

impl Resource for Extension {
    fn id(&self) -> ResourceId {
        ResourceId::Extension(self.php.label())
    }

    fn inspect(&self, host: &Host) -> Result<State> {
        if !self.is_called_for(host)? {
            return Ok(State::Same);
        }
        let facts = self.ask(host)?;
        let from = match &self.archive {
            Some(archive) => {
                let spare = host.spare_user()?;
                let release = Release::of(host, archive, given(host, archive)?, &spare)?;
                release.permit(&facts.version)?;
                archive.display().to_string()
            }
            None => self.known(&facts.version)?.url(),
        };
        let Ini { files, links } = Ini::lacking(host, &self.php)?;
        let mut change = Change::new(Verb::Build).detail(format!(
            "from {from}; this needs a compiler and headers: {}",
            self.builds_with.join(" ")
        ));
        if self.archive.is_none() {
            change = change.detail("no package has it for this PHP");
        }
        let library = facts.extension_dir.join(LIBRARY);
        let files = std::iter::once(&library).chain(&files);
        for path in files.chain(links.iter().map(|(path, _)| path)) {
            change = change.detail(path.display().to_string());
        }
        Ok(State::Differs(change))
    }

    /// Does the whole build. PHP is not changed yet.
    fn prepare(&self, host: &Host, watch: &dyn Fn(&str)) -> Result<()> {
        let folder = self.folder();
        let spare = host.spare_user()?;
        originals::make_folders(host)?;
        host.remove_tree(&folder)?;
        let owned = Attributes {
            uid: spare.uid,
            gid: spare.gid,
            mode: 0o700,
        };
        host.make_dir(&folder, owned)?;
        let library = self.build(host, &spare, watch);
        // From here on nobody can change what is in the folder.
        host.end_all_of(&spare)?;
        let built = library.and_then(|library| made_by(host, &spare, &library));
        host.remove_tree(&folder)?;
        host.write(&self.kept(), &built?, Some(Attributes::root(0o600)), None)
    }

    fn inverses(&self, host: &Host) -> Result<Vec<Inverse>> {
        let file = |path: PathBuf, bytes: &[u8]| -> Result<Inverse> {
            let now = host.read(&path)?;
            let before = now.map(|now| Backup::of(host, &now)).transpose()?;
            let after = Some(sha256(bytes));
            let inverse = FileInverse::new(path, Edit::Whole, before, after);
            Ok(Inverse::File(inverse))
        };
        let Ini { files, links } = Ini::lacking(host, &self.php)?;
        let library = self.ask(host)?.extension_dir.join(LIBRARY);
        let mut inverses = vec![file(library, &self.built(host)?)?];
        for path in files {
            inverses.push(file(path, INI)?);
        }
        let link = |(path, to)| Inverse::Link(LinkInverse::new(path, to));
        inverses.extend(links.into_iter().map(link));
        Ok(inverses)
    }

    fn apply(&self, host: &Host, watch: &dyn Fn(&str)) -> Result<()> {
        let put = |path: &Path, bytes: &[u8]| {
            let seen = host.read(path)?;
            let attributes = Some(Attributes::root(0o644));
            host.write(path, bytes, attributes, seen.as_ref().map(|now| &now.meta))
        };
        let Ini { files, links } = Ini::lacking(host, &self.php)?;
        let library = self.ask(host)?.extension_dir.join(LIBRARY);
        put(&library, &self.built(host)?)?;
        for path in &files {
            put(path, INI)?;
        }
        for (path, to) in &links {
            host.make_link(path, to, (0, 0))?;
        }
        host.remove_file(&self.kept())?;
        let user = host.need_user(&self.user)?;
        let proof = quiet(&self.php.path)
            .args(["-r", "new GearmanClient;"])
            .user(&asker(host, &self.php, &user)?);
        self.step(host, proof, "check that PHP has it", watch)
    }
}

/// The bytes of a file that this user made: no link to what only root can read.
fn made_by(host: &Host, user: &User, path: &Path) -> Result<Vec<u8>> {
    if !matches!(host.look(path)?, Node::File(meta) if meta.uid == user.uid) {
        let why = "it is not a file that the build made";
        return Err(Problem::new(format!("install {}", path.display()), why).into());
    }
    let file = host.read(path)?.context("the library disappeared")?;
    Ok(file.bytes)
}

/// The bytes of the archive that was passed.
fn given(host: &Host, archive: &Path) -> Result<Vec<u8>> {
    let file = host.read(archive)?.ok_or_else(|| {
        let what = format!("build PHP's gearman extension from {}", archive.display());
        Problem::new(what, "there is no such file")
            .help("pass an archive from pecl.php.net, such as gearman-2.1.4.tgz")
    })?;
    Ok(file.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::php;

    #[test]
    fn of_two_phps_the_one_that_lacks_it_gets_it_in_the_ways_that_lack_it() {
        let dir = tempfile::tempdir().unwrap();
        for folder in [
            "etc/php/8.2/cli/conf.d",
            "etc/php/8.2/fpm/conf.d",
            "etc/php/8.3/cli/conf.d",
            "etc/php/8.3/fpm/conf.d",
            "etc/php/8.3/mods-available",
            "usr/bin",
        ] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        for file in [
            "usr/bin/php8.2",
            "usr/bin/php8.3",
            "etc/php/8.2/cli/conf.d/20-gearman.ini",
            "etc/php/8.2/fpm/conf.d/20-gearman.ini",
            "etc/php/8.3/fpm/conf.d/20-gearman.ini",
        ] {
            std::fs::write(dir.path().join(file), "").unwrap();
        }
        let release = "ID=debian\nVERSION_ID=12\n";
        std::fs::write(dir.path().join("etc/os-release"), release).unwrap();
        let host = Host::new(Some(dir.path())).unwrap();
        let extension = |path: &str| Extension {
            php: php::find(&host, Some(Path::new(path))).unwrap(),
            user: "www-data".into(),
            archive: Some("/srv/gearman.tgz".into()),
            packages: vec![],
            builds_with: vec![],
        };
        assert!(!extension("/usr/bin/php8.2").is_called_for(&host).unwrap());
        let other = extension("/usr/bin/php8.3");
        assert!(other.is_called_for(&host).unwrap());
        assert_eq!(other.id(), ResourceId::Extension("PHP 8.3".into()));
        let ini = Ini::lacking(&host, &other.php).unwrap();
        let path = |text: &str| PathBuf::from(text);
        assert_eq!(ini.files, [path("/etc/php/8.3/mods-available/gearman.ini")]);
        let link = path("/etc/php/8.3/cli/conf.d/20-gearman.ini");
        assert_eq!(ini.links, [(link, ini.files[0].clone())]);
    }
}
