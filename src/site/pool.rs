//! Who serves a site: the virtual host with the site's folder as its root, and
//! the php-fpm pool that it passes PHP to. This reads the web servers' usual
//! files and follows no `include`, so a pool that is not found means nothing.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::host::Host;

/// A php-fpm pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pool {
    pub name: String,
    pub user: String,
    /// A socket's path, or an address.
    pub listen: String,
    pub file: PathBuf,
    /// Its PHP's program for the command line.
    pub php: PathBuf,
}

/// The pool that serves the folder: the one that its virtual host names,
/// otherwise the only one there is.
pub fn serving(host: &Host, dir: &Path) -> Result<Option<Pool>> {
    let pools = pools(host)?;
    for listen in handed_to(host, dir)? {
        if let Some(pool) = pools.iter().find(|pool| same_socket(&pool.listen, &listen)) {
            return Ok(Some(pool.clone()));
        }
    }
    Ok(match <[Pool; 1]>::try_from(pools) {
        Ok([only]) => Some(only),
        Err(_) => None,
    })
}

fn pools(host: &Host) -> Result<Vec<Pool>> {
    let mut pools = Vec::new();
    for (file, php) in pool_files(host)? {
        let Some(data) = host.read(&file)? else {
            continue;
        };
        let mut pool: Option<Pool> = None;
        for line in String::from_utf8_lossy(&data.bytes).lines().map(str::trim) {
            if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                pools.extend(pool.take());
                if name != "global" {
                    pool = Some(Pool {
                        name: name.to_owned(),
                        file: file.clone(),
                        php: php.clone(),
                        ..Pool::default()
                    });
                }
            } else if let (Some(pool), Some((key, value))) = (&mut pool, line.split_once('=')) {
                let value = value.split(';').next().unwrap_or_default().trim();
                let value = value.trim_matches('"').replace("$pool", &pool.name);
                match key.trim() {
                    "user" => pool.user = value,
                    "listen" => pool.listen = value,
                    _ => {}
                }
            }
        }
        pools.extend(pool);
    }
    pools.retain(|pool| !pool.user.is_empty());
    Ok(pools)
}

/// The sockets that web servers pass the folder's PHP to.
fn handed_to(host: &Host, dir: &Path) -> Result<Vec<String>> {
    let web = &host.platform()?.family.web;
    let mut found = Vec::new();
    for file in files(host, web.nginx.sites) {
        for server in blocks(&read(host, &file)?, "server") {
            if directive(&server, "root").is_some_and(|root| same_folder(host, &root, dir)) {
                found.extend(directive(&server, "fastcgi_pass"));
            }
        }
    }
    for file in files(host, web.apache.sites) {
        let text = read(host, &file)?;
        let of_dir = text.lines().any(|line| {
            let mut words = line.split_whitespace();
            words
                .next()
                .is_some_and(|w| w.eq_ignore_ascii_case("DocumentRoot"))
                && words
                    .next()
                    .is_some_and(|root| same_folder(host, root.trim_matches('"'), dir))
        });
        if of_dir {
            // proxy:unix:/run/php/a.sock|fcgi://localhost, or proxy:fcgi://127.0.0.1:9000
            for word in text.split(['"', ' ', '\t', '\n']) {
                if let Some(rest) = word.strip_prefix("proxy:") {
                    let socket = rest.split('|').next().unwrap_or_default();
                    found.push(socket.trim_start_matches("fcgi://").to_owned());
                }
            }
        }
    }
    Ok(found)
}

fn read(host: &Host, file: &Path) -> Result<String> {
    // A link that must not be followed hides only what is behind it.
    Ok(match host.read(file) {
        Ok(Some(data)) => String::from_utf8_lossy(&data.bytes).into_owned(),
        _ => String::new(),
    })
}

/// Each with the program of its PHP.
fn pool_files(host: &Host) -> Result<Vec<(PathBuf, PathBuf)>> {
    let mut found = Vec::new();
    for (pattern, program) in host.platform()?.family.web.pools {
        let names = match pattern.split_once("/*/") {
            None => vec![String::new()],
            Some((above, _)) => host
                .list(Path::new(above))?
                .into_iter()
                .map(|name| name.to_string_lossy().into_owned())
                .collect(),
        };
        for name in names {
            let folder = pattern.replace('*', &name);
            let program = PathBuf::from(program.replace('*', &name));
            let files = files(host, &[&folder]).into_iter();
            found.extend(files.map(|file| (file, program.clone())));
        }
    }
    Ok(found)
}

fn files(host: &Host, folders: &[&str]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for folder in folders.iter().map(Path::new) {
        for name in host.list(folder).unwrap_or_default() {
            files.push(folder.join(name));
        }
    }
    files
}

