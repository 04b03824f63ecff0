//! `isolation = "owner"`, as far as files go.

use std::path::Path;

use crate::intent::{INTENT, is_settled, setup};
use crate::root::{Root, SITE, code, text};

const UNIT: &str = "/etc/systemd/system/wp-gears-gearmand-alice.service";
const RULES: &str = "/etc/wp-gears/owner-alice.nft";
const BOTH: &str = "isolation = \"owner\"\n[[site]]\ndir = \"/var/www/site\"\nworker-user = \"alice\"\n\
    [[site]]\ndir = \"/srv/b\"\nworker-user = \"bob\"\n";

fn two_owners() -> Root {
    let root = Root::new();
    root.site("/srv/b");
    let passwd = root.get("/etc/passwd");
    root.put(
        "/etc/passwd",
        &format!(
            "{passwd}alice:x:1001:1001::/home/alice:/bin/sh\nbob:x:1002:1002::/home/bob:/bin/sh\n"
        ),
    );
    root
}

#[test]
fn each_owner_gets_a_job_server_that_comes_and_goes_with_the_sites() {
    let root = two_owners();
    let bare = root.tree();
    root.put(INTENT, BOTH);
    setup(&root, &[]);
    is_settled(&root);
    let config = root.get(&format!("{SITE}/wp-config.php"));
    assert!(config.contains("127.0.0.1:4731"), "{config}");
    let unit = root.get(UNIT);
    assert!(
        unit.contains("--libsqlite3-db=/var/lib/gearman/owner-alice/queue.sqlite"),
        "{unit}"
    );
    assert!(root.get(RULES).contains("skuid { 0, 1001, \"gearman\" }"));
    let intent = root.get(INTENT);
    assert!(
        intent.contains("owner-ports = [\"alice:4731\", \"bob:4732\"]"),
        "{intent}"
    );

    // The last site of an owner takes the job server with it, and the port stays hers.
    let output = root.run(&["remove", "--yes", "--site", SITE]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    assert!(!root.at(UNIT).exists() && !root.at(RULES).exists());
    let other = UNIT.replace("alice", "bob");
    assert!(root.at(&other).exists());
    setup(&root, &["--site", SITE, "--worker-user", "alice"]);
    assert_eq!(root.get(UNIT), unit);
    is_settled(&root);

    // Without isolation, nothing of it stays.
    setup(&root, &["--isolation", "none"]);
    assert!(!root.at(UNIT).exists() && !root.at(RULES).exists() && !root.at(other).exists());
    let config = root.get(&format!("{SITE}/wp-config.php"));
    assert!(
        config.contains("127.0.0.1:4730") && !config.contains("4731"),
        "{config}"
    );
    is_settled(&root);
    setup(&root, &["--isolation", "owner"]);
    assert_eq!(root.get(UNIT), unit);
    let output = root.run(&["remove", "--yes", "--purge"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    let mut left = root.tree();
    left.remove(Path::new(INTENT.trim_start_matches('/')));
    assert_eq!(left, bare);
}

#[test]
fn without_systemd_it_is_refused() {
    let root = two_owners();
    std::fs::remove_dir_all(root.at("/lib/systemd")).unwrap();
    root.put(INTENT, BOTH);
    let before = root.tree();
    let output = root.run(&["setup", "--yes"]);
    assert_eq!(code(&output), 1, "{}", text(&output));
    assert!(
        text(&output).contains("systemd has to start the job servers"),
        "{}",
        text(&output)
    );
    assert_eq!(root.tree(), before);
}

#[test]
fn ports_are_given_once() {
    for (ports, says) in [
        ("alice:4730", "the shared job server has it"),
        ("alice:4740,bob:4740", "alice has it"),
    ] {
        let root = two_owners();
        root.put(INTENT, BOTH);
        let before = root.tree();
        let output = root.run(&["setup", "--yes", "--owner-ports", ports]);
        assert_eq!(code(&output), 2, "{}", text(&output));
        assert!(text(&output).contains(says), "{}", text(&output));
        assert_eq!(root.tree(), before);
    }
    let root = two_owners();
    root.put(INTENT, BOTH);
    setup(&root, &["--owner-ports", "alice:5000,carol:4731"]);
    let intent = root.get(INTENT);
    let ports = "owner-ports = [\"alice:5000\", \"carol:4731\", \"bob:4732\"]";
    assert!(intent.contains(ports), "{intent}");
    is_settled(&root);
}
