//! Sites of different users on one host, and copies of a site.

use crate::harness::site::{self, FOLDER};
use crate::harness::{Host, Site};
use crate::phase::phase;
use crate::support::{jobs_run, on_site, ready_host, refused};

const OTHER: &str = "/var/www/second";

#[test]
fn neither_worker_user_reaches_the_others_folders() {
    let host = ready_host("users");
    for (folder, user) in [("/srv/shop", "anna"), (OTHER, "bert")] {
        site::add(&host, folder, user, &format!("{user}.test")).unwrap();
    }
    host.shell("chmod 1777 /srv/jobs").ok();
    let both = ["setup", "--site", "/srv/shop", "--site", OTHER, "--yes"];
    host.run(&[&["wp-gears"], &both[..]].concat()).exits(0);

    phase("jobs of both sites");
    for (folder, user) in [("/srv/shop", "anna"), (OTHER, "bert")] {
        let of_user = Site {
            host: &host,
            folder,
            user,
        };
        jobs_run(&of_user, 3);
        let owner = host.run(&["stat", "-c", "%U", "/srv/jobs/done"]).ok();
        assert_eq!(owner.trim(), user);
        // The search works: a user's own files are found.
        assert_ne!(reached(&host, user, user), "", "{user}");
    }
    phase("neither reaches the other");
    for (user, other) in [
        ("anna", "bert"),
        ("bert", "anna"),
        ("anna", "root"),
        ("bert", "root"),
    ] {
        assert_eq!(reached(&host, user, other), "", "{user} reaches {other}'s");
    }
    let state = host
        .run(&["stat", "-c", "%U %a", "/var/lib/wp-gears/state"])
        .ok();
    assert_eq!(state.trim(), "root 700");
}

/// Files and logs of `owner`, and state folders, that `user` can read.
fn reached(host: &Host, user: &str, owner: &str) -> String {
    let script = r#"find /var/lib/wp-gears /var/log/wp-gears -user "$1" 2>/dev/null |
        while read -r path; do
            # What it says is in /etc/wp-gears.toml, which everybody can read.
            case $path in */run/*.settings.toml) continue ;; */state/*|*/run/?*|*/cache/?*|*/failed/?*|*.log*) ;; *) continue ;; esac
            if [ -d "$path" ]; then ls "$path"; else cat "$path"; fi >/dev/null 2>&1 && echo "$path"
        done"#;
    host.as_user(user, &["sh", "-c", script, "reached", owner])
        .stdout
}

#[test]
fn a_copy_of_a_site_is_refused_with_what_to_do() {
    let host = ready_host("copy");
    on_site(&host, "setup", &[]).exits(0);
    host.shell("cp -a /var/www/site /var/www/staging").ok();
    let setup = ["wp-gears", "setup", "--site", "/var/www/staging", "--yes"];
    let says = [
        "/var/www/staging",
        "/var/www/site",
        "WP_ASYNC_TASK_SALT",
        "--salt",
    ];
    phase("the copy is refused");
    refused(&host, &setup, 1, &says);
    phase("with a salt of its own");
    // Following the help works: with its own salt, the copy is another site.
    host.run(&[&setup[..], &["--salt", "staging"]].concat())
        .exits(0);
    let staging = Site {
        folder: "/var/www/staging",
        ..Site::first(&host)
    };
    jobs_run(&staging, 2);
    assert!(
        host.read("/var/log/wp-gears/staging.log")
            .unwrap()
            .contains("test_job")
    );
}

