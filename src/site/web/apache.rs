//! Parses Apache's configuration like Apache does: follows includes, keeps
//! virtual hosts apart, and lets them inherit the handlers of the main server.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use crate::host::Host;
use crate::host::platform::WebServer;
use crate::site::web::{ANY, Handler, Kind, VirtualHost, glob, main_files, text_of};

/// More files than this mean a cycle of includes.
const MAX_FILES: usize = 2000;

/// The main server, and every `<VirtualHost>`. If the main file does not exist
/// yet, the files that it will include are read instead.
pub fn virtual_hosts(host: &Host, server: &WebServer) -> Vec<VirtualHost> {
    let config = Path::new(server.config);
    let mut reader = Reader {
        host,
        // On RHEL the main file is in a folder below the ServerRoot.
        root: match config.parent() {
            Some(dir) if dir.ends_with("conf") => dir.parent().unwrap_or(dir).to_owned(),
            dir => dir.unwrap_or(config).to_owned(),
        },
        variables: HashMap::new(),
        files: 0,
        main: VirtualHost::new(Kind::Apache, config),
        hosts: Vec::new(),
        folders: Vec::new(),
        users: Vec::new(),
        modules: HashSet::new(),
        open: Vec::new(),
    };
    reader.environment();
    for file in main_files(host, server) {
        reader.file(&file);
    }
    let (main, mut found) = (reader.main, reader.hosts);
    let bare: Vec<bool> = found.iter().map(|one| one.handlers.is_empty()).collect();
    let mut folders: Vec<VirtualHost> = Vec::new();
    for (of, folder, handler) in reader.folders {
        // A section about the folder of a whole site says what runs its PHP.
        let mut whole = false;
        for (at, one) in found.iter_mut().enumerate() {
            // The first root is the DocumentRoot; the others are aliases.
            let root = one.roots.first();
            let is_about = root.is_some_and(|root| root.starts_with(&folder));
            if is_about && (of == Some(at) || (of.is_none() && bare[at])) {
                set(one, handler.clone());
                whole |= of.is_some();
            }
        }
        if !whole {
            let host = match of {
                Some(at) => {
                    // An alias leads there: it is this entry's now.
                    found[at].roots.retain(|root| *root != folder);
                    &found[at]
                }
                None => &main,
            };
            folders.push(VirtualHost {
                roots: vec![folder],
                handlers: vec![handler],
                ..host.clone()
            });
        }
    }
    found.extend(folders);
    if !reader.users.is_empty() {
        found.push(VirtualHost {
            roots: reader.users,
            ..main.clone()
        });
    }
    for one in &mut found {
        // A virtual host's own handler overrides the server's.
        if one.handlers.is_empty() {
            one.handlers.clone_from(&main.handlers);
        }
        if one.roots.is_empty() {
            one.roots.clone_from(&main.roots);
        }
        if one.user.is_none() {
            one.user.clone_from(&main.user);
        }
    }
    found.push(main);
    found
}

struct Reader<'a> {
    host: &'a Host,
    /// The ServerRoot.
    root: PathBuf,
    variables: HashMap<String, String>,
    files: usize,
    main: VirtualHost,
    hosts: Vec<VirtualHost>,
    /// Handlers of single folders, each with the virtual host that it is in.
    folders: Vec<(Option<usize>, PathBuf, Handler)>,
    /// The folders of users' sites.
    users: Vec<PathBuf>,
    /// The names of the modules that are loaded.
    modules: HashSet<String>,
    open: Vec<Section>,
}

/// A section that is open: its name, in lowercase, and its first argument.
struct Section {
    name: String,
    of: String,
}

