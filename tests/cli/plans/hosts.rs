//! The hosts: a fresh one of each release, and some that are unusual in one way.

use super::host::{COMMAND, Host};

/// Not from a package of the release itself.
const AN_ADDRESS: &str = "an address";

const DEBIAN_UNIT: &str = "[Service]\nType=forking\nEnvironmentFile=-/etc/default/gearman-job-server\nExecStart=/usr/sbin/gearmand --pid-file=/run/gearman/gearmand.pid $PARAMS\n";
const DEBIAN_DEFAULTS: &str = "PARAMS=\"--listen=localhost \\\n --daemon \\\n --log-file=/var/log/gearman-job-server/gearmand.log\"\n";
const EPEL_UNIT: &str = "[Service]\nType=forking\nEnvironmentFile=/etc/sysconfig/gearmand\nExecStart=/usr/sbin/gearmand -d --log-file none --syslog $OPTIONS\n";
const SUPERVISOR_UNIT: &str =
    "[Service]\nType=forking\nExecStart=/usr/bin/supervisord -c /etc/supervisord.conf\n";

pub fn hosts() -> Vec<Host> {
    let mut hosts = vec![
        Host::debian("debian-12", "8.2"),
        Host::debian("debian-13", "8.4").like("debian-12"),
        Host::debian("debian-15", "8.9").like("debian-12"),
        Host::debian("ubuntu-22.04", "8.1").like("debian-12"),
        Host::debian("ubuntu-24.04", "8.3").like("debian-12"),
        Host::debian("ubuntu-26.04", "8.5").like("debian-12"),
        Host::debian("linuxmint-22", "8.3").like("debian-12"),
        Host::debian("debian-11", "7.4")
            .only("debian-11")
            .like("debian-12"),
        Host::debian("ubuntu-20.04", "7.4")
            .only("debian-11")
            .like("debian-12"),
        Host::el("centos-7", "7", "7.4")
            .tables(&["remi-php74"])
            .epel("epel-7", "epel-release")
            .like("centos-stream-9"),
        Host::el("rhel-7", "7", "7.4")
            .tables(&["remi-php74"])
            .epel("epel-7", AN_ADDRESS)
            .like("rhel-9"),
        Host::el("rhel-8", "8", "7.2")
            .tables(&["rhel"])
            .epel("epel-8", AN_ADDRESS)
            .like("rhel-9"),
        Host::el("rhel-9", "9", "8.0")
            .tables(&["rhel"])
            .epel("epel-9", AN_ADDRESS)
            .like("centos-stream-9"),
        Host::el("rhel-10", "10", "8.3")
            .tables(&["rhel"])
            .epel("epel-10", AN_ADDRESS)
            .like("centos-stream-10"),
        Host::el("rhel-12", "12", "8.0")
            .tables(&["rhel"])
            .epel("epel-9", AN_ADDRESS)
            .like("rhel-9"),
        Host::el("fedora-40", "40", "8.3")
            .tables(&["fedora"])
            .like("centos-stream-9"),
        Host::el("fedora-42", "42", "8.4")
            .tables(&["fedora-42"])
            .like("centos-stream-10"),
        Host::el("amazon-2023", "2023", "8.4")
            .only("amazon")
            .epel("epel-8", "spal-release")
            .like("centos-stream-9"),
        Host::new("alpine", &[], "8.4"),
        Host::new("arch", &[], "8.4"),
        Host::new("opensuse-leap-15.6", &[], "8.4"),
    ];
    for release in ["centos-stream", "rocky", "almalinux"] {
        for (el, php, epel) in [
            ("8", "7.2", "epel-8"),
            ("9", "8.0", "epel-9"),
            ("10", "8.3", "epel-10"),
        ] {
            let like = match (release, el) {
                ("centos-stream", "8") => "centos-stream-9".into(),
                ("centos-stream", _) => String::new(),
                _ => format!("centos-stream-{el}"),
            };
            let host = Host::el(&format!("{release}-{el}"), el, php);
            hosts.push(host.epel(epel, "epel-release").like(&like));
        }
    }
    for (el, php, epel) in [("8", "7.2", "epel-8"), ("9", "8.0", "epel-9")] {
        let source = format!("oracle-epel-release-el{el}");
        let host = Host::el(&format!("oracle-{el}"), el, php).tables(&["oracle"]);
        let like = format!("centos-stream-{el}");
        hosts.push(host.epel(epel, &source).like(&like));
    }
    hosts.extend(odd_hosts());
    hosts
}

