//! Parses Apache's configuration like Apache does: follows includes, keeps
//! virtual hosts apart, and lets them inherit the handlers of the main server.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::host::Host;
use crate::host::platform::WebServer;
use crate::site::web::{Handler, Kind, VirtualHost, glob, main_files, text_of};

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
        open: Vec::new(),
    };
    reader.environment();
    for file in main_files(host, server) {
        reader.file(&file);
    }
    let main = reader.main;
    let mut found = reader.hosts;
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
    /// The names of the open sections, in lowercase.
    open: Vec<String>,
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
                if let Some(at) = self.open.iter().rposition(|open| *open == name) {
                    self.open.truncate(at);
                }
                continue;
            }
            if let Some(head) = line.strip_prefix('<') {
                let words = words(head.trim_end_matches('>'));
                let name = words.first().map(|it| it.to_ascii_lowercase());
                let name = name.unwrap_or_default();
                if name == "virtualhost" {
                    let mut one = VirtualHost::new(Kind::Apache, path);
                    one.listens.extend(words.into_iter().skip(1));
                    self.hosts.push(one);
                }
                self.open.push(name);
                continue;
            }
            self.directive(&words(&line));
        }
    }

    fn directive(&mut self, words: &[String]) {
        let Some((name, args)) = words.split_first() else {
            return;
        };
        let first = args.first().map(String::as_str).unwrap_or_default();
        let in_host = self.open.iter().any(|it| it == "virtualhost");
        let in_folder = self.open.iter().any(|it| it == "directory");
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
            "documentroot" => target.roots = vec![PathBuf::from(first)],
            "alias" => target.roots.extend(args.get(1).map(PathBuf::from)),
            "servername" | "serveralias" => target.names.extend(args.iter().cloned()),
            "user" => self.main.user = Some(first.to_owned()),
            "assignuserid" | "suexecusergroup" | "ruserid" | "ruidgid" => {
                target.user = Some(first.to_owned());
            }
            "sethandler" | "addhandler" | "fcgidwrapper" | "addtype" => {
                // A handler for a single folder may belong to another site.
                let handler = handler_of(first);
                if let Some(handler) = handler.filter(|_| in_host || !in_folder) {
                    add(target, handler);
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

fn add(target: &mut VirtualHost, handler: Handler) {
    if !target.handlers.contains(&handler) {
        target.handlers.push(handler);
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
