//! A site with a malicious user: root never runs code or follows links from the
//! site's folder.

use std::time::Duration;

use crate::harness::{Host, Site, site};
use crate::phase::phase;
use crate::support::{daemons, everything, none, on_site, ready_host, refused};

const SITE: &str = site::FOLDER;

/// Records who runs it and what it sees, and tries what only root can do.
const TRAP: &str = r#"<?php
( function () {
	$seen = array( 'by' => basename( __FILE__ ), 'uid' => posix_geteuid(), 'groups' => posix_getgroups(), 'env' => getenv() );
	foreach ( array( '/etc/cron.d/hostile', '/root/hostile', '/usr/local/lib/wp-gears/hostile' ) as $file ) {
		@file_put_contents( $file, "* * * * * root touch /root/hostile\n" );
	}
	foreach ( glob( '/proc/self/fd/*' ) as $fd ) {
		$to = (string) @readlink( $fd );
		$is_path = '/' === substr( $to, 0, 1 ) && ! preg_match( '/^.memfd:| .deleted.$/', $to );
		if ( $is_path && ( ! is_readable( $to ) || '/run/wp-gears.lock' === $to ) ) {
			$seen['inherited'][] = $to;
		}
	}
	preg_match( '/CapEff:\s*(\w+)/', file_get_contents( '/proc/self/status' ), $caps );
	$seen['caps'] = $caps[1];
	foreach ( glob( '/proc/[0-9]*' ) as $proc ) {
		if ( @fileowner( $proc ) === 0 && posix_kill( (int) basename( $proc ), 0 ) ) {
			$seen['signalled'][] = trim( strtr( (string) @file_get_contents( "$proc/cmdline" ), "\0", ' ' ) );
		}
	}
	@symlink( '/etc/shadow', '/var/log/wp-gears/planted' );
	file_put_contents( '/srv/jobs/seen', json_encode( $seen, JSON_UNESCAPED_SLASHES ) . "\n", FILE_APPEND );
} )();
"#;

#[test]
fn root_never_runs_a_sites_code() {
    let host = ready_host("hostile");
    host.shell("chmod 1777 /srv/jobs").ok();
    let plugin = format!("{SITE}/wp-content/plugins/trap/trap.php");
    let header = TRAP.replacen("<?php", "<?php\n/* Plugin Name: Trap */", 1);
    host.put(&plugin, header, 0o644).unwrap();
    host.put(
        &format!("{SITE}/wp-content/mu-plugins/mu-trap.php"),
        TRAP,
        0o644,
    )
    .unwrap();
    host.put("/tmp/trap.php", TRAP, 0o644).unwrap();
    let activate = r#"require "wp-load.php"; update_option("active_plugins", ["trap/trap.php"]);"#;
    host.shell(&format!(
        "cd {SITE}; (cat /tmp/trap.php; tail -n +2 wp-config.php) >/tmp/new
         cat /tmp/new >wp-config.php
         runuser -u www-data -- php -r '{activate}'; rm -f /srv/jobs/seen"
    ))
    .ok();
    phase("every command runs");
    let watched = ["/etc", "/root", "/usr/local/bin"];
    let before = host.tree(&watched);

    for words in [
        &["plan"][..],
        &["setup", "--yes"],
        &["setup", "--yes", "--prove"],
        &["setup", "--yes", "--workers", "3", "--worker-mode", "spawn"],
        &["remove", "--yes"],
    ] {
        let with_site = [words, &["--site", SITE]].concat();
        host.run(&[&["env", "SECRET=of-root", "wp-gears"], &with_site[..]].concat())
            .exits(0);
    }
    none(before.changes_to(&host.tree(&watched)), "made or changed");

    phase("what the traps saw");
    let seen = host.read("/srv/jobs/seen").unwrap();
    for by in ["wp-config.php", "trap.php", "mu-trap.php"] {
        assert!(seen.contains(&format!("\"by\":\"{by}\"")), "{by} never ran");
    }
    for line in seen.lines() {
        let saw: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(saw["uid"], 33, "{line}");
        assert_eq!(saw["groups"], serde_json::json!([33]), "{line}");
        assert_eq!(saw["caps"], "0000000000000000", "{line}");
        assert_eq!(saw["signalled"], serde_json::Value::Null, "{line}");
        assert!(!line.contains("of-root"), "{line}");
        assert_eq!(saw["inherited"], serde_json::Value::Null, "{line}");
    }

    phase("a trap that root runs is noticed");
    // It would notice if root ran it.
    host.run(&["php", "-r", &format!("require '{SITE}/wp-load.php';")]);
    let seen = host.read("/srv/jobs/seen").unwrap();
    assert!(seen.contains("\"uid\":0") && host.exists("/root/hostile"));
}

/// Runs a script as the site's user, in the WordPress root.
fn as_owner(host: &Host, script: &str) {
    let script = format!("cd {SITE}\n{script}");
    host.as_user(site::USER, &["sh", "-ec", &script]).ok();
}

