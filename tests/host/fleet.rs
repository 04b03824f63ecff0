//! A fleet: a job server, a host with workers and one with pages, on a network of their
//! own.

use std::time::{Duration, Instant};

use crate::harness::{Host, Image, Out, Release, Shape, Site, Switch, site};
use crate::phase::phase;
use crate::support::{packages_with, ready_host, until, wp_gears};

const SERVER: u8 = 1;
const WEB: u8 = 2;
const WORKER: u8 = 3;
const SECOND: u8 = 4;

const SALT: &str = "salt-of-the-fleet";

/// Lets the other hosts use this one's database.
pub fn share_database(web: &Host) {
    web.shell(
        "printf '[mysqld]\\nbind-address = 0.0.0.0\\n' >/etc/mysql/mariadb.conf.d/99-fleet.cnf
         systemctl restart mariadb
         mysql -e \"CREATE USER site@'10.77.0.%' IDENTIFIED BY 'pw-site'; GRANT ALL ON site.* TO site@'10.77.0.%'\"",
    )
    .ok();
}

/// A host that has the site's files, and neither its pages nor its database.
pub fn use_database(host: &Host) {
    host.shell(&format!(
        "systemctl disable --now mariadb nginx 2>/dev/null
         sed -i \"s/'DB_HOST', *'localhost'/'DB_HOST', '10.77.0.{WEB}'/\" {}/wp-config.php
         grep -q 10.77.0.{WEB} {0}/wp-config.php",
        site::FOLDER
    ))
    .ok();
}

fn setup(host: &Host, words: &[&str]) -> Out {
    let out = host.run(&[&["wp-gears", "setup", "--yes"], words].concat());
    let out = out.exits(0);
    // Setup and doctor agree, and a second setup has nothing to do.
    host.run(&["wp-gears", "doctor"]).exits(0);
    host.run(&["wp-gears", "plan", "--check"]).exits(0);
    out
}

fn of_site(host: &Host, role: &str) -> Out {
    let site = ["--servers", "10.77.0.1:4730", "--site", site::FOLDER];
    setup(
        host,
        &[&["--role", role, "--salt", SALT], &site[..]].concat(),
    )
}

