//! The commands that setup prints for an exposed job server, run for real: they admit
//! only the peers that they name.

use std::collections::BTreeSet;

use crate::harness::{Host, Image, Release, Shape};
use crate::phase::phase;
use crate::support::{packages_with, wp_gears};

/// Another machine with two addresses, as a network namespace.
const NEIGHBOUR: &str = "ip link add out0 type veth peer name in0
    ip address add 10.9.0.1/24 dev out0; ip link set out0 up
    unshare --net sleep 100000 </dev/null >/dev/null 2>&1 &
    until test \"$(readlink /proc/$!/ns/net)\" != \"$(readlink /proc/self/ns/net)\"; do sleep 0.05; done
    ip link set in0 netns $!; echo $! >/run/neighbour
    nsenter -t $! -n sh -ec 'ip link set lo up; ip link set in0 up
        ip address add 10.9.0.2/24 dev in0; ip address add 10.9.0.3/24 dev in0'";
const CONNECT: &str = "import socket, sys
s = socket.socket(); s.settimeout(3); s.bind((sys.argv[1], 0))
s.connect((sys.argv[2], 4730)); s.sendall(b'version\\n'); print(s.recv(100).decode())";

/// Whether the job server answers somebody with this address.
fn reaches(host: &Host, from: &str) -> bool {
    let python = format!("python3 -c \"{CONNECT}\" {from}");
    let out = match from.starts_with("127.") {
        true => host.shell(&format!("{python} 127.0.0.1")),
        false => host.shell(&format!(
            "nsenter -t $(cat /run/neighbour) -n {python} 10.9.0.1"
        )),
    };
    out.stdout.contains("OK")
}

/// A host with this firewall, and a job server that is open to everyone.
fn exposed(package: &str, enable: &str) -> Host {
    let image = Image::with_packages(Release::Bookworm).unwrap();
    // Our own rules need nftables.
    let packages = BTreeSet::from([package, "nftables"]);
    let bind = |name: &str| {
        let folder = packages_with(name).unwrap();
        format!("{}:/srv/{name}:ro", folder.display())
    };
    let binds: Vec<String> = packages.iter().copied().map(bind).collect();
    let host = Host::start(&image, package, Shape::Booted, &binds).unwrap();
    host.install(wp_gears()).unwrap();
    for name in packages {
        let source = format!("deb [trusted=yes] file:/srv/{name} ./\n");
        let list = format!("/etc/apt/sources.list.d/{name}.list");
        host.put(&list, source, 0o644).unwrap();
    }
    let install = format!("apt-get update && apt-get install -y --no-install-recommends {package}");
    host.shell(&install).ok();
    host.shell(enable).ok();
    host.shell(NEIGHBOUR).ok();
    phase("exposed");
    let setup = [
        "wp-gears", "setup", "--role", "server", "--listen", "0.0.0.0", "--expose", "--yes",
    ];
    host.run(&setup).exits(0);
    host
}

fn admits_only_named_peers(package: &str, enable: &str) -> Host {
    let host = exposed(package, enable);
    let doctor = host.run(&["wp-gears", "doctor", "port"]);
    let text = doctor.text().replace('\n', " ");
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (_, rest) = text.split_once("each as PEER, with '").expect(&text);
    let (commands, _) = rest.split_once("'; or run").expect(&text);
    println!("{commands}");

    assert!(reaches(&host, "10.9.0.3"), "open to everyone at first");

    phase("with the commands");
    for peer in ["10.9.0.2", "10.9.0.77"] {
        host.shell(&commands.replace("PEER", peer)).ok();
    }
    assert!(reaches(&host, "10.9.0.2"), "the peer");
    assert!(!reaches(&host, "10.9.0.3"), "somebody else");
    assert!(reaches(&host, "127.0.0.1"), "this host");
    host.shell(&commands.replace("PEER", "10.9.0.3")).ok();
    assert!(reaches(&host, "10.9.0.2"), "the first peer");
    assert!(reaches(&host, "10.9.0.3"), "another peer");
    host
}

#[test]
fn nft_admits_only_named_peers() {
    let host = admits_only_named_peers("nftables", "systemctl enable --now nftables");
    host.shell("nft delete table inet wp_gears").ok();
    let setup = |peers: &str| {
        let words = ["wp-gears", "setup", "--yes", "--firewall", peers];
        host.run(&words).exits(0);
        host.run(&["wp-gears", "plan", "--check"]).exits(0);
        host.run(&["wp-gears", "doctor"]).exits(0)
    };
    let only_the_peer = |when: &str| {
        assert!(reaches(&host, "10.9.0.2"), "the peer, {when}");
        assert!(!reaches(&host, "10.9.0.3"), "somebody else, {when}");
        assert!(reaches(&host, "127.0.0.1"), "this host, {when}");
    };

    phase("--firewall");
    assert!(reaches(&host, "10.9.0.3"), "open again");
    let out = setup("10.9.0.2,10.9.0.64/26");
    assert!(
        out.text()
            .contains("the firewall admits only 10.9.0.2, 10.9.0.64/26"),
        "{out}"
    );
    only_the_peer("with --firewall");
    host.shell("systemctl restart nftables").ok();
    only_the_peer("after the host's own rules were loaded");
    host.shell("nft flush ruleset").ok();
    let doctor = host.run(&["wp-gears", "doctor", "port"]).exits(1);
    assert!(doctor.text().contains("is open to every host"), "{doctor}");
    host.run(&["wp-gears", "doctor", "port", "--fix", "--yes"])
        .exits(0);
    only_the_peer("after doctor --fix");
    host.shell(
        "systemctl stop gearman-job-server; nft flush ruleset; systemctl start gearman-job-server",
    )
    .ok();
    only_the_peer("as at boot");

    phase("another peer");
    setup("10.9.0.2,10.9.0.3");
    assert!(reaches(&host, "10.9.0.3"));

    phase("no firewall any more");
    let file = host.read("/etc/wp-gears.toml").unwrap();
    let without: Vec<&str> = file
        .lines()
        .filter(|it| !it.starts_with("firewall"))
        .collect();
    host.put("/etc/wp-gears.toml", without.join("\n"), 0o644)
        .unwrap();
    host.run(&["wp-gears", "setup", "--yes"]).exits(0);
    host.run(&["wp-gears", "plan", "--check"]).exits(0);
    is_gone(&host);
    setup("10.9.0.2");
    only_the_peer("again");
    host.run(&["wp-gears", "remove", "--yes"]).exits(0);
    is_gone(&host);
}

