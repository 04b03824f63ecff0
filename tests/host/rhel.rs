//! The RHEL-shaped hosts themselves: that they are what they claim.

use crate::harness::{Host, Site, rhel};

#[test]
fn a_rhel_shaped_host_has_dnf_and_no_apt() {
    let host = Host::boot(&rhel::site().unwrap(), "el").unwrap();
    let state = host.run(&["systemctl", "is-system-running"]).ok();
    assert_eq!(state.trim(), "running");
    for gone in ["apt-get", "apt", "dpkg", "dpkg-query", "update-rc.d"] {
        host.run(&["which", gone]).exits(1);
    }
    assert!(host.read("/etc/os-release").unwrap().contains("el9"));
    host.run(&["rpm", "-q", "gearmand", "supervisor", "php-pecl-gearman"])
        .exits(3);
    let repositories = host.run(&["dnf", "-q", "repolist"]).ok();
    for (name, there) in [
        ("baseos", true),
        ("appstream", true),
        ("extras", true),
        ("crb", false),
        ("epel", false),
    ] {
        assert_eq!(repositories.contains(name), there, "{repositories}");
    }
    let php = host.run(&["php", "--ini"]).ok();
    assert!(php.contains("in: /etc/php.d\n"), "{php}");
    assert!(php.contains("/etc/php.ini\n"), "{php}");
    host.run(&["test", "-L", "/usr/bin/php"]).exits(1);
    let (code, body) = Site::first(&host).get("http://localhost/");
    assert_eq!(code, 200, "{body}");
    assert!(body.contains("<title>Test</title>"), "{body}");
}

#[test]
fn epel_brings_gearman_to_a_rhel_shaped_host() {
    let mut host = Host::boot(&rhel::site().unwrap(), "epel").unwrap();
    let refused = host.run(&["dnf", "-y", "install", "gearmand"]).exits(1);
    assert!(refused.text().contains("gearmand"), "{refused}");
    host.run(&["yum", "-y", "install", "epel-release"]).ok();
    rhel::install(&host, &rhel::OURS).unwrap();
    for unit in ["gearmand", "supervisord"] {
        host.run(&["systemctl", "is-active", unit]).exits(3);
        host.run(&["systemctl", "is-enabled", unit]).exits(1);
        host.run(&["systemctl", "enable", "--now", unit]).ok();
    }
    host.reboot().unwrap();
    for unit in ["gearmand", "supervisord"] {
        let active = host.run(&["systemctl", "is-active", unit]).ok();
        assert_eq!(active, "active\n");
    }
    let listening = host.run(&["ss", "-Hltn", "sport = :4730"]).ok();
    assert!(listening.contains("0.0.0.0:4730"), "{listening}");
    host.run(&["supervisorctl", "status"]).ok();

    let loaded = "if (!extension_loaded('gearman') || !function_exists('pcntl_fork')) exit(9);";
    host.run(&["php", "-r", loaded]).ok();
    let page = "<?php echo extension_loaded('gearman') ? 'loaded' : 'missing';";
    host.put("/var/www/site/loaded.php", page, 0o644).unwrap();
    host.run(&["systemctl", "restart", "php-fpm"]).ok();
    let answer = Site::first(&host).get("http://localhost/loaded.php");
    assert_eq!(answer, (200, "loaded".into()));

    host.run(&["dnf", "-y", "remove", "gearmand", "supervisor"])
        .ok();
    assert!(!host.exists("/usr/sbin/gearmand"));
    host.run(&["systemctl", "is-active", "gearmand"]).exits(3);
}
