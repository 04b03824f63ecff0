//! Hosts of the RHEL family with other packages: a unit with its own options, and a
//! PHP alongside the distribution's, like Remi's.

use crate::harness::{Host, Site, rhel, site};
use crate::support::{
    PortWatch, a_page_hands_in_a_job, daemons, everything, host_of, jobs_run, none, on_site,
    web_has_it,
};

/// Command lines of gearmand's unit: one that conflicts with our options, and one that
/// reads no options file.
const COMMANDS: [&str; 2] = [
    "/usr/sbin/gearmand -d --log-file none --syslog --listen=0.0.0.0 -q builtin $OPTIONS",
    "/usr/sbin/gearmand -d --syslog --log-file=none --threads=2",
];

/// A PHP 8.2 with Remi's paths that serves the site, packages for it in a repository,
/// and the distribution's own PHP without the extension.
const REMI: &str = r#"
home=/opt/remi/php82/root etc=/etc/opt/remi/php82
mkdir -p $home/usr/bin $etc/php.d $etc/php-fpm.d /root/files /srv/remi
cp "$(php -r 'echo ini_get("extension_dir");')"/{gearman,posix}.so /root/files
cp /etc/php.d/50-gearman.ini /etc/php.d/20-posix.ini /root/files
dnf -q -y remove php-pecl-gearman php-process
cp /etc/php.d/* $etc/php.d

printf '#!/bin/sh\nPHP_INI_SCAN_DIR=%s/php.d exec /usr/bin/php "$@"\n' $etc >$home/usr/bin/php
chmod +x $home/usr/bin/php
printf 'include=%s/php-fpm.d/*.conf\n[global]\nerror_log=/var/log/php-fpm/82.log\n' $etc >$etc/php-fpm.conf
mv /etc/php-fpm.d/site.conf $etc/php-fpm.d
cat >/etc/systemd/system/php82-php-fpm.service <<END
[Service]
Type=notify
Environment=PHP_INI_SCAN_DIR=$etc/php.d
ExecStart=/usr/sbin/php-fpm --nodaemonize --fpm-config $etc/php-fpm.conf
ExecReload=/bin/kill -USR2 \$MAINPID
[Install]
WantedBy=multi-user.target
END
systemctl daemon-reload
systemctl restart php-fpm
systemctl enable -q --now php82-php-fpm

lib=$(php -r 'echo ini_get("extension_dir");')
for one in pecl-gearman:gearman process:posix; do
    name=php82-php-${one%:*} so=${one#*:}
    cat >/root/$name.spec <<END
Name: $name
Version: 1
Release: 1.el9.remi
Summary: Made for a test
License: as its files say
AutoReqProv: no
%description
Made for a test.
%install
mkdir -p %{buildroot}$lib %{buildroot}$etc/php.d
cp /root/files/$so.so %{buildroot}$lib
cp /root/files/*-$so.ini %{buildroot}$etc/php.d
%files
$lib/$so.so
$etc/php.d
END
    rpmbuild --quiet --define '_rpmdir /srv/remi' --define '__os_install_post %{nil}' \
        --define 'debug_package %{nil}' -bb /root/$name.spec
done
createrepo_c --quiet /srv/remi
printf '[remi]\nname=remi\nbaseurl=file:///srv/remi\ngpgcheck=0\n' >/etc/yum.repos.d/remi.repo
"#;

#[test]
fn other_layouts_than_epels_are_served_too() {
    let host = host_of(&rhel::with_packages().unwrap(), "layouts");
    for command in COMMANDS {
        options_in_the_unit(&host, command);
    }
    a_php_of_its_own_places(&host);
}

fn options_in_the_unit(host: &Host, command: &str) {
    let unit = "/usr/lib/systemd/system/gearmand.service";
    host.shell(&format!(
        "sed -i 's|^ExecStart=.*|ExecStart={command}|' {unit}; systemctl daemon-reload"
    ))
    .ok();
    let before = everything(host);
    let port = PortWatch::start(host);
    on_site(host, "setup", &[]).exits(0);
    port.saw_loopback_alone();
    jobs_run(&Site::first(host), 3);
    let running = host.processes_of("gearmand -d");
    assert!(
        running.iter().any(|it| it.command.contains("libsqlite3")),
        "{running:?}"
    );
    for kept in ["--syslog", "--threads=2"] {
        let is_there = running.iter().any(|it| it.command.contains(kept));
        assert_eq!(is_there, command.contains(kept), "{running:?}");
    }

    let (made, daemons_before) = (everything(host), daemons(host));
    on_site(host, "setup", &[]).exits(0);
    none(made.touches_to(&everything(host)), "touched by a second");
    assert_eq!(daemons_before, daemons(host));
    on_site(host, "remove", &["--purge"]).exits(0);
    none(before.changes_to(&everything(host)), "left by remove");
    host.run(&["rpm", "-q", "gearmand", "epel-release"])
        .exits(0);
}

fn a_php_of_its_own_places(host: &Host) {
    host.run(&["bash", "-ec", REMI]).ok();
    assert!(!web_has_it(host));
    let (before, own) = (everything(host), host.tree(&["/etc/php.d"]));
    let plan = on_site(host, "plan", &[]).exits(0);
    for name in ["php82-php-pecl-gearman", "php82-php-process"] {
        assert!(plan.stdout.contains(name), "{plan}");
    }
    on_site(host, "setup", &[]).exits(0);
    a_page_hands_in_a_job(host);
    none(
        own.changes_to(&host.tree(&["/etc/php.d"])),
        "changed of its own PHP",
    );
    let settings = host
        .read("/var/lib/wp-gears/run/site.settings.toml")
        .unwrap();
    assert!(
        settings.contains("php = \"/opt/remi/php82/root/usr/bin/php\""),
        "{settings}"
    );
    let second = on_site(host, "setup", &["-v"]).exits(0);
    for word in ["$ dnf", "/php"] {
        assert!(!second.stderr.contains(word), "runs {word}: {second}");
    }
    on_site(host, "remove", &["--purge"]).exits(0);
    none(before.changes_to(&everything(host)), "left by remove");
    assert!(!host.exists(&format!("{}/wp-gears-runner.php", site::FOLDER)));
}