impl Reader<'_> {
    /// Reads the variables that Debian's envvars file exports.
    fn environment(&mut self) {
        let text = text_of(self.host, &self.root.join("envvars"));
        for line in text
            .lines()
            .filter_map(|it| it.trim().strip_prefix("export "))
        {
            if let Some((name, value)) = line.split_once('=') {
                let value = value.trim_matches(['"', '\'']).replace("$SUFFIX", "");
                self.variables.insert(name.to_owned(), value);
            }
        }
    }

    fn file(&mut self, path: &Path) {
        self.files += 1;
        if self.files > MAX_FILES {
            return;
        }
        let text = text_of(self.host, path).replace("\\\n", " ");
        for line in text.lines().map(str::trim) {
            if line.starts_with('#') || line.is_empty() {
                continue;
            }
            let line = self.with_variables(line);
            if let Some(name) = line.strip_prefix("</") {
                let name = name.trim_end_matches('>').to_ascii_lowercase();
                if let Some(at) = self.open.iter().rposition(|open| open.name == name) {
                    self.open.truncate(at);
                }
                continue;
            }
            if let Some(head) = line.strip_prefix('<') {
                let words = words(head.trim_end_matches('>'));
                let name = words.first().map(|it| it.to_ascii_lowercase());
                let name = name.unwrap_or_default();
                let of = words.get(1).cloned().unwrap_or_default();
                if name == "virtualhost" {
                    let mut one = VirtualHost::new(Kind::Apache, path);
                    one.listens.extend(words.into_iter().skip(1));
                    self.hosts.push(one);
                }
                self.open.push(Section { name, of });
                continue;
            }
            if !self.open.iter().any(|open| self.is_skipped(open)) {
                self.directive(&words(&line));
            }
        }
    }

    fn directive(&mut self, words: &[String]) {
        let Some((name, args)) = words.split_first() else {
            return;
        };
        let first = args.first().map(String::as_str).unwrap_or_default();
        let in_host = self.open.iter().any(|it| it.name == "virtualhost");
        let of = in_host.then(|| self.hosts.len() - 1);
        let mut sections = self.open.iter();
        let folder = sections.find(|it| it.name == "directory");
        let folder = folder.map(|it| it.of.clone());
        // A handler for a location is that of a status page.
        let sections = self.open.iter();
        let mut locations = sections.filter(|it| it.name.starts_with("location"));
        let in_location = locations.any(|it| it.of != "/");
        let target = match (in_host, self.hosts.last_mut()) {
            (true, Some(one)) => one,
            _ => &mut self.main,
        };
        match name.to_ascii_lowercase().as_str() {
            "include" | "includeoptional" => {
                for path in glob(self.host, &self.root.join(first)) {
                    self.file(&path);
                }
            }
            "serverroot" => self.root = PathBuf::from(first),
            "define" => {
                let value = args.get(1).cloned().unwrap_or_default();
                self.variables.insert(first.to_owned(), value);
            }
            "documentroot" => target.roots.insert(0, self.root.join(first)),
            "virtualdocumentroot" => target.roots.push(self.root.join(interpolated(first))),
            "alias" => target.roots.extend(args.get(1).map(PathBuf::from)),
            "userdir" if !["enabled", "disabled"].contains(&first) => {
                self.users.extend(args.iter().map(|it| user_folder(it)));
            }
            "loadmodule" => {
                // php_module is also known by its file, mod_php.c.
                let name = first.trim_end_matches("_module");
                self.modules.insert(format!("mod_{name}.c"));
                self.modules.insert(first.to_owned());
            }
            "servername" | "serveralias" => target.names.extend(args.iter().cloned()),
            "user" => self.main.user = Some(first.to_owned()),
            "assignuserid" | "suexecusergroup" | "ruserid" | "ruidgid" => {
                target.user = Some(first.to_owned());
            }
            "sethandler" | "addhandler" | "fcgidwrapper" | "addtype" => {
                let Some(handler) = handler_of(first).filter(|_| !in_location) else {
                    return;
                };
                match folder {
                    Some(folder) if folder.starts_with('/') => {
                        let folder = PathBuf::from(folder.trim_end_matches('*'));
                        self.folders.push((of, folder, handler));
                    }
                    Some(_) if !in_host => {}
                    _ if name.eq_ignore_ascii_case("sethandler") => set(target, handler),
                    _ => add(target, handler),
                }
            }
            "proxypassmatch" | "proxypass" => {
                let fcgi = args.iter().find_map(|it| fcgi_target(it));
                if let Some(listen) = fcgi {
                    add(target, Handler::Fpm(listen));
                }
            }
            _ => {}
        }
    }

    /// Whether a section is for a module that is not there, such as `!mod_php7.c`.
    fn is_skipped(&self, section: &Section) -> bool {
        let absent = section.of.strip_prefix('!');
        section.name == "ifmodule" && absent.is_some_and(|it| self.modules.contains(it))
    }

    fn with_variables(&self, line: &str) -> String {
        let mut out = line.to_owned();
        for (name, value) in &self.variables {
            if out.contains("${") {
                out = out.replace(&format!("${{{name}}}"), value);
            }
        }
        out
    }
}

