//! Tests the hosts themselves: if they were not realistic, the other tests would prove
//! nothing.

use crate::harness::{Host, Image, Release, Shape, Site};

#[test]
fn a_site_answers_on_a_booted_host_without_gearman() {
    let host = Host::boot(&Image::site(Release::Bookworm).unwrap(), "site").unwrap();
    assert_eq!(
        host.run(&["systemctl", "is-system-running"]).ok().trim(),
        "running"
    );
    let (code, body) = Site::first(&host).get("http://localhost/");
    assert_eq!(code, 200, "{body}");
    assert!(body.contains("<title>Test</title>"), "{body}");
    host.run(&[
        "sh",
        "-c",
        "! dpkg-query -W gearman-job-server supervisor php-gearman",
    ])
    .ok();
}

#[test]
fn a_plain_container_has_no_init() {
    let image = Image::base(Release::Bookworm).unwrap();
    let host = Host::start(&image, "plain", Shape::Plain, &[]).unwrap();
    host.run(&["test", "!", "-e", "/run/systemd/system"]).ok();
    host.shell("apt-get update && apt-get install -y procps")
        .ok();
}

#[test]
fn a_host_keeps_its_files_over_a_reboot_and_a_power_cut() {
    let mut host = Host::boot(&Image::base(Release::Bookworm).unwrap(), "power").unwrap();
    let before = host.tree(&["/etc"]);
    host.put("/etc/kept", "1", 0o600).unwrap();
    host.reboot().unwrap();
    host.put("/etc/kept", "2", 0o600).unwrap();
    host.power_cut();
    assert!(!host.is_up());
    host.power_on().unwrap();
    assert_eq!(host.read("/etc/kept").unwrap(), "2");
    assert_eq!(
        before.changes_to(&host.tree(&["/etc"])),
        ["+ /etc/kept (file)"]
    );
}

#[test]
fn trixie_boots_with_a_site() {
    let host = Host::boot(&Image::with_packages(Release::Trixie).unwrap(), "trixie").unwrap();
    assert_eq!(Site::first(&host).get("http://localhost/").0, 200);
    assert_eq!(
        host.run(&["systemctl", "is-active", "gearman-job-server"])
            .ok()
            .trim(),
        "active"
    );
}

#[test]
fn the_harness_sees_processes_and_their_time() {
    let host = Host::boot(&Image::base(Release::Bookworm).unwrap(), "time").unwrap();
    let before = host.cpu();
    host.shell("systemd-run --quiet --unit=busy timeout 1 sh -c 'while :; do :; done'")
        .ok();
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let spent = (host.cpu() - before).as_secs_f64();
    assert!((0.1..1.5).contains(&spent), "{spent}");
    let init = host.processes().into_iter().next().unwrap();
    assert_eq!((init.pid, init.uid), (1, 0));
    // The unit counts as started only when the program runs.
    host.shell("systemd-run --quiet --unit=sleeper --property=Type=exec sleep 1000")
        .ok();
    let sleeper = host.processes_of("sleep 1000");
    assert_eq!(sleeper.len(), 1);
    host.kill9(sleeper[0].pid);
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert_eq!(host.processes_of("sleep 1000"), []);
}