/// Hosts that are unusual in one way each.
fn odd_hosts() -> Vec<Host> {
    let centos = || Host::el("centos-stream-9", "9", "8.0");
    let with_epel = || centos().tables(&["epel-installed"]);
    vec![
        Host::debian("debian-12", "8.2")
            .but("without-systemd")
            .without_systemd(),
        Host::debian("debian-12", "8.2")
            .but("installed")
            .tables(&["debian-installed"])
            .file(
                "/usr/lib/systemd/system/gearman-job-server.service",
                DEBIAN_UNIT,
            )
            .file(
                "/etc/systemd/system/multi-user.target.wants/gearman-job-server.service",
                "",
            )
            .file("/etc/default/gearman-job-server", DEBIAN_DEFAULTS),
        Host::debian("debian-12", "8.2")
            .but("unit-without-options")
            .tables(&["debian-installed"])
            .file(
                "/usr/lib/systemd/system/gearman-job-server.service",
                &DEBIAN_UNIT.replace(" $PARAMS", ""),
            )
            .file("/etc/default/gearman-job-server", DEBIAN_DEFAULTS),
        Host::debian("debian-12", "8.2")
            .but("without-supervisor")
            .only("debian-bare"),
        Host::debian("ubuntu-24.04", "8.3")
            .but("without-universe")
            .only("ubuntu-main"),
        with_epel()
            .but("installed")
            .epel("epel-9", "epel-release")
            .tables(&["el-installed"])
            .file("/usr/lib/systemd/system/gearmand.service", EPEL_UNIT)
            .file(
                "/usr/lib/systemd/system/supervisord.service",
                SUPERVISOR_UNIT,
            )
            .file(
                "/etc/sysconfig/gearmand",
                "### Settings for gearmand\n# OPTIONS=\"\"\n",
            ),
        Host::el("centos-stream-9", "9", "8.2")
            .but("other-php")
            .tables(&["epel-installed"])
            .epel("epel-9", "epel-release"),
        Host::el("rocky-8", "8", "7.2")
            .but("pip")
            .tables(&["python36"])
            .epel("epel-8", "epel-release")
            .args(&["--supervisor", "pip"]),
        centos()
            .but("mysql")
            .epel("epel-9", "epel-release")
            .args(&["--queue", "mysql"]),
        Host::debian("debian-12", "8.2")
            .but("mysql")
            .args(&["--queue", "mysql"]),
        centos()
            .but("without-selinux")
            .epel("epel-9", "epel-release")
            .file("/selinux-is-off", ""),
        centos()
            .but("without-systemd")
            .epel("epel-9", "epel-release")
            .without_systemd(),
        Host::el("centos-7", "7", "7.4")
            .but("init-scripts")
            .tables(&["remi-php74", "epel-installed", "el-installed"])
            .epel("epel-7", "epel-release")
            .without_systemd()
            .file(
                "/etc/init.d/gearmand",
                "daemon --user=gearmand gearmand -d $OPTIONS\n",
            )
            .file("/etc/init.d/supervisord", "daemon supervisord\n")
            .file(
                "/etc/sysconfig/gearmand",
                "### Settings for gearmand\n# OPTIONS=\"\"\n",
            ),
        Host::el("centos-7", "7", "5.4")
            .but("first-php")
            .epel("epel-7", "epel-release"),
        Host::el("centos-stream-10", "10", "8.3")
            .but("third-party")
            .tables(&["third-party"])
            .epel("epel-10", "epel-release")
            .like("centos-stream-9"),
        Host::el("centos-stream-10", "10", "8.3")
            .but("other-server")
            .tables(&["third-party"])
            .epel("epel-10", "epel-release")
            .args(&[
                "--role",
                "worker,web",
                "--servers",
                "10.0.0.5:4730",
                "--no-start",
            ])
            .like("centos-stream-9-installed"),
        Host::el("fedora-42", "42", "8.4")
            .but("third-party")
            .tables(&["fedora-42", "third-party"])
            .like("fedora-40"),
        Host::el("almalinux-9", "9", "8.3")
            .but("remi")
            .tables(&["remi"])
            .epel("epel-9", "epel-release")
            .file("/opt/remi/php83/root/usr/bin/php", COMMAND)
            .file("/etc/opt/remi/php83/php.d/20-tokenizer.ini", "")
            .args(&["--php", "/opt/remi/php83/root/usr/bin/php"]),
    ]
}
