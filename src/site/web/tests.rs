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
