use super::testing::Files;
use super::*;

#[test]
fn names_match_patterns() {
    for (pattern, name, fits) in [
        ("*.conf", "a.conf", true),
        ("*.conf", "a.conf.bak", false),
        ("*", "", true),
        ("a?c", "abc", true),
        ("[ab]*", "b1", true),
        ("[ab]*", "c1", false),
    ] {
        assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
    }
}

const ALICE: (&str, &str) = (
    "etc/php/8.2/fpm/pool.d/alice.conf",
    "[alice]\nuser = alice\nlisten = /run/php/$pool.sock\n",
);
const BOB: (&str, &str) = (
    "etc/php/8.2/fpm/pool.d/bob.conf",
    "[bob]\n; user = x\nuser = bob ; the shop's\nlisten = 9001\n",
);
const APACHE: (&str, &str) = (
    "etc/apache2/apache2.conf",
    "IncludeOptional sites-enabled/*.conf\n",
);

#[track_caller]
fn user(files: &[(&str, &str)], dir: &str) -> Option<String> {
    let files = Files::new(files);
    let host = files.host();
    let served = Servers::read(&host).unwrap().of(&host, Path::new(dir));
    served.user().map(str::to_owned)
}

#[test]
fn virtual_hosts_in_one_file_are_kept_apart() {
    let sites = (
        "etc/apache2/sites-enabled/all.conf",
        "<VirtualHost *:80>\nDocumentRoot /srv/bob\n<FilesMatch x>\nSetHandler \"proxy:fcgi://127.0.0.1:9001\"\n</FilesMatch>\n</VirtualHost>\n<VirtualHost *:80>\nDocumentRoot /srv/alice\nSetHandler \"proxy:unix:/run/php/alice.sock|fcgi://localhost\"\n</VirtualHost>\n",
    );
    let files = [ALICE, BOB, APACHE, sites];
    assert_eq!(user(&files, "/srv/alice").as_deref(), Some("alice"));
    assert_eq!(user(&files, "/srv/bob").as_deref(), Some("bob"));
    assert_eq!(user(&files, "/srv/carol"), None);
}

#[test]
fn wordpress_below_a_root_is_served_by_its_virtual_host() {
    let nginx = (
        "etc/nginx/nginx.conf",
        "http {\nserver { root /srv/a; location ~ php { fastcgi_pass unix:/var/run/php/alice.sock; } }\nserver { root /srv/a/shop; location ~ php { fastcgi_pass 127.0.0.1:9001; } }\n}\n",
    );
    let files = [ALICE, BOB, nginx];
    assert_eq!(user(&files, "/srv/a/wp").as_deref(), Some("alice"));
    // The nearest root counts.
    assert_eq!(user(&files, "/srv/a/shop").as_deref(), Some("bob"));
}

#[test]
fn a_front_page_may_load_a_wordpress_outside_of_its_root() {
    let nginx = (
        "etc/nginx/nginx.conf",
        "http {\nserver { root /srv/a/public; location ~ php { fastcgi_pass unix:/run/php/alice.sock; } }\nserver { root /srv/b; location ~ php { fastcgi_pass 127.0.0.1:9001; } }\n}\n",
    );
    let above = (
        "srv/a/public/index.php",
        "<?php\n/** Loads the WordPress Environment */\nrequire __DIR__ . '/../wp/wp-blog-header.php';\n",
    );
    let own = (
        "srv/b/index.php",
        "<?php require '/opt/wp/wp-blog-header.php';\n",
    );
    let folders = [("srv/a/wp/x", ""), ("opt/wp/x", "")];
    let files = [&[ALICE, BOB, nginx, above, own], &folders[..]].concat();
    assert_eq!(user(&files, "/srv/a/wp").as_deref(), Some("alice"));
    assert_eq!(user(&files, "/opt/wp").as_deref(), Some("bob"));
    assert_eq!(user(&files, "/srv/a/other"), None);
}

#[test]
fn a_folder_that_two_users_serve_is_unclear() {
    let nginx = (
        "etc/nginx/nginx.conf",
        "http {\nserver { root /srv/a; fastcgi_pass unix:/run/php/alice.sock; }\nserver { root /srv/a; fastcgi_pass 127.0.0.1:9001; }\n}\n",
    );
    let files = Files::new(&[ALICE, BOB, nginx]);
    let host = files.host();
    let served = Servers::read(&host).unwrap().of(&host, Path::new("/srv/a"));
    let Served::Unclear(all) = served else {
        panic!("{served:?}")
    };
    assert_eq!(all.len(), 2);
}

