//! What setup does when the machine does not do its part.

use crate::harness::{Host, Site, site};
use crate::phase::phase;
use crate::support::{everything, fresh_host, jobs_run, none, on_site, ready_host, refused};

/// wp-config.php is the switch: while anything is missing it stays as it was.
#[track_caller]
fn fails(host: &Host, says: &[&str]) {
    let before = host.tree(&["/var/www"]);
    let out = on_site(host, "setup", &[]).exits(1);
    for word in says {
        assert!(out.stderr.contains(word), "does not say {word:?}: {out}");
    }
    none(
        before.touches_to(&host.tree(&["/var/www"])),
        &format!("touched in the site, {out}"),
    );
    assert_eq!(Site::first(host).get("http://localhost/").0, 200);
}

#[test]
fn a_failing_package_manager_is_told_and_the_next_run_goes_on() {
    let host = fresh_host("apt");
    let sources = host.read("/etc/apt/sources.list").unwrap();
    let etc = host.tree(&["/etc"]).without("/etc/apt");

    phase("no mirror");
    host.put(
        "/etc/apt/sources.list",
        "deb http://127.0.0.1:9/ bookworm main\n",
        0o644,
    )
    .unwrap();
    host.shell("rm -rf /var/lib/apt/lists/*").ok();
    fails(&host, &["127.0.0.1"]);
    host.put("/etc/apt/sources.list", &sources, 0o644).unwrap();

    phase("no such package");
    let pin = "Package: gearman-job-server\nPin: release *\nPin-Priority: -1\n";
    host.put("/etc/apt/preferences.d/withheld", pin, 0o644)
        .unwrap();
    fails(&host, &["gearman"]);
    host.run(&["rm", "/etc/apt/preferences.d/withheld"]).ok();

    phase("a package on hold");
    host.run(&["apt-mark", "hold", "gearman-job-server"]).ok();
    fails(&host, &["held", "apt-mark showhold"]);
    host.run(&["apt-mark", "unhold", "gearman-job-server"]).ok();
    none(
        etc.touches_to(&host.tree(&["/etc"]).without("/etc/apt")),
        "touched before any package",
    );

    phase("dpkg fails");
    let hook = "DPkg::Pre-Invoke { \"echo the disk is on fire >&2; exit 1\"; };\n";
    host.put("/etc/apt/apt.conf.d/99fire", hook, 0o644).unwrap();
    fails(&host, &["the disk is on fire"]);
    host.run(&["rm", "/etc/apt/apt.conf.d/99fire"]).ok();

    phase("killed between unpacking and configuring");
    // Killed between unpacking and configuring, apt and dpkg with it.
    std::thread::scope(|scope| {
        let setup = scope.spawn(|| on_site(&host, "setup", &[]));
        while host.processes_of("--configure").is_empty() {
            if setup.is_finished() {
                panic!("dpkg --configure was not seen: {}", setup.join().unwrap());
            }
        }
        // In one sweep: of three, the last may find that its process died with the others.
        host.run(&["pkill", "-KILL", "wp-gears|apt-get|dpkg"]).ok();
    });
    let state = "dpkg-query -W -f '${Package} ${db:Status-Status}\\n' | grep -v ' installed$'";
    println!("left by the killed run:\n{}", host.shell(state).ok());
    phase("the next setup finishes");
    // Somebody else's run holds the locks at first.
    host.shell(
        "dpkg --configure -a; apt-get install -y -o DPkg::Pre-Invoke::='sleep 4' cron >/tmp/cron 2>&1 &
         while ! pgrep -x sleep; do sleep 0.1; done",
    )
    .ok();
    on_site(&host, "setup", &[]).exits(0);
    host.run(&["dpkg", "-s", "cron"]).ok();
    jobs_run(&Site::first(&host), 1);
}

#[test]
fn a_job_server_that_does_not_come_up_is_told() {
    let host = ready_host("down");
    let options = "PARAMS=\"--daemon --no-such-option\"\n"; // kept, like any that a person wrote
    let kept = host.read("/etc/default/gearman-job-server").unwrap();
    host.put("/etc/default/gearman-job-server", options, 0o644)
        .unwrap();
    fails(&host, &["gearman-job-server", "no-such-option"]);
    host.put("/etc/default/gearman-job-server", kept, 0o644)
        .unwrap();
    on_site(&host, "setup", &[]).exits(0);
    jobs_run(&Site::first(&host), 1);
}

