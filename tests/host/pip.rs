//! Hosts without a package of supervisor: it is installed in a virtual environment.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use crate::harness::command::run;
use crate::harness::{Host, Image, Release, Shape, Site, cache, debian, site};
use crate::phase::phase;
use crate::support::{daemons, everything, jobs_run, none, on_site, refused, wp_gears};

const WHEELS: &str = "/srv/wheels";
const UNIT: &str = "wp-gears-supervisor";
/// Pip's configuration, as an administrator would write it, for hosts without network.
const PIP_CONF: &str = "[global]\nno-index = true\nfind-links = /srv/wheels\n";

/// What pip would download, from this machine's own pip.
fn wheels() -> Result<PathBuf> {
    cache::entry("wheels", "supervisor 4.3.0", |folder| {
        let mut pip = std::process::Command::new("pip3");
        pip.args(["download", "--no-deps", "--dest"])
            .arg(folder)
            .arg("supervisor==4.3.0");
        run(pip, b"", Duration::from_secs(300)).check().map(drop)
    })
}

/// A host with a site and all packages except supervisor, which is unavailable.
fn without_supervisor(name: &str, shape: Shape) -> Host {
    let image = Image::site_made(Release::Bookworm, shape).unwrap();
    let bind = format!("{}:{WHEELS}:ro", wheels().unwrap().display());
    let host = Host::start(&image, name, shape, &[bind]).unwrap();
    host.install(wp_gears()).unwrap();
    let pin = "Package: supervisor\nPin: release *\nPin-Priority: -1\n";
    host.put("/etc/apt/preferences.d/withheld", pin, 0o644)
        .unwrap();
    let packages = ["gearman-job-server", "php-gearman", "python3-venv"];
    debian::install(&host, &packages).unwrap();
    host
}

/// Identifies the running supervisord, to detect a restart.
fn supervisord(host: &Host) -> Vec<(u32, u64)> {
    let found = host.processes_of("/opt/wp-gears/bin/supervisord");
    found.iter().map(|it| (it.pid, it.start)).collect()
}

#[test]
fn without_a_package_supervisor_comes_by_pip_and_goes_again() {
    let mut host = without_supervisor("pip", Shape::Booted);
    phase("setup without a package index fails");
    let etc = everything(&host);
    let failed = on_site(&host, "setup", &[]).exits(1);
    assert!(failed.stderr.contains("/etc/pip.conf"), "{failed}");

    phase("a wheel that somebody changed is not installed");
    host.shell(
        "mkdir /srv/changed; cd /srv/wheels; for wheel in *.whl; do (cat $wheel; echo) >/srv/changed/$wheel; done",
    )
    .ok();
    let changed = PIP_CONF.replace("/srv/wheels", "/srv/changed");
    host.put("/etc/pip.conf", changed, 0o644).unwrap();
    let failed = on_site(&host, "setup", &[]).exits(1);
    assert!(failed.stderr.contains("HASHES"), "{failed}");
    assert!(!host.exists("/opt/wp-gears/bin/supervisord"));
    host.run(&["rm", "/etc/pip.conf"]).ok();
    on_site(&host, "remove", &[]).exits(0);
    none(etc.changes_to(&everything(&host)), "left by a failed setup");

    phase("plan");
    host.put("/etc/pip.conf", PIP_CONF, 0o644).unwrap();
    let before = everything(&host);
    let plan = on_site(&host, "plan", &[]).exits(0);
    assert!(plan.stdout.contains("supervisor==4.3.0"), "{plan}");
    none(before.touches_to(&everything(&host)), "touched by plan");

    phase("setup");
    println!("{}", on_site(&host, "setup", &[]).exits(0).text());
    jobs_run(&Site::first(&host), 20);
    let socket = host.run(&["stat", "-c", "%U %a", "/run/wp-gears-supervisor.sock"]);
    assert_eq!(socket.ok().trim(), "root 700");

    phase("a second setup touches nothing");
    let (made, daemons_before) = (everything(&host), daemons(&host));
    let second = on_site(&host, "setup", &["-v"]).exits(0);
    none(made.touches_to(&everything(&host)), "touched by the second");
    assert_eq!(daemons_before, daemons(&host));
    for word in ["apt", "pip", "python"] {
        assert!(!second.stderr.contains(word), "runs {word}: {second}");
    }
    println!("second setup: {:.0?}", second.took);

    phase("jobs run after a reboot");
    host.reboot().unwrap();
    jobs_run(&Site::first(&host), 20);
    let package = ["--supervisor", "package"];
    let setup = ["wp-gears", "setup", "--site", site::FOLDER, "--yes"];
    refused(
        &host,
        &[&setup[..], &package].concat(),
        1,
        &["wp-gears remove"],
    );

    phase("another Python");
    // Python was upgraded, so what pip installed for the old one is not found.
    host.shell("mv /opt/wp-gears/lib/python3.* /opt/wp-gears/lib/python3.1")
        .ok();
    let running = supervisord(&host);
    on_site(&host, "setup", &[]).exits(0);
    assert_ne!(supervisord(&host), running);
    jobs_run(&Site::first(&host), 1);

    phase("remove");
    // A link is removed, its target is kept.
    host.shell("mkdir /srv/other && touch /srv/other/kept && ln -s /srv/other /opt/wp-gears/other")
        .ok();
    println!("{}", on_site(&host, "remove", &[]).exits(0).text());
    none(before.changes_to(&everything(&host)), "left by remove");
    assert!(host.exists("/srv/other/kept"));
    assert_eq!(supervisord(&host), []);
    let unit = host.run(&["systemctl", "is-active", UNIT]);
    assert_eq!(unit.stdout.trim(), "inactive");
}

#[test]
fn without_systemd_an_init_script_starts_it() {
    let host = without_supervisor("pip-sysv", Shape::Plain);
    site::start(&host).unwrap();
    host.put("/etc/pip.conf", PIP_CONF, 0o644).unwrap();
    let before = everything(&host);
    phase("setup");
    println!("{}", on_site(&host, "setup", &[]).exits(0).text());
    jobs_run(&Site::first(&host), 20);

    phase("a second setup touches nothing");
    let made = everything(&host);
    let running = supervisord(&host);
    on_site(&host, "setup", &[]).exits(0);
    none(made.touches_to(&everything(&host)), "touched by the second");
    assert_eq!(supervisord(&host), running);
    phase("the init script works");
    assert!(host.exists(&format!("/etc/rc2.d/S01{UNIT}")));
    for verb in ["status", "restart", "status"] {
        host.run(&["service", UNIT, verb]).exits(0);
    }
    // supervisord loses a TERM that arrives between fork and exec of a child, so stop it
    // only when the workers are running.
    jobs_run(&Site::first(&host), 2);
    host.run(&["service", UNIT, "stop"]).exits(0);
    host.run(&["service", UNIT, "status"]).exits(3);
    assert_eq!(supervisord(&host), []);
    on_site(&host, "setup", &[]).exits(0);
    jobs_run(&Site::first(&host), 1);

    phase("remove");
    on_site(&host, "remove", &[]).exits(0);
    none(before.changes_to(&everything(&host)), "left by remove");
    assert_eq!(supervisord(&host), []);
}
