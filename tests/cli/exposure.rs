//! Who reaches a job server besides its sites, and what setup says of that.

use crate::intent::{INTENT, is_settled, setup};
use crate::root::{Root, SITE, code, text};

#[test]
fn what_exposes_the_job_server_is_said_and_has_to_be_meant() {
    for listen in [
        "0.0.0.0",
        "::",
        "203.0.113.5",
        "2001:db8::5",
        "queue.example",
    ] {
        let root = Root::new();
        let before = root.tree();
        let words = ["setup", "--yes", "--role", "server", "--listen", listen];
        let output = root.run(&words);
        assert_eq!(code(&output), 2, "{}", text(&output));
        assert!(text(&output).contains("add --expose"), "{}", text(&output));
        assert_eq!(root.tree(), before, "{listen}");

        let output = root.run(&[&words[..], &["--expose"]].concat());
        assert_eq!(code(&output), 0, "{}", text(&output));
        assert!(
            text(&output).contains("gearmand has no passwords"),
            "{}",
            text(&output)
        );
        is_settled(&root);
        // It listens there already, and the file says that it was meant.
        assert!(root.get(INTENT).contains("expose = true"));
    }
    // A host that is exposed already is not cut off, but told.
    let root = Root::new();
    root.put(
        "/etc/default/gearman-job-server",
        "PARAMS=\"--listen=0.0.0.0\"\n",
    );
    let output = root.run(&["plan", "--role", "server"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    let said = text(&output);
    assert!(said.contains("every network of this host"), "{said}");

    let root = Root::new();
    let output = root.run(&["plan", "--role", "server"]);
    assert!(!text(&output).contains("is open to"), "{}", text(&output));
}

#[test]
fn the_plan_has_the_rules_of_the_firewall_that_is_there() {
    const UFW: &str = "/etc/ufw/ufw.conf";
    for (program, listen, expected) in [
        (
            None,
            "10.0.0.5",
            "nft add rule inet wp_gears input iifname != lo tcp dport 4730 ip saddr != @peers drop",
        ),
        (None, "fd00::5", "ip6 saddr != @peers drop"),
        (
            Some("ufw"),
            "10.0.0.5",
            "ufw prepend allow proto tcp from PEER to any port 4730",
        ),
        (
            Some("firewall-cmd"),
            "10.0.0.5",
            "rule family=ipv4 source address=PEER port port=4730",
        ),
    ] {
        let root = Root::new();
        if let Some(program) = program {
            root.put(&format!("/usr/sbin/{program}"), "");
            root.put(UFW, "ENABLED=yes\n");
        }
        let output = root.run(&["plan", "--role", "server", "--listen", listen]);
        assert_eq!(code(&output), 0, "{}", text(&output));
        let said = text(&output)
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        assert!(said.contains(expected), "{said}");
        assert!(
            said.contains(&format!("everyone in the network of {listen}")),
            "{said}"
        );
    }
    // Where it is not in force, its commands would close nothing.
    let root = Root::new();
    root.put("/usr/sbin/ufw", "");
    root.put(UFW, "ENABLED=no\n");
    let output = root.run(&["plan", "--role", "server", "--listen", "10.0.0.5"]);
    assert!(text(&output).contains("nft add"), "{}", text(&output));
}

#[test]
fn sites_of_two_owners_on_one_job_server_are_told_of_each_other() {
    let root = Root::new();
    let passwd = root.get("/etc/passwd");
    root.put(
        "/etc/passwd",
        &format!("{passwd}other:x:1234:1234:other:/home/other:/bin/sh\n"),
    );
    root.site("/var/www/other");
    setup(&root, &["--site", SITE, "--worker-user", "www-data"]);
    let words = ["--site", "/var/www/other", "--worker-user", "other"];
    let output = root.run(&[&["plan"], &words[..]].concat());
    let said = text(&output)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert!(
        said.contains("sites of other, www-data share one job server"),
        "{said}"
    );
}

#[test]
fn owners_whose_sites_run_as_one_user_are_told_of_each_other() {
    let root = Root::new();
    let passwd = root.get("/etc/passwd");
    let people = "alice:x:1234:1234::/home/alice:/bin/sh\nbob:x:1235:1235::/home/bob:/bin/sh\n";
    root.put("/etc/passwd", &format!("{passwd}{people}"));
    let mut sites = Vec::new();
    for (site, owner) in [("/srv/alice", 1234), ("/srv/bob", 1235)] {
        root.site(site);
        std::os::unix::fs::chown(root.at(site), Some(owner), Some(owner)).unwrap();
        setup(&root, &["--site", site, "--worker-user", "www-data"]);
        sites.extend(["--site", site]);
    }
    let shared = "the code of sites that belong to alice and bob runs as www-data";
    let output = root.run(&[&["plan", "--port", "4741"], &sites[..]].concat());
    let said = text(&output);
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains(shared), "{said}");
}

#[test]
fn a_firewall_is_made_only_where_it_was_asked_for() {
    const RULES: &str = "/etc/wp-gears/port.nft";
    let root = Root::new();
    let before = root.tree();
    let words = ["--role", "server", "--listen", "10.0.0.5"];
    let output = setup(&root, &words);
    assert!(text(&output).contains("as PEER"), "{}", text(&output));
    assert!(!root.at(RULES).exists());
    let output = setup(&root, &["--firewall", "10.0.0.6,fd00::/8"]);
    assert!(!text(&output).contains("as PEER"), "{}", text(&output));
    is_settled(&root);
    let rules = root.get(RULES);
    for part in [
        "ip saddr 10.0.0.6",
        "ip6 saddr fd00::/8",
        "tcp dport 4730 drop",
    ] {
        assert!(rules.contains(part), "{part}: {rules}");
    }
    // A host without a job server has nothing to close.
    let worker = Root::new();
    let words = [
        "--role",
        "worker",
        "--servers",
        "10.0.0.5:4730",
        "--site",
        SITE,
    ];
    setup(&worker, &[&words[..], &["--firewall", "10.0.0.6"]].concat());
    assert!(!worker.at(RULES).exists());

    let text = root.get(INTENT).replace("firewall = ", "# firewall = ");
    root.put(INTENT, &text);
    setup(&root, &[]);
    is_settled(&root);
    assert!(!root.at(RULES).exists());
    root.put(INTENT, &text.replace("# firewall = ", "firewall = "));
    setup(&root, &[]);
    let output = root.run(&["remove", "--yes", "--purge"]);
    assert_eq!(code(&output), 0, "{output:?}");
    assert_eq!(root.tree(), before);
}
