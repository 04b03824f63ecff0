//! The job server in its sandbox, and a local user who looks for the arguments of jobs.

use std::time::Duration;

use crate::harness::{Host, Image, Release, Shape, Site, rhel, site};
use crate::phase::phase;
use crate::support::{daemons, everything, host_of, jobs_run, none, on_site, ready_host, wp_gears};

const DEBIAN: &str = "gearman-job-server";
const MARK: &str = "reset-password-of-everybody";
/// systemd's own measure: 9.2 before, lower is better.
const MOST_EXPOSURE: f32 = 1.5;

/// The exposure of a unit, from 0 to 10.
#[track_caller]
fn exposure(host: &Host, unit: &str) -> f32 {
    let words = ["systemd-analyze", "security", "--no-pager", unit];
    let out = host.run(&words).ok();
    let line = out.lines().find(|line| line.contains("Overall")).unwrap();
    println!("{line}");
    let mut numbers = line.split(' ').filter_map(|word| word.parse().ok());
    numbers.next().unwrap()
}

/// Jobs wait, run and fail with the mark among their arguments, which a user of the host
/// without a site looks for everywhere.
#[track_caller]
fn nobody_reads_arguments(host: &Host, queue: &str) {
    host.shell("id mallory 2>/dev/null || useradd -m mallory")
        .ok();
    let plugin = format!("{}/wp-content/mu-plugins/marked.php", site::FOLDER);
    let code = "<?php add_action('marked', function ($args) {
        if ($args['n'] == 1) { throw new Exception('no ' . $args['mark']); }
        usleep(2000000);
        file_put_contents('/srv/jobs/done', \"7 0\\n\", FILE_APPEND | LOCK_EX);
    });";
    host.put(&plugin, code, 0o644).unwrap();
    // In a file: a command line is everybody's to read.
    let send = format!(
        "<?php require '{}/wp-load.php';
         foreach ([1, 2] as $n) wp_async_task_add('marked', ['n' => $n, 'mark' => '{MARK}']) or exit(9);
         $client = new GearmanClient(); $client->addServer('127.0.0.1', 4730);
         $client->doBackground('another', '{MARK}');",
        site::FOLDER
    );
    host.put("/root/send.php", send, 0o600).unwrap();
    let mallory = |what: &str| {
        // What of it a shell of hers can read, and what root can.
        let script = "cat >/tmp/mark
            grep -rasl -D skip -f /tmp/mark /var/lib /var/log /var/spool /run /etc \\
                /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null || true
            journalctl --no-pager 2>/dev/null | grep -f /tmp/mark || true";
        let seen = |user: &[&str]| {
            let words = [user, &["sh", "-c", script]].concat();
            host.run(&["rm", "-f", "/tmp/mark"]).ok();
            host.run_with(&words, MARK.as_bytes(), Duration::from_secs(60))
                .stdout
        };
        assert_eq!(seen(&["runuser", "-u", "mallory", "--"]), "", "{what}");
        seen(&[])
    };
    phase("jobs wait");
    host.run(&["wp-gears", "pause", "--wait"]).exits(0);
    host.run(&["php", "/root/send.php"]).ok();
    let by_root = mallory("while jobs wait");
    if queue.starts_with('/') {
        assert!(by_root.contains(queue), "root sees {by_root}");
        for path in [queue, &format!("{queue}-journal")] {
            host.as_user("mallory", &["cat", path]).exits(1);
        }
    }
    phase("jobs run and fail");
    Site::first(host).forget_done();
    host.run(&["wp-gears", "resume"]).exits(0);
    let failed = "test -n \"$(find /var/lib/wp-gears/failed -type f)\"";
    let begun = std::time::Instant::now();
    while host.shell(failed).code != 0 {
        assert!(begun.elapsed() < Duration::from_secs(20), "no job failed");
        std::thread::sleep(Duration::from_millis(100));
    }
    mallory("while a job runs and another has failed");
    assert_eq!(Site::first(host).wait_for(1, Duration::from_secs(20)), [7]);
    host.run(&["wp-gears", "failed", "forget", "--all"])
        .exits(0);
    host.run(&["rm", &plugin, "/root/send.php", "/tmp/mark"])
        .ok();
    // Doctor and remove would name the job that has no worker.
    let take = "$worker = new GearmanWorker(); $worker->addServer('127.0.0.1', 4730);
        $worker->addFunction('another', function ($job) {}); $worker->work() or exit(9);";
    host.run(&["php", "-r", take]).ok();
}

/// A host that an earlier version set up: open files, no sandbox.
#[track_caller]
fn as_before(host: &Host, unit: &str, queue: &str, log: Option<&str>) {
    host.shell(&format!(
        "rm /etc/systemd/system/{unit}.service.d/00-wp-gears-sandbox.conf
         systemctl daemon-reload; systemctl restart {unit}
         chmod 755 $(dirname {queue}); chmod 644 {queue}"
    ))
    .ok();
    if let Some(log) = log {
        host.shell(&format!("chmod 755 $(dirname {log}); chmod 644 {log}"))
            .ok();
    }
}

