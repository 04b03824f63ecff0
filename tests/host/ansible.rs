//! The playbooks of the Ansible collection, from bare hosts to a proved fleet.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::controller::{Controller, printed};
use crate::fleet::{share_database, use_database};
use crate::harness::debian;
use crate::harness::{Host, Site, Switch, site};
use crate::phase::phase;
use crate::support::fresh_host;

struct Fleet<'a> {
    controller: Controller,
    hosts: [(&'a str, &'a str, &'a Host); 3],
}

impl Fleet<'_> {
    fn inventory(&self) -> String {
        let mut text = String::from(
            "all:\n  vars:\n    ansible_connection: test_host\n    ansible_python_interpreter: /usr/bin/python3\n    \
             wp_gears_servers: [\"10.77.0.1:4730\"]\n    wp_gears_sites: [{dir: /var/www/site}]\n    \
             wp_gears_salts: {/var/www/site: salt-of-the-fleet}\n",
        );
        text += &format!(
            "    wp_gears_binary: {}\n  children:\n",
            env!("CARGO_BIN_EXE_wp-gears")
        );
        for (group, name, host) in &self.hosts {
            let listen = match *group {
                "job_servers" => ", wp_gears_listen: 10.77.0.1",
                _ => "",
            };
            text += &format!(
                "    {group}:\n      hosts:\n        {name}: {{init: {}{listen}}}\n",
                host.init()
            );
        }
        text
    }

    /// Runs a playbook of the collection; it has to succeed.
    fn play(&self, name: &str, args: &[&str]) -> String {
        let home = self.controller.home.path();
        fs::write(home.join("inventory.yml"), self.inventory()).unwrap();
        let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/host/ansible");
        let output = self
            .controller
            .command("ansible-playbook")
            .env("ANSIBLE_COLLECTIONS_PATH", home)
            .env("ANSIBLE_CONNECTION_PLUGINS", plugins)
            .args(["-i", "inventory.yml"])
            .arg(format!("wp_gears.wp_gears.{name}"))
            .args(args)
            .output()
            .unwrap();
        let text = printed(&output);
        assert!(output.status.success(), "{text}");
        text
    }
}

/// How many tasks changed each host, by the summary at the end.
fn changed(text: &str) -> Vec<u32> {
    let lines = text.lines().filter(|line| line.contains("unreachable="));
    lines
        .map(|line| {
            let rest = line.split("changed=").nth(1).unwrap();
            rest.split_whitespace().next().unwrap().parse().unwrap()
        })
        .collect()
}

#[test]
fn a_playbook_makes_a_fleet_of_bare_hosts() {
    let switch = Switch::new().unwrap();
    let server = fresh_host("ansible-server");
    let web = fresh_host("ansible-web");
    let worker = fresh_host("ansible-worker");
    for (n, (host, name)) in [(&server, "jobs1"), (&web, "web1"), (&worker, "worker1")]
        .into_iter()
        .enumerate()
    {
        switch.connect(host, n as u8 + 1, name).unwrap();
        host.run(&["rm", "/usr/local/bin/wp-gears"]).ok();
        // What Ansible itself needs there.
        debian::install(host, &["python3"]).unwrap();
    }
    share_database(&web);
    use_database(&worker);
    let fleet = Fleet {
        controller: Controller::new(),
        hosts: [
            ("job_servers", "jobs1", &server),
            ("job_workers", "worker1", &worker),
            ("job_web", "web1", &web),
        ],
    };

    phase("the fleet");
    let text = fleet.play("fleet", &[]);
    assert!(changed(&text).iter().all(|n| *n > 0), "{text}");
    assert!(!text.contains("salt-of-the-fleet"), "{text}");
    let out = web.run(&["wp-gears", "doctor", "job"]).exits(0);
    assert!(out.text().contains("done on worker1 after"), "{out}");

    phase("again");
    let text = fleet.play("fleet", &["--check", "--diff"]);
    assert_eq!(changed(&text), [0, 0, 0], "{text}");
    let start = Instant::now();
    let text = fleet.play("fleet", &[]);
    println!("a run without changes: {:?}", start.elapsed());
    assert_eq!(changed(&text), [0, 0, 0], "{text}");
    for (_, name, host) in &fleet.hosts {
        let took = host.run(&["wp-gears", "setup", "--yes"]).exits(0).took;
        println!("of which wp-gears on {name}: {took:?}");
        assert!(took < Duration::from_secs(1), "{took:?}");
    }

    phase("check mode shows a change and makes none");
    let before = worker.read("/etc/wp-gears.toml").unwrap();
    let more = "wp_gears_sites: [{dir: /var/www/site, workers: 3}]";
    let text = fleet.play(
        "fleet",
        &[
            "--check",
            "--diff",
            "--limit",
            "worker1",
            "-e",
            &format!("{{{more}}}"),
        ],
    );
    assert_eq!(changed(&text), [1], "{text}");
    assert!(text.contains("+workers = 3"), "{text}");
    assert_eq!(worker.read("/etc/wp-gears.toml").unwrap(), before);

    phase("a deployment");
    let site = Site::first(&worker);
    site.forget_done();
    let sender = Site::first(&web);
    sender.send(1, 1, 3.0).ok();
    let tasks = fleet.controller.home.path().join("deploy.yml");
    let file = format!("{}/deployed", site::FOLDER);
    fs::write(
        &tasks,
        format!("- name: Note it\n  ansible.builtin.copy:\n    content: new\n    dest: {file}\n    mode: '0644'\n"),
    )
    .unwrap();
    let tasks = format!("wp_gears_deploy_tasks={}", tasks.display());
    fleet.play("deploy", &["-e", &tasks]);
    assert_eq!(worker.read(&file).unwrap(), "new");
    sender.send(2, 2, 0.0).ok();
    let mut done = site.wait_for(2, Duration::from_secs(30));
    done.sort_unstable();
    assert_eq!(done, [1, 2]);
}
