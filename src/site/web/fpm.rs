//! php-fpm's pools.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::host::Host;
use crate::site::web::{glob, text_of};

/// A php-fpm pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pool {
    pub name: String,
    pub user: String,
    /// The path of a socket, or an address.
    pub listen: String,
    pub file: PathBuf,
    /// The command-line program of its PHP.
    pub php: PathBuf,
    /// The folder that its processes see as the root folder.
    pub chroot: Option<PathBuf>,
}

/// The pools of all PHP installations that the platform can have.
///
/// # Errors
/// If the platform is unknown.
pub fn pools(host: &Host) -> Result<Vec<Pool>> {
    let mut found = Vec::new();
    for (pattern, program) in host.platform()?.family.web.pools {
        for folder in glob(host, Path::new(pattern)) {
            let name = wildcard(pattern, &folder);
            let php = PathBuf::from(program.replace('*', &name));
            for file in glob(host, &folder.join("*.conf")) {
                found.extend(of_file(host, &file, &php));
            }
        }
    }
    found.retain(|pool: &Pool| !pool.user.is_empty());
    Ok(found)
}

/// What the `*` of a pattern matches in a path.
fn wildcard(pattern: &str, path: &Path) -> String {
    let at = pattern.split('/').position(|part| part == "*");
    let path = path.to_string_lossy();
    at.and_then(|at| path.split('/').nth(at))
        .unwrap_or_default()
        .to_owned()
}

fn of_file(host: &Host, file: &Path, php: &Path) -> Vec<Pool> {
    let mut pools: Vec<Pool> = Vec::new();
    let mut inside = false;
    for line in text_of(host, file).lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|it| it.split(']').next()) {
            inside = name != "global";
            if inside {
                pools.push(Pool {
                    name: name.to_owned(),
                    file: file.to_owned(),
                    php: php.to_owned(),
                    ..Pool::default()
                });
            }
            continue;
        }
        let (Some((key, value)), true, Some(pool)) =
            (line.split_once('='), inside, pools.last_mut())
        else {
            continue;
        };
        let value = value.split(';').next().unwrap_or_default().trim();
        let value = value.trim_matches('"').replace("$pool", &pool.name);
        match key.trim() {
            "user" => pool.user = value,
            "listen" => pool.listen = value,
            "chroot" if !value.is_empty() => pool.chroot = Some(value.into()),
            _ => {}
        }
    }
    pools
}

/// Whether a web server's address is the one that a pool listens on.
pub fn same_socket(pool: &str, named: &str) -> bool {
    let plain = |text: &str| {
        // Caddy writes unix//run/php/a.sock, the others unix:/run/php/a.sock.
        let socket = text.strip_prefix("unix");
        let socket = socket.and_then(|rest| rest.strip_prefix([':', '/']));
        let text = socket.unwrap_or(text).trim_end_matches('/');
        let text = match text.strip_prefix("//") {
            Some(rest) => format!("/{rest}"),
            None => text.to_owned(),
        };
        text.replacen("/var/run/", "/run/", 1)
            .replacen("localhost:", "127.0.0.1:", 1)
    };
    let (pool, named) = (plain(pool), plain(named));
    // A pool may listen on a port without an address.
    let port = |text: &str| text.rsplit(':').next().map(str::to_owned);
    pool == named || (!pool.contains(['/', ':']) && port(&named).as_deref() == Some(&pool))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_the_same_however_a_server_writes_it() {
        for (pool, named, same) in [
            ("/run/php/a.sock", "unix:/run/php/a.sock", true),
            ("/run/php/a.sock", "unix:/var/run/php/a.sock", true),
            ("/run/php/a.sock", "unix://run/php/a.sock", true),
            ("/run/php/a.sock", "unix//run/php/a.sock", true),
            ("/run/php/a.sock", "/run/php/a.sock", true),
            ("/run/php/a.sock", "unix:/run/php/b.sock", false),
            ("9001", "127.0.0.1:9001", true),
            ("9001", "localhost:9001", true),
            ("127.0.0.1:9001", "localhost:9001", true),
            ("127.0.0.1:9001", "127.0.0.1:9002", false),
            ("/run/php/9001", "127.0.0.1:9001", false),
        ] {
            assert_eq!(same_socket(pool, named), same, "{pool} {named}");
        }
    }
}
