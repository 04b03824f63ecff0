//! The commands that setup prints for an exposed job server, run for real: they admit
//! only the peers that they name.

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

fn admits_only_named_peers(package: &str, enable: &str) {
    let image = Image::with_packages(Release::Bookworm).unwrap();
    let bind = format!(
        "{}:/srv/{package}:ro",
        packages_with(package).unwrap().display()
    );
    let host = Host::start(&image, package, Shape::Booted, &[bind]).unwrap();
    host.install(wp_gears()).unwrap();
    let source = format!("deb [trusted=yes] file:/srv/{package} ./\n");
    host.put(
        &format!("/etc/apt/sources.list.d/{package}.list"),
        source,
        0o644,
    )
    .unwrap();
    let install = format!("apt-get update && apt-get install -y --no-install-recommends {package}");
    host.shell(&install).ok();
    host.shell(enable).ok();
    host.shell(NEIGHBOUR).ok();

    phase("exposed");
    let setup = [
        "wp-gears", "setup", "--role", "server", "--listen", "0.0.0.0", "--expose", "--yes",
    ];
    host.run(&setup).exits(0);
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
}

#[test]
fn nft_admits_only_named_peers() {
    admits_only_named_peers("nftables", "true");
}

#[test]
fn ufw_admits_only_named_peers() {
    // Someone had opened the port already.
    admits_only_named_peers("ufw", "ufw --force enable; ufw allow 4730/tcp");
}
