//! Parses nginx's configuration like nginx does: follows includes, and resolves
//! upstreams and variables defined by `set`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::host::Host;
use crate::host::platform::WebServer;
use crate::site::web::{ANY, Handler, Kind, VirtualHost, glob, main_files, text_of};

/// A simple directive, or one with a block.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Directive {
    name: String,
    args: Vec<String>,
    block: Vec<Directive>,
    file: PathBuf,
}

/// More files than this mean a cycle of includes.
const MAX_FILES: usize = 2000;

/// Every `server` block. If the main file does not exist yet, the files that it
/// will include are read instead.
pub fn virtual_hosts(host: &Host, server: &WebServer) -> Vec<VirtualHost> {
    let config = Path::new(server.config);
    let mut reader = Reader {
        host,
        base: config.parent().unwrap_or(config).to_owned(),
        files: 0,
    };
    let mut all = Vec::new();
    for file in main_files(host, server) {
        all.extend(reader.file(&file));
    }
    let mut upstreams = HashMap::new();
    let mut found = Vec::new();
    collect(&all, &mut upstreams, &mut found);
    found
        .iter()
        .flat_map(|(server, root)| of_server(server, root.as_deref(), &upstreams))
        .collect()
}

struct Reader<'a> {
    host: &'a Host,
    base: PathBuf,
    files: usize,
}

impl Reader<'_> {
    fn file(&mut self, path: &Path) -> Vec<Directive> {
        self.files += 1;
        if self.files > MAX_FILES {
            return Vec::new();
        }
        let words = tokens(&text_of(self.host, path));
        self.block(&mut words.into_iter(), path)
    }

    /// The directives up to the end of the block, with included files inlined.
    fn block(&mut self, words: &mut std::vec::IntoIter<Token>, file: &Path) -> Vec<Directive> {
        let mut found = Vec::new();
        let mut args: Vec<String> = Vec::new();
        while let Some(word) = words.next() {
            let block = match word {
                Token::Word(text) => {
                    args.push(text);
                    continue;
                }
                Token::Close => break,
                Token::End => Vec::new(),
                Token::Open => self.block(words, file),
            };
            if args.is_empty() {
                continue;
            }
            let name = args.remove(0);
            if name == "include" && block.is_empty() {
                for pattern in &args {
                    for path in glob(self.host, &self.base.join(pattern)) {
                        found.extend(self.file(&path));
                    }
                }
                args.clear();
                continue;
            }
            found.push(Directive {
                name,
                args: std::mem::take(&mut args),
                block,
                file: file.to_owned(),
            });
        }
        found
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    End,
    Open,
    Close,
}

/// Splits the text into words, quoted or not, and punctuation. A `#` where a word
/// could start begins a comment.
fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => {}
            '#' => while chars.next_if(|c| *c != '\n').is_some() {},
            ';' => found.push(Token::End),
            '{' => found.push(Token::Open),
            '}' => found.push(Token::Close),
            '"' | '\'' => {
                let mut word = String::new();
                while let Some(next) = chars.next() {
                    match next {
                        '\\' => word.extend(chars.next()),
                        next if next == c => break,
                        next => word.push(next),
                    }
                }
                found.push(Token::Word(word));
            }
            c => {
                let mut word = String::from(c);
                // "${name}" is part of a word.
                let mut braces = 0;
                while let Some(next) = chars.peek() {
                    match next {
                        '{' if word.ends_with('$') => braces += 1,
                        '}' if braces > 0 => braces -= 1,
                        c if c.is_whitespace() || ";{}".contains(*c) => break,
                        _ => {}
                    }
                    word.extend(chars.next());
                }
                found.push(Token::Word(word));
            }
        }
    }
    found
}

/// Collects all upstreams, and all servers with the root that they inherit.
fn collect(
    all: &[Directive],
    upstreams: &mut HashMap<String, Vec<String>>,
    servers: &mut Vec<(Directive, Option<String>)>,
) {
    let root = all.iter().find(|it| it.name == "root");
    let root = root.and_then(|it| it.args.first().cloned());
    for directive in all {
        match (directive.name.as_str(), directive.args.first()) {
            ("upstream", Some(name)) => {
                let members = directive.block.iter().filter(|it| it.name == "server");
                let members = members.filter_map(|it| it.args.first().cloned());
                upstreams.insert(name.clone(), members.collect());
            }
            ("server", None) => servers.push((directive.clone(), root.clone())),
            ("http", _) => collect(&directive.block, upstreams, servers),
            _ => {}
        }
    }
}