/// The folders that virtual hosts serve, as the web servers' configuration names them.
pub fn document_roots(host: &Host) -> Result<Vec<PathBuf>> {
    let web = &host.platform()?.family.web;
    let mut roots = Vec::new();
    let nginx = files(host, web.nginx.sites).into_iter();
    for file in nginx.chain([PathBuf::from(web.nginx.config)]) {
        for statement in uncommented(&read(host, &file)?).split([';', '{', '}']) {
            roots.extend(value(statement, "root"));
        }
    }
    let apache = files(host, web.apache.sites).into_iter();
    for file in apache.chain([PathBuf::from(web.apache.config)]) {
        for line in read(host, &file)?.lines() {
            roots.extend(value(line, "DocumentRoot"));
        }
    }
    // A variable stands for any folder.
    let is_folder = |root: &String| root.starts_with('/') && !root.contains('$');
    Ok(roots
        .into_iter()
        .filter(is_folder)
        .map(PathBuf::from)
        .collect())
}

/// The bodies of an nginx block, without comments.
fn blocks(text: &str, name: &str) -> Vec<String> {
    let text = uncommented(text);
    let mut found = Vec::new();
    let mut rest = text.as_str();
    while let Some(open) = rest.find('{') {
        let head = rest[..open].trim_end();
        let is_block = head
            .strip_suffix(name)
            .is_some_and(|before| !before.ends_with(|c: char| c.is_alphanumeric() || c == '_'));
        if !is_block {
            rest = &rest[open + 1..];
            continue;
        }
        let mut depth = 0usize;
        let mut end = rest.len();
        for (at, c) in rest[open..].char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                end = open + at;
                break;
            }
        }
        found.push(rest[open + 1..end].to_owned());
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    found
}

fn uncommented(text: &str) -> String {
    text.lines()
        .map(|line| line.split('#').next().unwrap_or_default())
        .flat_map(|line| [line, "\n"])
        .collect()
}

/// The first value of an nginx directive.
fn directive(block: &str, name: &str) -> Option<String> {
    block
        .split([';', '{', '}'])
        .find_map(|statement| value(statement, name))
}

/// What a statement of this name sets.
fn value(statement: &str, name: &str) -> Option<String> {
    let (word, rest) = statement.trim().split_once(char::is_whitespace)?;
    word.eq_ignore_ascii_case(name).then(|| {
        rest.trim()
            .trim_matches(['"', '\''])
            .trim_end_matches('/')
            .to_owned()
    })
}

fn same_socket(a: &str, b: &str) -> bool {
    let plain = |text: &str| {
        let text = text.trim_start_matches("unix:").trim_end_matches('/');
        text.replacen("/var/run/", "/run/", 1)
            .replacen("localhost:", "127.0.0.1:", 1)
    };
    // A pool may name its port alone.
    plain(a) == plain(b) || plain(b).strip_prefix("127.0.0.1:") == Some(a)
}

fn same_folder(host: &Host, a: &str, b: &Path) -> bool {
    let real = |path: &Path| match host.look_through(path) {
        Ok(crate::host::files::Node::Directory(meta)) => Some(meta.path),
        _ => None,
    };
    let a = Path::new(a.trim_end_matches('/'));
    a == b || (real(a).is_some() && real(a) == real(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_is_found_through_nginx_and_apache() {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        put(
            "etc/php/8.2/fpm/pool.d/a.conf",
            "[a]\nuser = alice\nlisten = /run/php/$pool.sock\n",
        );
        put(
            "etc/php/8.2/fpm/pool.d/b.conf",
            "[b]\n; user = x\nuser = bob ; the shop's\nlisten = 9001\n",
        );
        put(
            "etc/nginx/sites-enabled/a",
            "server { listen 80; root /srv/x; }\nserver {\n # root /srv/b;\n root /srv/a;\n location ~ \\.php$ { fastcgi_pass unix:/var/run/php/a.sock; }\n}\n",
        );
        put(
            "etc/apache2/sites-enabled/b.conf",
            "<VirtualHost *:80>\nDocumentRoot \"/srv/b\"\n<FilesMatch x>\nSetHandler \"proxy:fcgi://127.0.0.1:9001\"\n</FilesMatch></VirtualHost>\n",
        );
        put(
            "etc/opt/remi/php83/php-fpm.d/d.conf",
            "[d]\nuser = dora\nlisten = /var/opt/remi/php83/d.sock\n",
        );
        put(
            "etc/nginx/conf.d/d.conf",
            "server { root /srv/d; fastcgi_pass unix:/var/opt/remi/php83/d.sock; }\n",
        );
        let found_on = |id: &str, path: &str| {
            put("etc/os-release", &format!("ID={id}\n"));
            let host = Host::new(Some(dir.path())).unwrap();
            serving(&host, Path::new(path))
                .unwrap()
                .map(|p| (p.user, p.php))
        };
        let found = |path: &str| found_on("debian", path);
        let pool = |user: &str, php: &str| Some((user.to_owned(), PathBuf::from(php)));
        assert_eq!(found("/srv/a"), pool("alice", "/usr/bin/php8.2"));
        assert_eq!(found("/srv/b"), pool("bob", "/usr/bin/php8.2"));
        assert_eq!(
            found_on("rocky", "/srv/d"),
            pool("dora", "/opt/remi/php83/root/usr/bin/php")
        );
        assert_eq!(found("/srv/c"), None);
    }
}