#[test]
fn what_a_site_says_of_itself_decides_nothing_for_root() {
    let host = ready_host("claims");
    for (folder, user) in [("/srv/shop", "anna"), (OTHER, "bert")] {
        site::add(&host, folder, user, &format!("{user}.test")).unwrap();
    }
    host.shell("chmod 1777 /srv/jobs").ok();
    let both = ["setup", "--site", "/srv/shop", "--site", OTHER, "--yes"];
    host.run(&[&["wp-gears"], &both[..]].concat()).exits(0);
    let as_anna = |script: &str| host.as_user("anna", &["sh", "-c", script]).ok();

    phase("her run folder claims to be another's");
    as_anna(&format!(
        "sed -i 's|/srv/shop|{OTHER}|g' /var/lib/wp-gears/run/shop/function"
    ));
    host.run(&["wp-gears", "pause", "--site", OTHER]).exits(0);
    assert!(host.exists("/var/lib/wp-gears/run/second.paused"));
    assert!(!host.exists("/var/lib/wp-gears/run/shop.paused"));
    let paused = host.run(&["wp-gears", "resume", "--json"]).ok();
    let all: serde_json::Value = serde_json::from_str(&paused).unwrap();
    let dirs: Vec<_> = all["sites"].as_array().unwrap().iter().collect();
    assert!(
        dirs.iter()
            .any(|it| it["site"] == "shop" && it["dir"] == "/srv/shop"),
        "{all}"
    );

    phase("her failed job names another server");
    let record = serde_json::json!({
        "id": "1-refused", "name": "shop", "site": OTHER, "server": "127.0.0.1:7777",
        "function": "f", "unique": "", "handle": "H:1", "hook": "h", "blog": null, "size": 2,
        "whole": true, "taken": 1, "tries": [],
    });
    as_anna(&format!(
        "printf '%s\\n{{}}' '{record}' >/var/lib/wp-gears/failed/shop/1-refused.job"
    ));
    host.run(&["wp-gears", "failed", "retry", "1-refused"])
        .exits(0);

    phase("a reload begins with an empty cache");
    as_anna("cd /var/lib/wp-gears/cache/shop/*; touch planted.bin");
    host.run(&["wp-gears", "reload", "--wait"]).exits(0);
    let of_anna = Site {
        host: &host,
        folder: "/srv/shop",
        user: "anna",
    };
    jobs_run(&of_anna, 3);
    let planted = "find /var/lib/wp-gears/cache/shop -name planted.bin";
    assert_eq!(host.shell(planted).ok(), "");
    host.run(&["wp-gears", "doctor", "--site", "/srv/shop"])
        .exits(0);
}

#[test]
fn a_sites_own_php_that_is_broken_is_that_sites_trouble() {
    let host = ready_host("broken-php");
    site::add(&host, OTHER, "bert", "second.test").unwrap();
    // Root's, and it says where its settings are; with them, it does not start.
    host.shell(
        "mkdir -p /opt/php/bin /opt/php/etc/conf.d
         printf '#!/bin/sh\ncase $* in *SCAN_DIR*) exec echo /opt/php/etc/conf.d;; esac\necho broken >&2; exit 254\n' >/opt/php/bin/php
         chmod 755 /opt/php/bin/php",
    )
    .ok();
    let file = format!(
        "[[site]]\ndir = \"{FOLDER}\"\n\n[[site]]\ndir = \"{OTHER}\"\nphp = \"/opt/php/bin/php\"\n"
    );
    host.put("/etc/wp-gears.toml", &file, 0o644).unwrap();
    let archive = ["--extension-archive", "/root/gearman.tgz"];
    for (verb, more) in [("plan", &[][..]), ("setup", &["--yes"]), ("plan", &archive)] {
        phase(verb);
        let out = host.run(&[&["wp-gears", verb], more].concat()).exits(1);
        assert!(out.stderr.contains("error: second: "), "{out}");
        assert!(out.stderr.contains("/opt/php/bin/php"), "{out}");
        assert!(!out.stderr.contains("error: site: "), "{out}");
    }
    jobs_run(&Site::first(&host), 3);
}

#[test]
fn two_owners_under_one_pool_are_told_what_that_means() {
    let host = ready_host("one-pool");
    site::add(&host, OTHER, "www-data", "second.test").unwrap();
    // The folders belong to the owners; the web server's user runs the code of both.
    host.shell(&format!(
        "useradd --system anna; useradd --system bert
         chown anna {FOLDER}; chown bert {OTHER}"
    ))
    .ok();
    let says = ["belong to anna and bert", "runs as www-data"];
    let both = ["--site", FOLDER, "--site", OTHER];
    for (verb, code) in [("plan", 0), ("setup", 0), ("doctor", 0)] {
        phase(verb);
        let yes: &[&str] = if verb == "setup" { &["--yes"] } else { &[] };
        let out = host.run(&[&["wp-gears", verb], &both[..], yes].concat());
        let out = out.exits(code);
        let text = out.text().split_whitespace().collect::<Vec<_>>().join(" ");
        for said in says {
            assert!(text.contains(said), "{out}");
        }
    }

    phase("with owners of their own users");
    host.shell(&format!("chown www-data {FOLDER} {OTHER}")).ok();
    let out = host.run(&[&["wp-gears", "doctor", "worker-user"], &both[..]].concat());
    assert!(!out.exits(0).text().contains("belong to"));
}
