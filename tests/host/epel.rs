//! Setup on hosts of the RHEL family: what differs from Debian, and that everything is
//! restored.

use crate::harness::{Host, Site, Tree, rhel, site};
use crate::phase::phase;
use crate::support::{
    a_page_hands_in_a_job, daemons, everything, host_of, jobs_run, none, on_site, web_has_it,
};

/// Serves its folder by https.
const IMPOSTOR: &str = r#"
import http.server, ssl
server = http.server.ThreadingHTTPServer(('127.0.0.1', 443), http.server.SimpleHTTPRequestHandler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('/root/cert.pem', '/root/key.pem')
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"#;

/// Packages leave their users behind.
fn all_but_users(host: &Host) -> Tree {
    let mut tree = everything(host);
    for file in ["passwd", "group", "shadow", "gshadow", "subuid", "subgid"] {
        for ending in ["", "-"] {
            tree = tree.without(&format!("/etc/{file}{ending}"));
        }
    }
    tree
}

fn packages(host: &Host) -> Vec<String> {
    let all = host.run(&["rpm", "-qa"]).ok();
    let mut lines: Vec<String> = all.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn selinux_and_epel_are_set_up_and_given_back() {
    let host = host_of(&rhel::site().unwrap(), "selinux");
    rhel::set_selinux(&host, "Enforcing").unwrap();
    let (before, packages_before) = (all_but_users(&host), packages(&host));
    phase("plan");
    let boolean = "SELinux boolean httpd_can_network_connect";
    let plan = on_site(&host, "plan", &[]).exits(0);
    for part in [
        boolean,
        "repository EPEL",
        "php-pecl-gearman",
        "php-process",
    ] {
        assert!(plan.stdout.contains(part), "{part}: {plan}");
    }
    let log = || host.read(rhel::SELINUX_LOG).unwrap_or_default();
    assert_eq!(log(), "");

    phase("setup");
    on_site(&host, "setup", &[]).exits(0);
    let made = log();
    assert!(
        made.contains("setsebool -P httpd_can_network_connect on\n"),
        "{made}"
    );
    for folder in [
        "/var/lib/gearmand",
        "/usr/local/lib/wp-gears",
        "/var/log/wp-gears",
        "/var/lib/wp-gears/run/site",
        "/etc/systemd/system/gearmand.service.d",
    ] {
        assert!(made.contains(&format!("restorecon {folder}\n")), "{made}");
    }

    phase("a page submits a job");
    // The web's PHP loaded the extension without being asked.
    a_page_hands_in_a_job(&host);

    phase("a second setup");
    // Workers can do without the package for forks, so it is not requested again.
    host.run(&["rpm", "-e", "php-process"]).ok();
    let (files, running) = (everything(&host), daemons(&host));
    let second = on_site(&host, "setup", &["-v"]).exits(0);
    none(files.touches_to(&everything(&host)), "touched by a second");
    assert_eq!((running, made), (daemons(&host), log()));
    for word in ["$ dnf", "$ setsebool", "$ restorecon", "$ php"] {
        assert!(!second.stderr.contains(word), "runs {word}: {second}");
    }
    assert!(second.stderr.contains("$ getsebool"), "{second}");

    phase("remove");
    println!("{}", on_site(&host, "remove", &["--purge"]).exits(0).text());
    assert!(!web_has_it(&host));
    assert!(log().ends_with("setsebool -P httpd_can_network_connect off\n"));
    none(before.changes_to(&all_but_users(&host)), "left by remove");
    assert_eq!(packages_before, packages(&host));
    for folder in [
        "/var/lib/gearmand",
        "/var/log/wp-gears",
        "/var/lib/wp-gears",
    ] {
        assert!(!host.exists(folder), "{folder} is left");
    }
}

#[test]
fn what_a_person_brought_of_epel_stays_and_rhels_builder_goes_off_again() {
    let host = host_of(&rhel::site().unwrap(), "rhel");
    host.shell(
        r#"sed -i 's/^ID=.*/ID="rhel"/; s/^ID_LIKE=.*/ID_LIKE="fedora"/' /usr/lib/os-release
        printf '[%s]\nname=Builder\nbaseurl=file:///srv/packages/crb\ngpgcheck=0\nenabled=0\n' \
            codeready-builder-for-rhel-9-x86_64-rpms >/etc/yum.repos.d/redhat.repo"#,
    )
    .ok();
    phase("EPEL cannot be reached");
    // Its own EPEL is a URL, which cannot be reached from here.
    let setup = ["wp-gears", "setup", "--site", site::FOLDER, "--yes"];
    let builder = || {
        let list = host.run(&["dnf", "-q", "repolist", "--enabled"]).ok();
        list.contains("codeready-builder")
    };
    let failed = host.run(&setup).exits(1);
    for word in [
        "EPEL",
        "epel-release-latest-9.noarch.rpm",
        "dl.fedoraproject.org",
    ] {
        assert!(failed.stderr.contains(word), "{failed}");
    }
    on_site(&host, "remove", &["--purge"]).exits(0);
    assert!(!builder());

    phase("another server than EPEL's, with a package of its own");
    // Everything trusts its certificate, as that of a company's proxy.
    host.put("/root/serve.py", IMPOSTOR, 0o600).unwrap();
    host.shell(
        "mkdir -p /srv/web/pub/epel; cd /srv/web/pub/epel
        cp $(find /srv/packages -name 'epel-release-*.rpm') epel-release-latest-9.noarch.rpm
        echo another >RPM-GPG-KEY-EPEL-9
        cd /root
        openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=dl.fedoraproject.org \\
            -addext subjectAltName=DNS:dl.fedoraproject.org -keyout key.pem -out cert.pem
        mkdir -p /etc/ssl/certs; cat cert.pem >>/etc/ssl/certs/ca-certificates.crt
        echo 127.0.0.1 dl.fedoraproject.org >>/etc/hosts
        systemd-run --unit=impostor -p WorkingDirectory=/srv/web python3 /root/serve.py
        for try in $(seq 100); do
            curl -sf https://dl.fedoraproject.org/pub/epel/RPM-GPG-KEY-EPEL-9 && exit; sleep 0.1
        done; exit 1",
    )
    .ok();
    let failed = host.run(&setup).exits(1);
    assert!(
        failed.stderr.contains("its SHA-256 checksum is"),
        "{failed}"
    );
    assert_ne!(host.run(&["rpm", "-q", "epel-release"]).code, 0);
    assert_ne!(host.run(&["rpm", "-q", "gpg-pubkey"]).code, 0);
    on_site(&host, "remove", &["--purge"]).exits(0);
    assert!(!builder());
    host.shell("systemctl stop impostor; sed -i '/fedoraproject/d' /etc/hosts")
        .ok();

    phase("setup with EPEL of an administrator");
    rhel::install(&host, &["epel-release"]).unwrap();
    // A boolean that was already on is not reverted; permissive mode is only temporary.
    rhel::set_selinux(&host, "Permissive").unwrap();
    let boolean = ["httpd_can_network_connect", "on"];
    host.run(&[&["setsebool", "-P"], &boolean[..]].concat())
        .ok();
    let (before, packages_before) = (all_but_users(&host), packages(&host));
    let plan = on_site(&host, "plan", &[]).exits(0);
    assert!(plan.stdout.contains("codeready-builder"), "{plan}");
    assert!(!plan.stdout.contains("SELinux"), "{plan}");
    on_site(&host, "setup", &[]).exits(0);
    assert!(builder());
    jobs_run(&Site::first(&host), 3);
    on_site(&host, "plan", &["--check"]).exits(0);

    phase("remove");
    on_site(&host, "remove", &["--purge"]).exits(0);
    assert!(!builder());
    let now = host.run(&["getsebool", "httpd_can_network_connect"]).ok();
    assert!(now.ends_with("on\n"), "{now}");
    none(before.changes_to(&all_but_users(&host)), "left by remove");
    assert_eq!(packages_before, packages(&host));
}
