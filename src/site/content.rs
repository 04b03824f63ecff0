//! Where a site's WordPress finds its content, plugins and must-use plugins: from
//! wp-config.php if it says so plainly, otherwise from WordPress itself, which is
//! asked once and whose answer is recorded as the site's options.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::files::{Meta, Node};
use crate::site::answers::ToldFolders;
use crate::site::ask::Target;
use crate::site::config::folders::{self, Folders, Stated};
use crate::site::{config, settings};

/// The folders of a site's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    pub dir: PathBuf,
    pub plugins: PathBuf,
    pub must_use: PathBuf,
}

/// Folders that are known, if any is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SomeFolders {
    pub dir: Option<PathBuf>,
    pub plugins: Option<PathBuf>,
    pub must_use: Option<PathBuf>,
}

impl Content {
    /// WordPress's defaults below a content folder, except for those that are known.
    fn below(dir: PathBuf, known: &SomeFolders) -> Self {
        let or = |known: &Option<PathBuf>, name| known.clone().unwrap_or_else(|| dir.join(name));
        Content {
            plugins: or(&known.plugins, "plugins"),
            must_use: or(&known.must_use, "mu-plugins"),
            dir,
        }
    }

    /// Where WordPress finds its content unless it is told otherwise.
    pub fn usual(site: &Path) -> Self {
        Content::below(site.join("wp-content"), &SomeFolders::default())
    }
}

/// The folders of a site that nobody asks, as far as its files tell.
pub fn by_files(host: &Host, dir: &Path) -> Content {
    let read = || {
        let path = settings::locate(host, dir, None).ok()?;
        let file = host.read(&path).ok()??;
        let found = config::scan(&file.bytes, &settings::includes(host, dir, &path)).ok()?;
        let of = Of {
            dir,
            config: &file.meta,
            stated: &found.folders,
            given: &SomeFolders::default(),
        };
        Some(of.by_files(host))
    };
    read().unwrap_or_else(|| Content::usual(dir))
}

/// The site whose content is looked for.
pub struct Of<'a> {
    pub dir: &'a Path,
    /// Its wp-config.php, and what that states.
    pub config: &'a Meta,
    pub stated: &'a Folders,
    /// The folders that were given as options.
    pub given: &'a SomeFolders,
}