/// `SetHandler` overrides what was set before.
fn set(target: &mut VirtualHost, handler: Handler) {
    target.handlers = vec![handler];
}

fn add(target: &mut VirtualHost, handler: Handler) {
    if !target.handlers.contains(&handler) {
        target.handlers.push(handler);
    }
}

/// A `VirtualDocumentRoot`, in which `%0` stands for the request's host name and
/// `%2.1` for a part of it.
fn interpolated(root: &str) -> String {
    let mut out = String::new();
    let mut chars = root.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        while chars
            .next_if(|c| c.is_ascii_digit() || "-.+p%".contains(*c))
            .is_some()
        {}
        out.push_str(ANY);
    }
    out
}

/// Where users' sites are: below their home folders, or `*` stands for their names.
fn user_folder(named: &str) -> PathBuf {
    match (named.starts_with('/'), named.contains(ANY)) {
        (true, true) => PathBuf::from(named),
        (true, false) => Path::new(named).join(ANY),
        (false, _) => Path::new("/home").join(ANY).join(named),
    }
}

/// What runs PHP if a handler of this name is set.
fn handler_of(name: &str) -> Option<Handler> {
    let name = name.trim();
    if let Some(proxied) = name.strip_prefix("proxy:") {
        return fcgi_target(proxied)
            .or_else(|| unix_target(proxied))
            .map(Handler::Fpm);
    }
    match name.to_ascii_lowercase() {
        it if it.starts_with("application/x-httpd-php") && !it.ends_with("source") => {
            Some(Handler::Module)
        }
        it if it.starts_with("application/x-httpd-ea-php") => Some(Handler::Unknown),
        it if it == "php-script" || it == "php5-script" || it == "php7-script" => {
            Some(Handler::Module)
        }
        it if it == "fcgid-script" => Some(Handler::Cgi { program: None }),
        it if it.contains("lsapi") => Some(Handler::Unknown),
        _ if name.starts_with('/') && name.contains("php") => Some(Handler::Cgi {
            program: Some(name.into()),
        }),
        _ => None,
    }
}

/// `unix:/run/php/a.sock|fcgi://localhost`.
fn unix_target(text: &str) -> Option<String> {
    let socket = text.split('|').next()?;
    socket.starts_with("unix:").then(|| socket.to_owned())
}

/// The address of `fcgi://127.0.0.1:9000/srv/a/$1`, or the socket before it.
fn fcgi_target(text: &str) -> Option<String> {
    let text = text.trim_start_matches("proxy:");
    if let Some(socket) = unix_target(text) {
        return Some(socket);
    }
    let rest = text.strip_prefix("fcgi://")?;
    let end = rest.find(['/', '|']).unwrap_or(rest.len());
    (end > 0).then(|| rest[..end].to_owned())
}