#[test]
fn a_root_that_is_a_link_is_the_same_folder() {
    let nginx = (
        "etc/nginx/nginx.conf",
        "http { server { root /srv/current; fastcgi_pass unix:/run/php/alice.sock; } }\n",
    );
    let files = Files::new(&[ALICE, BOB, nginx, ("srv/releases/1/x", "")]);
    std::os::unix::fs::symlink("releases/1", files.path().join("srv/current")).unwrap();
    let host = files.host();
    let servers = Servers::read(&host).unwrap();
    let user = |dir: &str| servers.of(&host, Path::new(dir)).user().map(str::to_owned);
    assert_eq!(user("/srv/current").as_deref(), Some("alice"));
    assert_eq!(user("/srv/releases/1").as_deref(), Some("alice"));
}

/// A host with alice's and bob's pools, some folders, and a server's files. Each case
/// is a folder and the user who serves it.
#[track_caller]
fn served(config: &[(&str, &str)], cases: &[(&str, Option<&str>)]) {
    let folders = [
        ("srv/a.test/x", ""),
        ("srv/b.test/x", ""),
        ("home/carol/public_html/x", ""),
    ];
    let files = Files::new(&[&[ALICE, BOB], &folders[..], config].concat());
    let host = files.host();
    let servers = Servers::read(&host).unwrap();
    for (dir, expected) in cases {
        let found = servers.of(&host, Path::new(dir));
        assert_eq!(found.user(), *expected, "{dir}: {found:?}");
    }
}

#[test]
fn nginx_is_read_like_nginx_does() {
    let main = (
        "etc/nginx/nginx.conf",
        "include modules-enabled/*.conf;\nhttp {\n include conf.d/*.conf;\n include sites-enabled/*;\n}\n",
    );
    let snippet = (
        "etc/nginx/snippets/alice.conf",
        "location ~ \\.php$ { include fastcgi.conf; fastcgi_pass alice; }\n",
    );
    let upstream = (
        "etc/nginx/conf.d/up.conf",
        "upstream alice { server unix:/run/php/alice.sock; }\n",
    );
    let site = |text| [main, snippet, upstream, ("etc/nginx/sites-enabled/a", text)];
    // An include with what runs PHP, and another server in comments.
    served(
        &site(
            "server { root /srv/a; include snippets/alice.conf; }\n# server { root /srv/b; fastcgi_pass 127.0.0.1:9001; }\n#server {\n#  root /srv/a;\n#  fastcgi_pass 127.0.0.1:9001;\n#}\n",
        ),
        &[
            ("/srv/a", Some("alice")),
            ("/srv/a/wp", Some("alice")),
            ("/srv/b", None),
        ],
    );
    // An alias with a pool of its own, and one without.
    served(
        &site(
            "server { root /srv/a; include snippets/alice.conf;\n location /b { alias /srv/b; location ~ \\.php$ { fastcgi_pass 127.0.0.1:9001; } }\n location /c/ { alias /srv/c/; }\n}\n",
        ),
        &[
            ("/srv/a", Some("alice")),
            ("/srv/b", Some("bob")),
            ("/srv/c", Some("alice")),
        ],
    );
    // The server's name, a part of the request, and a folder that another names.
    served(
        &site(
            "server { server_name a.test; root /srv/$host; include snippets/alice.conf; }\nserver { server_name _; root /srv/$host; fastcgi_pass 127.0.0.1:9001; }\n",
        ),
        &[("/srv/a.test", Some("alice")), ("/srv/b.test", Some("bob"))],
    );
    // Sites of users.
    served(
        &site(
            "server { root /srv/a; include snippets/alice.conf;\n location ~ ^/~(.+?)(/.*)?$ { alias /home/$1/public_html$2; location ~ php { fastcgi_pass 127.0.0.1:9001; } }\n}\n",
        ),
        &[
            ("/home/carol/public_html", Some("bob")),
            ("/srv/a", Some("alice")),
        ],
    );
    // A chroot: what PHP sees is not what nginx sees.
    served(
        &site(
            "server { root /srv/a; location ~ \\.php$ { root /; fastcgi_pass 127.0.0.1:9001; } }\n",
        ),
        &[("/srv/a", Some("bob"))],
    );
    // Relative to nginx's prefix, and nginx before Apache.
    served(
        &[
            &site("server { root html; include snippets/alice.conf; }\nserver { root /srv/b; location / { proxy_pass http://127.0.0.1:8080; } }\n")[..],
            &[
                APACHE,
                (
                    "etc/apache2/sites-enabled/b.conf",
                    "<VirtualHost *:8080>\nDocumentRoot /srv/b\nSetHandler proxy:fcgi://127.0.0.1:9001\n</VirtualHost>\n",
                ),
            ],
        ]
        .concat(),
        &[("/usr/share/nginx/html", Some("alice")), ("/srv/b", Some("bob"))],
    );
}