fn confined(host: &mut Host, unit: &str, queue: &str, log: Option<&str>) {
    phase("setup");
    let before = host.tree(&["/etc/systemd"]);
    on_site(host, "setup", &[]).exits(0);
    assert!(exposure(host, unit) <= MOST_EXPOSURE);
    jobs_run(&Site::first(host), 20);
    let (tree, running) = (everything(host), daemons(host));
    on_site(host, "setup", &[]).exits(0);
    none(
        tree.touches_to(&everything(host)),
        "touched by a second setup",
    );
    assert_eq!(running, daemons(host));
    nobody_reads_arguments(host, queue);

    phase("what an earlier version left");
    as_before(host, unit, queue, log);
    assert!(exposure(host, unit) > 9.0);
    let doctor = host
        .run(&["wp-gears", "doctor", "private-files", "job-server-options"])
        .exits(1);
    for path in [Some(queue), log].into_iter().flatten() {
        assert!(
            doctor.text().contains(&format!("can read {path}")),
            "{doctor}"
        );
    }
    host.run(&["wp-gears", "doctor", "--fix", "--yes"]).exits(0);
    assert!(exposure(host, unit) <= MOST_EXPOSURE);
    nobody_reads_arguments(host, queue);

    phase("an administrator's drop-in wins");
    let own = "/etc/systemd/system/{unit}.service.d/override.conf".replace("{unit}", unit);
    host.put(&own, "[Service]\nNoNewPrivileges=no\nUMask=0027\n", 0o644)
        .unwrap();
    host.shell(&format!(
        "systemctl daemon-reload; systemctl restart {unit}"
    ))
    .ok();
    let running = daemons(host);
    on_site(host, "setup", &[]).exits(0);
    assert_eq!(running, daemons(host), "restarted for an override");
    let umask = format!("systemctl show -p UMask --value {unit}");
    assert_eq!(host.shell(&umask).ok(), "0027\n");
    host.run(&["rm", &own]).ok();
    host.run(&["systemctl", "daemon-reload"]).ok();

    phase("reboot");
    host.reboot().unwrap();
    on_site(host, "setup", &[]).exits(0);
    jobs_run(&Site::first(host), 20);
    host.run(&["wp-gears", "doctor"]).exits(0);

    phase("remove");
    on_site(host, "remove", &[]).exits(0);
    none(
        before.changes_to(&host.tree(&["/etc/systemd"])),
        "left by remove",
    );
    if host.shell(&format!("systemctl is-active {unit}")).code == 0 {
        assert!(exposure(host, unit) > 9.0);
    }
}

#[test]
fn debian_12_confines_the_job_server() {
    confined(
        &mut ready_host("sandbox"),
        DEBIAN,
        "/var/lib/gearman/queue.sqlite",
        Some("/var/log/gearman-job-server/gearmand.log"),
    );
}

#[test]
fn debian_13_confines_the_job_server() {
    let image = Image::with_packages(Release::Trixie).unwrap();
    confined(
        &mut host_of(&image, "sandbox-13"),
        DEBIAN,
        "/var/lib/gearman/queue.sqlite",
        Some("/var/log/gearman-job-server/gearmand.log"),
    );
}

#[test]
fn the_rhel_family_confines_the_job_server() {
    confined(
        &mut host_of(&rhel::with_packages().unwrap(), "sandbox-el"),
        "gearmand",
        "/var/lib/gearmand/queue.sqlite",
        None,
    );
}

#[test]
fn a_confined_job_server_keeps_jobs_in_a_database() {
    let mut host = ready_host("sandbox-mysql");
    on_site(&host, "setup", &["--queue", "mysql"]).exits(0);
    assert!(exposure(&host, DEBIAN) <= MOST_EXPOSURE);
    host.reboot().unwrap();
    jobs_run(&Site::first(&host), 20);
    nobody_reads_arguments(&host, "");
}

/// A container that lets nobody mount anything.
#[test]
fn without_mount_namespaces_the_job_server_has_the_rest() {
    let host = ready_host("sandbox-less");
    let less = |verb: &str| {
        let script = format!(
            "exec setpriv --inh-caps=-sys_admin --bounding-set=-sys_admin wp-gears {verb} --site {}",
            site::FOLDER
        );
        host.shell(&script)
    };
    less("setup --yes").exits(0);
    less("plan --check").exits(0);
    let drop_in = "/etc/systemd/system/gearman-job-server.service.d/00-wp-gears-sandbox.conf";
    let text = host.read(drop_in).unwrap();
    assert!(text.contains("NoNewPrivileges=yes\n"), "{text}");
    for needs_mounts in ["Protect", "Private", "ReadWritePaths"] {
        assert!(!text.contains(needs_mounts), "{text}");
    }
    assert!(exposure(&host, DEBIAN) < 6.0);
    jobs_run(&Site::first(&host), 20);
    nobody_reads_arguments(&host, "/var/lib/gearman/queue.sqlite");
    phase("where mounts are possible again");
    on_site(&host, "setup", &[]).exits(0);
    assert!(exposure(&host, DEBIAN) <= MOST_EXPOSURE);
}

#[test]
fn without_systemd_the_queue_is_private_too() {
    let image = Image::site_made(Release::Bookworm, Shape::Plain).unwrap();
    let host = Host::start(&image, "sandbox-plain", Shape::Plain, &[]).unwrap();
    host.install(wp_gears()).unwrap();
    site::start(&host).unwrap();
    on_site(&host, "setup", &[]).exits(0);
    nobody_reads_arguments(&host, "/var/lib/gearman/queue.sqlite");
}