#[test]
fn each_role_proves_its_part() {
    let switch = Switch::new().unwrap();
    let server = ready_host("fleet-server");
    let web = ready_host("fleet-web");
    let worker = ready_host("fleet-worker");
    switch.connect(&server, SERVER, "jobs1").unwrap();
    switch.connect(&web, WEB, "web1").unwrap();
    switch.connect(&worker, WORKER, "worker1").unwrap();
    share_database(&web);
    use_database(&worker);

    phase("the job server");
    let out = setup(&server, &["--role", "server", "--listen", "10.77.0.1"]);
    assert!(
        out.text().contains("a job went through 10.77.0.1:4730"),
        "{out}"
    );
    let status = server.run(&["wp-gears", "status", "--json"]).ok();
    assert!(!status.contains("wp-gears-test"), "{status}");

    phase("pages, before any worker is there");
    let out = of_site(&web, "web");
    assert!(
        out.text()
            .contains("no other host has workers for this site yet"),
        "{out}"
    );

    phase("workers, with what the host with pages exports");
    web.run(&["wp-gears", "setup", "--export", "/root/fleet"])
        .exits(0);
    for (name, mode) in [("wp-gears.toml", 0o644), ("wp-gears.secrets.toml", 0o600)] {
        let file = format!("/root/fleet/{name}");
        let text = web.read(&file).unwrap();
        assert_eq!(text.contains(SALT), mode == 0o600, "{text}");
        worker.put(&file, text, mode).unwrap();
    }
    let out = setup(&worker, &["--role", "worker", "--from", "/root/fleet"]);
    worker.run(&["rm", "-r", "/root/fleet"]).ok();
    assert!(
        out.text().contains("ran a test job through WordPress"),
        "{out}"
    );

    phase("pages");
    let out = web.run(&["wp-gears", "setup", "--yes", "--prove"]).exits(0);
    assert!(out.text().contains("done on worker1 after"), "{out}");
    let out = web.run(&["wp-gears", "doctor", "job"]).exits(0);
    assert!(out.text().contains("done on worker1 after"), "{out}");
    let left = web.shell("mysql -N site -e \"SELECT option_name FROM wp_options WHERE option_name LIKE 'wp_gears%'\"").ok();
    assert_eq!(left.trim(), "");

    phase("a page's job");
    let page = format!("{}/send.php", site::FOLDER);
    let text = "<?php require 'wp-load.php'; echo wp_async_task_add('test_job', ['n' => 7]) ? 'sent' : 'not sent';";
    web.put(&page, text, 0o644).unwrap();
    let answer = Site::first(&web).get("http://localhost/send.php");
    assert_eq!(answer, (200, "sent".into()));
    let there = Site::first(&worker);
    assert_eq!(there.wait_for(1, Duration::from_secs(20)), [7]);

    phase("one file for all");
    let shared = format!(
        "servers = [\"10.77.0.1:4730\"]\n\n[[site]]\ndir = {:?}\n\n\
         [[host]]\nmatch = \"jobs?\"\nrole = [\"server\"]\nlisten = \"10.77.0.1\"\n\n\
         [[host]]\nmatch = \"web1\"\nrole = [\"web\"]\n\n\
         [[host]]\nmatch = \"work*\"\nrole = [\"worker\"]\n",
        site::FOLDER
    );
    for host in [&server, &web, &worker] {
        host.put("/etc/wp-gears.toml", &shared, 0o644).unwrap();
        host.run(&["wp-gears", "plan", "--check"]).exits(0);
        host.run(&["wp-gears", "doctor"]).exits(0);
    }
    let more = ["wp-gears", "setup", "--yes", "--site", site::FOLDER];
    worker
        .run(&[&more[..], &["--workers", "3"]].concat())
        .exits(0);
    let written = worker.read("/etc/wp-gears.toml").unwrap();
    let (left, own) = written.split_at(shared.len());
    assert_eq!(left, shared);
    assert!(
        own.contains("match = \"worker1\"") && own.contains("workers = 3"),
        "{own}"
    );
    worker.run(&["wp-gears", "plan", "--check"]).exits(0);

    phase("the worker's host is away");
    switch.cut(WORKER, true).unwrap();
    web.run(&["wp-gears", "doctor", "job"]);
    switch.cut(WORKER, false).unwrap();
}

/// Both hosts' jobs, in order.
fn done_on(hosts: [&Host; 2]) -> Vec<u32> {
    let mut all: Vec<u32> = hosts
        .iter()
        .flat_map(|host| Site::first(host).done())
        .collect();
    all.sort_unstable();
    all
}

fn busy(host: &Host) -> u64 {
    let status = host.run(&["wp-gears", "status", "--json"]).stdout;
    let document: serde_json::Value = serde_json::from_str(&status).unwrap_or_default();
    document["sites"][0]["busy"].as_u64().unwrap_or(0)
}

