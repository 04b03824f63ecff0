//! An old host of the RHEL family: yum instead of dnf, and init scripts with chkconfig
//! instead of systemd. The init scripts are stand-ins for those of EPEL 6.

use crate::harness::{Host, Shape, Site, rhel, site};
use crate::phase::phase;
use crate::support::{daemons, everything, jobs_run, none, on_site, refused, web_has_it, wp_gears};

const GEARMAND: &str = r#"#!/bin/sh
# chkconfig: 345 85 15
. /etc/sysconfig/gearmand
pid() { pgrep -U gearmand -x gearmand; } # not this script, which has that name too
case $1 in
start) pid >/dev/null || runuser -u gearmand -- /usr/sbin/gearmand -d --log-file none --syslog $OPTIONS ;;
stop) pkill -U gearmand -x gearmand; while pid >/dev/null; do sleep 0.1; done ;;
restart) "$0" stop; exec "$0" start ;;
status) pid ;;
*) exit 2 ;;
esac
"#;

const SUPERVISORD: &str = r#"#!/bin/sh
# chkconfig: 345 85 15
pid() { pgrep -f /usr/bin/supervisord; }
mkdir -p /run/supervisor
case $1 in
start) pid >/dev/null || /usr/bin/supervisord -c /etc/supervisord.conf ;;
stop) pkill -f /usr/bin/supervisord; while pid >/dev/null; do sleep 0.1; done ;;
restart) "$0" stop; exec "$0" start ;;
status) pid ;;
*) exit 2 ;;
esac
"#;

/// CentOS 7's os-release, folders of init scripts, and the services of a site.
const TURN: &str = r#"
rm /usr/bin/dnf
sed -i 's/^VERSION_ID=.*/VERSION_ID="7"/; s/^NAME=.*/NAME="CentOS Linux"/' /usr/lib/os-release
rmdir /etc/init.d && ln -s rc.d/init.d /etc/init.d
for level in 0 1 2 3 4 5 6; do
    rm -rf /etc/rc$level.d
    mkdir -p /etc/rc.d/rc$level.d
    ln -s rc.d/rc$level.d /etc/rc$level.d
done
install -d -o mysql /run/mysqld
install -d /run/php-fpm
nohup mariadbd --user=mysql >/dev/null 2>&1 &
php-fpm
nginx
until mysqladmin ping >/dev/null 2>&1; do sleep 0.1; done
"#;

#[test]
fn yum_and_chkconfig_do_what_dnf_and_systemd_do() {
    let image = rhel::site().unwrap();
    let host = Host::start(&image, "yum", Shape::Plain, &[]).unwrap();
    host.install(wp_gears()).unwrap();
    host.shell(TURN).ok();
    assert_eq!(Site::first(&host).get("http://localhost/").0, 200);

    phase("without init scripts");
    // With neither systemd nor an init script, nothing could start them.
    let setup = ["wp-gears", "setup", "--site", site::FOLDER, "--yes"];
    refused(&host, &setup, 1, &["init script"]);
    for (name, script) in [("gearmand", GEARMAND), ("supervisord", SUPERVISORD)] {
        host.put(&format!("/etc/rc.d/init.d/{name}"), script, 0o755)
            .unwrap();
        host.run(&["chkconfig", name, "off"]).ok();
    }
    phase("setup");
    let before = host.tree(&["/etc/rc.d", "/var/www", "/etc/yum.repos.d"]);
    let setup = on_site(&host, "setup", &["-v"]).exits(0);
    for command in [
        "$ yum",
        "$ chkconfig gearmand on",
        "$ service supervisord start",
    ] {
        assert!(setup.stderr.contains(command), "{command}: {setup}");
    }
    assert!(!setup.stderr.contains("systemctl"), "{setup}");
    jobs_run(&Site::first(&host), 20);
    assert!(web_has_it(&host));
    for name in ["gearmand", "supervisord"] {
        let levels = host.run(&["chkconfig", "--list", name]).ok();
        assert!(levels.contains("3:on"), "{levels}");
    }

    phase("a second setup touches nothing");
    let (files, running) = (everything(&host), daemons(&host));
    let second = on_site(&host, "setup", &["-v"]).exits(0);
    none(files.touches_to(&everything(&host)), "touched by a second");
    assert_eq!(running, daemons(&host));
    assert!(!second.stderr.contains("$ yum"), "{second}");

    phase("remove");
    println!("{}", on_site(&host, "remove", &["--purge"]).exits(0).text());
    assert!(!web_has_it(&host));
    let after = host.tree(&["/etc/rc.d", "/var/www", "/etc/yum.repos.d"]);
    none(before.changes_to(&after), "left by remove");
    for name in ["gearmand", "supervisord", "wp-gears"] {
        assert_eq!(host.processes_of(name), []);
    }
    host.run(&["rpm", "-q", "gearmand", "epel-release"])
        .exits(2);
    assert_eq!(Site::first(&host).get("http://localhost/").0, 200);
}
