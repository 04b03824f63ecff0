//! Parses lighttpd's configuration: document roots, hosts, and the FastCGI programs
//! that it starts or connects to.

use std::path::{Path, PathBuf};

use crate::host::Host;
use crate::site::web::{Handler, Kind, VirtualHost, glob, text_of};

pub const CONFIG: &str = "/etc/lighttpd/lighttpd.conf";

/// The main server, and one virtual host per `$HTTP["host"]` block with a root.
pub fn virtual_hosts(host: &Host) -> Vec<VirtualHost> {
    let config = Path::new(CONFIG);
    let mut lines = Vec::new();
    read(host, config, &mut lines, 0);
    if lines.is_empty() {
        return Vec::new();
    }
    let mut main = VirtualHost::new(Kind::Lighttpd, config);
    let mut hosts: Vec<VirtualHost> = Vec::new();
    let mut depth = 0usize;
    let mut inside: Option<usize> = None;
    for line in &lines {
        if let Some(name) = line.strip_prefix("$HTTP[\"host\"]") {
            let mut one = VirtualHost::new(Kind::Lighttpd, config);
            one.names.extend(quoted(name));
            hosts.push(one);
            inside = Some(depth);
        }
        let at = match inside {
            Some(_) => hosts.last_mut().unwrap_or(&mut main),
            None => &mut main,
        };
        if line.starts_with("server.document-root") {
            at.roots.extend(quoted(line).map(PathBuf::from));
        } else if line.starts_with("server.username") {
            main.user = quoted(line);
        } else if line.starts_with("server.port") {
            let port = line.split('=').nth(1).unwrap_or_default();
            main.listens.push(port.trim().to_owned());
        } else if line.contains("\"bin-path\"") {
            let program = after(line, "\"bin-path\"").map(PathBuf::from);
            at.handlers.push(Handler::Cgi { program });
        } else if line.contains("\"socket\"") && !lines.iter().any(|it| it.contains("\"bin-path\""))
        {
            at.handlers
                .extend(after(line, "\"socket\"").map(Handler::Fpm));
        } else if line.contains("\"host\"") && line.contains("=>") {
            let address = after(line, "\"host\"");
            at.handlers.extend(address.map(Handler::Fpm));
        }
        depth += line.matches('{').count();
        depth = depth.saturating_sub(line.matches('}').count());
        if inside.is_some_and(|began| depth <= began && line.contains('}')) {
            inside = None;
        }
    }
    for one in &mut hosts {
        if one.handlers.is_empty() {
            one.handlers.clone_from(&main.handlers);
        }
        one.user.clone_from(&main.user);
        one.listens.clone_from(&main.listens);
    }
    hosts.retain(|one| !one.roots.is_empty());
    hosts.push(main);
    hosts
}

/// Collects the lines without comments, with included files inlined.
fn read(host: &Host, file: &Path, lines: &mut Vec<String>, depth: usize) {
    if depth > 16 {
        return;
    }
    for line in text_of(host, file).lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.starts_with("include_shell") {
            // Debian's shell command only prints the files in this folder.
            for path in glob(host, Path::new("/etc/lighttpd/conf-enabled/*.conf")) {
                read(host, &path, lines, depth + 1);
            }
        } else if let Some(rest) = line.strip_prefix("include") {
            let folder = file.parent().unwrap_or(file);
            for path in quoted(rest)
                .into_iter()
                .flat_map(|it| glob(host, &folder.join(it)))
            {
                read(host, &path, lines, depth + 1);
            }
        } else if !line.is_empty() {
            lines.push(line.to_owned());
        }
    }
}

fn quoted(text: &str) -> Option<String> {
    text.split('"').nth(1).map(str::to_owned)
}

/// The quoted value after a key.
fn after(line: &str, key: &str) -> Option<String> {
    let (_, rest) = line.split_once(key)?;
    rest.split('"').nth(1).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::web::testing::Files;

    #[test]
    fn the_main_server_and_hosts_are_read() {
        let files = Files::new(&[
            (
                "etc/lighttpd/lighttpd.conf",
                "server.document-root = \"/var/www/html\"\nserver.username = \"www-data\"\nserver.port = 80\n# server.document-root = \"/x\"\n$HTTP[\"host\"] == \"b.test\" {\n  server.document-root = \"/srv/b\"\n}\ninclude \"/etc/lighttpd/conf-enabled/*.conf\"\n",
            ),
            (
                "etc/lighttpd/conf-enabled/15-php.conf",
                "fastcgi.server += ( \".php\" =>\n ((\n  \"bin-path\" => \"/usr/bin/php-cgi\",\n  \"socket\" => \"/run/lighttpd/php.socket\",\n )))\n",
            ),
        ]);
        let found = virtual_hosts(&files.host());
        let [b, main] = &found[..] else {
            panic!("{found:?}")
        };
        let cgi = Handler::Cgi {
            program: Some("/usr/bin/php-cgi".into()),
        };
        assert_eq!(b.names, ["b.test"]);
        assert_eq!(b.roots, [Path::new("/srv/b")]);
        assert_eq!(b.handlers, std::slice::from_ref(&cgi));
        assert_eq!(main.roots, [Path::new("/var/www/html")]);
        assert_eq!(main.handlers, [cgi]);
        assert_eq!(main.user.as_deref(), Some("www-data"));
    }
}
