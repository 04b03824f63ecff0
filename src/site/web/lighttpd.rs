//! Parses lighttpd's configuration: document roots, hosts, and the FastCGI programs
//! that it starts or connects to.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::host::Host;
use crate::site::web::{ANY, Handler, Kind, VirtualHost, glob, text_of};

pub const CONFIG: &str = "/etc/lighttpd/lighttpd.conf";

/// The main server, and one virtual host per `$HTTP["host"]` block with a root.
pub fn virtual_hosts(host: &Host) -> Vec<VirtualHost> {
    let config = Path::new(CONFIG);
    let mut text = String::new();
    read(host, config, &mut text, 0);
    if text.is_empty() {
        return Vec::new();
    }
    let mut reader = Reader {
        variables: HashMap::new(),
        main: VirtualHost::new(Kind::Lighttpd, config),
        hosts: Vec::new(),
    };
    // The virtual host of each open block, if it has one.
    let mut open: Vec<Option<usize>> = Vec::new();
    for part in parts(&text) {
        match part {
            Part::Open(head) => open.push(match head.split_once("$HTTP[\"host\"]") {
                Some((_, condition)) => {
                    let mut one = VirtualHost::new(Kind::Lighttpd, config);
                    one.names.extend(quoted(condition));
                    reader.hosts.push(one);
                    Some(reader.hosts.len() - 1)
                }
                None => open.last().copied().flatten(),
            }),
            Part::Close => drop(open.pop()),
            Part::Statement(text) => reader.statement(&text, open.last().copied().flatten()),
        }
    }
    let (main, mut hosts) = (reader.main, reader.hosts);
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

struct Reader {
    variables: HashMap<String, String>,
    main: VirtualHost,
    hosts: Vec<VirtualHost>,
}

impl Reader {
    fn statement(&mut self, text: &str, of: Option<usize>) {
        let Some((key, value)) = text.split_once('=') else {
            return;
        };
        // "+=" and ":=" assign too.
        let key = key.trim_end_matches(['+', ':']).trim();
        let plain = self.value(value);
        let target = match of {
            Some(at) => &mut self.hosts[at],
            None => &mut self.main,
        };
        match key {
            "server.document-root" => target.roots.extend(plain.map(PathBuf::from)),
            "alias.url" => target.roots.extend(values(value).map(PathBuf::from)),
            "evhost.path-pattern" => {
                target
                    .roots
                    .extend(plain.map(|it| PathBuf::from(interpolated(&it))));
            }
            "simple-vhost.server-root" => {
                target
                    .roots
                    .extend(plain.map(|it| Path::new(&it).join(ANY)));
            }
            "simple-vhost.document-root" => {
                if let (Some(below), Some(root)) = (plain, target.roots.last_mut()) {
                    root.push(below.trim_matches('/'));
                }
            }
            "userdir.path" => {
                let below = plain.map(|it| Path::new("/home").join(ANY).join(it));
                target.roots.extend(below);
            }
            "server.username" => self.main.user = plain,
            "server.port" => self.main.listens.push(value.trim().to_owned()),
            "fastcgi.server" => target.handlers.extend(handlers(value)),
            _ => {
                if let Some(value) = plain {
                    self.variables.insert(key.to_owned(), value);
                }
            }
        }
    }

    /// A string, or several that are joined with `+`.
    fn value(&self, text: &str) -> Option<String> {
        let parts = text.split('+').map(|part| match quoted(part) {
            Some(text) => Some(text),
            None => self.variables.get(part.trim()).cloned(),
        });
        parts.collect()
    }
}

/// The programs or the servers that run PHP.
fn handlers(value: &str) -> Vec<Handler> {
    let servers = value.split("))").flat_map(|it| it.split("),"));
    let found = servers.filter_map(|server| {
        if let Some(program) = after(server, "\"bin-path\"") {
            let program = program.split_whitespace().next().map(PathBuf::from);
            return Some(Handler::Cgi { program });
        }
        if value.contains("\"bin-path\"") {
            return None; // the rest of a program's settings
        }
        let address = after(server, "\"socket\"").or_else(|| {
            let address = after(server, "\"host\"")?;
            let port = server.split_once("\"port\"").map(|(_, rest)| {
                let digits = rest.chars().skip_while(|c| !c.is_ascii_digit());
                digits.take_while(char::is_ascii_digit).collect::<String>()
            });
            Some(port.map_or(address.clone(), |port| format!("{address}:{port}")))
        })?;
        Some(Handler::Fpm(address))
    });
    found.collect()
}

/// `%0` and the like, which stand for parts of the request's host name.
fn interpolated(pattern: &str) -> String {
    let mut out = String::new();
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        out.push_str(ANY);
        rest = match after.strip_prefix('{').and_then(|it| it.split_once('}')) {
            Some((_, rest)) => rest,
            None => after.get(1..).unwrap_or_default(),
        };
    }
    out.push_str(rest);
    out
}

/// A part of the configuration.
enum Part {
    /// A condition whose block begins.
    Open(String),
    Close,
    Statement(String),
}

/// Splits the text where a block begins or ends, or a statement does: at the end of a
/// line, unless a parenthesis is open.
fn parts(text: &str) -> Vec<Part> {
    let mut found = Vec::new();
    let mut now = String::new();
    let (mut depth, mut in_quotes) = (0usize, false);
    let take = |now: &mut String| std::mem::take(now).trim().to_owned();
    for c in text.chars() {
        match c {
            '"' => in_quotes = !in_quotes,
            _ if in_quotes => {}
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            '{' | '}' | '\n' if depth == 0 => {
                let text = take(&mut now);
                match c {
                    '{' => found.push(Part::Open(text)),
                    _ => {
                        found.extend((!text.is_empty()).then_some(Part::Statement(text)));
                        found.extend((c == '}').then_some(Part::Close));
                    }
                }
                continue;
            }
            _ => {}
        }
        now.push(c);
    }
    found
}

/// Collects the text without comments, with included files inlined.
fn read(host: &Host, file: &Path, text: &mut String, depth: usize) {
    if depth > 16 {
        return;
    }
    for line in text_of(host, file).lines() {
        let line = without_comment(line).trim();
        if line.starts_with("include_shell") {
            // Debian's shell command only prints the files in this folder.
            for path in glob(host, Path::new("/etc/lighttpd/conf-enabled/*.conf")) {
                read(host, &path, text, depth + 1);
            }
        } else if let Some(rest) = line.strip_prefix("include") {
            let folder = file.parent().unwrap_or(file);
            for path in quoted(rest)
                .into_iter()
                .flat_map(|it| glob(host, &folder.join(it)))
            {
                read(host, &path, text, depth + 1);
            }
        } else if !line.is_empty() {
            text.push_str(line);
            text.push('\n');
        }
    }
}

/// The line up to a `#` that is not in quotes.
fn without_comment(line: &str) -> &str {
    let mut in_quotes = false;
    let end = line.find(|c| {
        in_quotes ^= c == '"';
        c == '#' && !in_quotes
    });
    &line[..end.unwrap_or(line.len())]
}

/// The values of a list of keys and values.
fn values(list: &str) -> impl Iterator<Item = String> {
    list.split("=>").skip(1).filter_map(quoted)
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
