//! A complete run on a throw-away host with real WordPress: setup, 200 jobs and
//! their outcome. Only a cache of the host's image is left behind.

#[path = "../tests/host/harness/mod.rs"]
mod harness;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use harness::{Host, Image, Release, Shape, Site, command, machine, site};

const JOBS: u32 = 200;

fn main() -> ExitCode {
    match machine::prepare().and_then(|()| demo()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn demo() -> Result<()> {
    let wp_gears = build()?;
    say("A host with Debian 12, MariaDB, nginx, PHP and WordPress, but no Gearman");
    let host = host(std::env::args().any(|arg| arg == "--plain"))?;
    host.install(&wp_gears)?;
    println!("{} in {}", host.shape.name(), host.folder.display());

    let setup = ["wp-gears", "setup", "--site", site::FOLDER, "--yes"];
    say(&format!("# {}", setup.join(" ")));
    let status = host.command(&setup).status()?;
    ensure!(status.success(), "setup failed: {status}");

    say(&format!("{JOBS} jobs, submitted by WordPress"));
    let site = Site::first(&host);
    site.forget_done();
    let start = Instant::now();
    site.send(1, JOBS, 0.0).check()?;
    let sent = start.elapsed();
    site.wait_for(JOBS as usize, Duration::from_secs(120));
    let took = start.elapsed();
    let mut runs: BTreeMap<u32, u32> = BTreeMap::new();
    for job in site.done() {
        *runs.entry(job).or_default() += 1;
    }
    let twice = runs.values().filter(|times| **times > 1).count();
    println!(
        "submitted in {sent:.1?}; {} of {JOBS} ran within {took:.1?}, {twice} of them twice",
        runs.len()
    );
    println!("{:.0} jobs/s", runs.len() as f64 / took.as_secs_f64());
    ensure!(
        runs.len() == JOBS as usize && twice == 0,
        "not every job ran exactly once"
    );

    say("The workers");
    print!("{}", host.run(&["supervisorctl", "status"]).stdout);
    drop(host);
    println!(
        "\nThe host was removed. Its image is cached in {}",
        harness::cache::folder().display()
    );
    Ok(())
}

/// A booted host, or a plain container if it cannot boot here.
fn host(plain: bool) -> Result<Host> {
    if !plain {
        match Image::site(Release::Bookworm).and_then(|image| Host::boot(&image, "demo")) {
            Ok(host) => return Ok(host),
            Err(error) => println!("cannot boot a host, so using a plain container: {error:#}"),
        }
    }
    let image = Image::site_made(Release::Bookworm, Shape::Plain)?;
    let host = Host::start(&image, "demo", Shape::Plain, &[])?;
    site::start(&host)?;
    Ok(host)
}

fn say(text: &str) {
    println!("\n== {text}");
}

/// Builds wp-gears, as cargo builds only the example.
fn build() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut cargo = Command::new(cargo);
    cargo.args(["build", "--release", "--quiet", "--bin", "wp-gears"]);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    command::run(cargo, b"", Duration::from_secs(900)).check()?;
    let me = std::env::current_exe()?;
    let target = me
        .ancestors()
        .nth(3)
        .context("find cargo's target folder")?;
    let built = target.join("release/wp-gears");
    if !built.exists() {
        bail!("cargo did not build {}", built.display());
    }
    Ok(built)
}
