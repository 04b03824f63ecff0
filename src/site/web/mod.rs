//! What serves a site: the virtual hosts of nginx, Apache, Caddy and lighttpd,
//! parsed like the servers do, and what runs PHP for each of them.
//!
//! Only files are read, so this works under `--root` too. What really answers a
//! request is for the proof through the web server to determine.

pub mod apache;
pub mod caddy;
pub mod fpm;
pub mod lighttpd;
pub mod listeners;
pub mod nginx;

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

use anyhow::Result;

use crate::host::Host;
use crate::host::files::Node;
use crate::host::platform::WebServer;
use fpm::{Pool, same_socket};

/// In a root: a part of a name that depends on the request.
const ANY: &str = "*";
/// The number of folders that such a root may stand for.
const MAX_FOLDERS: usize = 2000;
/// How much of a front page is read.
const FRONT_PAGE: usize = 8 << 10;
/// Larger configuration files are cut off.
const MAX_SIZE: usize = 4 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Nginx,
    Apache,
    Caddy,
    Lighttpd,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Nginx => "nginx",
            Kind::Apache => "Apache",
            Kind::Caddy => "Caddy",
            Kind::Lighttpd => "lighttpd",
        })
    }
}

/// What runs PHP for a virtual host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handler {
    /// A FastCGI server at a socket or an address, usually php-fpm.
    Fpm(String),
    /// PHP inside the web server.
    Module,
    /// A CGI program that the web server starts.
    Cgi { program: Option<PathBuf> },
    /// Something that cannot be determined from the files.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualHost {
    pub server: Kind,
    pub names: Vec<String>,
    /// Addresses and ports, verbatim.
    pub listens: Vec<String>,
    /// Document roots and aliases.
    pub roots: Vec<PathBuf>,
    pub handlers: Vec<Handler>,
    /// The user for PHP that the web server runs itself.
    pub user: Option<String>,
    pub file: PathBuf,
    /// Its roots are only those that match a pattern, such as /srv/*, so that another
    /// virtual host that names the same folder has precedence.
    matched: bool,
}

impl VirtualHost {
    fn new(server: Kind, file: &Path) -> Self {
        VirtualHost {
            server,
            names: Vec::new(),
            listens: Vec::new(),
            roots: Vec::new(),
            handlers: Vec::new(),
            user: None,
            file: file.to_owned(),
            matched: false,
        }
    }

    /// Itself, and another one for those of its roots that are patterns.
    fn expanded(mut self, host: &Host) -> impl Iterator<Item = VirtualHost> {
        let is_pattern = |root: &PathBuf| root.to_string_lossy().contains(ANY);
        let (patterns, named) = std::mem::take(&mut self.roots)
            .into_iter()
            .partition(is_pattern);
        let patterns: Vec<PathBuf> = patterns;
        let matched = (!patterns.is_empty()).then(|| VirtualHost {
            roots: patterns.iter().flat_map(|it| folders(host, it)).collect(),
            matched: true,
            ..self.clone()
        });
        self.roots = named;
        [self].into_iter().chain(matched)
    }
}

/// How requests for a site reach PHP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serving {
    pub server: Kind,
    /// The file that defines the virtual host.
    pub file: PathBuf,
    /// The user that its PHP runs as, if the configuration names it.
    pub user: Option<String>,
    pub pool: Option<Pool>,
}

impl fmt::Display for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.user.as_deref().unwrap_or("an unknown user");
        write!(f, "{} ({}) as {user}", self.server, self.file.display())?;
        match &self.pool {
            Some(pool) => write!(f, ", php-fpm pool {}", pool.name),
            None => Ok(()),
        }
    }
}

/// What serves a site, according to the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Served {
    By(Serving),
    /// Several virtual hosts or handlers, with different users or PHPs.
    Unclear(Vec<Serving>),
    /// No virtual host names the site's folder.
    Unknown,
}

impl Served {
    pub fn pool(&self) -> Option<&Pool> {
        match self {
            Served::By(serving) => serving.pool.as_ref(),
            Served::Unclear(_) | Served::Unknown => None,
        }
    }

    /// All users whose PHP may serve it.
    pub fn users(&self) -> impl Iterator<Item = &str> {
        let all: &[Serving] = match self {
            Served::By(serving) => std::slice::from_ref(serving),
            Served::Unclear(all) => all,
            Served::Unknown => &[],
        };
        all.iter().filter_map(|serving| serving.user.as_deref())
    }

    pub fn user(&self) -> Option<&str> {
        match self {
            Served::By(serving) => serving.user.as_deref(),
            Served::Unclear(_) | Served::Unknown => None,
        }
    }
}

/// The configuration of all web servers, read once.
#[derive(Debug, Default)]
pub struct Servers {
    pub virtual_hosts: Vec<VirtualHost>,
    pub pools: Vec<Pool>,
    /// Each virtual host's roots, with links resolved.
    real: Vec<Vec<PathBuf>>,
    loaded: OnceLock<Vec<Vec<PathBuf>>>,
}