/// Nothing of --firewall is left.
fn is_gone(host: &Host) {
    let left = "nft list table inet wpgears_port; systemctl is-enabled wp-gears-firewall
        find /etc -name 'wp-gears-firewall*' -o -name port.nft -o -path '*nftables.service.d/*'";
    let out = host.shell(left);
    assert!(!out.stdout.contains("wp"), "{out}");
    assert!(!out.stdout.contains("enabled"), "{out}");
}

/// `--firewall` where another firewall drops what it does not admit itself.
struct Beside {
    /// Closes the port to all.
    closes: &'static str,
    reload: &'static str,
    /// An administrator opens the port to all.
    opens: &'static str,
    /// Takes out what our setup did.
    spoils: &'static str,
    /// Lists its rules.
    lists: &'static str,
}

impl Beside {
    fn is_tried_on(&self, host: &Host) {
        let only = |peer: &str, stranger: &str, when: &str| {
            assert!(reaches(host, peer), "the peer, {when}");
            assert!(!reaches(host, stranger), "somebody else, {when}");
            assert!(reaches(host, "127.0.0.1"), "this host, {when}");
        };
        let setup = |peers: &str| {
            let words = ["wp-gears", "setup", "--yes", "--firewall", peers];
            let out = host.run(&words).exits(0);
            println!("{out}");
            host.run(&["wp-gears", "plan", "--check"]).exits(0);
            host.run(&["wp-gears", "doctor"]).exits(0);
        };
        phase("beside it");
        host.shell(self.closes).ok();
        let before = host.shell(self.lists).ok();
        assert!(!reaches(host, "10.9.0.2"), "it closes the port");
        setup("10.9.0.2,10.9.0.64/26,fd00::/8");
        only("10.9.0.2", "10.9.0.3", "at first");
        host.shell(self.reload).ok();
        only("10.9.0.2", "10.9.0.3", "after a reload");
        host.run(&["wp-gears", "plan", "--check"]).exits(0);
        phase("opened, and spoiled");
        host.shell(self.opens).ok();
        only("10.9.0.2", "10.9.0.3", "although it is open");
        host.shell(self.closes).ok();
        host.shell(self.spoils).ok();
        assert!(!reaches(host, "10.9.0.2"), "spoiled");
        let doctor = host.run(&["wp-gears", "doctor", "port"]).exits(1);
        println!("{doctor}");
        host.run(&["wp-gears", "doctor", "port", "--fix", "--yes"])
            .exits(0);
        only("10.9.0.2", "10.9.0.3", "after doctor --fix");
        phase("another peer");
        setup("10.9.0.3");
        only("10.9.0.3", "10.9.0.2", "with another peer");
        phase("remove");
        host.run(&["wp-gears", "remove", "--yes"]).exits(0);
        assert_eq!(host.shell(self.lists).ok(), before);
        is_gone(host);
    }
}

#[test]
fn ufw_admits_only_named_peers() {
    // Someone had opened the port already.
    let host = admits_only_named_peers("ufw", "ufw --force enable; ufw allow 4730/tcp");
    let beside = Beside {
        closes: "ufw --force reset && ufw default deny incoming && ufw allow 22/tcp && ufw --force enable",
        reload: "ufw reload",
        opens: "ufw prepend allow 4730/tcp",
        spoils: "true",
        lists: "cat /etc/ufw/user.rules /etc/ufw/user6.rules && ufw status numbered",
    };
    beside.is_tried_on(&host);
}

#[test]
fn firewalld_admits_only_named_peers() {
    // The image lacks netbase, whose list of protocols it reads.
    let enable = "printf '%s\\n' 'icmp 1' 'igmp 2' 'tcp 6' 'udp 17' 'gre 47' 'esp 50' 'ah 51' \
        'ipv6-icmp 58' 'vrrp 112' 'sctp 132' >/etc/protocols
        systemctl restart firewalld && firewall-cmd --state";
    let host = exposed("firewalld", enable);
    let beside = Beside {
        closes: "firewall-cmd --permanent --add-service=ssh && firewall-cmd --permanent --remove-port=4730/tcp && firewall-cmd --reload",
        reload: "firewall-cmd --reload",
        opens: "firewall-cmd --permanent --add-port=4730/tcp && firewall-cmd --reload",
        spoils: "rm /etc/firewalld/policies/wp-gears.xml && firewall-cmd --reload",
        lists: "firewall-cmd --list-all-zones && firewall-cmd --list-all-policies && ls /etc/firewalld/policies",
    };
    beside.is_tried_on(&host);
}
