//! remove restores what was there before.

use crate::harness::Site;
use crate::phase::phase;
use crate::support::{daemons, everything, fresh_host, none, on_site, ready_host};

const SERVICES: [&str; 2] = ["gearman-job-server", "supervisor"];

#[test]
fn remove_gives_back_a_hand_made_state() {
    let host = ready_host("remove");
    // An administrator's own settings, links and unusual formats, and a stopped service.
    let options = "# mine\nPARAMS=\"--daemon --threads=2 \\\n  --log-file=/var/log/gearman-job-server/mine.log\"\n";
    host.put("/etc/default/gearman-job-server", options, 0o640)
        .unwrap();
    host.run(&["systemctl", "disable", "--now", "supervisor"])
        .ok();
    let states = || SERVICES.map(|unit| host.run(&["systemctl", "is-enabled", unit]).stdout);
    let running = || SERVICES.map(|unit| host.run(&["systemctl", "is-active", unit]).stdout);
    let before = (everything(&host), states(), running());

    phase("setup");
    on_site(&host, "setup", &[]).exits(0);
    assert_eq!(states(), ["enabled\n", "enabled\n"]);
    assert_eq!(running(), ["active\n", "active\n"]);
    phase("remove");
    let removed = on_site(&host, "remove", &[]).exits(0);

    none(
        before.0.changes_to(&everything(&host)),
        &format!("left by remove, {removed}"),
    );
    assert_eq!(before.1, states());
    assert_eq!(before.2, running());

    phase("a second remove touches nothing");
    let (after, processes) = (everything(&host), daemons(&host));
    on_site(&host, "remove", &[]);
    none(
        after.touches_to(&everything(&host)),
        "touched by a second remove",
    );
    assert_eq!(processes, daemons(&host));
}

#[test]
fn purge_takes_out_the_packages_that_setup_brought() {
    let host = fresh_host("purge");
    let packages = || {
        host.shell("dpkg-query -W -f '${Package} ${db:Status-Status}\\n'")
            .ok()
    };
    let before = (everything(&host), packages());
    phase("setup and remove --purge");
    on_site(&host, "setup", &[]).exits(0);
    let removed = on_site(&host, "remove", &["--purge"]).exits(0);
    assert_eq!(before.1, packages(), "{removed}");

    phase("what is left");
    // Packages leave users behind, and files that list or cache them.
    let left = before
        .0
        .changes_to(&everything(&host))
        .into_iter()
        .filter(|line| {
            let theirs = [
                "/etc/passwd",
                "/etc/group",
                "/etc/shadow",
                "/etc/gshadow",
                "/etc/ld.so.cache",
            ];
            !theirs
                .iter()
                .any(|path| line.starts_with(&format!("~ {path}")))
        });
    none(
        left.collect(),
        &format!("left by remove --purge, {removed}"),
    );
    assert_eq!(Site::first(&host).get("http://localhost/").0, 200);
}

#[test]
fn purge_after_a_plain_remove_takes_out_what_that_kept() {
    let host = fresh_host("later");
    let packages = || {
        host.shell("dpkg-query -W -f '${Package} ${db:Status-Status}\\n'")
            .ok()
    };
    let before = (everything(&host), packages());
    phase("setup and a plain remove");
    on_site(&host, "setup", &[]).exits(0);
    let removed = on_site(&host, "remove", &[]).exits(0);
    for unit in SERVICES {
        assert_eq!(
            host.run(&["systemctl", "is-active", unit]).stdout,
            "active\n"
        );
        assert!(removed.stdout.contains(unit), "{removed}");
    }
    assert!(removed.stdout.contains("remove --purge"), "{removed}");
    phase("again, which changes nothing and says the same");
    let tree = everything(&host);
    let again = on_site(&host, "remove", &[]).exits(0);
    assert!(again.stdout.contains("Nothing to remove"), "{again}");
    assert!(again.stdout.contains("remove --purge"), "{again}");
    none(tree.touches_to(&everything(&host)), "touched");
    phase("setup works, and purge still knows what was there");
    on_site(&host, "setup", &[]).exits(0);
    on_site(&host, "remove", &[]).exits(0);
    let removed = on_site(&host, "remove", &["--purge"]).exits(0);
    assert_eq!(before.1, packages(), "{removed}");
    let left = before.0.changes_to(&everything(&host)).into_iter();
    // Packages leave users behind, and files that list or cache them.
    let theirs = ["passwd", "group", "shadow", "gshadow", "ld.so.cache"];
    let left = left.filter(|line| {
        let is_theirs = |name: &&str| line.starts_with(&format!("~ /etc/{name}"));
        !theirs.iter().any(is_theirs)
    });
    none(
        left.collect(),
        &format!("left by remove --purge, {removed}"),
    );
}