/// Splits a line into words, quoted or not.
fn words(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() {
        let (word, behind) = match rest.chars().next() {
            Some(quote @ ('"' | '\'')) => match rest[1..].split_once(quote) {
                Some((word, behind)) => (word, behind),
                None => (&rest[1..], ""),
            },
            _ => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        found.push(word.to_owned());
        rest = behind.trim_start();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::web::testing::Files;

    const APACHE: WebServer = WebServer {
        config: "/etc/apache2/apache2.conf",
        sites: &["/etc/apache2/sites-enabled"],
    };

    fn read(files: &[(&str, &str)]) -> Vec<VirtualHost> {
        let files = Files::new(files);
        virtual_hosts(&files.host(), &APACHE)
    }

    const MAIN: (&str, &str) = (
        "etc/apache2/apache2.conf",
        "User ${APACHE_RUN_USER}\nIncludeOptional mods-enabled/*.conf\nIncludeOptional conf-enabled/*.conf\nIncludeOptional sites-enabled/*.conf\n",
    );
    const ENV: (&str, &str) = (
        "etc/apache2/envvars",
        "export APACHE_RUN_USER=www-data\nexport APACHE_LOG_DIR=/var/log/apache2$SUFFIX\n",
    );

    #[test]
    fn each_virtual_host_has_its_own_handler_and_comments_are_ignored() {
        let found = read(&[
            MAIN,
            ENV,
            (
                "etc/apache2/sites-enabled/all.conf",
                "<VirtualHost *:80>\n ServerName a.test\n DocumentRoot \"/srv/a\"\n # SetHandler \"proxy:unix:/run/php/bob.sock|fcgi://localhost\"\n <FilesMatch \\.php$>\n  SetHandler \"proxy:unix:/run/php/a.sock|fcgi://localhost\"\n </FilesMatch>\n</VirtualHost>\n<VirtualHost *:80>\n ServerName b.test\n DocumentRoot /srv/b\n ProxyPassMatch ^/(.*\\.php)$ fcgi://127.0.0.1:9001/srv/b/$1\n</VirtualHost>\n",
            ),
        ]);
        let [a, b, main] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!(a.names, ["a.test"]);
        assert_eq!(a.handlers, [Handler::Fpm("unix:/run/php/a.sock".into())]);
        assert_eq!(b.handlers, [Handler::Fpm("127.0.0.1:9001".into())]);
        assert_eq!(b.user.as_deref(), Some("www-data"));
        assert!(main.handlers.is_empty());
    }

    #[test]
    fn handlers_of_the_whole_server_are_inherited() {
        let module = "<FilesMatch \".+\\.ph(?:ar|p|tml)$\">\n SetHandler application/x-httpd-php\n</FilesMatch>\n<FilesMatch \".+\\.phps$\">\n SetHandler application/x-httpd-php-source\n</FilesMatch>\n";
        let host = "Define root /srv/a\n<VirtualHost *:80>\n DocumentRoot ${root}\n AssignUserID alice alice\n</VirtualHost>\n";
        let found = read(&[
            MAIN,
            ENV,
            ("etc/apache2/mods-enabled/php8.2.conf", module),
            ("etc/apache2/sites-enabled/a.conf", host),
        ]);
        assert_eq!(found[0].handlers, [Handler::Module]);
        assert_eq!(found[0].roots, [Path::new("/srv/a")]);
        assert_eq!(found[0].user.as_deref(), Some("alice"));
        let fcgid = "<IfModule mod_fcgid.c>\n AddHandler fcgid-script .php\n FcgidWrapper /usr/bin/php-cgi .php\n</IfModule>\n";
        let found = read(&[
            MAIN,
            ENV,
            ("etc/apache2/conf-enabled/php.conf", fcgid),
            ("etc/apache2/sites-enabled/a.conf", host),
        ]);
        let program = Some("/usr/bin/php-cgi".into());
        assert_eq!(
            found[0].handlers,
            [Handler::Cgi { program: None }, Handler::Cgi { program }]
        );
    }
}
