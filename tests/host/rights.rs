//! What a site's user gets hold of when root runs PHP: nothing that root has open, no
//! key of root's, no process that goes on, and no program of the user's as root.

use crate::harness::{Host, site};
use crate::phase::phase;
use crate::support::ready_host;

const SHOP: &str = "/srv/shop";

/// Runs in every process that root's commands start. Jobs and pages are let go.
const TRAP: &str = r#"<?php
if ( 'cli' === PHP_SAPI && ! getenv( 'SUPERVISOR_ENABLED' ) ) {
	$seen = array( 'fd' => @file_get_contents( 'php://fd/9' ), 'keys' => @file_get_contents( '/proc/keys' ), 'umask' => umask() );
	file_put_contents( '/srv/jobs/seen', json_encode( $seen ) . "\n", FILE_APPEND );
	exec( "setsid sh -c 'echo $$ >>/srv/jobs/left; setsid sleep 600 & exec sleep 600' >/dev/null 2>&1 &" );
	while ( ! @filesize( '/srv/jobs/left' ) ) { usleep( 1000 ); clearstatcache(); }
}
"#;

/// Has a file open and a key in its session's keyring, as root's shell may.
const AS_ROOT: &str = r#"
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
assert libc.syscall(250, 1, 0) >= 0  # join a new session keyring
assert libc.syscall(248, b"user", b"key-of-root", b"secret", 6, -3) >= 0  # add a key to it
fd = os.open("/root/secret", os.O_RDONLY)
os.dup2(fd, 9, inheritable=True)
os.umask(0o077)
os.execvp(sys.argv[1], sys.argv[1:])
"#;

fn host_of_alice(name: &str) -> Host {
    let host = ready_host(name);
    site::add(&host, SHOP, "alice", "alice.test").unwrap();
    host.shell("chmod 1777 /srv/jobs").ok();
    host
}

#[test]
fn a_sites_code_inherits_nothing_and_leaves_nothing() {
    let host = host_of_alice("inherit");
    host.put("/root/secret", "secret-of-root", 0o600).unwrap();
    host.put(
        &format!("{SHOP}/wp-content/mu-plugins/trap.php"),
        TRAP,
        0o644,
    )
    .unwrap();
    for words in [&["setup", "--yes"][..], &["doctor"]] {
        phase(words[0]);
        let with_site = [&["wp-gears"], words, &["--site", SHOP]].concat();
        let out = host.run(&[&["python3", "-c", AS_ROOT], &with_site[..]].concat());
        println!("{out}");
        let left = host.read("/srv/jobs/left").unwrap();
        let seen = host.read("/srv/jobs/seen").unwrap();
        host.shell("rm /srv/jobs/left /srv/jobs/seen").ok();
        for line in seen.lines() {
            let saw: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(!line.contains("secret-of-root"), "{line}");
            assert!(!line.contains("key-of-root"), "{line}");
            assert_eq!(saw["umask"], 0o022, "{line}");
        }
        for pid in left.lines() {
            assert!(!host.exists(&format!("/proc/{pid}")), "{pid} goes on");
        }
        let sleeps = host.shell("pgrep -u alice -x sleep || true").ok();
        assert_eq!(sleeps, "", "goes on");
        out.exits(0);
    }
}

/// What it prints has any size, and it goes on for long, as the file says.
const STUBBORN: &str = r#"<?php
if ( 'cli' === PHP_SAPI && ! getenv( 'SUPERVISOR_ENABLED' ) ) {
	switch ( trim( file_get_contents( '/srv/jobs/mode' ) ) ) {
		case 'large':
			ftruncate( STDOUT, 1 << 40 );
			break;
		case 'long':
			exec( "setsid sleep 600 >/dev/null 2>&1 &" );
			file_put_contents( '/srv/jobs/begun', 'yes' );
			sleep( 600 );
	}
}
"#;

#[test]
fn a_sites_code_takes_neither_memory_nor_the_end_of_root() {
    let host = host_of_alice("stubborn");
    let doctor = ["wp-gears", "doctor", "--site", SHOP];
    host.run(&["wp-gears", "setup", "--yes", "--site", SHOP])
        .exits(0);
    host.put("/srv/jobs/mode", "large", 0o644).unwrap();
    let trap = format!("{SHOP}/wp-content/mu-plugins/trap.php");
    host.put(&trap, STUBBORN, 0o644).unwrap();
    phase("output of a terabyte");
    let out = host.run(&doctor).exits(1);
    assert!(out.text().contains("more than 64 MB"), "{out}");

    phase("nothing goes on when doctor is killed");
    host.put("/srv/jobs/mode", "long", 0o644).unwrap();
    let script = r#"wp-gears doctor --site "$1" >/dev/null 2>&1 & doctor=$!
        until [ -e /srv/jobs/begun ]; do sleep 0.05; done
        pgrep -u alice -x sleep >/dev/null || exit 7
        kill -9 $doctor
        for n in $(seq 200); do
            pgrep -u alice -x sleep >/dev/null || exit 0
            sleep 0.05
        done
        ps -u alice -o pid,ppid,args; exit 8"#;
    host.run(&["sh", "-c", script, "kill", SHOP]).exits(0);
}

/// A PHP that notes who runs it.
const OWN_PHP: &str = "#!/bin/sh\nid -u >>/srv/jobs/ran; exec /usr/bin/php \"$@\"\n";

#[test]
fn root_runs_no_php_of_a_sites_user() {
    let host = host_of_alice("own-php");
    let php = "/home/alice/bin/php";
    host.put(php, OWN_PHP, 0o755).unwrap();
    host.shell("chown -R alice: /home/alice; chmod 700 /home/alice")
        .ok();
    let alice = host.run(&["id", "-u", "alice"]).ok().trim().to_owned();
    let ran_by = |words: &[&str]| {
        phase(words[0]);
        host.run(&[&["wp-gears"], words].concat()).exits(0);
        host.shell("sort -u /srv/jobs/ran; rm -f /srv/jobs/ran")
            .ok()
    };
    let commands = [
        &["plan", "--site", SHOP, "--php", php][..],
        &["setup", "--yes", "--site", SHOP, "--php", php],
        &["doctor", "--site", SHOP],
    ];
    for words in commands {
        assert_eq!(ran_by(words).trim(), alice, "{words:?}");
    }
    phase("root's program is asked by nobody's user");
    host.shell("chown -R root: /home/alice; chmod 755 /home/alice")
        .ok();
    for words in commands {
        let ran = ran_by(words);
        let mut others: Vec<u32> = ran.lines().map(|id| id.parse().unwrap()).collect();
        others.retain(|id| id.to_string() != alice);
        assert!(
            matches!(others[..], [id] if (61184..65520).contains(&id)),
            "{words:?}: {ran}"
        );
    }
    host.run(&["wp-gears", "remove", "--yes", "--site", SHOP])
        .exits(0);
}