impl Of<'_> {
    /// The folders as far as files and options tell. WordPress's defaults stand in for
    /// those that only WordPress knows.
    pub fn by_files(&self, host: &Host) -> Content {
        let known = self.known(host);
        let usual = || self.dir.join("wp-content");
        Content::below(known.dir.clone().unwrap_or_else(usual), &known)
    }

    /// The folders, and those of them that WordPress had to be asked for.
    ///
    /// # Errors
    /// WordPress cannot be asked, or names folders that are not the site's own.
    pub fn find(&self, host: &Host, target: &Target) -> Result<(Content, SomeFolders)> {
        if !self.must_ask(host) {
            let found = self.by_files(host);
            self.check(host, &found, target.user, self.config.uid == 0)?;
            return Ok((found, SomeFolders::default()));
        }
        let told = match host.live() {
            true => target.identify(host).map(|identity| identity.content),
            false => Ok(None),
        };
        let told = match told {
            Ok(Some(told)) => self.as_seen_here(host, &told),
            // It may well be where it usually is, and setup's proof will show that.
            _ if !self.is_unclear() && host.is_dir(&self.dir.join("wp-content")) => {
                return Ok((self.by_files(host), SomeFolders::default()));
            }
            Ok(None) => return Err(self.unknown("wp-config.php computes it".into())),
            Err(error) => {
                let why =
                    format!("wp-config.php computes it, and WordPress cannot be asked: {error:#}");
                return Err(self.unknown(why));
            }
        };
        let known = self.known(host);
        let found = Content {
            dir: known.dir.unwrap_or_else(|| told.dir.clone()),
            plugins: known.plugins.unwrap_or_else(|| told.plugins.clone()),
            must_use: known.must_use.unwrap_or_else(|| told.must_use.clone()),
        };
        self.check(host, &found, target.user, false)?;
        // With the content folder recorded, only what is not below it is left to say.
        let plain = Content::below(found.dir.clone(), &SomeFolders::default());
        let learned = SomeFolders {
            dir: Some(found.dir.clone()),
            plugins: (plain.plugins != found.plugins).then(|| found.plugins.clone()),
            must_use: (plain.must_use != found.must_use).then(|| found.must_use.clone()),
        };
        Ok((found, learned))
    }

    fn known(&self, host: &Host) -> SomeFolders {
        let real = |path: &Path| match host.look_through(path) {
            Ok(Node::Directory(meta)) => meta.path,
            _ => path.to_owned(),
        };
        let config = self.config.path.parent().unwrap_or(Path::new("/"));
        let stated = |stated: &Stated| match stated {
            Stated::Plainly(folder) => {
                let path = folder.path(config, &real(self.dir));
                Some(as_seen_from(self.dir, &path, &real))
            }
            _ => None,
        };
        SomeFolders {
            dir: (self.given.dir.clone()).or_else(|| stated(&self.stated.content)),
            plugins: (self.given.plugins.clone()).or_else(|| stated(&self.stated.plugins)),
            must_use: (self.given.must_use.clone()).or_else(|| stated(&self.stated.must_use)),
        }
    }

    /// Whether only WordPress knows one of the folders.
    fn must_ask(&self, host: &Host) -> bool {
        if self.given.dir.is_some() {
            return false;
        }
        // WordPress makes this folder where its content is.
        let in_use = || host.is_dir(&self.dir.join("wp-content/uploads"));
        let perhaps = self.stated.content == Stated::Perhaps;
        self.is_unclear() || (perhaps && !in_use())
    }

    fn is_unclear(&self) -> bool {
        let Folders {
            content,
            plugins,
            must_use,
        } = self.stated;
        [content, plugins, must_use].contains(&&Stated::Unclear)
    }

    /// What WordPress said, by the names by which the site is known: a release's folder
    /// changes with each release, the link to it does not.
    fn as_seen_here(&self, host: &Host, told: &ToldFolders) -> Content {
        let real = |path: &Path| match host.look_through(path) {
            Ok(Node::Directory(meta)) => meta.path,
            _ => path.to_owned(),
        };
        let seen = |text: &str| as_seen_from(self.dir, Path::new(text), &real);
        Content {
            dir: seen(&told.dir),
            plugins: seen(&told.plugins),
            must_use: seen(&told.must_use),
        }
    }

    /// Refuses folders into which the site may not lead root.
    fn check(&self, host: &Host, found: &Content, user: &str, by_root: bool) -> Result<()> {
        let usual = Content::usual(self.dir);
        if found.must_use == usual.must_use {
            return Ok(()); // below the folder that the administrator named
        }
        // What is to be made in it belongs to its owner.
        let folder = match host.is_dir(&found.must_use) {
            true => &found.must_use,
            false => found.must_use.parent().unwrap_or(&found.must_use),
        };
        let what = || {
            let dir = self.dir.display();
            format!("use {} for the plugins of {dir}", folder.display())
        };
        let (constant, option) = match found.dir == usual.dir {
            true => (folders::MUST_USE, "--mu-plugin-dir"),
            false => (folders::CONTENT, "--content-dir"),
        };
        let help = format!("correct {constant} in wp-config.php, or pass the folder with {option}");
        let meta = match host.look_through(folder)? {
            Node::Directory(meta) => meta,
            _ => {
                return Err(Problem::new(what(), "there is no such folder")
                    .help(help)
                    .into());
            }
        };
        let of_site = match host.look_through(self.dir)? {
            Node::Directory(meta) => meta.uid,
            _ => 0,
        };
        let worker = host.user(user)?.map(|user| user.uid);
        let given = self.given.must_use.is_some() || self.given.dir.is_some();
        let is_own = match meta.uid {
            0 => by_root || given,
            owner => owner == self.config.uid || owner == of_site || worker == Some(owner),
        };
        if is_own {
            return Ok(());
        }
        let why = format!(
            "it belongs to {}, and not to the owner of the site or to {user}",
            host.user_name(meta.uid)
        );
        let help = "give the folder to the site's owner, or correct it in wp-config.php";
        Err(Problem::new(what(), why).help(help).into())
    }

    fn unknown(&self, why: String) -> anyhow::Error {
        let what = format!("find the content folder of {}", self.dir.display());
        Problem::new(what, why)
            .help("pass it with --content-dir, and with --mu-plugin-dir if must-use plugins are not in its mu-plugins")
            .into()
    }
}

/// A real path, with the links through which the site is reached: `current` instead
/// of the release that it leads to.
fn as_seen_from(site: &Path, path: &Path, real: &dyn Fn(&Path) -> PathBuf) -> PathBuf {
    for above in site.ancestors() {
        if let Ok(rest) = path.strip_prefix(real(above)) {
            return above.join(rest);
        }
    }
    path.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_named_by_the_link_to_it() {
        let real = |path: &Path| match path.strip_prefix("/srv/shop/current") {
            Ok(rest) => Path::new("/srv/shop/releases/7").join(rest),
            Err(_) => path.to_owned(),
        };
        for (path, expected) in [
            ("/srv/shop/releases/7/wp/c", "/srv/shop/current/wp/c"),
            ("/srv/shop/releases/7/app", "/srv/shop/current/app"),
            ("/srv/shop/shared/app", "/srv/shop/shared/app"),
            ("/data/app", "/data/app"),
        ] {
            let site = Path::new("/srv/shop/current/wp");
            let seen = as_seen_from(site, Path::new(path), &real);
            assert_eq!(seen, Path::new(expected));
        }
    }
}