#[track_caller]
fn stops_before_the_switch(host: &Host, says: &[&str]) {
    let config = format!("{}/wp-config.php", site::FOLDER);
    let before = host.read(&config).unwrap();
    let out = on_site(host, "setup", &[]).exits(1);
    for word in says {
        assert!(out.stderr.contains(word), "does not say {word:?}: {out}");
    }
    assert_eq!(host.read(&config).unwrap(), before, "{out}");
}

#[test]
fn a_supervisor_that_does_not_come_up_is_told() {
    let host = ready_host("supervisor");
    let broken = "/etc/supervisor/conf.d/broken.conf";
    host.put(broken, "[program:broken]\nautostart=true\n", 0o644)
        .unwrap();
    phase("a broken program file");
    // supervisord runs yet: it tells what it cannot read.
    fails(&host, &["broken", "command"]);
    host.run(&["systemctl", "stop", "supervisor"]).ok();
    stops_before_the_switch(&host, &["query supervisord", "program:broken"]);
    host.run(&["rm", broken]).ok();
    host.run(&["systemctl", "reset-failed", "supervisor"]).ok();

    phase("a noexec mount");
    // Nothing can be run from where the worker is.
    let noexec = "mount -t tmpfs -o mode=755,noexec small /usr/local/lib";
    host.shell(noexec).ok();
    stops_before_the_switch(
        &host,
        &["/usr/local/lib/wp-gears/wp-gears", "Permission denied"],
    );
    host.run(&["mount", "-o", "remount,exec", "/usr/local/lib"])
        .ok();
    on_site(&host, "setup", &[]).exits(0);
    jobs_run(&Site::first(&host), 1);
}

#[test]
fn a_job_server_elsewhere_that_is_unreachable_is_told() {
    let host = ready_host("away");
    let servers = ["--role", "worker,web", "--servers", "127.0.0.1:4731"];
    let setup = ["wp-gears", "setup", "--site", "/var/www/site", "--yes"];
    refused(
        &host,
        &[&setup[..], &servers].concat(),
        1,
        &["127.0.0.1:4731"],
    );
}

/// kill -9 after a share of the time that setup takes.
fn setup_killed_after(host: &Host, seconds: f64) {
    let limit = format!("{seconds:.3}");
    let timeout = ["timeout", "-s", "KILL", &limit];
    let setup = ["wp-gears", "setup", "--site", "/var/www/site", "--yes"];
    host.run(&[&timeout[..], &setup].concat());
}

/// After each the next remove gives back what was there before, or the next
/// setup finishes the work and the remove after that does.
#[test]
fn a_setup_that_was_killed_is_finished_by_the_next_run() {
    const MOMENTS: u32 = 20;
    let host = ready_host("killed");
    on_site(&host, "setup", &[]).exits(0);
    on_site(&host, "remove", &[]).exits(0);
    let before = everything(&host);
    let whole = on_site(&host, "setup", &[]).exits(0).took.as_secs_f64();
    on_site(&host, "remove", &[]).exits(0);
    for moment in 1..=MOMENTS {
        phase(format!("killed at {moment} of {MOMENTS}"));
        let after = whole * f64::from(moment) / f64::from(MOMENTS);
        setup_killed_after(&host, after);
        if moment % 2 == 0 {
            on_site(&host, "setup", &[]).exits(0);
            jobs_run(&Site::first(&host), 1);
        }
        let removed = on_site(&host, "remove", &[]).exits(0);
        none(
            before.changes_to(&everything(&host)),
            &format!("left by remove after a kill at {after:.2} s of {whole:.2}, {removed}"),
        );
        assert_eq!(host.processes_of("wp-gears worker"), [], "{after}");
    }
}

#[test]
fn a_setup_that_was_killed_among_packages_is_finished_by_the_next() {
    let host = fresh_host("apt-killed");
    phase("killed among packages");
    for seconds in [0.5, 2.0, 5.0, 9.0] {
        setup_killed_after(&host, seconds);
    }
    phase("the next setup finishes");
    on_site(&host, "setup", &[]).exits(0);
    jobs_run(&Site::first(&host), 1);
}