#[test]
fn apache_is_read_like_apache_does() {
    let main = (
        "etc/apache2/apache2.conf",
        "User www-data\nIncludeOptional mods-enabled/*.load\nIncludeOptional mods-enabled/*.conf\nIncludeOptional conf-enabled/*.conf\nIncludeOptional sites-enabled/*.conf\n",
    );
    let to_alice = "SetHandler \"proxy:unix:/run/php/alice.sock|fcgi://localhost\"";
    let to_bob = "SetHandler \"proxy:fcgi://127.0.0.1:9001\"";
    let php = [
        (
            "etc/apache2/mods-enabled/php8.2.load",
            "LoadModule php_module libphp8.2.so\n",
        ),
        (
            "etc/apache2/mods-enabled/php8.2.conf",
            "<FilesMatch \".+\\.php$\">\nSetHandler application/x-httpd-php\n</FilesMatch>\n",
        ),
    ];
    let site = |text: &'static str| ("etc/apache2/sites-enabled/a.conf", text);
    let text = format!(
        "<VirtualHost *:80>\nDocumentRoot /srv/a\nAlias /b /srv/b\n<FilesMatch php>\n{to_alice}\n</FilesMatch>\n<Directory /srv/b>\n{to_bob}\n</Directory>\n<Location /status>\n{to_bob}\n</Location>\n</VirtualHost>\n#<VirtualHost *:80>\n#DocumentRoot /srv/a\n#{to_bob}\n#</VirtualHost>\n"
    );
    // An alias whose folder has a handler of its own; a status page; comments.
    served(
        &[
            main,
            php[0],
            php[1],
            ("etc/apache2/sites-enabled/a.conf", &text),
        ],
        &[("/srv/a", Some("alice")), ("/srv/b", Some("bob"))],
    );
    // Handlers of folders, outside of virtual hosts; the rest is the module's.
    let folders = format!("<Directory /srv/b>\n{to_bob}\n</Directory>\n");
    served(
        &[
            main,
            php[0],
            php[1],
            ("etc/apache2/conf-enabled/b.conf", &folders),
            site(
                "<VirtualHost *:80>\nDocumentRoot /srv/b\n</VirtualHost>\n<VirtualHost *:80>\nDocumentRoot /srv/a\n</VirtualHost>\n",
            ),
        ],
        &[("/srv/a", Some("www-data")), ("/srv/b/wp", Some("bob"))],
    );
    // What Debian's php8.2-fpm.conf says for hosts without the module.
    let fpm =
        format!("<IfModule !php_module>\n<FilesMatch php>\n{to_bob}\n</FilesMatch>\n</IfModule>\n");
    let sites = "UserDir public_html\n<VirtualHost *:80>\nDocumentRoot /srv/a\n</VirtualHost>\n<VirtualHost *:80>\nVirtualDocumentRoot /srv/%0\n</VirtualHost>\n";
    let fpm = ("etc/apache2/conf-enabled/php8.2-fpm.conf", &*fpm);
    let all = |user| {
        [
            ("/srv/a", user),
            ("/srv/b.test", user),
            ("/home/carol/public_html", user),
            ("/srv/none", None),
        ]
    };
    served(
        &[main, php[0], php[1], fpm, site(sites)],
        &all(Some("www-data")),
    );
    served(&[main, fpm, site(sites)], &all(Some("bob")));
}

