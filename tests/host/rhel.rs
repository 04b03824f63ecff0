//! Tests the RHEL-shaped hosts themselves.

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

#[test]
fn a_rhel_shaped_host_with_packages_has_them_untouched() {
    let host = Host::boot(&rhel::with_packages().unwrap(), "el-ready").unwrap();
    host.run(&[&["rpm", "-V"], &rhel::OURS[..]].concat()).ok();
    for unit in ["gearmand", "supervisord"] {
        host.run(&["systemctl", "is-active", unit]).exits(3);
    }
    host.run(&["id", "www-data"]).exits(1);

    // CRB is enabled as on CentOS, and as on a subscribed RHEL.
    let wheel = ["dnf", "-q", "repoquery", "--available", "python3-wheel"];
    let crb = |verb: &str| host.run(&["crb", verb]).ok();
    assert_eq!(host.run(&wheel).ok(), "");
    crb("enable");
    assert!(host.run(&wheel).ok().contains("el9"));
    crb("disable");
    rhel::put_subscription_manager(&host).unwrap();
    let name = "codeready-builder-for-rhel-9-x86_64-rpms";
    host.run(&["subscription-manager", "repos", "--enable", name])
        .ok();
    assert!(host.run(&wheel).ok().contains("el9"));
}

#[test]
fn the_stand_in_for_selinux_keeps_its_booleans() {
    let host = Host::boot(&rhel::base().unwrap(), "selinux").unwrap();
    let name = "httpd_can_network_connect";
    assert_eq!(host.run(&["getenforce"]).ok(), "Disabled\n");
    host.run(&["getsebool", name]).exits(1);
    host.run(&["setsebool", "-P", name, "on"]).exits(1);
    rhel::set_selinux(&host, "Enforcing").unwrap();
    assert_eq!(host.run(&["getenforce"]).ok(), "Enforcing\n");
    let off = format!("{name} --> off\n");
    assert_eq!(host.run(&["getsebool", name]).ok(), off);
    host.run(&["setsebool", "-P", name, "on"]).ok();
    assert_eq!(
        host.run(&["getsebool", name]).ok(),
        off.replace("off", "on")
    );
    host.run(&["restorecon", "-R", "/var/lib/gearmand"]).ok();
    let log = host.read(rhel::SELINUX_LOG).unwrap();
    assert!(log.ends_with("restorecon -R /var/lib/gearmand\n"), "{log}");
}

#[test]
fn a_rhel_shaped_host_compiles_extensions() {
    let host = Host::boot(&rhel::base().unwrap(), "pecl").unwrap();
    rhel::install(&host, &["php-devel", "php-pear"]).unwrap();
    let config = "PHP_ARG_ENABLE(tiny, tiny, [--enable-tiny])\n\
        PHP_NEW_EXTENSION(tiny, tiny.c, $ext_shared)\n";
    let code = "#include \"php.h\"\n\
        zend_module_entry tiny_module_entry = {STANDARD_MODULE_HEADER, \"tiny\", NULL, NULL,\n\
        NULL, NULL, NULL, NULL, \"1\", STANDARD_MODULE_PROPERTIES};\nZEND_GET_MODULE(tiny)\n";
    host.put("/root/tiny/config.m4", config, 0o644).unwrap();
    host.put("/root/tiny/tiny.c", code, 0o644).unwrap();
    host.shell("cd /root/tiny; phpize; ./configure; make; make install")
        .ok();
    let modules = host.run(&["php", "-d", "extension=tiny", "-m"]).ok();
    assert!(modules.contains("\ntiny\n"), "{modules}");
    let program = host.run(&["php-config", "--php-binary"]).ok();
    assert_eq!(program, "/usr/bin/php\n");
    host.run(&["pecl", "version"]).ok();
}