#[test]
fn two_worker_hosts_share_a_site() {
    let switch = Switch::new().unwrap();
    let server = ready_host("fleet2-server");
    let web = ready_host("fleet2-web");
    let one = ready_host("fleet2-one");
    let two = ready_host("fleet2-two");
    switch.connect(&server, SERVER, "jobs1").unwrap();
    switch.connect(&web, WEB, "web1").unwrap();
    switch.connect(&one, WORKER, "worker1").unwrap();
    switch.connect(&two, SECOND, "worker2").unwrap();
    share_database(&web);
    use_database(&one);
    setup(&server, &["--role", "server", "--listen", "10.77.0.1"]);
    of_site(&web, "web");
    let workers = |host: &Host| {
        let site = ["--servers", "10.77.0.1:4730", "--site", site::FOLDER];
        let words = [
            "wp-gears", "setup", "--yes", "--role", "worker", "--salt", SALT,
        ];
        host.run(&[&words[..], &site, &["--workers", "4"]].concat())
    };

    phase("the first worker host");
    workers(&one).exits(0);

    phase("a copy of the site is refused");
    let out = workers(&two).exits(1);
    assert!(
        out.text().contains("with another database (worker1/"),
        "{out}"
    );

    phase("a second host of the site joins");
    use_database(&two);
    let out = workers(&two).exits(0);
    let joins = "already run on worker1, with the same database: this host joins them";
    assert!(out.text().contains(joins), "{out}");
    for host in [&server, &web, &one, &two] {
        host.run(&["wp-gears", "plan", "--check"]).exits(0);
        host.run(&["wp-gears", "doctor"]).exits(0);
    }
    let out = one.run(&["wp-gears", "doctor", "fleet"]).exits(0);
    assert!(out.text().contains("jobs run on worker2 too"), "{out}");

    phase("each job runs once, on one of the hosts");
    let began = Instant::now();
    Site::first(&web).send(1, 2000, 0.0).exits(0);
    until(120, "2,000 jobs", || done_on([&one, &two]).len() >= 2000);
    let done = done_on([&one, &two]);
    assert_eq!(done, (1..=2000).collect::<Vec<_>>());
    let (on_one, on_two) = (
        Site::first(&one).done().len(),
        Site::first(&two).done().len(),
    );
    println!("2,000 jobs in {:?}: {on_one} and {on_two}", began.elapsed());
    assert!(on_one > 200 && on_two > 200, "{on_one} and {on_two}");

    phase("a host with other secret keys is named");
    let config = format!("{}/wp-config.php", site::FOLDER);
    let keys = format!(
        "cp -p {config} /root/kept
         n=0; while grep -q 'put your unique phrase here' {config}; do
             n=$((n + 1)); sed -i \"0,/put your unique phrase here/s//another-unique-phrase-$n/\" {config}; done"
    );
    two.shell(&keys).ok();
    two.run(&["wp-gears", "reload"]).ok();
    until(30, "doctor names it", || {
        let out = one.run(&["wp-gears", "doctor", "fleet"]);
        out.text()
            .contains("workers on worker2 have other secret keys")
    });
    two.shell(&format!("cp -p /root/kept {config}")).ok();
    two.run(&["wp-gears", "reload"]).ok();
    until(30, "they agree again", || {
        one.run(&["wp-gears", "doctor", "fleet"])
            .text()
            .contains("jobs run on worker2 too")
    });

    phase("a host with a job vanishes");
    Site::first(&one).forget_done();
    Site::first(&two).forget_done();
    two.run(&["wp-gears", "pause"]).ok();
    until(20, "worker2 pauses", || busy(&two) == 0);
    Site::first(&web).send(1, 1, 20.0).exits(0);
    until(20, "worker1 has the job", || busy(&one) == 1);
    two.run(&["wp-gears", "resume"]).ok();
    Site::first(&web).send(2, 51, 0.5).exits(0);
    switch.cut(WORKER, true).unwrap();
    let all = || {
        let mut done = Site::first(&two).done();
        done.extend(Site::first(&one).done());
        done.sort_unstable();
        done.dedup();
        done.len() == 51
    };
    let has_it = || Site::first(&two).done().contains(&1);
    let taken = until(90, "worker2 runs the job of worker1", has_it);
    println!("done on the other host {taken:?} after the cut");
    assert!(taken.as_secs() < 60 + 20, "{taken:?}");
    until(60, "all jobs", all);
    switch.cut(WORKER, false).unwrap();
    let counted = || {
        let metrics = one.run(&["wp-gears", "status", "--prometheus"]).stdout;
        let line = metrics
            .lines()
            .find(|line| line.starts_with("wp_gears_jobs_unconfirmed_total{"));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .unwrap_or(0)
    };
    until(60, "worker1 counts it", || counted() > 0);
    println!("{} outcomes unconfirmed", counted());
    let log = "grep -c 'Connection timed out' /var/log/gearman-job-server/gearmand.log";
    let ended = server.shell(log).ok();
    assert!(ended.trim().parse::<u32>().unwrap() >= 4, "{ended}");
    assert!(Site::first(&one).done().contains(&1));
    one.run(&["wp-gears", "doctor"]).exits(0);
}