#[test]
fn caddy_is_read_like_caddy_does() {
    let site = |text| [("etc/caddy/Caddyfile", text)];
    served(
        &site(
            "(wp) {\n root * /srv/{args[0]}\n php_fastcgi unix//run/php/{args[0]}.sock\n}\na.test {\n import wp alice\n}\n#b.test {\n# root * /srv/alice\n# php_fastcgi 127.0.0.1:9001\n#}\n",
        ),
        &[
            ("/srv/alice", Some("alice")),
            ("/srv/alice/wp", Some("alice")),
        ],
    );
    served(
        &site("a.test\nroot * /srv/a\nphp_fastcgi unix//run/php/alice.sock\nfile_server\n"),
        &[("/srv/a", Some("alice"))],
    );
    served(
        &site(
            "a.test {\n root /srv/a\n handle_path /b/* {\n  root * /srv/b\n  php_fastcgi /b/* 127.0.0.1:9001\n }\n handle {\n  php_fastcgi unix//run/php/alice.sock\n }\n}\n",
        ),
        &[("/srv/a", Some("alice")), ("/srv/b", Some("bob"))],
    );
    served(
        &site(
            "a.test:8080 {\n root * /srv/{host}\n php_fastcgi unix//run/php/alice.sock\n}\n*.test {\n root * /srv/{host}\n reverse_proxy 127.0.0.1:9001 {\n  transport fastcgi {\n   split .php\n  }\n }\n}\n",
        ),
        &[("/srv/a.test", Some("alice")), ("/srv/b.test", Some("bob"))],
    );
}

#[test]
fn lighttpd_is_read_like_lighttpd_does() {
    let main = (
        "etc/lighttpd/lighttpd.conf",
        "var.base = \"/srv\"\nserver.username = \"www-data\"\nserver.document-root = var.base + \"/main\" # the rest\nalias.url += ( \"/b/\" => \"/srv/b\" )\ninclude_shell \"/usr/share/lighttpd/include-conf-enabled.pl\"\n",
    );
    let cgi = (
        "etc/lighttpd/conf-enabled/15-fastcgi-php.conf",
        "fastcgi.server += ( \".php\" =>\n ((\n  \"bin-path\" => \"/usr/bin/php-cgi\",\n  \"bin-environment\" => ( \"A\" => \"1\" ),\n  \"socket\" => \"/run/php.socket\"\n )))\n",
    );
    let hosts = (
        "etc/lighttpd/conf-enabled/90-hosts.conf",
        "$HTTP[\"host\"] == \"a.test\" {\n server.document-root = \"/srv/a\"\n fastcgi.server = ( \".php\" => (( \"host\" => \"127.0.0.1\", \"port\" => 9001 )) )\n} else $HTTP[\"host\"] =~ \"^c\\.\" {\n server.document-root = \"/srv/c\"\n fastcgi.server = ( \".php\" => (( \"socket\" => \"/run/php/alice.sock\" )) )\n}\n# $HTTP[\"host\"] == \"d.test\" { server.document-root = \"/srv/d\" }\n$HTTP[\"host\"] =~ \"test$\" {\n evhost.path-pattern = \"/srv/%0/\"\n}\n",
    );
    served(
        &[main, cgi, hosts],
        &[
            ("/srv/main", Some("www-data")),
            ("/srv/b", Some("www-data")),
            ("/srv/a", Some("bob")),
            ("/srv/c", Some("alice")),
            ("/srv/d", None),
            ("/srv/b.test", Some("www-data")),
        ],
    );
}

#[test]
fn another_users_front_page_does_not_claim_a_site() {
    let nginx = (
        "etc/nginx/nginx.conf",
        "http {\nserver { root /srv/b; location ~ php { fastcgi_pass 127.0.0.1:9001; } }\n}\n",
    );
    let page = (
        "srv/b/index.php",
        "<?php require '/srv/a/wp/wp-blog-header.php';\n",
    );
    let files = Files::new(&[ALICE, BOB, nginx, page, ("srv/a/wp/x", "")]);
    let own = |owner| {
        let page = files.path().join("srv/b/index.php");
        std::os::unix::fs::chown(page, Some(owner), None)
    };
    if own(1234).is_err() {
        return; // only root can give a file away
    }
    let host = files.host();
    let user = || {
        let served = Servers::read(&host).unwrap();
        served
            .of(&host, Path::new("/srv/a/wp"))
            .user()
            .map(str::to_owned)
    };
    assert_eq!(user(), None);
    let site = files.path().join("srv/a/wp");
    std::os::unix::fs::chown(site, Some(1234), None).unwrap();
    assert_eq!(user().as_deref(), Some("bob"));
}
