//! remove gives back what was there.

use crate::support::{daemons, everything, none, on_site, ready_host};

const SERVICES: [&str; 2] = ["gearman-job-server", "supervisor"];

#[test]
fn remove_gives_back_a_hand_made_state() {
    let host = ready_host("remove");
    // A person's own settings, links and odd formats, and a stopped service.
    let options = "# mine\nPARAMS=\"--daemon --threads=2 \\\n  --log-file=/var/log/gearman-job-server/mine.log\"\n";
    host.put("/etc/default/gearman-job-server", options, 0o640)
        .unwrap();
    host.run(&["systemctl", "disable", "--now", "supervisor"])
        .ok();
    let states = || SERVICES.map(|unit| host.run(&["systemctl", "is-enabled", unit]).stdout);
    let running = || SERVICES.map(|unit| host.run(&["systemctl", "is-active", unit]).stdout);
    let before = (everything(&host), states(), running());

    on_site(&host, "setup", &[]).exits(0);
    assert_eq!(states(), ["enabled\n", "enabled\n"]);
    assert_eq!(running(), ["active\n", "active\n"]);
    let removed = on_site(&host, "remove", &[]).exits(0);

    none(
        before.0.changes_to(&everything(&host)),
        &format!("left by remove, {removed}"),
    );
    assert_eq!(before.1, states());
    assert_eq!(before.2, running());

    let (after, processes) = (everything(&host), daemons(&host));
    on_site(&host, "remove", &[]).exits(0);
    none(
        after.touches_to(&everything(&host)),
        "touched by a second remove",
    );
    assert_eq!(processes, daemons(&host));
}