/// A server, and each of its locations that has a root or alias of its own.
fn of_server(
    server: &Directive,
    inherited_root: Option<&str>,
    upstreams: &HashMap<String, Vec<String>>,
) -> Vec<VirtualHost> {
    let mut names = VirtualHost::new(Kind::Nginx, &server.file);
    let mut variables = HashMap::new();
    walk(
        &server.block,
        &mut |directive| match (directive.name.as_str(), &directive.args[..]) {
            ("set", [name, value]) => {
                variables.insert(name.trim_start_matches('$').to_owned(), value.clone());
            }
            ("server_name", names_here) => names.names.extend(names_here.iter().cloned()),
            ("listen", [address, ..]) => names.listens.push(address.clone()),
            _ => {}
        },
    );
    let mut reader = ServerReader {
        upstreams,
        variables,
        found: vec![names.clone()],
        names,
        of_php: Vec::new(),
    };
    reader.block(&server.block, 0, false);
    let (mut found, of_php) = (reader.found, reader.of_php);
    let main = &mut found[0];
    if main.roots.is_empty() {
        main.roots.extend(inherited_root.map(in_prefix));
    }
    if main.handlers.is_empty() {
        // The location for PHP may name a root of its own, such as one in a chroot.
        main.handlers = of_php;
    }
    let handlers = main.handlers.clone();
    for one in found.iter_mut().filter(|one| one.handlers.is_empty()) {
        one.handlers.clone_from(&handlers);
    }
    found
}

struct ServerReader<'a> {
    upstreams: &'a HashMap<String, Vec<String>>,
    variables: HashMap<String, String>,
    names: VirtualHost,
    /// The server, then its locations.
    found: Vec<VirtualHost>,
    /// What runs PHP in locations for PHP files.
    of_php: Vec<Handler>,
}

impl ServerReader<'_> {
    /// Reads a block whose requests are those of this entry of `found`.
    fn block(&mut self, block: &[Directive], of: usize, for_php: bool) {
        for directive in block {
            let first = directive.args.first().map(String::as_str);
            match directive.name.as_str() {
                "root" | "alias" => {
                    let roots = self.roots(first.unwrap_or_default());
                    self.found[of].roots.extend(roots);
                }
                "fastcgi_pass" => {
                    let handlers = self.handlers(first.unwrap_or_default());
                    if for_php {
                        self.of_php.extend(handlers.iter().cloned());
                    }
                    self.found[of].handlers.extend(handlers);
                }
                "location" => {
                    let has_root = |it: &Directive| matches!(it.name.as_str(), "root" | "alias");
                    let of = match directive.block.iter().any(has_root) {
                        true => {
                            self.found.push(self.names.clone());
                            self.found.len() - 1
                        }
                        false => of,
                    };
                    let for_php = directive.args.iter().any(|it| it.contains("php"));
                    self.block(&directive.block, of, for_php);
                }
                _ => self.block(&directive.block, of, for_php),
            }
        }
    }

    /// What a root stands for: one folder for each of the server's names if it
    /// contains the name, and a pattern if it contains other parts of the request.
    fn roots(&self, text: &str) -> Vec<PathBuf> {
        let literal = |name: &&String| !name.contains(['*', '~']) && name.contains('.');
        let names: Vec<&String> = self.names.names.iter().filter(literal).collect();
        let all_literal = !names.is_empty() && names.len() == self.names.names.len();
        let mut found = Vec::new();
        let mut add = |known: &HashMap<String, String>| {
            let root = pattern(text, known).as_deref().map(in_prefix);
            found.extend(root.filter(|root| !found.contains(root)));
        };
        match all_literal {
            true => {
                for name in names {
                    let mut known = self.variables.clone();
                    for variable in ["host", "http_host", "server_name"] {
                        known.insert(variable.to_owned(), name.clone());
                    }
                    add(&known);
                }
            }
            false => add(&self.variables),
        }
        found
    }

    fn handlers(&self, target: &str) -> Vec<Handler> {
        let Some(target) = with_variables(target, &self.variables, None) else {
            return vec![Handler::Unknown];
        };
        match self.upstreams.get(&target) {
            Some(members) => members.iter().cloned().map(Handler::Fpm).collect(),
            None => vec![Handler::Fpm(target)],
        }
    }
}

