//! Folders without room, and files that nobody may change: refused before the
//! first change, with what to do; once that is done, all goes well.

use crate::harness::{Host, Site, site};
use crate::phase::phase;
use crate::support::{jobs_run, on_site, ready_host, refused};

const SETUP: [&str; 5] = ["wp-gears", "setup", "--site", site::FOLDER, "--yes"];

/// Puts a small file system in a folder's place, with what is in the folder.
fn mounted(host: &Host, folder: &str, options: &str) {
    host.shell(&format!(
        "mkdir -p {folder}; rm -rf /tmp/kept; cp -a {folder} /tmp/kept
         mount -t tmpfs -o mode=755,{options} small {folder}
         cp -a /tmp/kept/. {folder}"
    ))
    .ok();
}

fn filled(host: &Host, folder: &str) {
    host.shell(&format!(
        "dd if=/dev/zero of={folder}/filling bs=1k 2>/dev/null || test -s {folder}/filling"
    ))
    .ok();
}

#[test]
fn a_full_disk_is_told_before_anything_changes() {
    let host = ready_host("room");
    for folder in [
        "/etc/supervisor/conf.d",
        "/etc/systemd/system",
        "/usr/local/lib",
        "/var/lib/wp-gears",
        "/etc/default",
    ] {
        phase(format!("no room in {folder}"));
        mounted(&host, folder, "size=4m");
        filled(&host, folder);
        refused(&host, &SETUP, 1, &[folder, "free", "free up space"]);
        host.run(&["umount", "-l", folder]).ok();
    }
    phase("no free inode");
    // Files may run out before bytes do.
    mounted(&host, "/etc/supervisor/conf.d", "size=4m,nr_inodes=2");
    host.shell("while touch /etc/supervisor/conf.d/$(date +%N) 2>/dev/null; do :; done")
        .ok();
    refused(
        &host,
        &SETUP,
        1,
        &["/etc/supervisor/conf.d", "files", "free up space"],
    );
    host.run(&["umount", "-l", "/etc/supervisor/conf.d"]).ok();

    phase("setup once there is room");
    // Room that is made while everything stands as it was.
    mounted(&host, "/var/lib/wp-gears", "size=64m");
    filled(&host, "/var/lib/wp-gears");
    refused(&host, &SETUP, 1, &["/var/lib/wp-gears"]);
    host.run(&["rm", "/var/lib/wp-gears/filling"]).ok();
    on_site(&host, "setup", &[]).exits(0);
    jobs_run(&Site::first(&host), 2);
    let litter = "find / -xdev -name '.wp-gears-*' 2>/dev/null";
    assert_eq!(host.shell(litter).ok(), "");
}

#[test]
fn what_nobody_may_change_is_told_before_anything_changes() {
    let host = ready_host("frozen");
    host.shell("apt-get update -q && apt-get install -qy e2fsprogs")
        .ok();
    let config = format!("{}/wp-config.php", site::FOLDER);
    let binds =
        |path: &str| format!("mount --bind {path} {path} && mount -o remount,ro,bind {path}");
    for (done, undone, says) in [
        (
            format!("chattr +i {config}"),
            format!("chattr -i {config}"),
            ["immutable", "chattr -ia"],
        ),
        (
            format!("chattr +a {config}"),
            format!("chattr -a {config}"),
            ["append-only", "chattr -ia"],
        ),
        (
            "chattr +i /etc/supervisor/conf.d".to_owned(),
            "chattr -i /etc/supervisor/conf.d".to_owned(),
            ["/etc/supervisor/conf.d is immutable", "chattr -ia"],
        ),
        (
            binds(&config),
            format!("umount {config}"),
            [&config, "read-only"],
        ),
        (
            "touch /etc/wp-gears.toml; chattr +i /etc/wp-gears.toml".to_owned(),
            "chattr -i /etc/wp-gears.toml; rm /etc/wp-gears.toml".to_owned(),
            ["/etc/wp-gears.toml is immutable", "chattr -ia"],
        ),
        (
            binds("/etc/systemd"),
            "umount /etc/systemd".to_owned(),
            ["/etc/systemd", "read-only"],
        ),
        (
            binds(site::FOLDER),
            format!("umount {}", site::FOLDER),
            [site::FOLDER, "read-only"],
        ),
    ] {
        phase(&done);
        host.shell(&done).ok();
        refused(&host, &SETUP, 1, &says);
        host.shell(&undone).ok();
    }
    phase("setup");
    on_site(&host, "setup", &[]).exits(0);
    jobs_run(&Site::first(&host), 2);
    phase("remove");
    // remove takes nothing from under a site that has to stay.
    host.shell(&format!("chattr +i {config}")).ok();
    refused(
        &host,
        &["wp-gears", "remove", "--yes"],
        1,
        &["immutable", "chattr -ia"],
    );
    host.shell(&format!("chattr -i {config}")).ok();
    on_site(&host, "remove", &[]).exits(0);
}
