//! Parses Caddy's Caddyfile: site blocks, snippets and imports.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::host::Host;
use crate::site::web::{Handler, Kind, VirtualHost, glob, text_of};

pub const CONFIG: &str = "/etc/caddy/Caddyfile";

/// One virtual host per site block.
pub fn virtual_hosts(host: &Host) -> Vec<VirtualHost> {
    let mut lines = Vec::new();
    read(host, Path::new(CONFIG), &mut lines, 0);
    let (snippets, blocks) = blocks(&lines);
    let mut found = Vec::new();
    for (head, body) in blocks {
        let mut one = VirtualHost::new(Kind::Caddy, Path::new(CONFIG));
        let names = head.split([',', ' ']).filter(|it| !it.is_empty());
        one.names.extend(names.map(str::to_owned));
        read_block(&body, &snippets, &mut one, 0);
        found.push(one);
    }
    found
}

/// Collects the lines without comments, with imported files inlined.
fn read(host: &Host, file: &Path, lines: &mut Vec<String>, depth: usize) {
    if depth > 16 {
        return;
    }
    for line in text_of(host, file).lines() {
        let line = line.trim();
        let line = match line.split_once(" #") {
            Some((before, _)) => before.trim(),
            None if line.starts_with('#') => continue,
            None => line,
        };
        let folder = file.parent().unwrap_or(file);
        match line.strip_prefix("import ") {
            Some(pattern) if pattern.contains('/') => {
                for path in glob(host, &folder.join(pattern.trim())) {
                    read(host, &path, lines, depth + 1);
                }
            }
            _ if line.is_empty() => {}
            _ => lines.push(line.to_owned()),
        }
    }
}

type Block = (String, Vec<String>);

/// Splits the lines into snippets, by name, and site blocks.
fn blocks(lines: &[String]) -> (HashMap<String, Vec<String>>, Vec<Block>) {
    let mut snippets = HashMap::new();
    let mut sites = Vec::new();
    let mut current: Option<Block> = None;
    let mut depth = 0;
    for line in lines {
        let opens = line.ends_with('{');
        if depth == 0 && opens {
            current = Some((line.trim_end_matches('{').trim().to_owned(), Vec::new()));
        } else if line == "}" && depth == 1 {
            if let Some((head, body)) = current.take() {
                match head.strip_prefix('(').and_then(|it| it.strip_suffix(')')) {
                    Some(name) => drop(snippets.insert(name.to_owned(), body)),
                    None if !head.is_empty() => sites.push((head, body)),
                    None => {} // global options
                }
            }
        } else if let Some((_, body)) = &mut current {
            body.push(line.clone());
        }
        match (opens, line == "}") {
            (true, _) => depth += 1,
            (_, true) => depth = (depth - 1).max(0),
            _ => {}
        }
    }
    (snippets, sites)
}

fn read_block(
    body: &[String],
    snippets: &HashMap<String, Vec<String>>,
    into: &mut VirtualHost,
    depth: usize,
) {
    for line in body {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("import") if depth < 16 => {
                let snippet = words.next().and_then(|name| snippets.get(name));
                if let Some(inner) = snippet {
                    read_block(inner, snippets, into, depth + 1);
                }
            }
            Some("root") => {
                // The path may be preceded by a matcher.
                let path = words.rfind(|word| word.starts_with('/'));
                into.roots.extend(path.map(PathBuf::from));
            }
            Some("php_fastcgi") => {
                let target = words.find(|word| *word != "{" && !word.starts_with('@'));
                into.handlers
                    .extend(target.map(|it| Handler::Fpm(it.to_owned())));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::web::testing::Files;

    #[test]
    fn site_blocks_are_read_with_snippets_and_imports() {
        let files = Files::new(&[
            (
                "etc/caddy/Caddyfile",
                "{\n  admin off\n}\n(php) {\n  php_fastcgi unix//run/php/a.sock {\n    split .php\n  }\n}\na.test, www.a.test {\n  root * /srv/a\n  import php\n}\n# old { root * /x }\nimport sites/*.caddy\n",
            ),
            (
                "etc/caddy/sites/b.caddy",
                ":8080 {\n root /srv/b\n php_fastcgi 127.0.0.1:9001\n}\n",
            ),
        ]);
        let found = virtual_hosts(&files.host());
        let [a, b] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!(a.names, ["a.test", "www.a.test"]);
        assert_eq!(a.roots, [Path::new("/srv/a")]);
        assert_eq!(a.handlers, [Handler::Fpm("unix//run/php/a.sock".into())]);
        assert_eq!(b.roots, [Path::new("/srv/b")]);
        assert_eq!(b.handlers, [Handler::Fpm("127.0.0.1:9001".into())]);
    }
}
