//! Finds the sites of a host: the folders with a WordPress among those that web
//! servers serve and those where sites are usually installed. Runs nothing.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::host::Host;
use crate::host::files::Node;
use crate::site::web::Servers;

/// Where sites are usually installed, on any platform; `*` matches one folder.
const USUAL: [&str; 10] = [
    "/var/www",
    "/var/www/*",
    "/var/www/*/*",
    "/var/www/vhosts/*/httpdocs",
    "/srv/*",
    "/srv/*/*",
    "/srv/www/*/*",
    "/home/*/public_html",
    "/home/*/domains/*/public_html",
    "/usr/share/nginx/html",
];
/// The number of entries of one folder that are examined.
const MAX_ENTRIES: usize = 500;

/// Every folder with a WordPress, once each, under the name that the web server
/// uses (such as a `current` link rather than the release behind it).
pub fn find(host: &Host) -> Result<Vec<PathBuf>> {
    let servers = Servers::read(host)?;
    let served: Vec<PathBuf> = servers.roots().map(Path::to_owned).collect();
    let below = served
        .iter()
        .flat_map(|root| folders(host, &root.join("*")));
    let below: Vec<PathBuf> = below.collect();
    let usual = USUAL
        .iter()
        .flat_map(|pattern| folders(host, Path::new(pattern)));
    let mut real: Vec<PathBuf> = Vec::new();
    let mut sites = Vec::new();
    let loaded = servers.loaded(host).iter().flatten().cloned();
    for dir in served.into_iter().chain(below).chain(loaded).chain(usual) {
        // Skips links that must not be followed.
        let Ok(Node::Directory(meta)) = host.look_through(&dir) else {
            continue;
        };
        let is_site = ["wp-load.php", "wp-includes/version.php"]
            .iter()
            .all(|file| host.exists(&dir.join(file)));
        if is_site && !real.contains(&meta.path) {
            real.push(meta.path);
            sites.push(dir);
        }
    }
    sites.sort();
    Ok(sites)
}

/// The folders that match a pattern.
fn folders(host: &Host, pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        if part.as_os_str() != "*" {
            for path in &mut found {
                path.push(part);
            }
            continue;
        }
        found = found
            .iter()
            .flat_map(|dir| {
                let names = host
                    .list(dir)
                    .unwrap_or_default()
                    .into_iter()
                    .take(MAX_ENTRIES);
                names.map(|name| dir.join(name)).collect::<Vec<_>>()
            })
            .filter(|path| host.is_dir(path))
            .collect();
    }
    found
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn sites_are_found_in_served_and_in_usual_folders() {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let site = |path: &str| {
            put(&format!("{path}/wp-load.php"), "");
            put(&format!("{path}/wp-includes/version.php"), "");
        };
        site("var/www/plain");
        site("var/www/vhosts/a.test/httpdocs");
        site("home/bob/public_html");
        site("opt/apache/blog");
        site("data/shop/releases/1");
        site("data/front/wp");
        put(
            "data/front/public/index.php",
            "<?php require __DIR__ . '/../wp/wp-blog-header.php';",
        );
        put("var/www/empty/wp-load.php", "");
        symlink("releases/1", dir.path().join("data/shop/current")).unwrap();
        put(
            "etc/nginx/sites-enabled/shop",
            "server {\n # root /data/shop/releases/1;\n root /data/shop/current/;\n}\nserver { root /srv/$host; }\nserver { root /data/front/public; }\n",
        );
        put(
            "etc/apache2/sites-enabled/a.conf",
            "<VirtualHost *:80>\n  documentroot \"/opt/apache\"\n</VirtualHost>\n",
        );
        put("etc/os-release", "ID=debian\n");
        let host = Host::new(Some(dir.path())).unwrap();
        let found = find(&host).unwrap();
        let expected = [
            "/data/front/wp",
            "/data/shop/current",
            "/home/bob/public_html",
            "/opt/apache/blog",
            "/var/www/plain",
            "/var/www/vhosts/a.test/httpdocs",
        ];
        assert_eq!(found, expected.map(PathBuf::from));
    }
}