#[test]
fn links_of_a_sites_user_lead_root_nowhere() {
    let host = ready_host("links");
    site::add(&host, "/var/www/second", "second", "second.test").unwrap();
    host.put(
        "/root/secret.php",
        "<?php define('WP_ASYNC_TASK_SALT', 'of-root');\n",
        0o600,
    )
    .unwrap();
    let setup = ["wp-gears", "setup", "--site", SITE, "--yes"];

    // (script of the site's user, its reversal, a word of the refusal)
    for (plant, undo, word) in [
        (
            "mv wp-config.php kept; ln -s /etc/shadow wp-config.php",
            "mv -f kept wp-config.php",
            "wp-config.php",
        ),
        (
            "mv wp-config.php kept; ln -s ../second/wp-config.php wp-config.php",
            "mv -f kept wp-config.php",
            "wp-config.php",
        ),
        (
            "mv wp-content/mu-plugins kept; ln -s /etc/cron.d wp-content/mu-plugins",
            "rm wp-content/mu-plugins; mv kept wp-content/mu-plugins",
            "mu-plugins",
        ),
        (
            "mv wp-content kept; ln -s /etc wp-content",
            "rm wp-content; mv kept wp-content",
            "wp-content",
        ),
        (
            "mv wp-includes kept; ln -s /usr/share wp-includes",
            "rm wp-includes; mv kept wp-includes",
            "wp-includes",
        ),
        (
            "mv wp-config.php kept; mkfifo wp-config.php",
            "mv -f kept wp-config.php",
            "wp-config.php",
        ),
        (
            "mkdir wp-gears-runner.php",
            "rmdir wp-gears-runner.php",
            "wp-gears-runner.php",
        ),
    ] {
        phase(plant);
        as_owner(&host, plant);
        refused(&host, &setup, 1, &[word]);
        let text = host.run(&["wp-gears", "plan", "--site", SITE]).text();
        assert!(
            !text.contains("root:") && !text.contains("pw-second"),
            "{text}"
        );
        as_owner(&host, undo);
    }

    phase("a link in the runner's place");
    // A link in place of the runner is replaced, and restored.
    as_owner(&host, "ln -s /etc/shadow wp-gears-runner.php");
    let before = everything(&host);
    on_site(&host, "setup", &[]).exits(0);
    // The owner of the folder can rename root's links.
    as_owner(
        &host,
        "mv wp-config.php kept; mv wp-gears-runner.php wp-config.php",
    );
    refused(&host, &setup, 1, &["wp-config.php", "link"]);
    as_owner(
        &host,
        "mv wp-config.php wp-gears-runner.php; mv kept wp-config.php",
    );
    on_site(&host, "remove", &[]).exits(0);
    none(before.changes_to(&everything(&host)), "left by remove");
    as_owner(
        &host,
        "mv wp-config.php kept; mv wp-gears-runner.php wp-config.php",
    );
    refused(&host, &setup, 1, &["wp-config.php", "link"]);
    as_owner(&host, "mv -f kept wp-config.php");

    phase("a file that only root can read");
    // A file that only root can read must not reveal anything.
    as_owner(
        &host,
        "cp -p wp-config.php kept; sed -i '1a @include \"/root/secret.php\";' wp-config.php",
    );
    on_site(&host, "setup", &[]).exits(0);
    assert!(
        host.read(&format!("{SITE}/wp-config.php"))
            .unwrap()
            .contains("WP_ASYNC_TASK_SALT")
    );
    on_site(&host, "remove", &[]).exits(0);
    as_owner(&host, "mv -f kept wp-config.php");
}

#[test]
fn remove_follows_nothing_that_was_planted_since() {
    let host = ready_host("planted");
    host.put("/etc/cron.d/wp-gears-bundled.php", "root's", 0o644)
        .unwrap();
    host.put("/etc/keep/file", "root's", 0o644).unwrap();
    let before = host.tree(&["/etc"]);
    on_site(&host, "setup", &[]).exits(0);
    let run = "/var/lib/wp-gears";
    as_owner(
        &host,
        &format!(
            "mv wp-content/mu-plugins wp-content/old; ln -s /etc/cron.d wp-content/mu-plugins
             rm -rf {run}/failed/site/*
             ln -s /etc/keep {run}/failed/site/waiting; ln -s /etc/keep {run}/cache/site/a
             ln -s /etc/keep/file {run}/run/site/b
             ! ln -s /etc/keep {run}/run/other; ! mv {run}/run/site {run}/run/other
             ! ln -sf /etc/shadow /var/log/wp-gears/site.log
             php -r 'chdir(\"{run}/cache/site\"); for ($n = 0; $n < 3000; $n++) {{ mkdir(\"d\"); chdir(\"d\"); }}'"
        ),
    );
    phase("setup and remove among planted links");
    // Either jobs run, or setup says why not.
    host.run(&[
        "wp-gears",
        "setup",
        "--site",
        SITE,
        "--yes",
        "--workers",
        "3",
    ]);
    let out = on_site(&host, "remove", &["--purge"]);
    println!("{out}");
    phase("remove once the link is gone");
    // The planted link prevents the removal of what it hides. Remove reports that, and
    // removes everything once the link is gone.
    as_owner(
        &host,
        "rm wp-content/mu-plugins; mv wp-content/old wp-content/mu-plugins",
    );
    on_site(&host, "remove", &["--purge"]).exits(0);
    none(
        before.changes_to(&host.tree(&["/etc"])),
        "changed by remove",
    );
    assert!(!host.exists("/var/lib/wp-gears"), "left");
    assert_eq!(
        daemons(&host)
            .iter()
            .filter(|daemon| daemon.2.contains("wp-gears"))
            .count(),
        0
    );
    std::thread::sleep(Duration::from_millis(100));
    let site = Site::first(&host);
    assert_eq!(site.get("http://localhost/").0, 200);
}