impl Servers {
    /// # Errors
    /// If the platform is unknown.
    pub fn read(host: &Host) -> Result<Self> {
        let web = &host.platform()?.family.web;
        let mut virtual_hosts = nginx::virtual_hosts(host, &web.nginx);
        virtual_hosts.extend(apache::virtual_hosts(host, &web.apache));
        virtual_hosts.extend(caddy::virtual_hosts(host));
        virtual_hosts.extend(lighttpd::virtual_hosts(host));
        let running = listeners::running(host);
        if !running.is_empty() {
            // A server that is installed and stopped serves nobody.
            virtual_hosts.retain(|one| running.contains(&one.server));
        }
        let all = virtual_hosts.into_iter();
        let virtual_hosts: Vec<VirtualHost> = all.flat_map(|one| one.expanded(host)).collect();
        let real = |one: &VirtualHost| one.roots.iter().map(|root| real(host, root)).collect();
        Ok(Servers {
            real: virtual_hosts.iter().map(real).collect(),
            pools: fpm::pools(host)?,
            virtual_hosts,
            loaded: OnceLock::new(),
        })
    }

    /// The folders that the servers serve.
    pub fn roots(&self) -> impl Iterator<Item = &Path> {
        let all = self.virtual_hosts.iter().flat_map(|one| &one.roots);
        all.map(PathBuf::as_path).filter(|root| root.is_absolute())
    }

    /// The WordPress folders that each virtual host's front pages load.
    pub fn loaded(&self, host: &Host) -> &[Vec<PathBuf>] {
        self.loaded.get_or_init(|| {
            let of = |one: &VirtualHost| {
                let roots = one.roots.iter();
                roots.filter_map(|root| loaded_by(host, root)).collect()
            };
            self.virtual_hosts.iter().map(of).collect()
        })
    }

    /// What serves a folder: of the virtual hosts whose root contains it, those with
    /// the nearest root; otherwise those whose front page loads the WordPress in it.
    pub fn of(&self, host: &Host, dir: &Path) -> Served {
        let own = real(host, dir);
        let distance = |root: &Path| {
            let below = own.strip_prefix(root).or_else(|_| dir.strip_prefix(root));
            below.ok().map(|rest| rest.components().count())
        };
        let mut found = self.nearest(|at| {
            let roots = self.virtual_hosts[at].roots.iter().chain(&self.real[at]);
            roots.filter_map(|root| distance(root)).min()
        });
        if found.is_empty() {
            let loaded = self.loaded(host);
            found = self.nearest(|at| {
                let leads = loaded[at].iter().any(|it| *it == own || it == dir);
                leads.then_some(0)
            });
        }
        // Ignore handlers with an unknown user if others have a known one.
        if found.iter().any(|one| one.user.is_some()) {
            found.retain(|one| one.user.is_some());
        }
        let mut distinct: Vec<Serving> = Vec::new();
        for one in found {
            let php = |it: &Serving| it.pool.as_ref().map(|pool| pool.php.clone());
            let same = |it: &Serving| {
                let same_php = php(it).zip(php(&one)).is_none_or(|(a, b)| a == b);
                it.user == one.user && same_php
            };
            if !distinct.iter().any(same) {
                distinct.push(one);
            }
        }
        match (distinct.len(), distinct.pop()) {
            (1, Some(one)) => Served::By(one),
            (_, Some(last)) => {
                distinct.push(last);
                Served::Unclear(distinct)
            }
            (_, None) => Served::Unknown,
        }
    }

    /// What runs PHP in the virtual hosts at the least distance.
    fn nearest(&self, distance: impl Fn(usize) -> Option<usize>) -> Vec<Serving> {
        let mut nearest = (usize::MAX, true);
        let mut found: Vec<Serving> = Vec::new();
        for (at, one) in self.virtual_hosts.iter().enumerate() {
            let Some(distance) = distance(at) else {
                continue;
            };
            let rank = (distance, one.matched);
            if rank > nearest || one.handlers.is_empty() {
                continue;
            }
            if rank < nearest {
                nearest = rank;
                found.clear();
            }
            let handlers = one.handlers.iter();
            found.extend(handlers.map(|handler| self.serving(one, handler)));
        }
        found
    }

    fn serving(&self, one: &VirtualHost, handler: &Handler) -> Serving {
        let pool = match handler {
            Handler::Fpm(listen) => {
                let mut pools = self.pools.iter();
                pools
                    .find(|pool| same_socket(&pool.listen, listen))
                    .cloned()
            }
            Handler::Module | Handler::Cgi { .. } | Handler::Unknown => None,
        };
        let user = match handler {
            Handler::Fpm(_) => pool.as_ref().map(|pool| pool.user.clone()),
            Handler::Module | Handler::Cgi { .. } => one.user.clone(),
            Handler::Unknown => None,
        };
        Serving {
            server: one.server,
            file: one.file.clone(),
            user,
            pool,
        }
    }
}