/// A root, which may be relative to nginx's prefix.
fn in_prefix(root: &str) -> PathBuf {
    Path::new("/usr/share/nginx").join(root)
}

/// A root with `*` for variables that depend on the request.
fn pattern(text: &str, known: &HashMap<String, String>) -> Option<String> {
    let found = with_variables(text, known, Some(ANY))?;
    // It must name at least one folder.
    let first = found.trim_start_matches('/').split('/').next()?;
    (!first.contains(ANY)).then_some(found)
}

fn walk(block: &[Directive], see: &mut dyn FnMut(&Directive)) {
    for directive in block {
        see(directive);
        walk(&directive.block, see);
    }
}

/// Substitutes the variables in the text. Those that `set` does not define become
/// `unknown`; without it, the result is `None`.
fn with_variables(
    text: &str,
    known: &HashMap<String, String>,
    unknown: Option<&str>,
) -> Option<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let name = match rest.strip_prefix('{').and_then(|it| it.split_once('}')) {
            Some((name, behind)) => {
                rest = behind;
                name
            }
            None => {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                let (name, behind) = rest.split_at(end.unwrap_or(rest.len()));
                rest = behind;
                name
            }
        };
        // A variable may refer to others; nginx itself rejects cycles.
        let value = known.get(name).filter(|value| !value.contains(text));
        match value {
            Some(value) => out.push_str(&with_variables(value, known, unknown)?),
            None => out.push_str(unknown?),
        }
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::web::testing::Files;

    const NGINX: WebServer = WebServer {
        config: "/etc/nginx/nginx.conf",
        sites: &["/etc/nginx/sites-enabled"],
    };

    #[test]
    fn servers_are_read_with_their_includes_variables_and_upstreams() {
        let files = Files::new(&[
            (
                "etc/nginx/nginx.conf",
                "user www-data;\nhttp {\n include /etc/nginx/conf.d/*.conf; # include nothing;\n include sites-enabled/*;\n}\n",
            ),
            (
                "etc/nginx/conf.d/up.conf",
                "upstream php { server unix:/run/php/a.sock; }\n",
            ),
            (
                "etc/nginx/sites-enabled/a",
                "server {\n listen 80 default_server;\n server_name a.test \"www.a.test\";\n # root /srv/b;\n root /srv/a;\n location ~ \\.php$ { include snippets/php.conf; fastcgi_pass php; }\n}\n",
            ),
            (
                "etc/nginx/sites-enabled/b",
                "server {\n set $base /srv;\n set $sock unix:/run/php/b.sock;\n root ${base}/b;\n location / { if ($x ~ \"{\") { return 403; } }\n location ~ \\.php { fastcgi_pass $sock; }\n}\nserver { root /srv/$host; fastcgi_pass $which; }\n",
            ),
            ("etc/nginx/snippets/php.conf", "fastcgi_index index.php;\n"),
        ]);
        let found = virtual_hosts(&files.host(), &NGINX);
        let [a, b, c] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!(a.names, ["a.test", "www.a.test"]);
        assert_eq!(a.roots, [Path::new("/srv/a")]);
        assert_eq!(a.handlers, [Handler::Fpm("unix:/run/php/a.sock".into())]);
        assert_eq!(b.roots, [Path::new("/srv/b")]);
        assert_eq!(b.handlers, [Handler::Fpm("unix:/run/php/b.sock".into())]);
        assert_eq!(c.roots, [Path::new("/srv/*")]);
        assert_eq!(c.handlers, [Handler::Unknown]);
    }

    #[test]
    fn a_cycle_of_includes_or_variables_ends() {
        let files = Files::new(&[(
            "etc/nginx/nginx.conf",
            "include /etc/nginx/nginx.conf;\nserver { set $a $a; root $a; }\n",
        )]);
        let found = virtual_hosts(&files.host(), &NGINX);
        assert!(!found.is_empty());
    }
}