/// A host that has WireGuard: this machine's kernel may lack it, and so does it in a
/// process.
fn with_wireguard(name: &str) -> Host {
    let image = Image::with_packages(Release::Bookworm).unwrap();
    let mut binds = vec!["/dev/net/tun:/dev/net/tun:rw".to_owned()];
    let packages = ["wireguard-go", "wireguard-tools"];
    for package in packages {
        let folder = packages_with(package).unwrap();
        binds.push(format!("{}:/srv/{package}:ro", folder.display()));
    }
    let host = Host::start(&image, name, Shape::Booted, &binds).unwrap();
    host.install(wp_gears()).unwrap();
    for package in packages {
        let list = format!("/etc/apt/sources.list.d/{package}.list");
        let source = format!("deb [trusted=yes] file:/srv/{package} ./\n");
        host.put(&list, source, 0o644).unwrap();
    }
    host.shell(
        "apt-get update && apt-get install -y --no-install-recommends wireguard-go wireguard-tools",
    )
    .ok();
    host
}

/// The recipe of docs/fleet.md.
#[test]
#[ignore = "downloads WireGuard's packages"]
fn a_fleet_works_through_wireguard() {
    let switch = Switch::new().unwrap();
    let mut server = with_wireguard("wireguard-server");
    let host = with_wireguard("wireguard-site");
    switch.connect(&server, SERVER, "jobs1").unwrap();
    switch.connect(&host, WEB, "site1").unwrap();
    let public = |host: &Host| {
        host.shell("cd /etc/wireguard && umask 077 && wg genkey >key && wg pubkey <key")
            .ok()
    };
    let keys = [public(&server), public(&host)];
    for (at, one) in [&server, &host].into_iter().enumerate() {
        let (own, other) = (at + 1, 2 - at);
        let private = one.read("/etc/wireguard/key").unwrap();
        let text = format!(
            "[Interface]\nAddress = 10.99.0.{own}/24\nListenPort = 51820\nPrivateKey = {}\n\n\
             [Peer]\nPublicKey = {}\nAllowedIPs = 10.99.0.{other}/32\n\
             Endpoint = 10.77.0.{other}:51820\nPersistentKeepalive = 25\n",
            private.trim(),
            keys[1 - at].trim()
        );
        one.put("/etc/wireguard/wg0.conf", text, 0o600).unwrap();
        let enabled = one.run(&["systemctl", "enable", "--now", "wg-quick@wg0"]);
        assert_eq!(
            enabled.code,
            0,
            "{}",
            one.run(&["journalctl", "-u", "wg-quick@wg0"])
        );
    }
    let after = "[Unit]\nWants=wg-quick@wg0.service\nAfter=wg-quick@wg0.service\n";
    let folder = "/etc/systemd/system/gearman-job-server.service.d";
    server
        .put(&format!("{folder}/tunnel.conf"), after, 0o644)
        .unwrap();

    phase("setup");
    setup(&server, &["--role", "server", "--listen", "10.99.0.1"]);
    let words = ["--role", "worker,web", "--servers", "10.99.0.1:4730"];
    setup(&host, &[&words[..], &["--site", site::FOLDER]].concat());
    let runs = |when: &str| {
        Site::first(&host).forget_done();
        Site::first(&host).send(1, 100, 0.0).exits(0);
        until(60, when, || Site::first(&host).done().len() >= 100);
        assert_eq!(done_on([&host, &host]).len(), 200, "{when}");
    };
    runs("jobs");
    let traffic = server.run(&["wg", "show", "wg0", "transfer"]).ok();
    println!("{traffic}");
    phase("the job server reboots");
    server.reboot().unwrap();
    switch.connect(&server, SERVER, "jobs1").unwrap();
    until(60, "the tunnel is back", || {
        host.run(&["wp-gears", "doctor", "job-server"]).code == 0
    });
    runs("jobs after the reboot");
}