/// The folders that match a pattern.
fn folders(host: &Host, pattern: &Path) -> Vec<PathBuf> {
    let found = glob(host, pattern).into_iter().filter(|it| host.is_dir(it));
    found.take(MAX_FOLDERS).collect()
}

/// The WordPress folder that the index.php of a root loads: sites that give WordPress
/// its own folder have one.
fn loaded_by(host: &Host, root: &Path) -> Option<PathBuf> {
    let file = host.read_head(&root.join("index.php"), FRONT_PAGE).ok()??;
    let text = String::from_utf8_lossy(&file.bytes);
    let (before, _) = text.split_once("/wp-blog-header.php")?;
    let named = before.rsplit(['\'', '"']).next()?;
    // Usually it follows __DIR__ or dirname( __FILE__ ).
    let is_absolute = named.starts_with('/') && host.is_dir(Path::new(named));
    let path = match is_absolute {
        true => PathBuf::from(named),
        false => root.join(named.trim_start_matches('/')),
    };
    let mut folder = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(folder.pop()),
            other => folder.push(other),
        }
    }
    // Another user's page cannot claim a site.
    match host.look_through(&folder).ok()? {
        Node::Directory(meta) if [0, meta.uid].contains(&file.meta.uid) => Some(meta.path),
        _ => None,
    }
}

fn real(host: &Host, path: &Path) -> PathBuf {
    match host.look_through(path) {
        Ok(Node::Directory(meta)) => meta.path,
        _ => path.components().collect(),
    }
}

/// The text of a configuration file; empty if it cannot be read.
fn text_of(host: &Host, path: &Path) -> String {
    match host.read_head(path, MAX_SIZE) {
        Ok(Some(data)) => String::from_utf8_lossy(&data.bytes).into_owned(),
        _ => String::new(),
    }
}

/// A server's main file or, if it does not exist yet, the files that it will
/// include.
fn main_files(host: &Host, server: &WebServer) -> Vec<PathBuf> {
    let config = PathBuf::from(server.config);
    if host.exists(&config) {
        return vec![config];
    }
    let folders = server.sites.iter();
    folders.flat_map(|dir| glob(host, Path::new(dir))).collect()
}

/// The files and folders that match a pattern, sorted, like the servers' `include`
/// directives: `*` and `?` match within one name.
fn glob(host: &Host, pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        let name = part.as_os_str().to_string_lossy().into_owned();
        if !name.contains(['*', '?', '[']) {
            found.iter_mut().for_each(|path| path.push(part));
            continue;
        }
        let mut next = Vec::new();
        for dir in &found {
            let mut names = host.list(dir).unwrap_or_default();
            names.sort();
            let fits = names.into_iter().filter(|it| {
                let it = it.to_string_lossy();
                (!it.starts_with('.') || name.starts_with('.')) && matches(&name, &it)
            });
            next.extend(fits.map(|name| dir.join(name)));
        }
        found = next;
    }
    // Including a folder includes everything in it.
    let mut files = Vec::new();
    for path in found {
        match host.is_dir(&path) && !pattern.to_string_lossy().contains('*') {
            true => {
                let mut names = host.list(&path).unwrap_or_default();
                names.sort();
                files.extend(names.into_iter().map(|name| path.join(name)));
            }
            false => files.push(path),
        }
    }
    files
}

/// Whether a name matches a pattern with `*`, `?` and `[…]`.
fn matches(pattern: &str, name: &str) -> bool {
    let mut chars = pattern.chars();
    match chars.next() {
        None => name.is_empty(),
        Some('*') => {
            let rest = chars.as_str();
            let ends = name.char_indices().map(|(at, _)| at).chain([name.len()]);
            ends.into_iter().any(|at| matches(rest, &name[at..]))
        }
        Some('?') => name
            .chars()
            .next()
            .is_some_and(|c| matches(chars.as_str(), &name[c.len_utf8()..])),
        Some('[') => match (chars.as_str().split_once(']'), name.chars().next()) {
            (Some((set, rest)), Some(c)) => set.contains(c) && matches(rest, &name[c.len_utf8()..]),
            _ => false,
        },
        Some(c) => name
            .strip_prefix(c)
            .is_some_and(|rest| matches(chars.as_str(), rest)),
    }
}

#[cfg(test)]
pub mod testing {
    use super::*;

    /// A folder that serves as a host.
    pub struct Files(tempfile::TempDir);

    impl Files {
        pub fn new(files: &[(&str, &str)]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let all = files.iter().chain(&[("etc/os-release", "ID=debian\n")]);
            for (path, text) in all {
                let path = dir.path().join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            }
            Files(dir)
        }

        pub fn host(&self) -> Host {
            Host::new(Some(self.0.path())).unwrap()
        }

        pub fn path(&self) -> &Path {
            self.0.path()
        }
    }
}

#[cfg(test)]
mod tests;
