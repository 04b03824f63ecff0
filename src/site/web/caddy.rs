//! Parses Caddy's Caddyfile: site blocks, snippets and imports.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::host::Host;
use crate::site::web::{ANY, Handler, Kind, VirtualHost, glob, text_of};

pub const CONFIG: &str = "/etc/caddy/Caddyfile";

/// Each site block, and each part of one with a root of its own.
pub fn virtual_hosts(host: &Host) -> Vec<VirtualHost> {
    let mut lines = Vec::new();
    read(host, Path::new(CONFIG), &mut lines, 0);
    let (snippets, blocks) = blocks(&lines);
    let mut found = Vec::new();
    for (head, body) in blocks {
        let mut names = VirtualHost::new(Kind::Caddy, Path::new(CONFIG));
        let all = head.split([',', ' ']).filter(|it| !it.is_empty());
        names.names.extend(all.map(str::to_owned));
        let mut site = Site {
            snippets: &snippets,
            found: vec![names.clone()],
            names,
        };
        site.block(&body, 0, 0);
        let handlers = site.found[0].handlers.clone();
        for mut one in site.found {
            if one.handlers.is_empty() {
                one.handlers.clone_from(&handlers);
            }
            found.push(one);
        }
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
    // A file for a single site needs no braces around it.
    let is_plain = |line: &String| !line.ends_with('{');
    if let Some((head, body)) = lines.split_first()
        && is_plain(head)
    {
        return (snippets, vec![(head.clone(), body.to_vec())]);
    }
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

struct Site<'a> {
    snippets: &'a HashMap<String, Vec<String>>,
    names: VirtualHost,
    /// The site, then its parts.
    found: Vec<VirtualHost>,
}

impl Site<'_> {
    /// Reads a block whose requests are those of this entry of `found`.
    fn block(&mut self, body: &[String], of: usize, depth: usize) {
        if depth > 16 {
            return;
        }
        let mut at = 0;
        while let Some(line) = body.get(at) {
            let inner = &body[at + 1..at + 1 + length(&body[at..])];
            at += 1;
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.first().copied().unwrap_or_default() {
                "handle" | "handle_path" | "route" => {
                    let has_root = inner.iter().any(|it| it.starts_with("root "));
                    let part = match has_root {
                        true => {
                            self.found.push(self.names.clone());
                            self.found.len() - 1
                        }
                        false => of,
                    };
                    self.block(inner, part, depth + 1);
                    at += inner.len();
                }
                "import" => {
                    let [_, name, args @ ..] = &words[..] else {
                        continue;
                    };
                    if let Some(snippet) = self.snippets.get(*name) {
                        let body: Vec<String> =
                            snippet.iter().map(|it| with_args(it, args)).collect();
                        self.block(&body, of, depth + 1);
                    }
                }
                "root" => {
                    // The path may be preceded by a matcher.
                    let mut named = words.iter().skip(1).map(|it| it.trim_matches('"'));
                    let path = named.rfind(|it| it.starts_with('/'));
                    let roots = path.map(|it| self.roots(it));
                    self.found[of].roots.extend(roots.unwrap_or_default());
                }
                "php_fastcgi" => self.found[of].handlers.extend(upstreams(&words)),
                "reverse_proxy" if inner.iter().any(|it| is_fastcgi(it)) => {
                    self.found[of].handlers.extend(upstreams(&words));
                }
                _ => {}
            }
        }
    }

    /// What a root stands for: its placeholders are parts of the request.
    fn roots(&self, path: &str) -> Vec<PathBuf> {
        let with = |name: &str| {
            let path = path.replace("{host}", name);
            PathBuf::from(path.replace("{http.request.host}", name))
        };
        let names = self.names.names.iter().map(|name| {
            let name = name.split("://").last().unwrap_or_default();
            name.split([':', '/']).next().unwrap_or_default()
        });
        let names: Vec<&str> = names.collect();
        let mut found: Vec<PathBuf> = match names.iter().all(|it| it.contains('.')) {
            true => names.into_iter().map(with).collect(),
            false => vec![with(ANY)],
        };
        found.dedup();
        found
            .into_iter()
            .map(|path| without_placeholders(&path.to_string_lossy()))
            .collect()
    }
}

/// How many lines the block has that the first line opens.
fn length(lines: &[String]) -> usize {
    if !lines.first().is_some_and(|line| line.ends_with('{')) {
        return 0;
    }
    let mut depth = 0;
    for (at, line) in lines.iter().enumerate() {
        depth += usize::from(line.ends_with('{'));
        depth = depth.saturating_sub(usize::from(line == "}"));
        if depth == 0 {
            return at.saturating_sub(1);
        }
    }
    lines.len() - 1
}

/// Whether a line of a proxy's block makes it speak FastCGI.
fn is_fastcgi(line: &str) -> bool {
    let mut words = line.split_whitespace();
    words.next() == Some("transport") && words.next() == Some("fastcgi")
}

/// The addresses of a proxy, which a matcher may precede.
fn upstreams(words: &[&str]) -> Vec<Handler> {
    let targets = words.iter().skip(1);
    let targets = targets.filter(|word| !word.starts_with(['/', '@', '*', '{']));
    targets.map(|it| Handler::Fpm((*it).to_owned())).collect()
}

/// A line of a snippet with the arguments of its import.
fn with_args(line: &str, args: &[&str]) -> String {
    let mut line = line.to_owned();
    for (number, arg) in args.iter().enumerate() {
        line = line.replace(&format!("{{args[{number}]}}"), arg);
        line = line.replace(&format!("{{args.{number}}}"), arg);
    }
    line
}

fn without_placeholders(path: &str) -> PathBuf {
    let mut out = String::new();
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        out.push_str(ANY);
        rest = after.split_once('}').map_or("", |(_, rest)| rest);
    }
    out.push_str(rest);
    PathBuf::from(out)
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
