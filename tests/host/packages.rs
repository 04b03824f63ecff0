//! The packages that tests/packages makes: put onto hosts of both families,
//! used there, and taken off.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::harness::{Host, Image, Release, command, rhel, site};

/// Where they are: made once, whichever test comes first.
fn folder() -> PathBuf {
    static MADE: OnceLock<()> = OnceLock::new();
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    MADE.get_or_init(|| {
        // The rest of the machine comes first.
        let mut make = Command::new("nice");
        make.arg(project.join("tests/packages"))
            .current_dir(project);
        command::run(make, b"", Duration::from_secs(3000)).exits(0);
    });
    project.join("target/package")
}

fn package(ending: &str) -> PathBuf {
    let files = std::fs::read_dir(folder()).unwrap();
    let mut files = files.map(|file| file.unwrap().path());
    files
        .find(|file| file.extension().is_some_and(|it| it == ending))
        .unwrap()
}

const FILES: [&str; 5] = [
    "/usr/bin/wp-gears",
    "/usr/share/man/man8/wp-gears.8",
    "/usr/share/bash-completion/completions/wp-gears",
    "/usr/share/fish/vendor_completions.d/wp-gears.fish",
    "/usr/share/doc/wp-gears/README.md",
];

/// Installed, a site set up with it, and taken off: workers stay.
fn life(image: &Image, ending: &str, install: &[&str], listed: &[&str], remove: &[&str]) {
    let package = package(ending);
    let host = Host::boot(image, "package").unwrap();
    let there = format!("/root/wp-gears.{ending}");
    host.put(&there, std::fs::read(package).unwrap(), 0o644)
        .unwrap();
    host.run(&[install, &[&there]].concat()).exits(0);
    let files = host.run(listed).ok();
    for file in FILES {
        assert!(files.contains(file), "{file} is not in:\n{files}");
    }
    let examples = files.lines().find(|line| line.ends_with("wp-gears.toml"));
    // Every option is in it as a comment: it is read, and says nothing.
    let plan = ["wp-gears", "plan", "--config", examples.unwrap(), "--site"];
    host.run(&[&plan, &[site::FOLDER][..]].concat()).exits(0);
    host.run(&["wp-gears", "setup", "--site", site::FOLDER, "--yes"])
        .exits(0);
    host.run(remove).exits(0);
    assert!(!host.exists("/usr/bin/wp-gears"));
    assert_ne!(host.processes_of("wp-gears worker"), []);
    // What workers run is a copy of it: it gives all back.
    let own = "/usr/local/lib/wp-gears/wp-gears";
    host.run(&[own, "remove", "--yes"]).exits(0);
}

#[test]
fn the_deb_is_installed_used_and_taken_off() {
    life(
        &Image::with_packages(Release::Bookworm).unwrap(),
        "deb",
        &["dpkg", "-i"],
        &["dpkg", "-L", "wp-gears"],
        &["dpkg", "-r", "wp-gears"],
    );
}

#[test]
fn the_rpm_is_installed_used_and_taken_off() {
    life(
        &rhel::with_packages().unwrap(),
        "rpm",
        &["rpm", "-i"],
        &["rpm", "-ql", "wp-gears"],
        &["rpm", "-e", "wp-gears"],
    );
}

#[test]
fn the_packaged_binary_wants_no_glibc_after_2_17() {
    let binary = folder().join("wp-gears");
    let mut read = Command::new("readelf");
    read.arg("-V").arg(binary);
    let said = command::run(read, b"", Duration::from_secs(30)).exits(0);
    let versions = said.stdout.split("GLIBC_2.").skip(1);
    let newest = versions
        .filter_map(|rest| rest.split([' ', '.']).next()?.parse::<u32>().ok())
        .max();
    assert_eq!(newest, Some(17));
}
